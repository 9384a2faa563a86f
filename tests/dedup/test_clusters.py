"""Clusters from edges: labelled by the smallest key, the same for any order, direction or repetition of the edges."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.core.errors import DataError
from dolma.core.schema import TABLES
from dolma.dedup.clusters import TAG, cluster_edges

NODES = 25
EDGES = st.lists(st.tuples(st.integers(0, NODES - 1), st.integers(0, NODES - 1)).filter(lambda edge: edge[0] != edge[1]), max_size=40)
SCHEMA = pa.schema(list(TABLES["edge"].items()))


def clustered(edges: Iterable[tuple[int, int]], keys: list[int], size: int = 1000) -> pa.Table:
    """The clusters of edges between the rows (origins) of a dataset with these keys."""
    rows = [{"origin_a": a, "key_a": keys[a], "origin_b": b, "key_b": keys[b]} for a, b in edges]
    batches = pa.Table.from_pylist(rows, schema=SCHEMA).to_batches(max_chunksize=size)
    return cluster_edges(iter(batches), folder=Path())


def plain(edges: list[tuple[int, int]], keys: list[int]) -> list[tuple[int, int, int, int]]:
    sets = {node: {node} for edge in edges for node in edge}
    for a, b in edges:
        union = sets[a] | sets[b]
        for node in union:
            sets[node] = union
    firsts = {node: min(keys[other] for other in group) for node, group in sets.items()}
    return [(node, keys[node], firsts[node], len(sets[node])) for node in sorted(sets)]


@settings(max_examples=60, deadline=None)
@given(EDGES, st.randoms(use_true_random=False), st.integers(1, 9))
def test_clusters_equal_plain_python_and_depend_on_the_set_of_edges_only(edges: list[tuple[int, int]], random, size: int) -> None:
    keys = random.sample(range(1 << 62), NODES)
    made = clustered(edges, keys)
    assert [tuple(row.values()) for row in made.to_pylist()] == plain(edges, keys)
    other = [edge[::-1] if random.random() < 0.5 else edge for edge in edges] + edges[:2]
    random.shuffle(other)
    assert clustered(other, keys, size).equals(made)


@settings(max_examples=40, deadline=None)
@given(EDGES, st.randoms(use_true_random=False))
def test_the_same_documents_survive_when_the_rows_lie_in_another_order(edges: list[tuple[int, int]], random) -> None:
    keys = random.sample(range(1 << 62), NODES)
    moved = random.sample(range(NODES), NODES)  # row n of the dataset becomes row moved[n]
    there = [0] * NODES
    for row, place in enumerate(moved):
        there[place] = keys[row]
    columns = ["key", "cluster", "cluster_size"]
    one = clustered(edges, keys).select(columns).sort_by("key")
    assert clustered([(moved[a], moved[b]) for a, b in edges], there).select(columns).sort_by("key").equals(one)


def test_a_chain_is_one_cluster() -> None:
    made = clustered([(0, 1), (1, 2), (4, 3)], keys=[50, 40, 30, 20, 10]).to_pydict()
    assert made["cluster"] == [30, 30, 30, 10, 10]
    assert made["cluster_size"] == [3, 3, 3, 2, 2]


def test_no_edges_give_no_clusters() -> None:
    for batches in ([], [pa.RecordBatch.from_pylist([], schema=SCHEMA)]):
        made = cluster_edges(iter(batches), folder=Path())
        assert made.num_rows == 0 and made.schema == pa.schema(list(TAG.items()))


def test_two_documents_with_one_key_are_refused_by_that_key_and_both_places() -> None:
    rows = [{"origin_a": 4, "key_a": 5, "origin_b": origin, "key_b": 77} for origin in ((3 << 32) + 8, 9)]
    with pytest.raises(DataError, match=r"two documents have the key 77\n  got equal ids: shard 0, row 9; shard 3, row 8, expected"):
        cluster_edges(iter(pa.Table.from_pylist(rows, schema=SCHEMA).to_batches()), folder=Path())
