"""Texts for both sides of a pair: the data kit's where it is, else those of the gathered corpus."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Web and encyclopedia prose first, then labelled texts (many are pieces of those pages: natural near duplicates), then other kinds.
KIT = (
    ("web/pages_gold.jsonl.gz", "gold_text"),
    ("web/clean_web_text.jsonl.gz", "text"),
    ("wiki/featured_articles_plain.jsonl.gz", "text"),
    ("topics/page_type_labelled.jsonl.gz", "text"),
    ("quality/quality_labels.jsonl.gz", "text"),
    ("topics/newsgroups_labelled.jsonl.gz", "text"),
    ("decontam/planted_documents.jsonl.gz", "text"),
    ("books/books.jsonl.gz", "text"),
    ("code/source_files.jsonl.gz", "text"),
)


def write(folder: Path, size: int) -> str:
    """Write texts of `size` bytes of UTF-8 or just over (at least one text) to `folder/texts/texts.jsonl`, with `id` and `text`; says what it wrote.

    Where the texts are too few they come again under other ids, as exact duplicates.
    """
    path = folder / "texts" / "texts.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    written = rows = turn = 0
    with path.open("w", encoding="utf-8") as out:
        for turn in count():
            for name, text in _texts():
                out.write(json.dumps({"id": f"{name}-{turn}", "text": text}, ensure_ascii=False) + "\n")
                written, rows = written + len(text.encode()), rows + 1
                if written >= size:
                    break
            if written >= size:
                break
    again = f", from the {turn + 1}. turn" if turn else ""
    return f"{rows:,} texts, {written / 1e6:.1f} MB, {'data kit' if kit() else 'gathered corpus'}{again}"


def kit() -> Path | None:
    """The data kit, where it is."""
    folder = Path(os.environ.get("DOLMA_DATA") or ROOT.parent / "shared" / "data")
    return folder if (folder / "MANIFEST.csv").is_file() else None


def _texts() -> Iterator[tuple[str, str]]:
    folder = kit()
    if folder is None:
        yield from _gathered()
        return
    for file, field in KIT:
        with gzip.open(folder / file, "rt", encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                if row.get(field):
                    yield f"{file.removesuffix('.jsonl.gz')}/{row['id']}", row[field]


def gathered() -> Path:
    """The root of the gathered corpus, whose texts of all sources are gathered and extracted first where that was not done."""
    from dolma.core import manifest

    root = ROOT / "build" / "tiny"
    if not manifest.exists(root / "pool" / "candidates"):
        for command in (["gather", "build/tiny/raw"], ["run", "pool/candidates"]):
            subprocess.run([sys.executable, "-m", "dolma.cli", *command], cwd=ROOT, check=True, stdout=sys.stderr)
    return root


def _gathered() -> Iterator[tuple[str, str]]:
    from dolma.core import manifest

    for batch in manifest.batches(gathered() / "pool" / "candidates", ["id", "text"]):
        yield from zip(batch.column("id").to_pylist(), batch.column("text").to_pylist(), strict=True)
