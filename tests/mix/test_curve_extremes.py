"""Curves at the ends of what a double can hold: the steepest ranges, the smallest shares, the least and the largest caps."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dolma.core.errors import ConfigError
from dolma.mix.curve import SETS, Fallback, Params, solve, solve_many

P = st.lists(st.sampled_from([0.0, 1e-9, 0.4, 2.0, 16.0]), min_size=1, max_size=3)
RANGES = st.builds(Params, P.map(tuple), st.sampled_from([0.0, 1e-12, 0.2, 20.0, 500.0]), st.sampled_from([1.0, 0.5, 1e-9, 1e-300]))
SIZES = st.lists(st.one_of(st.just(0.0), st.floats(-25, 15).map(lambda e: 10**e), st.floats(-150, 150).map(lambda e: 10**e)), min_size=1, max_size=12)


@settings(max_examples=300)
@given(SIZES.filter(any), RANGES, st.sampled_from([1e-200, 1e-3, 1.0, 7.0, 1e3, 1e100]), st.floats(-12, 0.2), st.sampled_from([0.0, 0.4, 0.999999, 1 - 1e-16]))
def test_no_range_and_no_share_gives_anything_but_numbers_that_rise_and_sum_to_the_target(
    sizes: list[float], params: Params, cap: float, part: float, throwaway: float
) -> None:
    tokens = np.array(sizes)
    copies = cap * 10**part
    assume(copies * tokens.sum() >= np.finfo(float).tiny)  # below it the target itself has no digits
    for fallback in ("throwaway", "cap", "none"):
        try:
            made = solve(tokens, copies * tokens.sum(), cap=cap, throwaway=throwaway, params=params, fallback=fallback)
        except ConfigError as error:
            assert fallback != "cap" and "over what the cap allows" in str(error)
            continue
        there = made.rates[tokens > 0]
        assert np.isfinite([*made.rates, made.p, made.growth, made.cut, made.scale, made.cap]).all()
        assert (there >= 0).all() and (np.diff(there) >= 0).all() and there[-1] > 0
        assert made.rates / copies @ (tokens / tokens.sum()) == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize("fallback", ["none", "throwaway", "cap"])
@pytest.mark.parametrize("name", "ABC")
def test_a_last_bucket_whose_share_is_nothing_in_a_double_has_the_density_at_the_end(name: str, fallback: Fallback) -> None:
    for sizes in ([1e18, 1e-310], [5e17, 5e17, 1e-310]):
        tokens = np.array(sizes)
        made = solve(tokens, 2 * tokens.sum(), throwaway=0.0, params=SETS[name], fallback=fallback)
        assert made.rates @ tokens == pytest.approx(2 * tokens.sum(), rel=1e-12)
        assert made.rates[-1] == pytest.approx(made.scale * np.exp(made.growth), rel=1e-12) and made.rates[-1] <= 7 * (1 + 1e-9)


def test_a_first_bucket_whose_share_is_nothing_in_a_double_gets_nothing() -> None:
    for made in solve_many([np.array([5e-324, 1e300])] * 2, [1e300] * 2):
        assert made.rates.tolist() == [0.0, 1.0]


def test_where_hardly_anything_but_the_top_is_kept_the_cap_holds() -> None:
    for spare in (1e-3, 1e-9, 1e-13, 1e-16):  # of what is kept, below the top: its mean hardly depends on lambda
        for params in SETS.values():
            tokens = np.array([40.0, 60 * spare, 60.0])
            made = solve(tokens, 0.6 * 100 * 7 * (1 - spare), params=params, fallback="cap")
            assert 6.9 < made.rates[-1] <= 7 * (1 + 1e-9) and 0 <= made.growth <= params.lambda_max


@pytest.mark.parametrize("name", "ABC")
def test_where_the_top_is_all_that_is_kept_lambda_is_the_largest_though_the_cap_is_only_just_met(name: str) -> None:
    for copies in np.random.default_rng(5).uniform(0.5, 9, 40):
        params = Params(SETS[name].p, SETS[name].lambda_max)
        made = solve_many([np.array([200.0]), np.array([70.0, 30.0])], [copies * 200, copies * 30], cap=copies, throwaway=0.7, params=params)
        assert [curve.growth for curve in made] == [params.lambda_max] * 2 and [curve.p for curve in made] == [max(params.p)] * 2
        assert [curve.rates[-1] for curve in made] == pytest.approx([copies] * 2, rel=1e-12)


@pytest.mark.parametrize("p", [16.1, 1e3, np.inf])
def test_a_p_with_which_a_small_topic_could_underflow_is_refused(p: float) -> None:
    with pytest.raises(ConfigError, match=r"p in \[0, 16\]"):
        Params((p,), 1.0)


def test_the_largest_lambda_is_found_from_above_and_from_below() -> None:
    """By bisection to 1e-13, over what the cap holds for: Newton's start is a chord, which is above the solution."""
    tokens = np.array([30.0, 20.0, 25.0, 15.0, 10.0])
    nodes, weights = np.polynomial.legendre.leggauss(60)

    def peak(growth: float, whole: float, top: float) -> float:
        s = whole ** (1 / 8) * (nodes + 1) / 2  # t = s^8 is smooth at 0
        full = whole ** (1 / 8) / 2 * (weights * 8 * s**10.2 * np.exp(growth * s**8)).sum()
        t = whole - top + top * (nodes + 1) / 2
        return float((weights * t**0.4 * np.exp(growth * t)).sum() / 2 / full)

    for copies in (1.2, 2.0, 2.5, 2.9):
        made = solve(tokens, copies * 100, params=SETS["C"])
        low, high = 0.0, 20.0
        while high - low > 1e-13:
            middle = (low + high) / 2
            low, high = (middle, high) if copies * peak(middle, 0.7, 0.05) <= 7 else (low, middle)
        assert made.cut == 0.3 and 0 < made.growth < 20
        assert made.growth == pytest.approx(low, abs=1e-10)
