"""Rows that have their text already: from tables of others, from archives, out of LaTeX."""

from typing import Any

import pyarrow as pa

from dolma.core.schema import append, keys
from dolma.core.step import step


def _needs(params: Any) -> tuple[str, ...]:
    return ("id", "text") if params.source is not None else ("id", "text", "source")


@step(needs=_needs, adds={"key": pa.int64(), "source": pa.string()})
def extract_text(batch: pa.RecordBatch, *, source: str | None = None) -> pa.RecordBatch:
    """The batch as documents: `key` from the id, and `source`; the text is not changed.

    Args:
        source: value of the column `source`; the column as it is when absent.
    """
    columns = {"key": keys(batch.column("id"))}
    if source is not None:
        columns["source"] = pa.array([source] * batch.num_rows, pa.string())
    return append(batch, columns)
