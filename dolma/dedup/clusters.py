"""Clusters of near duplicates from their edges: connected components, each named by its smallest key.

Single linkage: of what is removed only about 80 % lies within Jaccard .7 of the one kept, since chains join unlike ends. The pair verification that
the published pool adds is not done here.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dolma.core.errors import DataError
from dolma.core.step import Sizes, reduce_step

TAG = {"origin": pa.int64(), "key": pa.int64(), "cluster": pa.int64(), "cluster_size": pa.int32(), "cluster_first": pa.bool_()}


def _sizes(params: Any, rows: int, text: int) -> Sizes:
    return Sizes(rows, 100, out=2 * rows)  # 92 bytes an edge measured: 2M edges of 1M documents, 200 MB to 374 MB resident


@reduce_step(needs=("origin_a", "key_a", "origin_b", "key_b"), out=TAG, sizes=_sizes)
def cluster_edges(batches: Iterator[pa.RecordBatch], *, folder: Path) -> pa.Table:
    """For each document in a cluster of two or more: the cluster's smallest key, its size, and whether this is the document that is kept.

    Rows are sorted by origin; the result depends on the set of edges only, not on their order.

    Raises:
        DataError: two documents have the same key; the message names the shard and row of both.
    """
    from dolma.kernels.unionfind import components

    parts = [np.stack([batch.column(name).to_numpy() for name in ("key_a", "origin_a", "key_b", "origin_b")], axis=1) for batch in batches]
    edges = np.unique(np.concatenate(parts), axis=0) if parts else np.zeros((0, 4), np.int64)
    nodes = np.unique(np.concatenate([edges[:, :2], edges[:, 2:]]), axis=0)  # sorted by key: the smallest node of a component has its smallest key
    keys, origins = nodes[:, 0], nodes[:, 1]
    if len(np.unique(keys)) < len(keys):
        first = np.flatnonzero(keys[1:] == keys[:-1])[0]
        one, other = (f"shard {origin >> 32}, row {origin & 0xFFFFFFFF}" for origin in origins[first : first + 2])
        raise DataError(
            "cluster_edges",
            f"two documents have the key {keys[first]}",
            got=f"equal ids: {one}; {other}",
            expected="ids that are unique over all sources",
            mend="mend the ids of the input; the rows are those of the dataset whose edges these are, counted from 0, with `file` and `offset`",
        )
    labels = components(len(keys), np.searchsorted(keys, edges[:, 0]), np.searchsorted(keys, edges[:, 2]))
    sizes = np.bincount(labels, minlength=len(keys))[labels]
    order = np.argsort(origins, kind="stable")
    columns = [origins, keys, keys[labels], sizes.astype(np.int32), labels == np.arange(len(keys))]
    return pa.table([pa.array(column[order]) for column in columns], schema=pa.schema(list(TAG.items())))
