"""What one unit counts and puts aside: the rows that each step took and gave, and those that could not be read, with their place and reason."""

from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from dolma.core.schema import ERROR, without
from dolma.engines.cost import Clock

QUARANTINE = pa.schema(
    [
        ("unit", pa.string()),
        ("file", pa.string()),
        ("offset", pa.int64()),
        ("id", pa.string()),
        ("step", pa.string()),
        ("reason", pa.string()),
        ("row", pa.large_binary()),
    ]
)


class Ledger:
    """Counts, quarantined rows and costs of one unit."""

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self.clock = Clock()
        self.counts: Counter[str] = Counter()
        self.quarantined: list[pa.RecordBatch] = []

    def moved(self, label: str, rows_in: int, rows_out: int) -> None:
        """`label` took and gave this many rows."""
        self.counts[f"{label}.in"] += rows_in
        self.counts[f"{label}.out"] += rows_out

    def quarantine(self, label: str, batch: pa.RecordBatch) -> pa.RecordBatch:
        """`batch` without the rows that carry an error; those are kept aside with their place and reason."""
        if ERROR not in batch.schema.names:
            return batch
        bad = pc.is_valid(batch.column(ERROR))
        good = without(batch.filter(pc.invert(bad)), ERROR)
        rows = batch.filter(bad)
        if rows.num_rows:
            self.counts[f"{label}.quarantined"] += rows.num_rows
            self.quarantined.append(_aside(self.unit, label, rows))
        return good


def _aside(unit: str, label: str, rows: pa.RecordBatch) -> pa.RecordBatch:
    def column(name: str, kind: pa.DataType) -> pa.Array:
        return rows.column(name).cast(kind) if name in rows.schema.names else pa.nulls(rows.num_rows, kind)

    bare = without(rows, ERROR)
    blobs = []
    for index in range(rows.num_rows):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, bare.schema) as writer:
            writer.write_batch(bare.slice(index, 1))
        blobs.append(sink.getvalue().to_pybytes())
    reason = pc.utf8_slice_codeunits(rows.column(ERROR).cast(pa.string()), 0, 500)
    arrays = [
        pa.array([unit] * rows.num_rows, pa.string()),
        column("file", pa.string()),
        column("offset", pa.int64()),
        column("id", pa.string()),
        pa.array([label] * rows.num_rows, pa.string()),
        reason,
        pa.array(blobs, pa.large_binary()),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=QUARANTINE)
