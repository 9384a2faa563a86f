"""Clusters from edges: labelled by the smallest key, the same for any order, direction or repetition of the edges."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.core.errors import ConfigError
from dolma.core.schema import TABLES
from dolma.dedup.clusters import TAG, cluster_edges

NODES = 25
EDGES = st.lists(st.tuples(st.integers(0, NODES - 1), st.integers(0, NODES - 1)).filter(lambda edge: edge[0] != edge[1]), max_size=40)
SCHEMA = pa.schema(list(TABLES["edge"].items()))


def clustered(edges: Iterable[tuple[int, int]], keys: list[int], size: int = 1000) -> pa.Table:
    """The clusters of edges between the rows (origins) of a dataset with these keys."""
    rows = [{"origin_a": a, "key_a": keys[a], "origin_b": b, "key_b": keys[b]} for a, b in edges]
    batches = pa.Table.from_pylist(rows, schema=SCHEMA).to_batches(max_chunksize=size)
    return pa.concat_tables(table for _, table in cluster_edges(iter(batches), folder=Path()))


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


def test_a_chain_is_one_cluster_named_by_its_smallest_key() -> None:
    made = clustered([(0, 1), (1, 2), (4, 3)], keys=[50, 40, 30, 20, 10]).to_pydict()
    assert made["cluster"] == [30, 30, 30, 10, 10]
    assert made["cluster_size"] == [3, 3, 3, 2, 2]


def test_no_edges_give_one_empty_shard() -> None:
    for batches in ([], [pa.RecordBatch.from_pylist([], schema=SCHEMA)]):
        [(number, made)] = cluster_edges(iter(batches), folder=Path())
        assert number == 0 and made.num_rows == 0 and made.schema == pa.schema(list(TAG.items()))


def test_two_documents_with_one_key_are_two_documents() -> None:
    far = (3 << 32) + 8
    edges = [(4, 5, far, 77), (9, 77, 6, 80), (9, 77, 7, 81)]  # key 77 is at two places, in two clusters
    rows = [dict(zip(SCHEMA.names, edge, strict=True)) for edge in edges]
    [(_, made)] = cluster_edges(iter(pa.Table.from_pylist(rows, schema=SCHEMA).to_batches()), folder=Path())
    assert made.to_pydict() == {"origin": [4, 6, 7, 9, far], "key": [5, 80, 81, 77, 77], "cluster": [5, 77, 77, 77, 5], "cluster_size": [2, 3, 3, 3, 2]}


def test_the_rows_of_so_many_input_shards_lie_in_one_output_shard() -> None:
    places = [0, 3, 4, 7, 64, 65, 400]
    rows = [{"origin_a": places[0] << 32, "key_a": 0, "origin_b": place << 32, "key_b": place} for place in places[1:]]
    batches = pa.Table.from_pylist(rows, schema=SCHEMA).to_batches()
    for shards, expected in ((4, {0: [0, 3], 1: [4, 7], 16: [64, 65], 100: [400]}), (64, {0: [0, 3, 4, 7], 1: [64, 65], 6: [400]})):
        made = {
            number: [origin >> 32 for origin in table["origin"].to_pylist()] for number, table in cluster_edges(iter(batches), folder=Path(), shards=shards)
        }
        assert made == expected
    with pytest.raises(ConfigError, match="takes in at least one"):
        list(cluster_edges(iter(batches), folder=Path(), shards=0))
