"""Rows of the performance table: `results.json`, which the report reads too, and the table in the README."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from dolma.core.errors import DataError
from dolma.core.files import write_atomic


@dataclass(frozen=True)
class Row:
    """A measured pair: medians of CPU seconds; `ratio` is theirs / ours; `spread` as in `clock.spread`."""

    name: str
    peer: str
    peer_version: str
    unit: str
    ours: float
    theirs: float
    ratio: float
    runs: int
    spread: float
    note: str


def load(path: Path) -> dict[str, Row]:
    """The rows at `path` by name; none when there is no such file.

    Raises:
        DataError: the file holds something else.
    """
    if not path.is_file():
        return {}
    try:
        rows = [Row(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
    except (ValueError, TypeError) as error:
        expected = f"a list of rows with {', '.join(field.name for field in fields(Row))}"
        raise DataError(str(path), "not a file of results", got=error, expected=expected, mend="delete it and run all rows again") from error
    return {row.name: row for row in rows}


def save(path: Path, rows: Iterable[Row]) -> None:
    """Write rows in the order of their names."""
    made = [asdict(row) for row in sorted(rows, key=lambda row: row.name)]
    write_atomic(path, json.dumps(made, indent=1, ensure_ascii=False).encode() + b"\n")


def markdown(rows: Iterable[Row]) -> str:
    """The table, and what each row means below it."""
    ordered = sorted(rows, key=lambda row: row.name)
    lines = ["| name | peer | unit | ours | theirs | ratio | runs | spread |", "|---|---|---|---:|---:|---:|---:|---:|"]
    for row in ordered:
        peer = f"{row.peer} {row.peer_version}"
        lines.append(f"| `{row.name}` | {peer} | {row.unit} | {row.ours:.2f} | {row.theirs:.2f} | {row.ratio:.1f} | {row.runs} | {row.spread:.0%} |")
    lines += ["", "Medians; ratio: theirs / ours; spread: (largest - smallest run) / median, of the side where it is larger.", ""]
    return "\n".join([*lines, *(f"- `{row.name}`: {row.note}" for row in ordered)])
