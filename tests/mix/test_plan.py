"""Mixes: shares and targets that are met, refusals that name the field or the shortage."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.core.errors import ConfigError
from dolma.core.recipe import STREAMS
from dolma.mix.curve import SETS, solve
from dolma.mix.plan import MIX, Upsampling, plan_mix

NAN = float("nan")
LENGTH = 64  # tokens of a sequence


def stream(source: str, topic: str | None, vigintile: int, sequences: int, lang: str | None = None, dataset: str = "shard/pool") -> dict[str, Any]:
    name = f"{source}/{f'{lang}/' if lang else ''}{topic or 'all'}/{vigintile:02d}"
    return dict(zip(STREAMS.names, (dataset, name, source, topic, vigintile, lang, sequences, sequences * LENGTH), strict=True))


POOL = [
    *(stream("web", topic, vigintile, size) for topic, size in (("art", 40), ("law", 60)) for vigintile in (4, 8, 12, 16, 20)),
    stream("code", None, 0, 300), stream("math", None, 0, 50), stream("math", "", 0, 50),
]  # fmt: skip
WEB = 500 * LENGTH  # tokens of the web in POOL
CURVE = Upsampling()


def planned(rows: list[dict[str, Any]], tokens: int, shares: dict[str, float], size: int = 1000, **params: Any) -> list[dict[str, Any]]:
    batches = pa.Table.from_pylist(rows, schema=STREAMS).to_batches(max_chunksize=size)
    made = plan_mix(iter(batches), folder=Path(), tokens=tokens, shares=shares, **params)
    assert made.schema == pa.schema(list(MIX.items()))
    return made.to_pylist()


def repeats(rows: list[dict[str, Any]], **only: Any) -> list[float]:
    return [row["repeats"] for row in rows if all(row[name] == value for name, value in only.items())]


def amount(pool: list[dict[str, Any]], made: list[dict[str, Any]], **only: Any) -> float:
    """Tokens that the repeats ask for, before they are whole sequences."""
    return sum(a["tokens"] * b["repeats"] for a, b in zip(pool, made, strict=True) if all(a[name] == value for name, value in only.items()))


def test_without_a_curve_every_token_of_a_source_is_repeated_the_same() -> None:
    made = planned(POOL, 1000 * LENGTH, {"web": 0.25, "code": 0.6, "math": 0.15})
    assert repeats(made, source="web") == [0.5] * 10 and repeats(made, source="code") == [2.0] and repeats(made, source="math") == [1.5] * 2
    assert [row["sequences"] for row in made] == [20] * 5 + [30] * 5 + [600, 75, 75]
    assert all(row["tokens"] == row["sequences"] * LENGTH for row in made)


def test_a_source_that_is_not_named_or_has_share_zero_is_there_and_gets_nothing() -> None:
    made = planned(POOL, 100 * LENGTH, {"code": 1.0, "math": 0.0, "books": 0.0})
    assert len(made) == len(POOL) and repeats(made, source="web") == [0.0] * 10 and repeats(made, source="math") == [0.0] * 2


@pytest.mark.parametrize("curve", [CURVE, Upsampling(params="A"), Upsampling(params="B", throwaway=0.2), Upsampling(cap=3.5, throwaway=0.0)])
def test_with_a_curve_each_topic_is_that_of_the_curve_in_any_order_of_rows(curve: Upsampling) -> None:
    settings = {"topics": {"art": 0.7, "law": 0.3}, "upsampling": curve}
    made = planned(POOL, WEB, {"web": 1.0}, **settings)
    named = {"cap": curve.cap, "throwaway": curve.throwaway, "params": SETS[curve.params]}
    assert repeats(made, topic="art") == solve(np.full(5, 40.0), 0.7 * 500, **named).rates.tolist()
    assert repeats(made, topic="law") == solve(np.full(5, 60.0), 0.3 * 500, **named).rates.tolist()
    assert planned(POOL[::-1], WEB, {"web": 1.0}, size=3, **settings) == made[::-1]


def test_absent_topics_are_as_they_are_in_the_pool() -> None:
    made = planned(POOL, WEB, {"web": 1.0}, upsampling=CURVE)
    assert amount(POOL, made, topic="art") == pytest.approx(0.4 * WEB) and amount(POOL, made, topic="law") == pytest.approx(0.6 * WEB)


def test_topics_without_a_curve_have_their_shares_and_equal_repeats_within() -> None:
    made = planned(POOL, WEB, {"web": 1.0}, topics={"art": 0.7, "law": 0.3})
    assert repeats(made, topic="art") == pytest.approx([1.75] * 5) and repeats(made, topic="law") == pytest.approx([0.5] * 5)
    with pytest.raises(ConfigError, match=r"plan_mix: web/art: its share needs more repeats.*\n.*2\.50 copies"):
        planned(POOL, WEB, {"web": 1.0}, topics={"art": 1.0, "law": 0.0}, max_repeats=2.0)


def test_a_topic_that_is_not_named_gets_nothing() -> None:
    made = planned(POOL, WEB // 5, {"web": 1.0}, topics={"law": 1.0}, upsampling=CURVE)
    assert repeats(made, topic="art") == [0.0] * 5 and amount(POOL, made) == pytest.approx(WEB // 5)


def test_the_streams_of_one_cell_are_one_bucket() -> None:
    twice = [{**row, "sequences": row["sequences"] // 2, "tokens": row["tokens"] // 2} for row in POOL[:10]]
    split = [*twice, *({**row, "dataset": "shard/other"} for row in twice)]
    whole = planned(POOL[:10], WEB, {"web": 1.0}, upsampling=CURVE)
    assert repeats(planned(split, WEB, {"web": 1.0}, upsampling=CURVE)) == repeats(whole) * 2


def test_best_takes_only_the_upper_vigintiles() -> None:
    made = planned(POOL, 200 * LENGTH, {"web": 0.5, "code": 0.5}, best={"web": 16})
    assert repeats(made, source="web") == [0.0, 0.0, 0.0, 0.5, 0.5] * 2


def test_a_changed_share_changes_only_the_rows_of_its_sources() -> None:
    one = planned(POOL, WEB, {"web": 0.6, "code": 0.3, "math": 0.1}, upsampling=CURVE)
    other = planned(POOL, WEB, {"web": 0.5, "code": 0.4, "math": 0.1}, upsampling=CURVE)
    fixed = [name for name in MIX if name not in ("repeats", "sequences", "tokens")]
    for before, after, row in zip(one, other, POOL, strict=True):
        assert [before[name] for name in fixed] == [after[name] for name in fixed] == [row[name] for name in fixed]
        if row["source"] == "math":
            assert before == after
    assert [row for row in one if row["source"] == "code"] != [row for row in other if row["source"] == "code"]


SIZES = st.lists(st.tuples(st.sampled_from(["web", "pdf"]), st.sampled_from(["art", "law", "home"]), st.integers(1, 20), st.integers(0, 400)), max_size=30)


@settings(max_examples=120, deadline=None)
@given(SIZES, st.integers(1, 300), st.floats(0, 1), st.floats(0, 2), st.sampled_from(["A", "B", "C"]))
def test_any_feasible_mix_has_its_shares_and_repeats_that_rise_with_quality(
    cells: list[tuple[str, str, int, int]], code: int, share: float, copies: float, name: str
) -> None:
    sizes = {cell[:3]: cell[3] for cell in cells}
    pool = [*(stream(*cell, size) for cell, size in sizes.items()), stream("code", None, 0, code)]
    quality = {source for source, *_ in sizes if any(size for cell, size in sizes.items() if cell[0] == source)}
    shares = {**{source: (1 - share) / len(quality) for source in quality}, "code": share if quality else 1.0}
    totals = {source: sum(row["tokens"] for row in pool if row["source"] == source) for source in shares}
    tokens = int(copies * min(totals[source] / part for source, part in shares.items() if part)) or 1
    made = planned(pool, tokens, shares, upsampling=Upsampling(params=name))
    for source, part in shares.items():
        assert amount(pool, made, source=source) == pytest.approx(part * tokens, rel=1e-9)
        for topic in ("art", "law", "home"):
            rates = [b["repeats"] for a, b in sorted(zip(pool, made, strict=True), key=lambda pair: pair[0]["vigintile"])
                     if a["tokens"] and (a["source"], a["topic"]) == (source, topic)]  # fmt: skip
            assert (np.diff(rates) >= -1e-9).all()
            if rates and SETS[name].upper == 1.0:
                assert max(rates) <= 7 * (1 + 1e-9)
    for before, row in zip(pool, made, strict=True):
        assert row["repeats"] >= 0 and 0 <= before["sequences"] * row["repeats"] - row["sequences"] < 1
        assert row["tokens"] == row["sequences"] * LENGTH


@pytest.mark.parametrize(
    ("shares", "named"),
    [
        ({"web": 0.5, "code": 0.4}, "sum 0.900000"), ({"web": 0.7, "code": 0.5}, "sum 1.200000"), ({}, "sum 0.000000"),
        ({"web": 1.5, "code": -0.5}, "'code': -0.5"), ({"web": NAN, "code": 0.5}, "'web': nan"), ({"web": float("inf")}, "sum inf"),
        ({"web": 0.5, "books": 0.5}, "got code, math, web, expected books"),
    ],
)  # fmt: skip
def test_shares_that_cannot_be_are_refused(shares: dict[str, float], named: str) -> None:
    with pytest.raises(ConfigError, match=r"plan_mix: shares") as error:
        planned(POOL, 1000, shares)
    assert named in str(error.value)


@pytest.mark.parametrize(
    ("topics", "named"),
    [
        ({"art": 0.5, "law": 0.4}, "sum 0.900000"), ({"art": 1.5, "law": -0.5}, "'law': -0.5"), ({"art": NAN, "law": 0.5}, "'art': nan"),
        ({"art": 0.5, "music": 0.5}, "unknown ['music']"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("upsampling", [CURVE, None])
def test_topics_that_cannot_be_are_refused(topics: dict[str, float], named: str, upsampling: Upsampling | None) -> None:
    with pytest.raises(ConfigError, match="plan_mix: topics of web") as error:
        planned(POOL, 1000, {"web": 1.0}, topics=topics, upsampling=upsampling)
    assert named in str(error.value)


def test_tenths_that_sum_to_one_but_for_rounding_are_taken() -> None:
    assert sum([0.1] * 10) != 1
    pool = [stream(f"s{k}", None, 0, 10) for k in range(10)]
    assert repeats(planned(pool, 10 * LENGTH, {f"s{k}": 0.1 for k in range(10)})) == pytest.approx([0.1] * 10)


@pytest.mark.parametrize("tokens", [0, -5])
def test_a_mix_of_no_tokens_is_refused(tokens: int) -> None:
    with pytest.raises(ConfigError, match=f"plan_mix: tokens.*\n.*got {tokens}"):
        planned(POOL, tokens, {"code": 1.0})


def test_a_source_over_its_repeats_is_refused_with_the_shortage() -> None:
    assert repeats(planned(POOL, 2100 * LENGTH, {"code": 1.0}), source="code") == [7.0]
    with pytest.raises(ConfigError, match=r"plan_mix: source code: .*\n.*140,800 tokens from 19,200 \(7\.33 copies\), expected at most 7"):
        planned(POOL, 2200 * LENGTH, {"code": 1.0})
    with pytest.raises(ConfigError, match="at most nan"):
        planned(POOL, 2200 * LENGTH, {"code": 1.0}, max_repeats=NAN)


def test_a_topic_over_the_cap_of_its_curve_is_refused_with_the_shortage() -> None:
    possible = 4.0 * 0.1 * 0.6**1.4 / (0.6**1.4 - 0.5**1.4) * 200 * LENGTH  # x^0.4 on [0, 0.6], its mean over [0.5, 0.6] at the cap
    named = rf"plan_mix: web/art: the target is over what the cap allows\n  got 32,000 tokens of 12,800 .*, expected at most {possible:,.0f}"
    with pytest.raises(ConfigError, match=named):
        planned(POOL, WEB, {"web": 1.0}, topics={"art": 1.0}, upsampling=Upsampling(cap=4.0))


def test_best_that_leaves_nothing_or_names_no_source_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"plan_mix: source web.*\n.*from 0 "):
        planned(POOL, 1000, {"web": 1.0}, best={"web": 21})
    with pytest.raises(ConfigError, match="plan_mix: best: no stream of source wbe"):
        planned(POOL, 1000, {"web": 1.0}, best={"wbe": 16})


def test_an_empty_cell_is_repeated_nowhere_and_changes_no_other() -> None:
    empty = stream("web", "art", 18, 0)
    made = planned([*POOL, empty], WEB, {"web": 1.0}, upsampling=CURVE)
    assert made[:-1] == planned(POOL, WEB, {"web": 1.0}, upsampling=CURVE)
    assert (made[-1]["repeats"], made[-1]["sequences"], made[-1]["tokens"]) == (0.0, 0, 0)


@pytest.mark.parametrize("upsampling", [CURVE, None])
def test_an_empty_topic_is_refused_when_something_is_wanted_of_it(upsampling: Upsampling | None) -> None:
    pool = [*POOL, stream("web", "home", 4, 0), stream("web", "home", 20, 0)]
    assert [row["sequences"] for row in planned(pool, WEB, {"web": 1.0}, upsampling=upsampling)[-2:]] == [0, 0]
    with pytest.raises(ConfigError, match="plan_mix: web/home"):
        planned(pool, WEB, {"web": 1.0}, topics={"art": 0.5, "law": 0.4, "home": 0.1}, upsampling=upsampling)


def test_a_source_whose_cells_are_all_empty_is_refused_unless_nothing_is_wanted() -> None:
    pool = [*POOL[10:], stream("web", "art", 4, 0), stream("web", "art", 20, 0)]
    with pytest.raises(ConfigError, match=r"plan_mix: source web.*\n.*from 0 "):
        planned(pool, 1000, {"web": 0.5, "code": 0.5}, upsampling=CURVE)
    assert repeats(planned(pool, 1000, {"web": 0.0, "code": 1.0}, upsampling=CURVE), source="web") == [0.0, 0.0]


def test_a_topic_whose_scores_are_all_equal_is_one_bucket_without_a_best_part() -> None:
    pool = [stream("web", "art", 1, 100), stream("code", None, 0, 100)]
    assert repeats(planned(pool, 250 * LENGTH, {"web": 1.0}, upsampling=CURVE), source="web") == pytest.approx([2.5])
    with pytest.raises(ConfigError, match=r"plan_mix: source web: .*\n.*from 0 "):
        planned(pool, 250 * LENGTH, {"web": 1.0}, best={"web": 16})


def test_the_fields_of_a_curve_are_checked_before_anything_runs() -> None:
    for wrong in ({"cap": 0}, {"cap": NAN}, {"throwaway": 1.0}, {"throwaway": -0.1}, {"throwaway": NAN}, {"params": "D"}, {"capp": 7}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            plan_mix.params(tokens=1, shares={"web": 1.0}, upsampling=wrong)
