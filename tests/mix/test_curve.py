"""The quality curve: all published cells, a quadrature in place of the closed form, and what must hold for any feasible target."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.core.errors import ConfigError
from dolma.mix.curve import SETS, Curve, Params, integral, mean, ranges, solve, solve_many, terms

BOUND = {"science_math_and_technology": 2.894, "software_development": 1.309, "software": 8.752, "games": 9.845, "literature": 11.591,
         "electronics_and_hardware": 12.730, "health": 14.432, "entertainment": 15.489, "history_and_geography": 15.661}  # fmt: skip


@pytest.fixture(scope="module")
def pool(spec: Path) -> dict[str, dict[int, int]]:
    """Tokens by topic and vigintile, worst first: 387 cells."""
    cells: dict[str, dict[int, int]] = {}
    for row in sorted(json.loads((spec / "pool_web_tokens.json").read_text()), key=lambda row: row["vigintile"]):
        cells.setdefault(row["topic"], {})[row["vigintile"]] = row["tokens"]
    assert sum(map(len, cells.values())) == 387
    return cells


def solved(spec: Path, pool: dict[str, dict[int, int]], name: str) -> tuple[dict[str, Curve], dict[tuple[str, int], float]]:
    """The curve of each topic under the published targets, and the rates of the cells that are taken."""
    targets = json.loads((spec / "topic_targets.json").read_text())
    settings = {"cap": targets["max_upsample"], "throwaway": targets["throwaway"], "params": SETS[name]}
    curves = {topic: solve(np.array([*cells.values()]), targets["pstar"][topic] * targets["target_tokens"], **settings) for topic, cells in pool.items()}
    rates = {(topic, v): rate for topic, cells in pool.items() for v, rate in zip(cells, curves[topic].rates.tolist(), strict=True) if rate}
    assert len(rates) == 201
    return curves, rates


@pytest.mark.kit
@pytest.mark.parametrize(("name", "key"), [("A", "committed_code_p0.01-2_lambda0-2"), ("B", "saved_notebook_p0.4-2_lambda0-0.2")])
def test_sets_a_and_b_equal_the_published_code_in_all_201_cells(spec: Path, pool: dict[str, dict[int, int]], name: str, key: str) -> None:
    reference = json.loads((spec / "upsampling_reference.json").read_text())[key]
    curves, rates = solved(spec, pool, name)
    expected = {(topic, int(v)): rate for topic, made in reference.items() for v, rate in made["upsample_ratio"].items() if rate}
    assert rates == pytest.approx(expected, rel=1e-6, abs=0)
    for topic, made in reference.items():
        assert (curves[topic].p, curves[topic].growth) == pytest.approx((made["params"]["p"], made["params"]["lambda"]), abs=2e-6)


@pytest.mark.kit
def test_set_b_equals_the_saved_output_of_the_notebook(spec: Path, pool: dict[str, dict[int, int]]) -> None:
    expected = {(row["topic"], row["vigintile"]): row["upsample_ratio"] for row in json.loads((spec / "upsampling_expected.json").read_text())}
    assert solved(spec, pool, "B")[1] == pytest.approx(expected, rel=1e-6, abs=0)


@pytest.mark.kit
def test_set_c_equals_production_in_all_201_cells(spec: Path, pool: dict[str, dict[int, int]]) -> None:
    rows = {(row["topic"], row["vigintile"]): row for row in json.loads((spec / "upsampling_reference_production.json").read_text())["rows"]}
    curves, rates = solved(spec, pool, "C")
    assert rates == pytest.approx({cell: row["upsample_ratio_on_sample"] for cell, row in rows.items()}, rel=1e-5, abs=0)
    targets = json.loads((spec / "topic_targets.json").read_text())
    target = targets["target_tokens"]
    shares = {(topic, v): rate * pool[topic][v] / target for (topic, v), rate in rates.items()}
    assert shares == pytest.approx({cell: row["production_weight"] for cell, row in rows.items()}, rel=1e-5, abs=0)
    assert shares == pytest.approx({cell: row["production_weight"] for cell, row in rows.items()}, rel=0, abs=7e-9)
    assert {topic: curve.growth for topic, curve in curves.items()} == pytest.approx({topic: BOUND.get(topic, 20.0) for topic in curves}, abs=6e-4)


@pytest.mark.kit
@pytest.mark.parametrize("name", "ABC")
def test_the_tokens_of_the_buckets_sum_to_the_target_of_each_topic_within_rounding(spec: Path, pool: dict[str, dict[int, int]], name: str) -> None:
    targets = json.loads((spec / "topic_targets.json").read_text())
    for topic, curve in solved(spec, pool, name)[0].items():
        whole = np.rint(curve.rates * np.array([*pool[topic].values()])).astype(int).tolist()
        assert sum(whole) == pytest.approx(targets["pstar"][topic] * targets["target_tokens"], rel=0, abs=len(whole) / 2)
        assert curve.note == "" and (curve.cap, curve.throwaway) == (7, 0.4)


def quadrature(x: float, p: float, growth: float) -> float:
    """int_0^x t^p e^(growth t) dt by Gauss-Legendre; t = s^8 makes the integrand smooth at 0."""
    nodes, weights = np.polynomial.legendre.leggauss(120)
    end = x ** (1 / 8)
    s = end * (nodes + 1) / 2
    return float(end / 2 * (weights * 8 * s ** (8 * p + 7) * np.exp(growth * s**8)).sum())


@settings(max_examples=100, deadline=None)
@given(st.floats(0.001, 1), st.floats(0.01, 2), st.floats(0, 20))
def test_closed_form_equals_quadrature(x: float, p: float, growth: float) -> None:
    assert integral(np.array(x), p, growth, terms(growth * x)) == pytest.approx(quadrature(x, p, growth), rel=1e-11)


def test_closed_form_of_known_integrals() -> None:
    x = np.array([0.0, 0.3, 1.0])
    np.testing.assert_allclose(integral(x, 2.0, 0.0, terms(0.0)), x**3 / 3, rtol=1e-15)
    np.testing.assert_allclose(integral(x, 1.0, 3.0, terms(3.0)), (np.exp(3 * x) * (3 * x - 1) + 1) / 9, atol=1e-15, rtol=1e-13)


TOKENS = st.lists(st.one_of(st.just(0), st.integers(1_000, 1_000_000)), min_size=1, max_size=20).filter(any)
PLAN = st.tuples(TOKENS, st.one_of(st.just(0.0), st.floats(1e-6, 1)), st.sampled_from("ABC"), st.floats(1, 9), st.floats(0, 0.8))


def most(tokens: list[int], cap: float, throwaway: float, name: str) -> float:
    """The largest target that is feasible, from what the refusal of a far larger one says."""
    with pytest.raises(ConfigError, match="over what the cap allows") as error:
        solve(np.array(tokens), 1e3 * cap * sum(tokens), cap=cap, throwaway=throwaway, params=SETS[name])
    return float(str(error.value.expected).removeprefix("at most ").replace(",", ""))


@settings(max_examples=80, deadline=None)
@given(PLAN)
def test_any_feasible_target_is_met_under_the_cap_by_a_rising_curve(plan: tuple[list[int], float, str, float, float]) -> None:
    sizes, part, name, cap, throwaway = plan
    tokens, params = np.array(sizes, float), SETS[name]
    target = part * most(sizes, cap, throwaway, name) * (1 - 1e-3)
    made = solve(tokens, target, cap=cap, throwaway=throwaway, params=params)
    assert made.rates @ tokens == pytest.approx(target, rel=1e-9, abs=1e-9)
    there = made.rates[tokens > 0]
    assert (np.diff(there) >= -1e-9 * there.max()).all() and (made.rates >= 0).all()
    if target == 0:
        return
    bounds = np.concatenate([[0.0], np.cumsum(tokens) / tokens.sum()])
    below = bounds[1:] <= made.cut + 1e-12
    assert made.cut == max(b for b in bounds if b <= throwaway) and not made.rates[below].any() and made.rates[~below & (tokens > 0)].all()
    assert made.p in params.p and 0 <= made.growth <= params.lambda_max
    last = int(np.flatnonzero(tokens)[-1])
    top, width = 1 - made.cut, (tokens[last] / tokens.sum()) * params.upper
    peak = made.scale * (quadrature(top, made.p, made.growth) - quadrature(max(top - width, 0.0), made.p, made.growth)) / width
    assert peak <= cap * (1 + 1e-6)  # the quadrature's own error over a narrow bucket
    assert made.growth == params.lambda_max or peak == pytest.approx(cap, rel=1e-5)  # no flatter than it must be


@settings(max_examples=50, deadline=None)
@given(PLAN)
def test_the_refusal_says_how_much_is_possible(plan: tuple[list[int], float, str, float, float]) -> None:
    sizes, _, name, cap, throwaway = plan
    limit = most(sizes, cap, throwaway, name)
    if limit > 10_000:
        solve(np.array(sizes), limit - 1, cap=cap, throwaway=throwaway, params=SETS[name])
        with pytest.raises(ConfigError):
            solve(np.array(sizes), limit + 1, cap=cap, throwaway=throwaway, params=SETS[name])


@settings(max_examples=50, deadline=None)
@given(PLAN, st.integers(2, 1000))
def test_rates_depend_on_proportions_only_and_an_empty_bucket_changes_no_other(plan: tuple[list[int], float, str, float, float], factor: int) -> None:
    sizes, part, name, cap, throwaway = plan
    tokens = np.array(sizes, float)
    target = 0.9 * part * most(sizes, cap, throwaway, name)
    made = solve(tokens, target, cap=cap, throwaway=throwaway, params=SETS[name]).rates
    assert not made[tokens == 0].any()
    for other, wanted, expected in ((tokens * factor, target * factor, made), (tokens[tokens > 0], target, made[tokens > 0])):
        np.testing.assert_allclose(solve(other, wanted, cap=cap, throwaway=throwaway, params=SETS[name]).rates, expected, rtol=1e-6, atol=1e-12)


def test_the_largest_target_is_that_of_the_published_code_and_the_refusal_names_it() -> None:
    even = np.full(20, 100.0)
    assert solve(even, 4.15 * 2000, params=SETS["A"]).p == 0.01  # as in the published code: 4.15 copies are possible, 4.20 are not
    with pytest.raises(ConfigError, match="over what the cap allows") as error:
        solve(even, 4.20 * 2000, params=SETS["A"], where="web/art")
    assert "web/art" in str(error.value) and "4.20 copies" in str(error.value) and "at most 8,3" in str(error.value)


def test_the_cut_is_the_last_boundary_not_above_the_throwaway() -> None:
    for sizes, cut in (
        ([40, 60], 0.4),
        ([0, 100, 0], 0.0),
        ([0, 40, 0, 60, 0], 0.4),
        ([41, 59], 0.0),
        ([30, 9, 61], 0.39),
        ([39, 2, 59], 0.39),
        ([100], 0.0),
        ([5] * 20, 0.4),
    ):
        made = solve(np.array(sizes, float), 50.0, throwaway=0.4)
        assert made.cut == pytest.approx(cut) and (made.rates > 0).tolist() == ((np.cumsum(sizes) > cut * 100 + 1e-9) & (np.array(sizes) > 0)).tolist()


@pytest.mark.parametrize("throwaway", [0.0, 0.4, 0.99, 1 - 1e-16])
@pytest.mark.parametrize("name", "ABC")
def test_a_topic_in_which_all_are_equal_is_one_bucket_that_is_repeated_as_it_must_be_and_never_cut(name: str, throwaway: float) -> None:
    for sizes in ([200.0], [0.0, 0.0, 200.0, 0.0]):
        made = solve(np.array(sizes), 500.0, throwaway=throwaway, params=SETS[name])
        assert made.rates.tolist() == pytest.approx([2.5 * (size > 0) for size in sizes], rel=1e-15) and made.cut == 0


def test_a_bucket_too_small_for_its_share_to_count_has_the_density_of_its_place() -> None:
    for sizes in ([100.0, 1e-9, 100.0, 1e-9], [1.0, 1e18, 1.0], [1e18, 1e-3]):
        tokens = np.array(sizes)
        for params in SETS.values():
            made = solve(tokens, 1.5 * tokens.sum(), throwaway=0.0, params=params)
            assert made.rates @ tokens == pytest.approx(1.5 * tokens.sum(), rel=1e-12) and (np.diff(made.rates) >= 0).all()
            there = np.array([0.0, *np.cumsum(tokens) / tokens.sum()])
            at = made.scale * there**made.p * np.exp(made.growth * there)
            assert (at[:-1] <= made.rates * (1 + 1e-9)).all() and (made.rates <= at[1:] * (1 + 1e-9)).all()


def test_the_mean_over_a_narrow_interval_is_that_of_quadrature() -> None:
    low, p, growth = np.array([0.3, 0.3, 0.9, 0.0]), np.array([0.4, 0.4, 2.0, 0.4]), np.array([20.0, 20.0, 0.2, 20.0])
    for width in (1e-15, 1e-9, 2.9e-4, 3.1e-4, 1e-2):
        part = integral(low + width, p, growth, terms(20.0)) - integral(low, p, growth, terms(20.0))
        made = mean(low, np.full(4, width), p, growth, part)
        nodes, weights = np.polynomial.legendre.leggauss(40)
        t = low[:, None] + width * (nodes + 1) / 2
        expected = (t ** p[:, None] * np.exp(growth[:, None] * t) * weights).sum(1) / 2
        np.testing.assert_allclose(made[:3], expected[:3], rtol=1e-11)
        assert made[3] * width == pytest.approx(quadrature(width, 0.4, 20.0), rel=1e-11)


def test_presets_are_ranges() -> None:
    assert SETS["A"].p == tuple(np.linspace(0.01, 2, 20)) and SETS["B"].p[0] == 0.4 and SETS["B"].lambda_max == 0.2
    assert SETS["C"] == Params((0.4,), 20.0, 0.5) == ranges((0.4, 0.4), 20.0, upper=0.5)
    made = solve(np.full(10, 10.0), 200.0, params=ranges((0.0, 3.0), 5.0, steps=4))
    assert made.p in (0, 1, 2, 3) and 0 < made.growth < 5


@pytest.mark.parametrize("ranged", [((), 1.0, 1.0), ((-0.1,), 1.0, 1.0), ((np.nan,), 1.0, 1.0), ((1.0,), -1.0, 1.0), ((1.0,), 501.0, 1.0),
                                    ((1.0,), np.nan, 1.0), ((1.0,), 1.0, 0.0), ((1.0,), 1.0, 1.1), ((1.0,), 1.0, np.nan)])  # fmt: skip
def test_ranges_of_no_rising_curve_are_refused(ranged: tuple[tuple[float, ...], float, float]) -> None:
    with pytest.raises(ConfigError, match="no ranges of a rising curve"):
        Params(*ranged)


def test_a_topic_is_solved_alike_alone_and_in_any_company() -> None:
    rng = np.random.default_rng(7)
    topics = [np.where(rng.random(size) < 0.2, 0, rng.integers(1, 1000, size)) + (np.arange(size) == 0) for size in rng.integers(1, 41, 1100).tolist()]
    targets = [2.5 * topic.sum() for topic in topics]
    for name, params in SETS.items():
        made = solve_many(topics, targets, cap=6.0, throwaway=0.3, params=params, fallback="cap")
        for row in (0, 1, 500, 1023, 1024, 1099):
            alone = solve(topics[row], targets[row], cap=6.0, throwaway=0.3, params=params, fallback="cap")
            assert alone.rates.tolist() == made[row].rates.tolist() and (alone.growth, alone.cap) == (made[row].growth, made[row].cap), name


def test_nothing_wanted_is_nothing_taken() -> None:
    assert solve(np.array([10.0, 20.0]), 0.0).rates.tolist() == [0.0, 0.0]
    assert solve(np.array([0.0, 0.0]), 0.0).rates.tolist() == [0.0, 0.0]
    assert solve(np.array([]), 0.0).rates.tolist() == []


@pytest.mark.parametrize("tokens", [[], [0.0], [0.0, 0.0]])
def test_a_topic_without_tokens_is_refused_by_its_name(tokens: list[float]) -> None:
    with pytest.raises(ConfigError, match="web/art: there are no tokens to repeat"):
        solve(np.array(tokens), 5.0, where="web/art")


@pytest.mark.parametrize(
    ("tokens", "target", "throwaway", "named"),
    [
        ([1.0, 2.0], -1.0, 0.4, "target -1"), ([1.0, 2.0], np.nan, 0.4, "target nan"), ([1.0, 2.0], np.inf, 0.4, "target inf"),
        ([1.0, -2.0], 1.0, 0.4, "least -2"), ([1.0, np.nan], 1.0, 0.4, "nan tokens"), ([1.0, np.inf], 1.0, 0.4, "inf tokens"),
        ([5e-324, 0.0], 1.0, 0.4, "target 1"), ([1.0, 2.0], 1.0, 1.0, "throwaway 1"), ([1.0, 2.0], 1.0, -0.1, "throwaway -0.1"),
        ([1.0, 2.0], 1.0, np.nan, "throwaway nan"),
    ],
)  # fmt: skip
def test_what_is_no_amount_is_refused_by_its_name(tokens: list[float], target: float, throwaway: float, named: str) -> None:
    with pytest.raises(ConfigError, match=f"web/art: a curve needs.*\n.*{named}"):
        solve(np.array(tokens), target, throwaway=throwaway, where="web/art")


@pytest.mark.parametrize("cap", [0.0, -1.0, np.nan, np.inf])
def test_a_cap_that_is_none_is_refused(cap: float) -> None:
    with pytest.raises(ConfigError, match=f"curve: a curve needs.*\n.*cap {cap}"):
        solve(np.array([1.0, 2.0]), 1.0, cap=cap)


@pytest.mark.parametrize("name", "ABC")
def test_the_steepest_curve_is_integrated_to_the_last_digits(name: str) -> None:
    made = solve(np.full(20, 100.0), 200.0, throwaway=0.0, params=SETS[name])
    assert made.growth == SETS[name].lambda_max and made.scale * quadrature(1.0, made.p, made.growth) == pytest.approx(0.1, rel=1e-12)
