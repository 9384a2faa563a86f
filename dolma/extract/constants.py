"""Columns that are the same for every document of a source that is not crawled."""

import pyarrow as pa


def constants(rows: int, *, source: str, lang: str) -> dict[str, pa.Array]:
    """`source`, a null `url`, and `lang` with score 1: the source is known to be in that language, nothing was measured."""
    return {
        "source": pa.array([source] * rows, pa.string()),
        "url": pa.nulls(rows, pa.string()),
        "lang": pa.array([lang] * rows, pa.string()),
        "lang_score": pa.array([1.0] * rows, pa.float32()),
    }
