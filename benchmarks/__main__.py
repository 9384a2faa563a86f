"""`python -m benchmarks [NAME ...]`: measure all pairs, or those named, print the table, write results.json and the table in the README."""

import argparse
import ast
import sys
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path

from benchmarks import results
from benchmarks.measure import ROOT, measure
from benchmarks.pair import Pair
from benchmarks.table import rewrite
from dolma.core.errors import ConfigError, DolmaError

HERE = Path(__file__).parent


def pairs(folder: Path = HERE) -> dict[str, Pair]:
    """The pairs of all files in `folder` by name; a file that assigns no PAIR is not imported."""
    files = [path for path in sorted(folder.glob("*.py")) if _declares(path)]
    found = [import_module(f"{folder.name}.{path.stem}").PAIR for path in files]
    return {pair.name: pair for pair in found}


def _declares(path: Path) -> bool:
    targets = [target for node in ast.parse(path.read_text()).body if isinstance(node, ast.Assign) for target in node.targets]
    return any(isinstance(target, ast.Name) and target.id == "PAIR" for target in targets)


def choose(known: dict[str, Pair], names: Sequence[str]) -> list[Pair]:
    """The pairs called `names`, all when there are none.

    Raises:
        ConfigError: no pair is called so.
    """
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            mend = f"did you mean `{near[0]}`?" if near else "name one of these"
            raise ConfigError("benchmarks", f"no pair `{name}`", got=name, expected=", ".join(known), mend=mend)
    return [known[name] for name in names or known]


def bench(chosen: Iterable[Pair], *, work: Path, file: Path, readme: Path) -> list[DolmaError]:
    """Measure pairs one after another and write their rows as they are done; other rows stay. The errors of those that failed, whose old rows stay too."""
    failed: list[DolmaError] = []
    rows = results.load(file)
    for pair in chosen:
        try:
            row = measure(pair, work)
        except DolmaError as error:
            failed.append(error)
            continue
        rows = {**results.load(file), pair.name: row}  # as it is now: another process may have measured other rows
        results.save(file, rows.values())
        rewrite(readme, "bench", results.markdown(rows.values()))
    print(results.markdown(rows.values()))
    return failed


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="rows to measure (default: all); the others keep their figures")
    try:
        chosen = choose(pairs(), parser.parse_args(arguments).names)
        failed = bench(chosen, work=ROOT / "build" / "bench", file=HERE / "results.json", readme=ROOT / "README.md")
    except DolmaError as error:
        failed = [error]
    for error in failed:
        print(error, file=sys.stderr)
    return failed[0].code if failed else 0


if __name__ == "__main__":
    sys.exit(main())
