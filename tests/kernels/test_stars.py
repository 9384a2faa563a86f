"""Rounds of large-star and small-star end in the components of union-find, whatever the borders of the batches."""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.kernels import stars
from dolma.kernels.unionfind import Components

Edges = list[tuple[int, int]]
GRAPH = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)).filter(lambda edge: edge[0] != edge[1]), max_size=60)
COLUMNS = ["uk", "uo", "vk", "vo"]


def batch(edges: Edges, keys: list[int] | None = None) -> pa.RecordBatch:
    """Documents are numbers: the origin; the key is `keys` of it, so that several documents have one key."""
    keys = keys or [number // 2 for number in range(1 << 10)]
    ends = [(keys[a], a, keys[b], b) for a, b in edges]
    return pa.RecordBatch.from_arrays([pa.array([end[n] for end in ends], pa.int64()) for n in range(4)], schema=stars.PAIR)


def ordered(edges: pa.RecordBatch, size: int, columns: Iterable[str] = COLUMNS) -> Iterator[pa.RecordBatch]:
    table = pa.Table.from_batches([edges]).sort_by([(name, "ascending") for name in columns])
    yield from table.combine_chunks().to_batches(max_chunksize=size)


def joined(batches: Iterable[pa.RecordBatch], schema: pa.Schema = stars.PAIR) -> pa.RecordBatch:
    return pa.Table.from_batches(batches, schema=schema).combine_chunks().to_batches()[0] if (batches := list(batches)) else batch([])


def rounds(edges: pa.RecordBatch, size: int) -> tuple[pa.RecordBatch, int]:
    """(the stars, how many large-stars it took)."""
    for number in range(1, 100):
        large = stars.Star("large")
        made = joined(large.run(ordered(stars.both_ways(edges), size)))
        if large.left == 0:
            return made, number
        edges = joined(stars.Star("small").run(ordered(stars.downwards(made), size)))
    raise AssertionError("no end")


def table(edges: pa.RecordBatch, size: int, shards: int = 64) -> list[tuple[int, ...]]:
    """(origin, key, cluster, size) of all documents, by origin."""
    rays = stars.Rays()
    kept = list(rays.run(ordered(edges, size, ("vk", "vo", "uk", "uo"))))
    return sorted(tuple(row.values())[1:] for made in rays.rows(kept, shards) for row in made.to_pylist())


def reference(edges: pa.RecordBatch) -> list[tuple[int, ...]]:
    found = Components()
    uk, uo, vk, vo = (column.to_numpy() for column in edges.columns)
    found.join(uk, uo, vk, vo)
    return [tuple(row) for row in np.stack(found.labels(), axis=1).tolist()]


@settings(max_examples=80, deadline=None)
@given(GRAPH, st.integers(1, 12))
def test_stars_are_the_components_of_union_find(edges: Edges, size: int) -> None:
    made, _ = rounds(batch(edges), size)
    assert table(made, size) == reference(batch(edges))


@settings(max_examples=40, deadline=None)
@given(GRAPH, st.randoms(use_true_random=False))
def test_order_direction_repetition_and_borders_make_no_difference(edges: Edges, random) -> None:
    other = [(b, a) if random.random() < 0.5 else (a, b) for a, b in edges] + edges[:4]
    random.shuffle(other)
    assert table(rounds(batch(other), 3)[0], 2) == table(rounds(batch(edges), 100)[0], 100)


@settings(max_examples=60, deadline=None)
@given(GRAPH, st.integers(1, 30), st.integers(1, 9))
def test_contracted_edges_have_the_same_components(edges: Edges, most: int, size: int) -> None:
    whole = batch(edges)
    fewer = joined(stars.contracted((whole.slice(start, size) for start in range(0, whole.num_rows, size)), most))
    assert fewer.num_rows <= whole.num_rows
    assert reference(fewer) == reference(whole)
    once = joined(stars.contracted([whole]))
    assert rounds(once, size)[1] == 1  # they are stars around the smallest already


SHAPES: dict[str, tuple[Edges, int]] = {  # and the large-stars they may take
    "chain": ([(n, n + 1) for n in range(500)], 10),
    "chain backwards": ([(n + 1, n) for n in reversed(range(500))], 10),
    "star around the smallest": ([(0, n) for n in range(1, 500)], 1),
    "star around the largest": ([(500, n) for n in range(500)], 3),
    "clique": ([(a, b) for a in range(40) for b in range(a)], 3),
    "two cliques and a bridge": ([(a + c, b + c) for c in (0, 50) for a in range(20) for b in range(a)] + [(19, 50)], 4),
    "two stars that share a ray": ([(0, n) for n in range(2, 99)] + [(1, n) for n in range(98, 300)], 3),
}


@pytest.mark.parametrize("name", list(SHAPES))
def test_shapes_end_in_few_rounds(name: str) -> None:
    edges, most = SHAPES[name]
    made, number = rounds(batch(edges), 64)
    assert table(made, 64) == reference(batch(edges))
    assert number <= most


def test_many_neighbours_are_never_held_together() -> None:
    numbers = np.arange(1, 200_001)
    whole = pa.RecordBatch.from_arrays([pa.array(column) for column in (numbers * 0, numbers * 0, numbers, numbers)], schema=stars.PAIR)
    large = stars.Star("large")
    sizes = [made.num_rows for made in large.run(whole.slice(start, 1000) for start in range(0, 200_000, 1000))]
    assert sizes == [1000] * 200 and large.left == 0


def test_edges_of_a_document_to_itself_are_left_out() -> None:
    edges = pa.RecordBatch.from_pydict({"origin_a": [1, 1, 1, 5], "key_a": [7, 7, 7, 9], "origin_b": [1, 2, 1, 5], "key_b": [7, 7, 8, 9]})
    made = pa.Table.from_batches(stars.contracted([stars.pairs(edges)]))
    assert made.to_pylist() == [{"uk": 7, "uo": 2, "vk": 7, "vo": 1}, {"uk": 8, "uo": 1, "vk": 7, "vo": 1}]
