"""Plain text for a terminal: aligned tables and short numbers."""

import csv
import io
import json
from collections.abc import Collection, Iterable, Sequence
from typing import Any

UNITS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K"))


def short(value: float | int | None) -> str:
    """A number in at most five characters or so: 999, 12.3K, 4.51T; a dash for nothing."""
    if value is None:
        return "-"
    for size, unit in UNITS:
        if abs(value) >= size * 0.9995:
            scaled = value / size
            return f"{scaled:.0f}{unit}" if abs(scaled) >= 99.95 else f"{scaled:.3g}{unit}"
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.3g}"


def size(count: float) -> str:
    """Bytes in their unit: 45 B, 2.8 kB, 1.3 GB."""
    for step, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= step:
            return f"{count / step:.3g} {unit}"
    return f"{count:.0f} B"


def cell(value: object) -> str:
    """One value of a table: thousands grouped, floats with four significant digits, a dash for NULL."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1e5 else f"{value:.4g}"
    return " ".join(str(value).split()) if isinstance(value, str) else str(value)


def table(header: Sequence[str], rows: Iterable[Sequence[object]], width: int = 100, right: Collection[str] = ()) -> str:
    """Aligned columns, numbers and the columns `right` to the right; a cell longer than `width` characters is cut and ends with three dots."""
    values = [list(row) for row in rows]
    texts = [[cell(value) for value in row] for row in values]
    texts = [[text if len(text) <= width else text[: width - 3] + "..." for text in row] for row in texts]
    number = [all(isinstance(row[i], int | float) or row[i] is None for row in values) and bool(values) for i in range(len(header))]
    ends = [numeric or name in right for name, numeric in zip(header, number, strict=True)]
    widths = [max([len(name), *(len(row[i]) for row in texts)]) for i, name in enumerate(header)]

    def line(row: Sequence[str]) -> str:
        return "  ".join(text.rjust(w) if r else text.ljust(w) for text, w, r in zip(row, widths, ends, strict=True)).rstrip()

    return "\n".join([line(header), "  ".join("-" * w for w in widths), *(line(row) for row in texts)])


def records(names: Sequence[str], rows: Iterable[Sequence[Any]], form: str) -> str:
    """Rows for another program: `csv` with a header, or `json`, one object a line."""
    if form == "json":
        return "".join(json.dumps(dict(zip(names, row, strict=True)), default=str, ensure_ascii=False) + "\n" for row in rows)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    return out.getvalue()
