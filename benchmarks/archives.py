"""Web archives for both sides of a pair: the data kit's where it is, else those of the gathered corpus."""

import shutil
from pathlib import Path

from benchmarks import corpus


def write(folder: Path, size: int) -> str:
    """Write archives of `size` bytes or just over to `folder/web/crawl-N.warc.gz`: the two archives as they are, over and over, N copies of each page.

    A copy is far from the next one (a whole archive lies between them), so that no cache of either side sees a page again. Size 0: one page. Says what
    it wrote.
    """
    into = folder / "web"
    into.mkdir(parents=True)
    sources = _sources()
    if size == 0:
        _one_page(sources[0], into / "crawl-0.warc.gz")
        return "one page"
    written = number = 0
    while written < size:
        source = sources[number % len(sources)]
        shutil.copyfile(source, into / f"crawl-{number}.warc.gz")
        written, number = written + source.stat().st_size, number + 1
    whose = "data kit" if corpus.kit() else "gathered corpus"
    return f"{number} archives, {written / 1e6:.1f} MB: the {len(sources)} of the {whose}, {number / len(sources):.3g} times each"


def size() -> int:
    """Bytes of the archives before they are repeated."""
    return sum(source.stat().st_size for source in _sources())


def _sources() -> list[Path]:
    folder = corpus.kit() or corpus.gathered() / "raw"
    return sorted((folder / "web").glob("crawl-*.warc.gz"))


def _one_page(source: Path, target: Path) -> None:
    """The first page of an archive alone."""
    from dolma.io.warc import warc

    rows = [row for batch in warc(str(source), file=source.name) for row in batch.to_pylist()]
    first = next(number for number, row in enumerate(rows) if row["status"] == 200 and "html" in (row["content_type"] or ""))
    start, end = (rows[number]["offset"] for number in (first, first + 1))
    with open(source, "rb") as file:
        file.seek(start)
        target.write_bytes(file.read(end - start))
