"""What happens where the target is over what the cap allows, and 100,000 random topics."""

import re

import numpy as np
import pytest

from dolma.core.errors import ConfigError, Errors
from dolma.mix.curve import SETS, Curve, Fallback, Params, solve, solve_many

EVEN = np.full(20, 100.0)
COUNT = 100_000


@pytest.mark.parametrize(("name", "more"), [("A", (4.3, 5.0, 6.0, 6.6)), ("B", (3.3, 4.0, 5.0)), ("C", (3.3, 4.0, 5.0))])
def test_the_throwaway_gives_way_edge_by_edge_and_no_further_than_it_must(name: str, more: tuple[float, ...]) -> None:
    for copies in more:
        made = solve(EVEN, copies * 2000, params=SETS[name], fallback="throwaway")
        assert made.rates @ EVEN == pytest.approx(copies * 2000, rel=1e-12) and made.cap == 7
        assert made.cut == made.throwaway < 0.4 and round(made.cut * 20) == pytest.approx(made.cut * 20, abs=1e-9)
        assert made.note.startswith(f"throwaway lowered from 0.4 to {made.cut:.6g}: 7 copies at most and a throwaway of 0.4 give ")
        assert made.note.endswith(f" of {copies * 2000:,.0f} tokens")
        with pytest.raises(ConfigError, match="over what the cap allows"):
            solve(EVEN, copies * 2000, params=SETS[name], throwaway=made.cut + 0.0500001)


@pytest.mark.parametrize("name", "ABC")
def test_the_cap_gives_way_just_enough(name: str) -> None:
    made = solve(EVEN, 6 * 2000, params=SETS[name], fallback="cap")
    assert made.rates @ EVEN == pytest.approx(12000, rel=1e-12) and (made.throwaway, made.cut) == (0.4, 0.4) and made.cap > 10
    assert made.note.startswith(f"cap raised from 7 to {made.cap:.6g}: ") and made.p == SETS[name].p[0] and made.growth == pytest.approx(0, abs=1e-9)
    assert solve(EVEN, 12000, params=SETS[name], cap=made.cap).rates.tolist() == pytest.approx(made.rates.tolist(), rel=1e-12)
    with pytest.raises(ConfigError, match="over what the cap allows"):
        solve(EVEN, 12000, params=SETS[name], cap=made.cap * (1 - 1e-9))


@pytest.mark.parametrize("fallback", ["none", "throwaway", "cap"])
def test_what_is_feasible_is_the_same_with_any_fallback(fallback: Fallback) -> None:
    made, plain = solve(EVEN, 5000, fallback=fallback), solve(EVEN, 5000)
    assert made.rates.tolist() == plain.rates.tolist() and (made.note, made.cap, made.throwaway) == ("", 7, 0.4)


def test_a_target_that_no_cut_allows_is_refused_also_where_the_throwaway_may_give_way() -> None:
    for fallback in ("none", "throwaway"):
        with pytest.raises(ConfigError, match=r"no lower `throwaway` suffices"):
            solve(EVEN, 8 * 2000, fallback=fallback)
    assert solve(EVEN, 8 * 2000, fallback="cap").rates @ EVEN == pytest.approx(16000)


def mends(error: ConfigError) -> tuple[float, float | None]:
    """The cap and, where one would do, the throwaway that a refusal names."""
    cap = re.search(r"raise `cap` to ([\d.e+]+),", error.mend)
    keep = re.search(r"lower `throwaway` to ([\d.e-]+)$", error.mend)
    assert cap and (keep or error.mend.endswith("no lower `throwaway` suffices")), error.mend
    return float(cap[1]), float(keep[1]) if keep else None


def test_each_mend_of_a_refusal_suffices() -> None:
    topics, caps, throwaways = drawn(3000)
    kept = 0
    for params in SETS.values():
        targets = np.random.default_rng(3).uniform(1.0001, 3, len(topics)) * largest(topics, caps, throwaways, params)
        with pytest.raises(Errors) as refused:
            solve_many(topics, targets, cap=caps, throwaway=throwaways, params=params, where=[str(row) for row in range(len(topics))])
        assert [error.where for error in refused.value.errors] == [str(row) for row in range(len(topics))]  # each is over
        for row, error in enumerate(refused.value.errors[:400]):
            assert isinstance(error, ConfigError)
            cap, throwaway = mends(error)
            assert solve(topics[row], targets[row], cap=cap, throwaway=throwaways[row], params=params).note == ""
            if throwaway is not None:
                kept += 1
                assert solve(topics[row], targets[row], cap=caps[row], throwaway=throwaway, params=params).cut <= throwaways[row]
    assert kept > 50


