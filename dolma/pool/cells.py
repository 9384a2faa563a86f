"""Cells: (source, topic, vigintile), and language where a recipe wants it: the unit that a mix repeats."""

from typing import Any, Literal

import pyarrow as pa

from dolma.core.schema import append, keys
from dolma.core.step import step


def _needs(params: Any) -> tuple[str, ...]:
    return ("source", "topic", "vigintile", *params.by)


@step(needs=_needs, adds={"cell": pa.string(), "cell_key": pa.int64()})
def tag_cell(batch: pa.RecordBatch, *, by: tuple[Literal["lang"], ...] = ()) -> pa.RecordBatch:
    """The cell's name, `source/topic/vigintile` (two digits; topic `all` where there is none), and its int64 key for grouping.

    Args:
        by: `[lang]` separates cells by language too: `source/lang/topic/vigintile`, `und` (ISO 639-2: undetermined) where there is none. `pack` must then
            carry it: `pack: {by: [lang]}`.
    """
    sources, topics, vigintiles = (batch.column(name).to_pylist() for name in ("source", "topic", "vigintile"))
    langs = [f"/{lang or 'und'}" for lang in batch.column("lang").to_pylist()] if by else [""] * batch.num_rows
    rows = zip(sources, langs, topics, vigintiles, strict=True)
    names = pa.array([f"{source}{lang}/{topic or 'all'}/{vigintile:02d}" for source, lang, topic, vigintile in rows], pa.string())
    return append(batch, {"cell": names, "cell_key": keys(names)})
