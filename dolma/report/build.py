"""`dolma report`: read the figures, write the page."""

from pathlib import Path

from dolma.core.files import write_atomic
from dolma.report.figures import collect
from dolma.report.page import render


def build(root: Path, out: Path, title: str, benchmarks: Path | None = None) -> Path:
    """Write the report over the datasets below `root` to `out` and return its path.

    Args:
        root: folder of all datasets.
        out: the HTML file.
        title: heading of the page.
        benchmarks: `benchmarks/results.json`; left out of the page when it does not exist.
    """
    write_atomic(out, render(collect(root, benchmarks), title).encode())
    return out
