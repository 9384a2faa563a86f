"""Rounds of mixing: products of weights, their order, supply of a frozen mix. Which runs an added source leaves as they are: tests/swarm."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.core.errors import ConfigError
from dolma.mix.conditional import Frozen, as_table, check, expand, freeze, from_table, supply
from dolma.mix.limits import limit
from dolma.mix.swarm import Design, designs

TOPICS = freeze("web", {"science": 3.0, "games": 1.0, "fashion": 0.0})
SOURCES = freeze("pool", {"web": 0.8, "pdf": 0.2})


def test_a_frozen_mix_keeps_ratios_and_leaves_out_what_has_no_weight() -> None:
    assert TOPICS.ratios == {"science": 0.75, "games": 0.25}
    assert freeze("web", {"science": 0.3, "games": 0.1, "code": 0.6}, ["science", "games"]).ratios == pytest.approx({"science": 0.75, "games": 0.25})


def test_nested_rounds_expand_to_the_products_in_place() -> None:
    names, weights = expand(["code", "pool", "math"], np.array([0.25, 0.5, 0.25]), [TOPICS, SOURCES])
    assert names == ["code", "science", "games", "pdf", "math"]
    assert weights.tolist() == [0.25, 0.5 * 0.8 * 0.75, 0.5 * 0.8 * 0.25, 0.5 * 0.2, 0.25]
    assert expand(["code", "math"], np.array([0.5, 0.5]), [TOPICS, SOURCES])[0] == ["code", "math"]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 6))
def test_rows_of_a_swarm_expand_to_mixes_with_the_ratios_of_every_round(seed: int, rounds: int, parts: int) -> None:
    random = np.random.default_rng(seed)
    history: list[Frozen] = []
    flat: dict[str, float] = {}
    for number in range(rounds):
        names = ([history[-1].name] if history else []) + [f"r{number}d{i}" for i in range(parts)]
        ratios = random.dirichlet(np.ones(len(names)))
        history.append(freeze(f"r{number}", dict(zip(names, ratios.tolist(), strict=True))))
        flat = {name: share * history[-1].ratios.get(f"r{number - 1}", 0.0) for name, share in flat.items()}
        flat |= {name: ratio for name, ratio in history[-1].ratios.items() if name not in {frozen.name for frozen in history}}
    rows = random.dirichlet([1, 1], 7)
    names, weights = expand([history[-1].name, "new"], rows, history)
    assert weights.sum(1) == pytest.approx(np.ones(7), abs=1e-12)
    for name, column in zip(names, weights.T, strict=True):
        assert column == pytest.approx(rows[:, 1] if name == "new" else rows[:, 0] * flat[name], rel=1e-12, abs=1e-300)


def test_the_record_keeps_the_order_of_rounds() -> None:
    table = as_table([TOPICS, SOURCES])
    assert table.to_pylist()[2] == {"round": 2, "name": "pool", "domain": "web", "frozen": True, "ratio": 0.8}
    assert from_table(table.take([3, 2, 1, 0])) == [TOPICS, SOURCES]
    assert as_table([TOPICS, SOURCES]) != as_table([Frozen("pool", {"pdf": 1.0}), TOPICS])


@pytest.mark.parametrize(
    "rounds",
    [
        [SOURCES, TOPICS],  # pool names web before it is found
        [TOPICS, TOPICS],
        [TOPICS, SOURCES, Frozen("late", {"science": 1.0})],  # science is in web already
        [TOPICS, SOURCES, Frozen("late", {"web": 1.0})],
        [Frozen("self", {"self": 1.0})],
    ],
)
def test_rounds_out_of_order_are_refused(rounds: list[Frozen]) -> None:
    with pytest.raises(ConfigError, match="in the order they were found"):
        check(rounds)


def test_what_cannot_be_frozen_or_expanded_is_refused() -> None:
    for name, weights, parts in [
        ("a", {"a": 1.0}, None),
        ("m", {"a": 0.0}, None),
        ("m", {"a": 1.0}, ["b"]),
        ("m", {"a": -1.0, "b": 3.0}, None),
        ("m", {}, None),
    ]:
        with pytest.raises(ConfigError, match="mix: freeze"):
            freeze(name, weights, parts)
    with pytest.raises(ConfigError, match="both in the mix and in its frozen part"):
        expand(["web", "games"], np.array([0.5, 0.5]), [TOPICS])


def test_no_part_of_a_virtual_domain_repeats_more_than_allowed() -> None:
    """science is the scarce part: 30 tokens are 3/4 of 40."""
    tokens = {"science": 30.0, "games": 90.0}
    assert supply(tokens, TOPICS) == 40.0
    sizes = np.array([supply(tokens, TOPICS), 300.0])
    target = 400.0
    made = designs(["web", "code"], sizes, target, Design(runs=20, repeats=4, prior={"web": 0.7, "code": 0.3}))
    assert made[:, 0].max() == pytest.approx(limit(["web", "code"], sizes, target, repeats=4).upper[0], abs=1e-8)
    names, weights = expand(["web", "code"], made, [TOPICS])
    served = dict(zip(names, (weights * target).max(0), strict=True))
    assert served["science"] / tokens["science"] == pytest.approx(4, abs=1e-6)
    assert served["games"] / tokens["games"] < 4
