"""Components against a plain search, and their independence of the order and the direction of the edges."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.kernels.unionfind import components

GRAPH = st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=60)))


def joined(nodes: int, edges: list[tuple[int, int]]) -> list[int]:
    ends = np.array(edges, np.int64).reshape(-1, 2)
    return components(nodes, ends[:, 0].copy(), ends[:, 1].copy()).tolist()


def plain(nodes: int, edges: list[tuple[int, int]]) -> list[int]:
    """Labels by lowering both ends of every edge to the smaller label until nothing moves."""
    labels = list(range(nodes))
    moved = True
    while moved:
        moved = False
        for a, b in edges:
            low = min(labels[a], labels[b])
            moved |= labels[a] != low or labels[b] != low
            labels[a] = labels[b] = low
    return labels


@settings(max_examples=200, deadline=None)
@given(GRAPH)
def test_labels_equal_those_of_a_plain_search(graph: tuple[int, list[tuple[int, int]]]) -> None:
    assert joined(*graph) == plain(*graph)


@settings(max_examples=100, deadline=None)
@given(GRAPH, st.randoms(use_true_random=False))
def test_order_and_direction_of_edges_make_no_difference(graph: tuple[int, list[tuple[int, int]]], random) -> None:
    nodes, edges = graph
    shuffled = [edge[::-1] if random.random() < 0.5 else edge for edge in edges] + edges[:3]
    random.shuffle(shuffled)
    assert joined(nodes, shuffled) == joined(nodes, edges)


def test_chains_stars_and_loops() -> None:
    assert joined(5, []) == [0, 1, 2, 3, 4]
    assert joined(5, [(4, 3), (3, 2), (2, 1)]) == [0, 1, 1, 1, 1]
    assert joined(5, [(4, 1), (4, 2), (4, 3), (0, 0)]) == [0, 1, 1, 1, 1]
    assert joined(0, []) == []


def test_a_long_chain_in_any_direction_is_one_component() -> None:
    ends = np.arange(200_000)
    for left, right in ((ends[:-1], ends[1:]), (ends[1:], ends[:-1]), (ends[:0:-1].copy(), ends[-2::-1].copy())):
        assert not components(len(ends), left, right).any()
