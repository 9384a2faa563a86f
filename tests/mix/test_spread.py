"""Tokens of topics in languages: an answer is found if there is one (a linear programme is the reference), and none is what the languages cannot give."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from dolma.mix.spread import spread

CELL = st.sampled_from([-1.0, -1.0, 0.0, 0.1, 0.5, 1.0])


def least_short(targets: np.ndarray, weights: np.ndarray, needs: np.ndarray) -> float:
    """Tokens that must be missing, by a linear programme."""
    rows, columns = weights.shape
    cost = np.concatenate([np.zeros(rows * columns), np.ones(columns)])
    whole = np.hstack([np.kron(np.eye(rows), np.ones(columns)), np.zeros((rows, columns))])
    least = np.hstack([-np.tile(np.eye(columns), rows), -np.eye(columns)])
    bounds = [(0, None if weight >= 0 else 0) for weight in weights.ravel()] + [(0, None)] * columns
    found = linprog(cost, A_ub=least, b_ub=-needs, A_eq=whole, b_eq=targets, bounds=bounds)
    assert found.success
    return float(found.fun)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.data())
def test_an_answer_is_found_if_there_is_one(rows: int, columns: int, data: st.DataObject) -> None:
    weights = np.array(data.draw(st.lists(st.lists(CELL, min_size=columns, max_size=columns), min_size=rows, max_size=rows)))
    targets = np.array(data.draw(st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.5]), min_size=rows, max_size=rows)))
    assume(((targets == 0) | (weights > 0).any(1)).all() and targets.any())
    needs = np.array(data.draw(st.lists(st.sampled_from([0.0, 0.2, 0.5, 1.0]), min_size=columns, max_size=columns)))
    needs *= targets.sum() / max(1.0, needs.sum())
    made, short = spread(targets, weights, needs)
    assert bool(short) == (least_short(targets, weights, needs) > 1e-7)
    assert (made >= 0).all() and not made[weights < 0].any() and made.sum(1) == pytest.approx(targets)
    if not short:
        assert (made.sum(0) >= needs * (1 - 1e-6)).all()
    for topics in short:  # together they want more than all languages that have one of them
        assert needs[topics].sum() > targets[(weights[:, topics] >= 0).any(1)].sum()


def test_odds_are_raised_by_one_factor_in_every_language() -> None:
    weights = np.array([[0.5, -1, 0.5], [-1, 0.5, 0.5], [1 / 3, 1 / 3, 1 / 3]])
    made, short = spread(np.ones(3), weights, np.array([1.2, 1.2, 0.0]))
    odds = made / made[:, 2:] * weights[:, 2:] / weights
    assert not short and made.sum(0)[:2] == pytest.approx([1.2, 1.2])
    assert [odds[0, 0], odds[2, 0], odds[1, 1], odds[2, 1]] == pytest.approx([odds[0, 0]] * 4) and odds[0, 0] > 1
    plain, _ = spread(np.ones(3), weights, np.zeros(3))
    assert plain == pytest.approx(np.maximum(weights, 0))


def test_a_topic_of_share_zero_is_carried_along_a_chain() -> None:
    weights = np.array([[0.0, 1.0, -1], [-1, 1.0, 0.0], [-1, -1, 1.0]])  # the first is wanted; the second gives, and is made up for by the third
    made, short = spread(np.ones(3), weights, np.array([0.5, 1.5, 0.5]))
    assert not short and made == pytest.approx(np.array([[0.5, 0.5, 0], [0, 1, 0], [0, 0, 1]]))
    assert spread(np.ones(3), weights, np.array([0.7, 1.5, 0.5]))[1] == [[0, 1]]  # 2.2 of the 2 that the first two languages get
