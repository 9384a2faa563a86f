"""Main text of pages: our default against trafilatura, on the kit's pages with gold text.

The pages fall into two parts by the hash of their id. `least_share` of `extract_html` was chosen on the development part alone; the held-out part was
looked at once, when nothing was to be changed any more.
"""

import json
from hashlib import sha256
from pathlib import Path
from statistics import fmean

from benchmarks import corpus
from benchmarks.pair import Pair, Peer
from dolma.core.errors import EnvironmentFault


def part(name: str) -> str:
    """The part that a page belongs to: development or held-out."""
    return "held-out" if sha256(name.encode()).digest()[0] % 2 else "development"


def prepare(folder: Path, size: int) -> str:
    """The pages as JSON lines of id and place, and their bytes as files; one page for size 0."""
    from dolma.compare import known_pages

    kit = corpus.kit()
    if kit is None:
        raise EnvironmentFault("extraction/trafilatura", "the data kit is not there", got="none", expected="its folder", mend="set DOLMA_DATA")
    pages = known_pages(kit / "web" / "pages_gold.jsonl.gz")[: None if size else 1]
    with (folder / "pages.jsonl").open("w", encoding="utf-8") as out:
        for number, page in enumerate(pages):
            (folder / f"{number}.html").write_bytes(page.html)
            out.write(json.dumps({"id": page.id, "file": f"{number}.html", "charset": page.charset, "text": page.text}) + "\n")
    return f"{len(pages):,} pages with gold text, {sum(len(page.html) for page in pages) / 1e6:.1f} MB of HTML"


def ours(inputs: Path, out: Path) -> None:
    """The step, in batches as the reader makes them."""
    import pyarrow as pa

    from dolma.extract.html import extract_html

    rows = _rows(inputs)
    with (out / "texts.jsonl").open("w", encoding="utf-8") as made:
        for start in range(0, len(rows), 512):
            some = rows[start : start + 512]
            columns = [
                pa.array([row["id"] for row in some]),
                pa.array([(inputs / row["file"]).read_bytes() for row in some], pa.large_binary()),
                pa.array([row["charset"] for row in some], pa.string()),
            ]
            batch = extract_html(pa.RecordBatch.from_arrays(columns, ["id", "content", "charset"]))
            for name, text in zip(batch.column("id").to_pylist(), batch.column("text").to_pylist(), strict=True):
                made.write(json.dumps({"id": name, "text": text or ""}) + "\n")


def theirs(inputs: Path, out: Path) -> None:
    """trafilatura with its defaults, in one process without a time limit; it finds the charset itself."""
    import trafilatura

    with (out / "texts.jsonl").open("w", encoding="utf-8") as made:
        for row in _rows(inputs):
            made.write(json.dumps({"id": row["id"], "text": trafilatura.extract((inputs / row["file"]).read_bytes()) or ""}) + "\n")


def agree(inputs: Path, our: Path, their: Path) -> str:
    """Mean word-overlap F1 with the gold text, of both sides and parts."""
    from dolma.compare import overlap

    gold = {row["id"]: row["text"] for row in _rows(inputs)}
    scores: dict[tuple[str, str], list[float]] = {}
    for who, folder in (("ours", our), ("theirs", their)):
        for line in (folder / "texts.jsonl").open(encoding="utf-8"):
            row = json.loads(line)
            f1 = overlap(gold[row["id"]], row["text"])[2]
            for name in (part(row["id"]), "all"):
                scores.setdefault((name, who), []).append(f1)
    names = [name for name in ("all", "development", "held-out") if (name, "ours") in scores]
    return "Word-overlap F1 with the gold text: " + "; ".join(
        f"{name} {fmean(scores[name, 'ours']):.3f} ours, {fmean(scores[name, 'theirs']):.3f} theirs ({len(scores[name, 'ours'])} pages)" for name in names
    )


def _rows(inputs: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (inputs / "pages.jsonl").open(encoding="utf-8")]


PAIR = Pair(
    name="extraction/trafilatura",
    peer=Peer("trafilatura"),
    ours=ours,
    theirs=theirs,
    prepare=prepare,
    size=1,
    agree=agree,
    note="Ours: extract_html with its defaults, in its killable process. Theirs: trafilatura with its defaults, in-process, no time limit.",
)
