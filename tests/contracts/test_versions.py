"""A step whose code changed must say so: its version enters the fingerprint, and this lock catches a forgotten one.

Run `python -m tests.contracts.test_versions` to write the lock anew, after raising the version of each step whose results changed.
"""

import ast
import inspect
import json
import sys
from functools import cache
from hashlib import sha256
from pathlib import Path

from dolma.core.step import REGISTRY
from dolma.engines.plan import load_steps

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "tests" / "golden" / "steps.lock"
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
    return {
        name: [step.version, closure(inspect.unwrap(step.fn).__module__)] for name, step in sorted(REGISTRY.items()) if step.fn.__module__.startswith("dolma.")
    }


def test_no_step_changed_without_a_word() -> None:
    locked = json.loads(LOCK.read_text())
    changed = [name for name, (version, digest) in current().items() if locked.get(name, [version, digest]) != [version, digest] and locked[name][0] == version]
    assert not changed, f"code of {changed} changed: raise `version` if results changed, then write the lock anew: python -m tests.contracts.test_versions"
    assert set(locked) == set(current()), "steps came or went: write the lock anew: python -m tests.contracts.test_versions"


if __name__ == "__main__":
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    LOCK.write_text(json.dumps(current(), indent=1, sort_keys=True) + "\n")
