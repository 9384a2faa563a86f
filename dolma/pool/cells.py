"""Cells: (source, topic, vigintile), the unit that a mix repeats."""

import pyarrow as pa

from dolma.core.schema import append, keys
from dolma.core.step import step


@step(needs=("source", "topic", "vigintile"), adds={"cell": pa.string(), "cell_key": pa.int64()})
def tag_cell(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The cell's name, `source/topic/vigintile` (two digits; topic `all` where there is none), and its int64 key for grouping."""
    columns = (batch.column(name).to_pylist() for name in ("source", "topic", "vigintile"))
    names = pa.array([f"{source}/{topic or 'all'}/{vigintile:02d}" for source, topic, vigintile in zip(*columns, strict=True)], pa.string())
    return append(batch, {"cell": names, "cell_key": keys(names)})
