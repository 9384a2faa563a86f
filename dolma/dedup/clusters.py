"""Connected components of the graph of near duplicates, each named by its smallest key: the same for any order of the edges, on any engine.

Single linkage: chains join unlike ends (of what would be removed only about 80 % lies within Jaccard .7 of the one kept). So components are candidates:
`verify_pairs` measures their pairs, and the components of what it confirms are the clusters.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from dolma.core.schema import TABLES
from dolma.core.step import reduce_step

TAG = {**TABLES["tag"], "cluster": pa.int64(), "cluster_size": pa.int32()}
ENDS = ("key_a", "origin_a", "key_b", "origin_b")


def part_of(table: pa.Table, *, shards_per_part: int) -> np.ndarray:
    """Which output shard a row belongs to, by the input shard that its `origin` points to."""
    return (table.column("origin").to_numpy() >> 32) // shards_per_part


@reduce_step(needs=ENDS, out=TAG, version=3, parts=part_of, distributed="components")
def cluster_edges(batches: Iterator[pa.RecordBatch], *, folder: Path, shards_per_part: int = 64) -> pa.Table:
    """For each document in a component of two or more: the component's smallest key and its size. Rows are sorted by origin.

    In one process it takes about 100 bytes an edge; the engine `spark` finds the same components in rounds (large-star, small-star) and holds none of it.

    Args:
        shards_per_part: the rows of so many shards of the documents make one shard of the result.
    """
    from dolma.kernels.unionfind import components

    held, waiting = np.zeros((0, 4), np.int64), [np.zeros((0, 4), np.int64)]
    for batch in batches:
        waiting.append(np.stack([batch.column(name).to_numpy() for name in ENDS], axis=1))
        if sum(map(len, waiting)) > max(len(held), 1 << 20):  # repeated edges (one for each band that two texts share) go early
            held, waiting = _distinct(np.concatenate([held, *waiting]), 0, 2), []
    edges = np.concatenate([held, *waiting])
    nodes = _distinct(np.concatenate([edges[:, :2], edges[:, 2:]]), 0, 1)  # by key, then origin: the smallest node of a component has its smallest key
    labels = components(len(nodes), _number(nodes, edges[:, :2]), _number(nodes, edges[:, 2:]))
    sizes = np.bincount(labels, minlength=len(nodes))[labels]
    order = np.argsort(nodes[:, 1], kind="stable")
    columns = [nodes[:, 1], nodes[:, 0], nodes[labels, 0], sizes.astype(np.int32)]
    return pa.table([pa.array(column[order]) for column in columns], schema=pa.schema(list(TAG.items())))


def _distinct(rows: np.ndarray, *by: int) -> np.ndarray:
    """`rows` sorted by two columns, without those that equal the row before."""
    rows = rows[np.lexsort([rows[:, column] for column in reversed(by)])]
    new = np.ones(len(rows), bool)
    new[1:] = (rows[1:] != rows[:-1]).any(axis=1)
    return rows[new]


def _number(nodes: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The row of each end in `nodes`; origins decide between documents of one key."""
    first, last = (np.searchsorted(nodes[:, 0], ends[:, 0], side=side) for side in ("left", "right"))
    found = first.copy()
    for n in np.flatnonzero(last - first > 1):
        found[n] += np.searchsorted(nodes[first[n] : last[n], 1], ends[n, 1])
    return found
