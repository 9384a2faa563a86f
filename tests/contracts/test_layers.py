"""The shape of the house, checked and not hoped: floors, doors, sizes, names, and a light import."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(p for folder in ("dolma", "training", "benchmarks") for p in (ROOT / folder).rglob("*.py"))
DOORS = {
    "pyspark": {"dolma/engines/spark.py"},
    "datatrove": {"dolma/engines/datatrove.py"},
    "duckdb": {"dolma/sql.py", "dolma/table.py"},
    "streaming": {"dolma/io/mds.py", "training/data.py"},
    "fasttext": {"dolma/text/fasttext.py"},
    "tokenizers": {"dolma/text/tokenizer.py", "training/tokens.py"},
    "fastwarc": {"dolma/io/warc.py"},
    "resiliparse": {"dolma/extract/html.py"},
    "composer": {"training/run.py", "training/callbacks.py"},
    "py3langid": {"dolma/tag/language.py"},
}
LAZY = {"dolma/engines/spark.py": "pyspark", "dolma/engines/datatrove.py": "datatrove"}


def imports(path: Path, top_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_only else list(ast.walk(tree))
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.split(".")[0])
    return found


def test_floors_and_independence_hold() -> None:
    done = subprocess.run([Path(sys.executable).parent / "lint-imports", "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize("package", sorted(DOORS))
def test_a_heavy_package_has_its_one_door(package: str) -> None:
    users = {str(p.relative_to(ROOT)) for p in SOURCES if package in imports(p) and not str(p.relative_to(ROOT)).startswith("benchmarks/")}
    assert users <= DOORS[package]


@pytest.mark.parametrize("path", [p for p in SOURCES if p.is_relative_to(ROOT / "dolma")], ids=lambda p: str(p.relative_to(ROOT)))
def test_doors_open_lazily(path: Path) -> None:
    assert not imports(path, top_only=True) & {*DOORS, "pymupdf", "pypdfium2", "torch", "pandas"}


def test_import_of_the_core_is_light() -> None:
    heavy = "numba torch duckdb pyspark datatrove streaming composer transformers fasttext tokenizers pymupdf fastwarc resiliparse".split()
    script = f"import sys, dolma, dolma.core.recipe, dolma.core.graph; print([m for m in {heavy!r} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_stations_import_without_their_heavy_packages() -> None:
    heavy = "torch pyspark datatrove streaming composer transformers fasttext tokenizers pymupdf pypdfium2 fastwarc resiliparse numba".split()
    script = f"import sys; from dolma.engines.plan import load_steps; load_steps(); print([m for m in {heavy!r} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_fit(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 70, node.name
    assert not re.search(r"(^|/)(utils?|helpers?|common|misc)\.py$", str(path))


def test_ruff_is_clean() -> None:
    ruff = Path(sys.executable).parent / "ruff"
    for command in (["check", "."], ["format", "--check", "."]):
        done = subprocess.run([ruff, *command], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.slow
def test_pyright_is_clean() -> None:
    done = subprocess.run([Path(sys.executable).parent / "pyright", "--pythonpath", sys.executable], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
