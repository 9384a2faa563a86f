"""Exact duplicates by a 128-bit hash of the text, or of another column: a tag, never a drop."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dolma.core.schema import TABLES
from dolma.core.step import group_step
from dolma.dedup.preference import preference

TAG = {**TABLES["tag"], "exact_of": pa.int64()}


def _rows(batch: pa.RecordBatch, *, by: str = "text", within: str | None = None, prefer: str | None = None) -> pa.RecordBatch:
    from dolma.kernels.minhash import mixed, text_hashes
    from dolma.kernels.words import buffers

    there = pc.is_valid(batch.column(by))
    if within is not None:
        there = pc.and_(there, pc.is_valid(batch.column(within)))
    batch = batch.filter(there)
    hashes = text_hashes(*buffers(batch.column(by))).view(np.int64)
    if within is not None:
        hashes = mixed(hashes, text_hashes(*buffers(batch.column(within)))[:, 0].view(np.int64))
    columns = {
        "high": pa.array(hashes[:, 0].view(np.uint64) >> np.uint64(1)).cast(pa.int64()),
        "low": pa.array(hashes[:, 1]),
        "prefer": preference(batch, prefer),
        "key": batch.column("key"),
        "origin": batch.column("origin"),
    }
    return pa.RecordBatch.from_pydict(columns)


@group_step(
    key=("high", "low"),
    order=("prefer", "key", "origin"),
    needs=lambda p: ("key", p.by, *([p.within] if p.within else []), *([p.prefer] if p.prefer else [])),
    rows=_rows,
    out=TAG,
    splittable=True,
    version=2,
)
def mark_exact(batch: pa.RecordBatch, starts: np.ndarray, *, cont: bool) -> pa.RecordBatch:
    """For every document but the first of its equals: `exact_of`, the key of that first.

    Args:
        by: a string column; equal are documents with the same bytes there. NULL equals nothing. Addresses (`url`) are compared as they are written.
        within: a string column, as of crawls: only documents with the same value of it are compared, those with NULL are not.
        prefer: an int64 column; the document with its smallest value is the first, NULL comes last; the smallest key decides among equals.
    """
    keys = batch.column("key").to_numpy()
    sizes = np.diff(np.append(starts, batch.num_rows))
    first = np.repeat(keys[starts], sizes)
    later = np.ones(batch.num_rows, bool)
    later[starts] = False  # in a continued chunk row 0 is the group's first again
    columns = [batch.column("origin").filter(pa.array(later)), batch.column("key").filter(pa.array(later)), pa.array(first[later])]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(list(TAG.items())))
