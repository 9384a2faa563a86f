"""Bounds of a mix, and the nearest mix within them: refusals, the closed form, and its optimality."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.core.errors import ConfigError
from dolma.mix.limits import Limits, limit, nearest, unlimited
from dolma.mix.propose import divergence


def test_caps_follow_from_tokens_repeats_and_target() -> None:
    limits = limit(["a", "b", "c"], np.array([10.0, 50.0, 400.0]), 200.0, repeats=4, minimum=0.01, held={"b": 0.3})
    assert limits.upper.tolist() == [0.2, 0.3, 1.0]
    assert limits.lower.tolist() == [0.01, 0.3, 0.01]
    assert limits.copies is not None
    assert limits.copies.tolist() == [20.0, 4.0, 0.5]


@pytest.mark.parametrize(
    ("names", "tokens", "keywords", "says"),
    [
        ("ab", [1.0, 1.0], {"repeats": 1.0, "target": 3.0}, "caps to 0.666667"),
        ("abc", [9.0, 9.0, 9.0], {"minimum": 0.4, "target": 1.0}, "least weights sum to 1.2"),
        ("ab", [0.1, 9.0], {"minimum": 0.3, "target": 4.0}, "mix: a: the domain cannot give"),
        ("ab", [9.0, 9.0], {"held": {"c": 0.3}, "target": 1.0}, "no domain c"),
        ("ab", [9.0, 9.0], {"held": {"a": 1.3}, "target": 1.0}, "at most 1 of"),
        ("ab", [0.0, 9.0], {"target": 1.0}, "leave out domains without tokens"),
        ("aa", [1.0, 9.0], {"target": 1.0}, "different names"),
        ("ab", [float("nan"), 9.0], {"target": 1.0}, "different names"),
        ("ab", [1.0, 9.0], {"target": 0.0}, "target 0"),
    ],
)
def test_what_no_mix_can_keep_is_refused_with_its_numbers(names: str, tokens: list[float], keywords: dict, says: str) -> None:
    target = keywords.pop("target")
    with pytest.raises(ConfigError, match=says):
        limit(list(names), np.array(tokens), target, **keywords)


def test_the_excess_of_a_cap_goes_to_the_others_in_proportion() -> None:
    limits = Limits(np.zeros(3), np.array([0.5, 1.0, 1.0]))
    assert nearest(np.array([0.7, 0.2, 0.1]), limits) == pytest.approx([0.5, 1 / 3, 1 / 6], abs=1e-15)
    assert nearest(np.array([0.2, 0.5, 0.3]), limits).tolist() == [0.2, 0.5, 0.3]
    assert nearest(np.array([1.0, 0.0, 0.0]), limits).sum() == 0.5  # what has no share cannot be raised: the caller sees a sum below 1


@st.composite
def bounded(draw: st.DrawFn) -> tuple[np.ndarray, Limits, np.random.Generator]:
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    domains = draw(st.integers(2, 12))
    inside = random.dirichlet(np.ones(domains))
    limits = Limits(inside * random.uniform(0, 1, domains), np.minimum(inside * random.uniform(1, 3, domains) + 1e-9, 1.0))
    return random.dirichlet(np.full(domains, draw(st.sampled_from([0.05, 1.0, 20.0])))) + 1e-300, limits, random


@settings(max_examples=150, deadline=None)
@given(bounded())
def test_nearest_keeps_the_bounds_and_no_mix_within_them_is_nearer(case: tuple[np.ndarray, Limits, np.random.Generator]) -> None:
    given_mix, limits, random = case
    found = nearest(given_mix, limits)
    assert found.sum() == pytest.approx(1, abs=1e-9)
    assert (found >= limits.lower).all()
    assert (found <= limits.upper).all()
    moves = nearest(np.maximum(found * np.exp(random.normal(0, 0.3, (50, len(found)))), 1e-300), limits)
    assert (divergence(moves, given_mix) >= divergence(found, given_mix) - 1e-9).all()
    assert nearest(found, limits) == pytest.approx(found, abs=1e-12)


def test_without_limits_every_mix_stays_as_it_is() -> None:
    mix = np.array([[0.25, 0.75], [1.0, 0.0]])
    assert (nearest(mix, unlimited(2)) == mix).all()
