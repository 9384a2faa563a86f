"""Whole sequences: what Streaming serves, and totals that are within one of what was asked for at every level."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.mix.serve import exact, whole

CELLS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.floats(0, 300)), min_size=1, max_size=60)


@settings(max_examples=300)
@given(CELLS, st.permutations(range(60)))
def test_every_level_is_the_floor_or_ceiling_of_its_sum_in_any_order(cells: list[tuple[int, int, float]], order: list[int]) -> None:
    ideal = np.array([rate for *_, rate in cells])
    outer, inner = np.array([a for a, *_ in cells]), np.array([4 * a + b for a, b, _ in cells])
    ties = np.arange(len(cells))
    made = whole(ideal, outer, inner, ties=ties)
    assert abs(made.sum() - ideal.sum()) <= 0.5 + 1e-4
    for level in (outer, inner, ties):
        for group in np.unique(level):
            assert abs(made[level == group].sum() - ideal[level == group].sum()) < 1 + 1e-4
    assert (made[ideal == 0] == 0).all() and (made[ideal == ideal.astype(int)] == ideal[ideal == ideal.astype(int)]).all()
    mixed = np.array([place for place in order if place < len(cells)])
    assert (whole(ideal[mixed], outer[mixed], inner[mixed], ties=ties[mixed]) == made[mixed]).all()


def test_the_largest_remainders_get_the_sequence_more() -> None:
    assert whole(np.array([0.2, 0.5, 0.9, 2.4])).tolist() == [0, 1, 1, 2]
    assert whole(np.array([0.5, 0.5, 0.5, 0.5]), np.array([0, 0, 1, 1])).tolist() == [1, 0, 1, 0]
    assert whole(np.full(10, 0.1 * 3)).sum() == 3


@settings(max_examples=500)
@given(st.lists(st.tuples(st.integers(1, 10**7), st.integers(0, 10**8)), min_size=1, max_size=50))
def test_streaming_would_serve_just_what_was_planned(pairs: list[tuple[int, int]]) -> None:
    rows, served = (list(column) for column in zip(*pairs, strict=True))
    made = exact(rows, served)
    assert [int(repeat * np.int64(n)) for n, repeat in zip(rows, made.tolist(), strict=True)] == served  # as Stream.apply_weights
    assert [int(n * repeat) for n, repeat in zip(rows, made.tolist(), strict=True)] == served  # as training.data.Source
    assert np.allclose(made * rows, served, rtol=1e-12, atol=0)


def test_all_small_counts_are_exact_where_a_quotient_alone_is_not() -> None:
    rows, served = (grid.ravel() for grid in np.meshgrid(np.arange(1, 400), np.arange(0, 400)))
    assert ((rows * (served / rows)).astype(np.int64) != served).any()
    assert ((rows * exact(rows, served)).astype(np.int64) == served).all()
    assert exact([0, 5], [0, 0]).tolist() == [0.0, 0.0]
