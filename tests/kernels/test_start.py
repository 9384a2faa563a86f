"""A process with kernels starts without what numba would look for in vain, and leaves it to others."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def said(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def test_kernels_run_without_scipy_and_cffi() -> None:
    program = "import sys; from dolma.kernels.words import words; print(words('A b'), [name for name in ('scipy', 'cffi') if name in sys.modules])"
    assert said(program) == "['A', 'b'] []"


def test_a_kept_kernel_is_loaded_without_what_compiles() -> None:
    said("from dolma.kernels.words import words; words('A b')")
    kernel = "import sys; from dolma.kernels.words import words; print(words('A b'), 'numba.np.arraymath' in sys.modules)"
    compiled = "import numba, numpy as np; print(numba.njit(lambda a: np.sort(a).cumsum()[-1] + a.max())(np.arange(3)), 'numba.np.arraymath' in sys.modules)"
    assert said(f"{kernel}; {compiled}").splitlines() == ["['A', 'b'] False", "5 True"]


def test_a_kernel_of_others_is_loaded_as_numba_does_it(tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text("import numba\n\n\n@numba.njit(cache=True)\ndef twice(a):\n    return 2 * a\n")
    program = "import sys; sys.path.insert(0, {!r}); import dolma.kernels, theirs; print(theirs.twice(4), *theirs.twice.stats.cache_hits.values())"
    program = f"{program.format(str(tmp_path))}; print('numba.np.arraymath' in sys.modules)"
    assert [said(program), said(program)] == ["8\nTrue", "8 1\nTrue"]


def test_scipy_can_be_imported_afterwards() -> None:
    pytest.importorskip("scipy")
    assert said("import dolma.kernels.words; import scipy.linalg; print(scipy.linalg.norm([3, 4]))") == "5.0"


def test_a_scipy_that_is_there_already_is_left_to_numba() -> None:
    pytest.importorskip("scipy")
    program = "import scipy, numba, numpy as np, dolma.kernels.words; print(numba.njit(lambda a: np.dot(a, a))(np.ones(3)))"
    assert said(program) == "3.0"


def test_the_collector_of_cycles_goes_on() -> None:
    assert said("import gc, dolma.kernels.words; print(gc.isenabled())") == "True"
    assert said("import gc; gc.disable(); import dolma.kernels.words; print(gc.isenabled())") == "False"


@pytest.mark.slow
def test_a_kernel_is_compiled_again_when_one_that_it_calls_has_changed(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "dolma", tmp_path / "dolma", ignore=shutil.ignore_patterns("__pycache__"))
    program = "import numpy as np; from dolma.kernels.hashes import hash_rows; print(hash_rows(np.ones(3, np.uint8), np.array([0, 3])))"
    env = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"} | {"PYTHONPATH": str(tmp_path)}

    def run() -> str:
        made = subprocess.run([sys.executable, "-P", "-c", program], cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
        return made.stdout

    first = run()
    assert run() == first
    called = tmp_path / "dolma" / "kernels" / "words.py"
    text = called.read_text()
    assert "_MIX = np.uint64(0xFF51AFD7ED558CCD)" in text
    called.write_text(text.replace("0xFF51AFD7ED558CCD", "0xFF51AFD7ED558CCF"))
    assert run() != first
