"""Designs of a swarm: a golden draw, what must hold for any, how they grow, the moments of a Dirichlet, refusals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from dolma.core.errors import ConfigError
from dolma.mix.limits import limit
from dolma.mix.swarm import GRID, Design, designs, natural

NAMES = ["web", "pdf", "code", "math", "wiki"]
TOKENS = np.array([6e9, 3e9, 8e8, 1.5e8, 5e7])
GOLDEN = [  # in units of 2^-30
    [429496730, 644245094, 0],
    [931662115, 129603112, 12476597],
    [948730104, 0, 125011720],
    [214748366, 644245094, 214748364],
    [858993460, 0, 214748364],
]


def test_a_design_is_the_same_on_every_machine() -> None:
    made = designs(["a", "b", "c"], np.array([6e9, 3e9, 1e9]), 2e10, Design(runs=5, seed=7))
    assert (made / GRID).tolist() == GOLDEN


@st.composite
def asked(draw: st.DrawFn) -> tuple[list[str], np.ndarray, float, Design]:
    domains = draw(st.integers(5, 16))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    tokens = 1e9 * np.exp(random.uniform(-1, 1, domains))
    names = [f"d{i}" for i in range(domains)]
    repeats = draw(st.sampled_from([4.0, 7.0]))
    held = draw(st.sampled_from([{}, {"d0": 0.001}]))
    below = draw(st.sampled_from(["drop", "raise"]))
    design = Design(
        runs=draw(st.integers(1, 40)), seed=draw(st.integers(0, 99)), repeats=repeats, held=held, below=below, temperature=draw(st.sampled_from([0.7, 1.0]))
    )
    return names, tokens, tokens.sum() * draw(st.floats(0.5, repeats / 2.5)), design


@settings(max_examples=40, deadline=None)
@given(asked())
def test_every_design_sums_to_one_keeps_its_limits_and_repeats_none(case: tuple[list[str], np.ndarray, float, Design]) -> None:
    names, tokens, target, design = case
    made = designs(names, tokens, target, design)
    slack = GRID * len(names)
    assert made.shape == (design.runs, len(names))
    assert (made.sum(1) == 1).all()
    assert (made <= limit(names, tokens, target, repeats=design.repeats).upper + slack).all()
    others = [i for i, name in enumerate(names) if name not in design.held]
    assert ((made[:, others] >= design.minimum - slack) | ((made[:, others] == 0) & (design.below == "drop"))).all()
    assert all(made[:, names.index(name)] == pytest.approx(weight, abs=slack) for name, weight in design.held.items())
    apart = np.abs(made[:, None] - made[None]).sum(-1) / 2
    assert (apart[np.triu_indices(len(made), 1)] >= design.distance).all()


def test_a_larger_swarm_begins_with_the_smaller() -> None:
    small, large = (designs(NAMES, TOKENS, 2e10, Design(runs=runs, seed=3, distance=0.02)) for runs in (24, 64))
    assert (large[:24] == small).all()
    assert not (designs(NAMES, TOKENS, 2e10, Design(runs=24, seed=4, distance=0.02)) == small).all()


def test_draws_have_the_moments_of_a_dirichlet() -> None:
    """At one strength s, mean p and variance p (1 - p) / (s + 1); limits and distance are lifted."""
    made = designs(NAMES, TOKENS, 1e6, Design(runs=4000, strength=(3.0, 3.0), minimum=0, distance=0))
    prior = TOKENS / TOKENS.sum()
    assert made.mean(0) == pytest.approx(prior, abs=0.015)
    assert made.var(0) == pytest.approx(prior * (1 - prior) / 4, rel=0.1, abs=3e-4)


def test_a_strong_prior_draws_near_it_and_a_weak_one_at_the_corners() -> None:
    strong, weak = (designs(NAMES, TOKENS, 1e6, Design(runs=60, strength=(s, s), distance=0)) for s in (200.0, 0.1))
    assert np.abs(strong - TOKENS / TOKENS.sum()).sum(1).max() < 0.3
    assert np.median(weak.max(1)) > 0.95


def test_the_prior_is_natural_tempered_or_manual() -> None:
    assert natural(NAMES, TOKENS, Design(runs=1)) == pytest.approx(TOKENS / TOKENS.sum(), abs=1e-15)
    flat = natural(NAMES, TOKENS, Design(runs=1, temperature=0.7))
    assert flat[0] / flat[4] == pytest.approx((6e9 / 5e7) ** 0.7)
    manual = Design(runs=40, prior={"web": 0.75, "code": 0.25}, strength=(50.0, 50.0), distance=0)
    assert designs(["web", "code"], np.array([1e9, 9e9]), 1e6, manual).mean(0) == pytest.approx([0.75, 0.25], abs=0.03)


@pytest.mark.parametrize(
    ("keywords", "says"),
    [
        ({"prior": {"web": 1.0}}, "a manual prior gives each domain"),
        ({"prior": dict.fromkeys(NAMES, 0.3)}, "sum 1.5"),
        ({"minimum": 0.3, "below": "raise", "repeats": 1e4}, "least weights sum to 1.5"),
        ({"repeats": 1.0}, "caps to 0.5"),
        ({"minimum": 0.05}, "no run could hold math, wiki"),
        ({"distance": 0.9}, "not so many different mixes"),
        ({"held": {"law": 0.1}}, "no domain law"),
    ],
)
def test_what_cannot_be_drawn_is_refused(keywords: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        designs(NAMES, TOKENS, 2e10, Design(runs=16, **keywords))


def test_a_block_with_an_unknown_key_or_no_runs_is_refused() -> None:
    for block in ({"runs": 4, "sead": 1}, {"runs": 0}, {"runs": 4, "strength": (0, 1)}, {"runs": 4, "strength": (5, 1)}):
        with pytest.raises(ValidationError):
            Design.model_validate(block)
