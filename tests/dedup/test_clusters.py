"""Clusters from edges: labelled by the smallest key, the same for any order, direction or repetition of the edges."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.core.schema import TABLES
from dolma.dedup import clusters
from dolma.dedup.clusters import TAG, cluster_edges, part_of

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


def test_a_chain_is_one_cluster_with_one_document_kept() -> None:
    made = clustered([(0, 1), (1, 2), (4, 3)], keys=[50, 40, 30, 20, 10]).to_pydict()
    assert made["cluster"] == [30, 30, 30, 10, 10]
    assert made["cluster_size"] == [3, 3, 3, 2, 2]


def test_no_edges_give_no_clusters() -> None:
    for batches in ([], [pa.RecordBatch.from_pylist([], schema=SCHEMA)]):
        made = cluster_edges(iter(batches), folder=Path())
        assert made.num_rows == 0 and made.schema == pa.schema(list(TAG.items()))


def test_two_documents_of_one_key_are_two_nodes() -> None:
    rows = [{"origin_a": 4, "key_a": 5, "origin_b": origin, "key_b": 77} for origin in ((3 << 32) + 8, 9)]
    rows.append({"origin_a": 11, "key_a": 77, "origin_b": 12, "key_b": 78})
    made = cluster_edges(iter(pa.Table.from_pylist(rows, schema=SCHEMA).to_batches()), folder=Path())
    assert [tuple(row.values()) for row in made.to_pylist()] == [(4, 5, 5, 3), (9, 77, 5, 3), (11, 77, 77, 2), (12, 78, 77, 2), ((3 << 32) + 8, 77, 5, 3)]


def test_the_shards_of_the_result_follow_those_of_the_documents() -> None:
    made = clustered([(1, (5 << 32) + 1), (2, (9 << 32) + 2)], keys=Keys())
    assert part_of(made, shards_per_part=4).tolist() == [0, 0, 1, 2]


class Keys(list):
    """The key of a row is the number of its row."""

    def __getitem__(self, origin):
        return origin


def test_edges_that_come_again_take_no_memory(monkeypatch) -> None:
    one = pa.RecordBatch.from_pylist([{"origin_a": n, "key_a": n, "origin_b": n + 1, "key_b": n + 1} for n in range(200_000)], schema=SCHEMA)
    seen: list[int] = []
    plain = clusters._distinct
    monkeypatch.setattr(clusters, "_distinct", lambda rows, *by: seen.append(len(rows)) or plain(rows, *by))
    made = cluster_edges(iter([one] * 30), folder=Path())
    assert made.num_rows == 200_001 and max(seen) < 3_000_000  # of 6,000,000, and 12,000,000 ends
