"""Clusters of near duplicates from their edges: connected components, each named by its smallest key.

Single linkage: a chain joins unlike ends, so what is in one cluster need not be alike; the pairs of a cluster are verified afterwards.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from dolma.core.step import Sizes, Taken, reduce_step

TAG = {"origin": pa.int64(), "key": pa.int64(), "cluster": pa.int64(), "cluster_size": pa.int32()}


def _sizes(params: Any, taken: Taken) -> Sizes:
    most = min(2 * taken.rows, taken.documents)  # documents that have an edge: .25 of a pool's
    return Sizes(most, 96, out=most, at_most=True)


@reduce_step(needs=("origin_a", "key_a", "origin_b", "key_b"), out=TAG, version=3, distributed="components", sizes=_sizes)
def cluster_edges(batches: Iterator[pa.RecordBatch], *, folder: Path, shards: int = 64) -> Iterator[tuple[int, pa.Table]]:
    """For each document in a cluster of two or more: the smallest key of the cluster, and how many documents it has.

    A document is a pair (key, origin): two with one key are two documents. Rows are sorted by origin and key; the result depends on the set of edges only,
    not on their order. On one machine it takes 96 bytes of memory a document that has an edge, and none for the edges; on Spark it is distributed.

    Args:
        shards: so many shards of the tagged dataset have their rows in one shard of the result.
    """
    from dolma.kernels.unionfind import Components, by_shard

    found = Components()
    for batch in batches:
        found.join(*(batch.column(name).to_numpy() for name in ("key_a", "origin_a", "key_b", "origin_b")))
    columns = found.labels()
    del found
    for number, rows in by_shard(columns[0], shards):
        origins, keys, cluster, size = (column[rows] for column in columns)
        yield number, pa.table([pa.array(column) for column in (origins, keys, cluster, size.astype("int32"))], schema=pa.schema(list(TAG.items())))
