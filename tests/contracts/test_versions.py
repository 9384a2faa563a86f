"""What changed must say so: versions enter the fingerprints, and this lock of code hashes catches a forgotten one, of a step, the engines or the training.

Run `python -m tests.contracts.test_versions` to write the lock anew, after raising the version of each step whose results changed.
"""

import ast
import inspect
import json
import sys
from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from pathlib import Path

from dolma.core.graph import TRAINING_VERSION
from dolma.core.step import REGISTRY
from dolma.engines.plan import load_steps
from dolma.io.tables import WRITER

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "tests" / "golden" / "steps.lock"
ENGINES = (
    "dolma.core.schema",
    "dolma.engines.components",
    "dolma.engines.shuffle",
    "dolma.engines.spark_components",
    "dolma.engines.units",
    "dolma.engines.worker",
    "dolma.io.tables",
    "dolma.table",
)
DEEP = (
    "dolma.kernels",
    "dolma.text",
    "dolma.extract",
    "dolma.filter",
    "dolma.dedup",
    "dolma.tag",
    "dolma.pool",
    "dolma.mix",
    "dolma.synth",
    "dolma.shard",
    "dolma.io",
)


@cache
def code(module: str) -> tuple[str, frozenset[str]]:
    """The code of a module without docstrings and comments, and the modules of the package that it imports."""
    path = Path(sys.modules[module].__file__ or "") if module in sys.modules else ROOT / (module.replace(".", "/") + ".py")
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(body, list)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
            and isinstance(body[0].value.value, str)
        ):
            body[0] = ast.Pass()
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    names |= {f"{node.module}.{alias.name}" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module for alias in node.names}
    inner = {name for name in names if name.startswith(DEEP) and (ROOT / (name.replace(".", "/") + ".py")).is_file()}
    return ast.unparse(tree), frozenset(inner)


def closure(module: str) -> str:
    """A hash over a module and all that it imports of the measuring packages."""
    seen: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo.extend(code(name)[1])
    return sha256("".join(code(name)[0] for name in sorted(seen)).encode()).hexdigest()[:16]


def current() -> dict[str, list]:
    load_steps()
    steps = {
        name: [step.version, closure(inspect.unwrap(step.fn).__module__)] for name, step in sorted(REGISTRY.items()) if step.fn.__module__.startswith("dolma.")
    }
    training = [f"training.{path.relative_to(ROOT / 'training').with_suffix('').as_posix().replace('/', '.')}" for path in (ROOT / "training").rglob("*.py")]
    return {**steps, "(engines)": [WRITER, together(ENGINES)], "(training)": [TRAINING_VERSION, together(training)]}


def together(modules: Iterable[str]) -> str:
    """One hash over several modules: what decides the bytes of every dataset, or the weights of every stage."""
    return sha256("".join(code(name)[0] for name in sorted(modules) if not name.endswith("__init__")).encode()).hexdigest()[:16]


def test_nothing_changed_without_a_word() -> None:
    locked, now = json.loads(LOCK.read_text()), current()
    changed = sorted(name for name in {*locked, *now} if locked.get(name) != now.get(name))
    assert not changed, f"{changed} changed: raise the version of each whose results changed, then write the lock anew: python -m tests.contracts.test_versions"


if __name__ == "__main__":
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    LOCK.write_text(json.dumps(current(), indent=1, sort_keys=True) + "\n")
