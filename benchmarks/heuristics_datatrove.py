"""Heuristic measures of pages: our two passes against the four filters of DataTrove's FineWeb recipe."""

from pathlib import Path
from typing import Any

from benchmarks import corpus
from benchmarks.pair import Pair
from benchmarks.peers import DATATROVE

SIZE = 60_000_000  # bytes of texts: 300 CPU s of DataTrove with spaCy; cheaper peers get more, so that our start-up weighs less


def prepare(folder: Path, size: int) -> str:
    """The same texts as JSON lines for the peer and as Parquet for ours."""
    import pyarrow as pa
    import pyarrow.json as pj

    from dolma.io import tables

    described = corpus.write(folder, size)
    schema = pa.schema([("id", pa.string()), ("text", pa.large_string())])
    options = pj.ParseOptions(explicit_schema=schema)
    table = pj.read_json(folder / "texts" / "texts.jsonl", read_options=pj.ReadOptions(block_size=1 << 26), parse_options=options)
    tables.write(table.to_batches(), schema, folder / "texts.parquet", "texts.parquet")
    return described


def ours(inputs: Path, out: Path) -> None:
    """All measures of every page, as columns beside the text."""
    import pyarrow.parquet as pq

    from dolma.filter.heuristics import tag_heuristics
    from dolma.filter.repetition import tag_repetition
    from dolma.io import tables

    pages = pq.ParquetFile(inputs / "texts.parquet").iter_batches(batch_size=1024)
    measured = (tag_repetition(tag_heuristics(batch)) for batch in pages)
    first = next(measured)
    tables.write([first], first.schema, out / "00000.parquet", "00000.parquet")
    for number, batch in enumerate(measured, 1):
        tables.write([batch], first.schema, out / f"{number:05d}.parquet", f"{number:05d}.parquet")


def theirs(inputs: Path, out: Path) -> None:
    """The filters with their defaults: words and sentences are spaCy's."""
    flow(inputs, out)


def flow(inputs: Path, out: Path, **words: Any) -> None:
    """The filters one after another, in the order of DataTrove's examples/fineweb.py; `words` is their argument `language`, which may be a tokenizer."""
    from datatrove.pipeline.filters import C4QualityFilter, FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter

    documents = JsonlReader(str(inputs / "texts")).run()
    for step in (GopherRepetitionFilter(**words), GopherQualityFilter(**words), C4QualityFilter(**words), FineWebQualityFilter(**words)):
        documents = step.run(documents, 0, 1)
    for _ in JsonlWriter(str(out), compression=None).run(documents, 0, 1):
        pass


PAIR = Pair(
    name="heuristics/datatrove",
    peer=DATATROVE,
    ours=ours,
    theirs=theirs,
    prepare=prepare,
    size=SIZE,
    note="Ours: tag_heuristics and tag_repetition, all measures of every page, Parquet to Parquet. Theirs: the filters GopherRepetition, GopherQuality, "
    "C4Quality and FineWebQuality with their defaults (spaCy's words), JSON lines to JSON lines, no compression, no executor, in an environment without torch. "
    "A page that one filter drops does not reach the next, so theirs does less work on it; theirs decides and edits (C4's lines), ours measures and decides "
    "nothing.",
)
