"""One round of large-star and small-star over edges that arrive sorted, batch by batch: no neighbourhood is ever held in memory.

Kiveris et al. 2014, "Connected Components in MapReduce and Beyond": in both operations each document u finds the smallest of its neighbours and itself,
m; large-star then joins its larger neighbours to m, small-star itself and its smaller ones. Alternating, they end in one star around the smallest document
of every component. Documents are pairs (key, origin), compared in this order.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from dolma.kernels.unionfind import Components, shard_of

PAIR = pa.schema([(name, pa.int64()) for name in ("uk", "uo", "vk", "vo")])
ROW = pa.schema([(name, pa.int64()) for name in ("shard", "origin", "key", "cluster", "size")])
BATCH = 1 << 16  # edges
Ends = tuple[np.ndarray, np.ndarray]


def pairs(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Edges of a dataset as rows u, v."""
    oa, ka, ob, kb = batch.columns
    return pa.RecordBatch.from_arrays([ka, oa, kb, ob], schema=PAIR)


def both_ways(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Each edge also from v to u: what large-star takes."""
    uk, uo, vk, vo = (column.to_numpy() for column in batch.columns)
    return _rows((np.concatenate([uk, vk]), np.concatenate([uo, vo])), (np.concatenate([vk, uk]), np.concatenate([vo, uo])))


def downwards(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Each edge from its larger end to its smaller: what small-star takes."""
    uk, uo, vk, vo = (column.to_numpy() for column in batch.columns)
    turned = _less((uk, uo), (vk, vo))
    return _rows((np.where(turned, vk, uk), np.where(turned, vo, uo)), (np.where(turned, uk, vk), np.where(turned, uo, vo)))


def contracted(batches: Iterable[pa.RecordBatch], most: int = 1 << 20) -> Iterator[pa.RecordBatch]:
    """The same components in fewer edges, and fewer rounds: of each `most` edges, by union-find, the stars (96 bytes a document, some 220 MB)."""
    found, taken = Components(), 0
    for batch in batches:
        found.join(*(column.to_numpy() for column in batch.columns))
        taken += batch.num_rows
        if taken >= most:
            yield from _cut(found)
            found, taken = Components(), 0
    yield from _cut(found)


def _cut(found: Components) -> Iterator[pa.RecordBatch]:
    uk, uo, vk, vo = found.stars()
    for start in range(0, len(uk), BATCH):
        end = start + BATCH
        yield _rows((uk[start:end], uo[start:end]), (vk[start:end], vo[start:end]))


class Star:
    """`large` or `small` star over edges sorted by u and then v; `left` counts what keeps the edges from being stars already (large star only)."""

    def __init__(self, kind: str) -> None:
        self.kind, self.left = kind, 0
        self.before: tuple[int, int, int, int] | None = None  # last edge
        self.first = (0, 0)  # smallest neighbour of its u

    def run(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The edges of the next round, some of them twice."""
        for batch in batches:
            if batch.num_rows:
                yield self._star(batch)

    def _star(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        uk, uo, vk, vo = (column.to_numpy() for column in batch.columns)
        fresh, again = starts(batch, self.before)
        run = np.maximum.accumulate(np.where(fresh, np.arange(len(uk)), -1))
        low = np.where(run < 0, self.first[0], vk[run]), np.where(run < 0, self.first[1], vo[run])
        self.before = int(uk[-1]), int(uo[-1]), int(vk[-1]), int(vo[-1])
        self.first = int(low[0][-1]), int(low[1][-1])
        if self.kind == "large":
            leaf = _less(low, (uk, uo))  # u has a smaller neighbour: in a star it has no other
            self.left += int(np.count_nonzero(leaf & ~fresh & ~again))
            hub = np.where(leaf, low[0], uk), np.where(leaf, low[1], uo)
            keep = _less((uk, uo), (vk, vo)) & ~again
            return _rows((vk[keep], vo[keep]), (hub[0][keep], hub[1][keep]))
        keep = ~again
        tail = np.where(fresh, uk, vk), np.where(fresh, uo, vo)  # the first row of u joins u itself, the others its other neighbours
        return _rows((tail[0][keep], tail[1][keep]), (low[0][keep], low[1][keep]))


class Rays:
    """Finished stars, sorted by their centre v and then u, to the rows of a cluster table; 8 bytes a star."""

    def __init__(self) -> None:
        self.sizes: list[np.ndarray] = []

    def run(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The same edges, centre first, each once; counts those of each centre, over borders of batches too."""
        before: tuple[int, int, int, int] | None = None
        for batch in batches:
            if not batch.num_rows:
                continue
            uk, uo, vk, vo = batch.columns
            batch = pa.RecordBatch.from_arrays([vk, vo, uk, uo], schema=PAIR)
            fresh, again = starts(batch, before)
            before = tuple(int(column[-1].as_py()) for column in batch.columns)  # type: ignore[assignment]
            index = np.cumsum(fresh) - int(fresh[0])
            counts = np.bincount(index[~again], minlength=int(index[-1]) + 1)
            if not fresh[0]:
                self.sizes[-1][-1] += counts[0]
                counts = counts[1:]
            if len(counts):
                self.sizes.append(counts + 1)  # and the centre
            yield batch.filter(pa.array(~again))

    def rows(self, batches: Iterable[pa.RecordBatch], shards: int) -> Iterator[pa.RecordBatch]:
        """(shard, origin, key, cluster, size) of every document, from the edges that `run` gave."""
        sizes = np.concatenate(self.sizes) if self.sizes else np.empty(0, np.int64)
        before: tuple[int, int, int, int] | None = None
        done = -1
        for batch in batches:
            ck, co, rk, ro = (column.to_numpy() for column in batch.columns)
            fresh, _ = starts(batch, before)
            before = int(ck[-1]), int(co[-1]), int(rk[-1]), int(ro[-1])
            star = done + np.cumsum(fresh)
            done = int(star[-1])
            size = sizes[star]
            origin, key = np.concatenate([co[fresh], ro]), np.concatenate([ck[fresh], rk])
            cluster, many = np.concatenate([ck[fresh], ck]), np.concatenate([size[fresh], size])
            columns = [shard_of(origin, shards), origin, key, cluster, many]
            yield pa.RecordBatch.from_arrays([pa.array(column) for column in columns], schema=ROW)


def starts(batch: pa.RecordBatch, before: tuple[int, int, int, int] | None) -> tuple[np.ndarray, np.ndarray]:
    """Of sorted edges: (the first row of its u, the same edge as the row before); `before` is the last edge of the batch before."""
    uk, uo, vk, vo = (column.to_numpy() for column in batch.columns)
    fresh, again = np.ones(len(uk), bool), np.zeros(len(uk), bool)
    fresh[1:] = (uk[1:] != uk[:-1]) | (uo[1:] != uo[:-1])
    again[1:] = ~fresh[1:] & (vk[1:] == vk[:-1]) & (vo[1:] == vo[:-1])
    if before is not None and (uk[0], uo[0]) == before[:2]:
        fresh[0] = False
        again[0] = (vk[0], vo[0]) == before[2:]
    return fresh, again


def _less(one: Ends, other: Ends) -> np.ndarray:
    return (one[0] < other[0]) | ((one[0] == other[0]) & (one[1] < other[1]))


def _rows(u: Ends, v: Ends) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(column) for column in (*u, *v)], schema=PAIR)
