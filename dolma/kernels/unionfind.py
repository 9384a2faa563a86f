"""Connected components by union-find over a stream of edges: memory for the documents that have an edge, none for the edges."""

from collections.abc import Iterator

import numba
import numpy as np

from dolma.core.errors import ConfigError

FIRST = 1 << 12  # documents that there is room for at first


class Components:
    """Documents, each a pair (key, origin) and compared in this order, and the components that edges join them to.

    Memory: at most 96 bytes a document that has an edge (24 of it in the document's own arrays, which double when full, and 16 to 32 in the table that
    finds it; at the end 16 for labels and sizes and 8 for their order), and one batch of edges.
    """

    def __init__(self) -> None:
        self.count = 0
        self.keys, self.origins, self.parent = (np.empty(FIRST, np.int64) for _ in range(3))
        self.table = np.full(2 * FIRST, -1, np.int64)

    def join(self, key_a: np.ndarray, origin_a: np.ndarray, key_b: np.ndarray, origin_b: np.ndarray) -> None:
        """Take in edges; four int64 arrays of shape (edges,)."""
        self._make_room(self.count + 2 * len(key_a))
        self.count = _join(self.table, self.keys, self.origins, self.parent, self.count, key_a, origin_a, key_b, origin_b)

    def labels(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(origins, keys, smallest key of the component, documents of the component), each of shape (documents,), sorted by origin and key."""
        self.table = np.empty(0, np.int64)
        keys, origins = self.keys[: self.count], self.origins[: self.count]
        first, size = _first(keys, origins, self.parent[: self.count])
        order = np.lexsort((keys, origins))
        return origins[order], keys[order], keys[first][order], size[order]

    def stars(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """An edge from each document but the smallest of its component to that: (key, origin, key and origin of the smallest)."""
        keys, origins = self.keys[: self.count], self.origins[: self.count]
        first, _ = _first(keys, origins, self.parent[: self.count])
        rest = np.flatnonzero(first != np.arange(self.count))
        return keys[rest], origins[rest], keys[first[rest]], origins[first[rest]]

    def _make_room(self, documents: int) -> None:
        room = len(self.keys)
        if documents <= room:
            return
        while room < documents:
            room *= 2
        self.table = np.empty(0, np.int64)  # gone before the next is made
        for name in ("keys", "origins", "parent"):
            grown = np.empty(room, np.int64)
            grown[: self.count] = getattr(self, name)[: self.count]
            setattr(self, name, grown)
        self.table = np.full(2 * room, -1, np.int64)
        _fill(self.table, self.keys, self.origins, self.count)


def by_shard(origins: np.ndarray, shards: int) -> Iterator[tuple[int, slice]]:
    """(number, rows) of each shard of a result that is sorted by origin: `shards` input shards to one, none that is empty but the only one."""
    if not len(origins):
        yield 0, slice(0, 0)
        return
    number = shard_of(origins, shards)
    starts = np.flatnonzero(np.append(True, number[1:] != number[:-1]))
    for start, end in zip(starts, np.append(starts[1:], len(number)), strict=True):
        yield int(number[start]), slice(int(start), int(end))


def shard_of(origins: np.ndarray, shards: int) -> np.ndarray:
    """int64 number of the output shard of rows by their origin (input shard << 32 | row): `shards` input shards go into one."""
    if shards < 1:
        raise ConfigError("shards", "a shard of the result takes in at least one of the input", got=shards, expected="1 or more", mend="mend the recipe")
    return (origins >> 32) // shards


@numba.njit(cache=True)
def _slot(table: np.ndarray, keys: np.ndarray, origins: np.ndarray, key: int, origin: int) -> int:
    """Where the document is in the table, or where it belongs; linear probing, at most half full."""
    mask = np.uint64(len(table) - 1)
    mixed = (np.uint64(key) ^ (np.uint64(origin) * np.uint64(0x9E3779B97F4A7C15))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(31))) * np.uint64(0x94D049BB133111EB)
    slot = (mixed ^ (mixed >> np.uint64(29))) & mask
    while True:
        node = table[np.int64(slot)]
        if node < 0 or (keys[node] == key and origins[node] == origin):
            return np.int64(slot)  # type: ignore[return-value]
        slot = (slot + np.uint64(1)) & mask


@numba.njit(cache=True)
def _fill(table: np.ndarray, keys: np.ndarray, origins: np.ndarray, count: int) -> None:
    for node in range(count):
        table[_slot(table, keys, origins, keys[node], origins[node])] = node


@numba.njit(cache=True)
def root_of(parent: np.ndarray, node: int) -> int:
    """The root of a node's tree."""
    while parent[node] != node:
        parent[node] = parent[parent[node]]  # halving: each step shortens the path for the next
        node = parent[node]
    return node


@numba.njit(cache=True)
def _node(table: np.ndarray, keys: np.ndarray, origins: np.ndarray, parent: np.ndarray, count: int, key: int, origin: int) -> int:
    """The number of a document; `count` if it is new."""
    slot = _slot(table, keys, origins, key, origin)
    node = table[slot]
    if node < 0:
        node = count
        table[slot], keys[node], origins[node], parent[node] = node, key, origin, node
    return node


@numba.njit(cache=True)
def _join(
    table: np.ndarray,
    keys: np.ndarray,
    origins: np.ndarray,
    parent: np.ndarray,
    count: int,
    key_a: np.ndarray,
    origin_a: np.ndarray,
    key_b: np.ndarray,
    origin_b: np.ndarray,
) -> int:
    one = 0
    for k in range(len(key_a)):
        if k == 0 or key_a[k] != key_a[k - 1] or origin_a[k] != origin_a[k - 1]:  # the edges of a band begin at its first document
            one = _node(table, keys, origins, parent, count, key_a[k], origin_a[k])
            count = max(count, one + 1)
        other = _node(table, keys, origins, parent, count, key_b[k], origin_b[k])
        count = max(count, other + 1)
        a, b = root_of(parent, one), root_of(parent, other)
        if a < b:
            parent[b] = a
        elif b < a:
            parent[a] = b
    return count


@numba.njit(cache=True)
def _first(keys: np.ndarray, origins: np.ndarray, parent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(the smallest document of its component, documents of the component), for each document."""
    first, size = np.arange(len(keys)), np.zeros(len(keys), np.int64)
    for node in range(len(keys)):
        root = root_of(parent, node)
        low = first[root]
        if keys[node] < keys[low] or (keys[node] == keys[low] and origins[node] < origins[low]):
            first[root] = node
        size[root] += 1
    for node in range(len(keys)):
        root = parent[node]
        if root != node:
            first[node], size[node] = first[root], size[root]
    return first, size