def test_all_topics_that_cannot_be_solved_are_named_at_once() -> None:
    with pytest.raises(Errors, match=r"(?s)b: a curve needs.*c: the target is over.*d: there are no tokens"):
        solve_many([EVEN, EVEN, EVEN, EVEN * 0], [2000, np.nan, 90_000, 1], where=list("abcd"))
    with pytest.raises(ConfigError, match="c: the target is over"):
        solve_many([EVEN, EVEN], [2000, 90_000], where=list("ac"))
    assert solve_many([], []) == []


def drawn(count: int) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Topics of 1 to 40 buckets, a fifth of them empty, of sizes from equal to wildly unequal; caps; throwaways."""
    rng = np.random.default_rng(20)
    counts = rng.integers(1, 41, count)
    sizes = rng.lognormal(10, rng.choice([0.1, 1, 3, 8], count).repeat(counts))
    sizes[rng.random(len(sizes)) < 0.2] = 0
    topics = np.split(sizes, np.cumsum(counts)[:-1])
    for topic in topics:
        topic[0] += not topic.any()
    return topics, rng.uniform(0.5, 12, count), rng.choice([0, 0.2, 0.4, 0.6, 0.9, 0.99], count)


def largest(topics: list[np.ndarray], caps: np.ndarray, throwaways: np.ndarray, params: Params) -> np.ndarray:
    """The most tokens that each topic can give: what a cap must be grows with the target in proportion."""
    far = np.array([1e3 * topic.sum() for topic in topics]) * caps
    return far * caps / [curve.cap for curve in solve_many(topics, far, cap=caps, throwaway=throwaways, params=params, fallback="cap")]


def peaks(topics: list[np.ndarray], made: list[Curve], params: Params) -> np.ndarray:
    """The mean of each curve over the top of its last bucket, by Gauss-Legendre; where that is wide, over s with t = s^8, which is smooth at 0."""
    p, growth, scale, cut = (np.array([getattr(curve, name) for curve in made]) for name in ("p", "growth", "scale", "cut"))
    width = params.upper * np.array([topic[np.flatnonzero(topic)[-1]] / topic.sum() for topic in topics])
    whole = np.array([topic[np.arange(len(topic)) >= below(topic, share)].sum() / topic.sum() for topic, share in zip(topics, cut, strict=True)])
    low = np.maximum(whole - width, 0)
    nodes, weights = np.polynomial.legendre.leggauss(48)
    power = np.where(width < 0.5 * whole, 1, 8)
    ends = low ** (1 / power), np.where(power == 1, width, whole ** (1 / power) - low ** (1 / power))
    s = ends[0][:, None] + ends[1][:, None] * (nodes + 1) / 2
    t = s ** power[:, None]
    return scale * (weights * power[:, None] * s ** (power - 1)[:, None] * t ** p[:, None] * np.exp(growth[:, None] * t)).sum(1) * ends[1] / 2 / width


def below(topic: np.ndarray, share: float) -> int:
    """How many buckets end at or below a share."""
    ends = np.cumsum(topic)
    return int((ends / ends[-1] <= share).sum())


def test_a_hundred_thousand_feasible_topics() -> None:
    every, all_caps, all_throwaways = drawn(COUNT)
    parts = np.random.default_rng(4).choice([1e-6, 0.01, 0.3, 0.7, 0.99, 1.0], COUNT)
    for start, params in enumerate(SETS.values()):
        topics, caps, throwaways = every[start::3], all_caps[start::3], all_throwaways[start::3]
        targets = parts[start::3] * largest(topics, caps, throwaways, params)
        made = solve_many(topics, targets, cap=caps, throwaway=throwaways, params=params)
        sizes, rates = np.concatenate(topics), np.concatenate([curve.rates for curve in made])
        of = np.repeat(np.arange(len(topics)), [len(topic) for topic in topics])
        np.testing.assert_allclose(np.bincount(of, sizes * rates), targets, rtol=1e-9)
        there = np.flatnonzero(sizes)
        assert not rates[sizes == 0].any() and (rates >= 0).all()
        assert (np.diff(rates[there])[np.diff(of[there]) == 0] >= 0).all()
        top = peaks(topics, made, params)
        assert (top <= caps * (1 + 1e-9)).all()
        growth, p = np.array([curve.growth for curve in made]), np.array([curve.p for curve in made])
        single = np.array([np.count_nonzero(topic[below(topic, curve.cut) :]) == 1 for topic, curve in zip(topics, made, strict=True)])
        assert (np.isclose(top, caps, rtol=1e-7) | (growth == params.lambda_max) | single).all()  # no flatter than it must be
        assert np.isin(p, params.p).all() and all(curve.note == "" for curve in made)
