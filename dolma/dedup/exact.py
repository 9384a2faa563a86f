"""Exact duplicates by a 128-bit hash of the text: a tag, never a drop."""

from typing import Any

import numpy as np
import pyarrow as pa

from dolma.core.step import Sizes, Taken, group_step

TAG = {"origin": pa.int64(), "key": pa.int64(), "exact_of": pa.int64()}


def _rows(batch: pa.RecordBatch) -> pa.RecordBatch:
    from dolma.kernels.minhash import text_hashes
    from dolma.kernels.words import buffers

    hashes = text_hashes(*buffers(batch.column("text")))
    columns = {
        "high": pa.array((hashes[:, 0] >> np.uint64(1)).astype(np.int64)),
        "low": pa.array(hashes[:, 1].view(np.int64)),
        "key": batch.column("key"),
        "origin": batch.column("origin"),
    }
    return pa.RecordBatch.from_pydict(columns)


def _sizes(params: Any, taken: Taken) -> Sizes:
    return Sizes(taken.rows, 32, out=taken.rows)  # two halves of a hash, key, origin


@group_step(key=("high", "low"), order=("key", "origin"), needs=("key", "text"), rows=_rows, out=TAG, splittable=True, sizes=_sizes)
def mark_exact(batch: pa.RecordBatch, starts: np.ndarray, *, cont: bool) -> pa.RecordBatch:
    """For every text but the first of its equals: `exact_of`, the key of that first (the smallest key)."""
    keys = batch.column("key").to_numpy()
    sizes = np.diff(np.append(starts, batch.num_rows))
    first = np.repeat(keys[starts], sizes)
    later = np.ones(batch.num_rows, bool)
    later[starts] = False  # in a continued chunk row 0 is the group's first again
    columns = [batch.column("origin").filter(pa.array(later)), batch.column("key").filter(pa.array(later)), pa.array(first[later])]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(list(TAG.items())))
