"""The shape of the house, checked and not hoped: floors, doors, sizes, names, and a light import."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(p for folder in ("dolma", "training", "benchmarks") for p in (ROOT / folder).rglob("*.py"))
DOORS = {  # heavy package: the files that may import it, each of them inside a function
    "brotli": {"dolma/io/coding.py"},
    "pyspark": {"dolma/engines/spark.py", "dolma/engines/spark_components.py", "dolma/engines/spark_tasks.py"},
    "datatrove": {"dolma/engines/datatrove.py"},
    "ray": set[str](),
    "datasketch": {"dolma/near.py"},
    "duckdb": {"dolma/sql.py", "dolma/table.py", "dolma/io/spill.py"},
    "streaming": {"dolma/io/mds.py", "training/data.py"},
    "fasttext": {"dolma/text/fasttext.py"},
    "tokenizers": {"dolma/text/tokenizer.py", "training/tokens.py"},
    "pymupdf": {"dolma/extract/pdf_worker.py"},
    "fitz": set[str](),  # the old name of pymupdf
    "pypdfium2": {"dolma/extract/pdf_worker.py"},
    "fastwarc": {"dolma/io/warc.py"},
    "fsspec": {"dolma/io/raw.py"},
    "aiohttp": {"dolma/io/raw.py"},
    "zstandard": {"dolma/io/members.py"},
    "resiliparse": {"dolma/extract/page.py"},
    "trafilatura": {"dolma/extract/trafilatura.py"},
    "mwparserfromhell": {"dolma/extract/wiki.py"},
    "py3langid": {"dolma/tag/language.py"},
    "composer": {"training/run.py", "training/callbacks.py"},
    "transformers": {"training/export.py"},
    "pandas": set[str](),
    "scipy": {"dolma/mix/swarm.py"},
    "cvxpy": {"dolma/mix/convex.py"},
    "clarabel": {"dolma/mix/convex.py"},
    "lightgbm": {"dolma/mix/laws.py"},
}
HEAVY = sorted({*DOORS, "torch", "numba"})


@cache  # each of the packages below is looked for in all files
def imports(path: Path, top_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_only else list(ast.walk(tree))
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in ("import_module", "__import__"):
            found |= {str(part.value).split(".")[0] for part in node.args if isinstance(part, ast.Constant)}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.split(".")[0])
    return found


def test_floors_and_independence_hold() -> None:
    done = subprocess.run([Path(sys.executable).parent / "lint-imports", "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


def names(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("package", sorted(DOORS))
def test_a_heavy_package_has_its_one_door(package: str) -> None:
    users = {names(path) for path in SOURCES if package in imports(path) and not names(path).startswith("benchmarks/")}
    assert users == DOORS[package]


@pytest.mark.parametrize("path", [p for p in SOURCES if p.is_relative_to(ROOT / "dolma")], ids=names)
def test_doors_open_lazily(path: Path) -> None:
    assert not imports(path, top_only=True) & set(HEAVY) - ({"numba"} if "kernels" in path.parts else set())


@pytest.mark.parametrize(
    "program",
    [
        "import dolma",
        "import dolma.core.recipe, dolma.core.graph",
        "import dolma.cli; dolma.arguments.parser(dolma.cli.VERBS)",
        "import training.cli, training.plan",
        "import dolma.runner; dolma.engines.plan.load_steps()",
    ],
)
def test_a_command_starts_without_what_only_some_of_it_needs(program: str) -> None:
    script = f"import sys; {program}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_starts_without_what_reads_and_checks_files() -> None:
    script = "import sys; from dolma import arguments, cli; arguments.parser(cli.VERBS).format_help(); print(*{'pydantic', 'yaml', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


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
