"""Proposals: never worse than the prior, within limits, proven near the optimum, simulation and the exact optimum agree."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.core.errors import ConfigError
from dolma.mix import laws
from dolma.mix.limits import Limits, limit, nearest
from dolma.mix.propose import DOMAINS, TASKS, divergence, optimise, simulate
from dolma.mix.regress import Fit


def law(seed: int, domains: int, tasks: int, spread: float = 0.6) -> Fit:
    random = np.random.default_rng(seed)
    model = laws.LogLinear(random.uniform(0.3, 0.7, tasks), random.normal(-0.7, spread, (tasks, domains)))
    return Fit(tuple(f"d{i}" for i in range(domains)), tuple(f"t{i}" for i in range(tasks)), "log_linear", model)


@st.composite
def asked(draw: st.DrawFn) -> tuple[Fit, np.ndarray, Limits, float]:
    domains, tasks, seed = draw(st.integers(2, 12)), draw(st.integers(1, 20)), draw(st.integers(0, 2**32 - 1))
    tokens = 1e9 * np.exp(np.random.default_rng(seed).normal(0, 1.5, domains))
    made = law(seed, domains, tasks, draw(st.sampled_from([0.2, 1.0, 4.0])))
    limits = limit(made.domains, tokens, tokens.sum() * draw(st.floats(0.3, 3.5)), repeats=4)
    return made, tokens / tokens.sum(), limits, draw(st.sampled_from([0.0, 0.01, 0.05, 1.0]))


@settings(max_examples=60, deadline=None)
@given(asked())
def test_the_optimum_keeps_its_limits_and_is_proven(case: tuple[Fit, np.ndarray, Limits, float]) -> None:
    made, prior, limits, kl = case
    found = optimise(made, prior, limits=limits, kl=kl)
    assert found.weights.sum() == pytest.approx(1, abs=1e-9)
    assert (found.weights >= limits.lower - 1e-12).all()
    assert (found.weights <= limits.upper + 1e-12).all()
    assert found.gap is not None
    assert 0 <= found.gap <= 1e-5 * max(1.0, found.objective)
    assert found.mean <= found.prior_mean + 1e-12  # 4 repeats and a target of at most 3.5 pools: the prior is within the limits
    others = nearest(np.random.default_rng(0).dirichlet(np.ones(len(prior)), 200), limits)
    losses = made.predict(others).mean(1) + (kl * divergence(others, prior) if kl else 0.0)
    assert (losses >= found.objective - found.gap - 1e-12).all()


@settings(max_examples=15, deadline=None)
@given(asked())
def test_simulation_is_never_worse_than_the_prior_and_keeps_its_limits(case: tuple[Fit, np.ndarray, Limits, float]) -> None:
    made, prior, limits, kl = case
    found = simulate(made, prior, limits=limits, kl=kl, draws=500)
    assert found.weights.sum() == pytest.approx(1, abs=1e-9)
    assert (found.weights <= limits.upper + 1e-12).all()
    assert found.objective <= found.prior_mean + 1e-12
    assert found.gap is None


@pytest.mark.parametrize("kl", [0.0, 0.05])
def test_simulation_and_the_exact_optimum_agree(kl: float) -> None:
    """8 domains, 20 tasks, caps that bind: the published rounds, with a fifth of their draws, end within their 1e-3 of the optimum."""
    tokens = np.array([6e9, 4e9, 3e9, 2e9, 1e9, 8e8, 5e8, 3e8])
    made, prior = law(3, 8, 20), tokens / tokens.sum()
    limits = limit(made.domains, tokens, 2 * tokens.sum())
    exact, simulated = optimise(made, prior, limits=limits, kl=kl), simulate(made, prior, limits=limits, kl=kl, draws=20_000)
    assert exact.objective <= simulated.objective <= exact.objective + 1e-3
    assert np.abs(exact.weights - simulated.weights).sum() / 2 < 0.1
    assert exact.objective < exact.prior_mean - 2e-3


def test_rounds_reach_an_optimum_that_is_far_from_the_prior() -> None:
    """Two of 12 domains, which hold a hundredth of the tokens, are the best: no draw around the prior has them."""
    slopes = np.full((2, 12), 0.0)
    slopes[0, 0] = slopes[1, 1] = -2.0
    prior = np.full(12, 0.099)
    prior[:2] = 0.005
    made = Fit(tuple(map(str, range(12))), ("a", "b"), "log_linear", laws.LogLinear(np.zeros(2), slopes))
    one, ten = (simulate(made, prior, draws=5000, rounds=rounds).mean for rounds in (1, 10))
    best = optimise(made, prior, kl=0)
    assert best.weights[:2] == pytest.approx([0.5, 0.5], abs=1e-4)
    assert ten < best.mean + 0.02 < one


def test_the_solver_alone_is_near_the_optimum() -> None:
    for importance in (None, {"t0": 5.0, "t3": 1.0}):
        found = optimise(law(3, 8, 20), np.full(8, 0.125), kl=0.05, importance=importance, steps=0)
        assert found.gap is not None
        assert found.gap < 1e-6


def test_two_domains_have_the_optimum_of_a_fine_grid() -> None:
    made, prior = law(5, 2, 4, 1.0), np.array([0.8, 0.2])
    share = np.linspace(0, 1, 100_001)[1:-1]
    grid = np.stack([share, 1 - share], axis=1)
    objective = made.predict(grid).mean(1) + 0.05 * divergence(grid, prior)
    assert optimise(made, prior).weights == pytest.approx(grid[objective.argmin()], abs=2e-5)


def test_a_high_price_of_kl_gives_the_prior_and_none_a_corner() -> None:
    made, prior = law(2, 5, 1), np.array([0.4, 0.3, 0.1, 0.1, 0.1])
    assert optimise(made, prior, kl=1e4).weights == pytest.approx(prior, abs=1e-4)
    corner = optimise(made, prior, kl=0)
    assert corner.weights[made.parametric().slopes[0].argmin()] == pytest.approx(1, abs=1e-6)


def test_a_proposal_says_what_it_promises_which_caps_bind_and_how_often_domains_repeat() -> None:
    model = laws.LogLinear(np.array([0.5, 0.5]), np.array([[-1.0, -1.0, -4.0], [-1.0, -1.0, -0.9]]))
    made = Fit(("web", "pdf", "code"), ("mbpp", "qa"), "log_linear", model)
    tokens = np.array([5e9, 4e9, 1e9])
    found = optimise(made, tokens / 1e10, limits=limit(made.domains, tokens, 1e10), kl=0.01)
    assert found.binding == ("code",)
    assert found.weights == pytest.approx([0.6 * 5 / 9, 0.6 * 4 / 9, 0.4], abs=1e-6)
    assert found.repeats == pytest.approx([2 / 3, 2 / 3, 4.0], abs=1e-6)
    table, tasks = found.as_table(), found.tasks_table()
    assert (table.schema.names, tasks.schema.names) == (list(DOMAINS), list(TASKS))
    assert table["binds"].to_pylist() == [False, False, True]
    rows = {row["task"]: row for row in tasks.to_pylist()}
    assert rows["mbpp"]["prior"] == pytest.approx(0.5 + np.exp(-1.3))
    assert rows["mbpp"]["predicted"] == pytest.approx(0.5 + np.exp(-0.6 - 1.6), abs=1e-6)
    assert rows["qa"]["gain"] < 0 < rows["mbpp"]["gain"]
    assert found.mean == pytest.approx(np.mean([row["predicted"] for row in rows.values()]))
    assert found.divergence == pytest.approx(0.6 * np.log(0.6 / 0.9) + 0.4 * np.log(4), abs=1e-6)
    only = optimise(made, tokens / 1e10, limits=limit(made.domains, tokens, 1e10), kl=0.01, importance={"qa": 1.0})
    assert only.weights[2] < 0.1


def test_the_same_seed_gives_the_same_proposal() -> None:
    made, prior = law(1, 4, 3), np.full(4, 0.25)
    one, two, three = (simulate(made, prior, draws=2000, seed=seed) for seed in (0, 0, 1))
    assert (one.weights == two.weights).all()
    assert not (one.weights == three.weights).all()


def test_a_law_without_coefficients_is_simulated_and_not_optimised() -> None:
    class Bowl:
        def predict(self, weights: np.ndarray) -> np.ndarray:
            return ((weights - [0.2, 0.5, 0.3]) ** 2).sum(-1, keepdims=True)

    made = Fit(("a", "b", "c"), ("t",), "gaussian_process", Bowl())
    assert simulate(made, np.array([0.6, 0.2, 0.2])).weights == pytest.approx([0.2, 0.5, 0.3], abs=0.01)
    with pytest.raises(ConfigError, match="no coefficients"):
        optimise(made, np.array([0.6, 0.2, 0.2]))


@pytest.mark.parametrize(
    ("prior", "keywords", "says"),
    [
        ([0.5, 0.4, 0.3], {}, "a prior is a share"),
        ([0.5, 0.5], {}, "a prior is a share"),
        ([0.5, 0.3, 0.2], {"importance": {"mmlu": 1.0}}, "importance is of tasks"),
        ([0.5, 0.3, 0.2], {"kl": -1.0}, "nor is kl"),
        ([1.0, 0.0, 0.0], {"limits": Limits(np.zeros(3), np.full(3, 0.5))}, "cannot fill the mix"),
        ([0.5, 0.3, 0.2], {"limits": Limits(np.zeros(2), np.ones(2))}, "cannot fill the mix"),
    ],
)
def test_what_cannot_be_proposed_is_refused(prior: list[float], keywords: dict, says: str) -> None:
    for propose in (simulate, optimise):
        with pytest.raises(ConfigError, match=says):
            propose(law(0, 3, 2), np.array(prior), **keywords)


def test_a_linear_objective_fills_the_cheapest_domains_first() -> None:
    """With slopes near 0 the problem without KL is linear: its optimum is a vertex of the limits, found by trying all orders."""
    made = Fit(("a", "b", "c", "d"), ("t",), "log_linear", laws.LogLinear(np.zeros(1), 1e-3 * np.array([[3.0, 1.0, 4.0, 1.5]])))
    limits = Limits(np.full(4, 0.05), np.array([0.6, 0.3, 0.7, 0.4]))
    vertices = []
    for order in itertools.permutations(range(4)):
        weights = limits.lower.copy()
        for i in order:
            weights[i] += min(limits.upper[i] - weights[i], 1 - weights.sum())
        vertices.append(weights)
    found = optimise(made, np.full(4, 0.25), limits=limits, kl=0)
    assert found.mean == pytest.approx(min(made.predict(np.stack(vertices)).mean(1)), abs=1e-10)


@pytest.mark.parametrize("kl", [0.0, 1e-9, 0.05])
@pytest.mark.parametrize("prior", [[0.6, 0.4, 0.0], [1.0, 0.0, 0.0], [0.5, 0.5, 1e-300]])
def test_a_domain_without_a_prior_gets_nothing_at_any_price_of_kl(kl: float, prior: list[float]) -> None:
    made = Fit(("a", "b", "c"), ("t", "u"), "log_linear", laws.LogLinear(np.array([0.5, 0.6]), np.array([[-1.0, 0.2, -3.0], [0.1, -0.8, -2.0]])))  # c is best
    for found in (optimise(made, np.array(prior), kl=kl), simulate(made, np.array(prior), kl=kl, draws=500)):
        figures = [found.mean, found.prior_mean, found.divergence, found.objective, found.gap or 0.0, *found.losses]
        assert np.isfinite(figures).all() and np.isfinite(found.weights).all()
        assert found.weights.sum() == pytest.approx(1, abs=1e-9) and (found.weights[np.array(prior) == 0] == 0).all()
        assert found.objective <= found.prior_mean + 1e-12
    exact = optimise(made, np.array(prior), kl=kl)
    assert exact.gap is not None and exact.gap <= 1e-6
    if prior[2] == 0:
        alone = Fit(("a", "b"), ("t", "u"), "log_linear", laws.LogLinear(np.array([0.5, 0.6]), np.array([[-1.0, 0.2], [0.1, -0.8]])))
        assert exact.objective == pytest.approx(optimise(alone, np.array(prior[:2]), kl=kl).objective, abs=1e-6)
