"""Heuristic measures of web pages: our two passes against datatrove's four filters, as whole processes that read and write files."""

import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path

ROW = {
    "name": "heuristics/datatrove",
    "peer": "datatrove",
    "unit": "CPU s",
    "venv": ["datatrove>=0.9,<0.10", "xxhash<4", "spacy>=3.8", "nltk>=3.9", "orjson"],
    "note": "same gzip JSONL in; ours: 27 measures of every page to Parquet; theirs: GopherRepetition, GopherQuality, C4Quality, FineWebQuality with "
    "defaults (spaCy words), kept pages to gzip JSONL. A page that one filter drops does not reach the next: theirs does less work on it.",
}
COPIES = 2  # of the text of the kit (2 x 15 MB): enough work to stand out from the start of a process


def prepare(folder: Path) -> None:
    """Write the input of both: gold texts of the kit's pages and its clean web texts, as gzip JSONL."""
    import os

    kit = Path(os.environ.get("DOLMA_DATA", Path(__file__).parents[2] / "shared" / "data"))
    (folder / "in").mkdir(parents=True, exist_ok=True)
    texts: list[str] = []
    for name, field in (("web/pages_gold.jsonl.gz", "gold_text"), ("web/clean_web_text.jsonl.gz", "text")):
        with gzip.open(kit / name, "rt", encoding="utf-8") as lines:
            texts += [text for line in lines if (text := json.loads(line)[field])]
    with gzip.open(folder / "in" / "pages.jsonl.gz", "wt", encoding="utf-8", compresslevel=1) as out:
        for copy in range(COPIES):
            for k, text in enumerate(texts):
                out.write(json.dumps({"id": f"{copy}-{k}", "text": text}, ensure_ascii=False) + "\n")


def ours(folder: Path) -> None:
    """Read, measure all pages, write Parquet."""
    import orjson
    import pyarrow as pa
    import pyarrow.parquet as pq

    from dolma.filter.heuristics import tag_heuristics
    from dolma.filter.repetition import tag_repetition

    def batches() -> Iterator[pa.RecordBatch]:
        with gzip.open(folder / "in" / "pages.jsonl.gz", "rb") as lines:
            rows: list[dict[str, str]] = []
            for line in lines:
                rows.append(orjson.loads(line))
                if len(rows) == 1024:
                    yield pa.RecordBatch.from_pylist(rows, schema=schema)
                    rows = []
            yield pa.RecordBatch.from_pylist(rows, schema=schema)

    schema = pa.schema([("id", pa.string()), ("text", pa.large_string())])
    measured = (tag_repetition(tag_heuristics(batch)) for batch in batches())
    first = next(measured)
    with pq.ParquetWriter(folder / "ours.parquet", first.schema, compression="zstd") as writer:
        writer.write_batch(first)
        for batch in measured:
            writer.write_batch(batch)


def theirs(folder: Path) -> None:
    """The four filters one after another, as in FineWeb's script."""
    from datatrove.pipeline.filters import C4QualityFilter, FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter  # pyright: ignore
    from datatrove.pipeline.readers import JsonlReader  # pyright: ignore
    from datatrove.pipeline.writers import JsonlWriter  # pyright: ignore

    flow = iter(JsonlReader(str(folder / "in")).run())
    for step in (GopherRepetitionFilter(), GopherQualityFilter(), C4QualityFilter(), FineWebQualityFilter(), JsonlWriter(str(folder / "theirs"))):
        flow = step.run(flow, 0, 1)
    for _ in flow:
        pass


if __name__ == "__main__":
    {"ours": ours, "theirs": theirs}[sys.argv[1]](Path(sys.argv[2]))
