"""Components against a plain search, and their independence of the order and the direction of the edges."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.kernels import unionfind
from dolma.kernels.unionfind import Components

GRAPH = st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=60)))


def joined(edges: list[tuple[int, int]] | np.ndarray, size: int = 7) -> dict[int, tuple[int, int]]:
    """(label, size) of each document; its key is its number, its origin another number."""
    ends = np.array(edges, np.int64).reshape(-1, 2)
    found = Components()
    for start in range(0, len(ends), size):
        a, b = ends[start : start + size].T.copy()
        found.join(a, 1000 - a, b, 1000 - b)
    origins, keys, labels, sizes = found.labels()
    assert (origins == 1000 - keys).all() and (np.diff(origins) > 0).all()
    return dict(zip(keys.tolist(), zip(labels.tolist(), sizes.tolist(), strict=True), strict=True))


def plain(edges: list[tuple[int, int]]) -> dict[int, tuple[int, int]]:
    """Labels by lowering both ends of every edge to the smaller label until nothing moves."""
    labels = {node: node for edge in edges for node in edge}
    moved = True
    while moved:
        moved = False
        for a, b in edges:
            low = min(labels[a], labels[b])
            moved |= labels[a] != low or labels[b] != low
            labels[a] = labels[b] = low
    return {node: (label, list(labels.values()).count(label)) for node, label in labels.items()}


@settings(max_examples=200, deadline=None)
@given(GRAPH)
def test_labels_equal_those_of_a_plain_search(graph: tuple[int, list[tuple[int, int]]]) -> None:
    assert joined(graph[1]) == plain(graph[1])


@settings(max_examples=100, deadline=None)
@given(GRAPH, st.randoms(use_true_random=False), st.integers(1, 9))
def test_order_and_direction_of_edges_and_their_batches_make_no_difference(graph: tuple[int, list[tuple[int, int]]], random, size: int) -> None:
    _, edges = graph
    shuffled = [edge[::-1] if random.random() < 0.5 else edge for edge in edges] + edges[:3]
    random.shuffle(shuffled)
    assert joined(shuffled, size) == joined(edges)


def test_chains_stars_and_loops() -> None:
    assert joined([]) == {}
    assert joined([(4, 3), (3, 2), (2, 1)]) == {node: (1, 4) for node in (1, 2, 3, 4)}
    assert joined([(4, 1), (4, 2), (4, 3), (0, 0)]) == {0: (0, 1), **{node: (1, 4) for node in (1, 2, 3, 4)}}


def test_a_long_chain_in_any_direction_is_one_component_through_every_doubling_of_the_room() -> None:
    ends = np.arange(200_000)
    assert len(ends) > 32 * unionfind.FIRST
    for left, right in ((ends[:-1], ends[1:]), (ends[1:], ends[:-1]), (ends[:0:-1].copy(), ends[-2::-1].copy())):
        found = Components()
        for start in range(0, len(left), 5000):
            a, b = left[start : start + 5000].copy(), right[start : start + 5000].copy()
            found.join(a, a << 32, b, b << 32)
        origins, keys, labels, sizes = found.labels()
        assert (origins == ends << 32).all() and (keys == ends).all() and not labels.any() and (sizes == len(ends)).all()


def test_documents_with_one_key_are_told_apart_by_their_origin() -> None:
    found = Components()
    found.join(*(np.array(column) for column in ([5, 5], [1, 2], [7, 8], [3, 4])))
    assert [column.tolist() for column in found.labels()] == [[1, 2, 3, 4], [5, 5, 7, 8], [5, 5, 5, 5], [2, 2, 2, 2]]
