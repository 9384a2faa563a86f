"""Mixes: shares and targets that are met, refusals that name the field or the shortage."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.core.errors import ConfigError, DolmaError, Errors
from dolma.core.recipe import STREAMS
from dolma.mix.curve import SETS, solve
from dolma.mix.plan import MIX, Upsampling, plan_mix
from dolma.mix.rates import Streams, rates
from dolma.mix.shares import Terms

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


def planned(rows: list[dict[str, Any]], tokens: int | None, shares: dict[str, float] | None, size: int = 1000, **params: Any) -> list[dict[str, Any]]:
    batches = pa.Table.from_pylist(rows, schema=STREAMS).to_batches(max_chunksize=size)
    made = plan_mix(iter(batches), folder=Path(), tokens=tokens, shares=shares, **params)
    assert made.schema == pa.schema(list(MIX.items()))
    return made.to_pylist()


def repeats(rows: list[dict[str, Any]], **only: Any) -> list[float]:
    return [row["repeats"] for row in rows if all(row[name] == value for name, value in only.items())]


def asked(rows: list[dict[str, Any]], tokens: int | None, shares: dict[str, float] | None, **params: Any) -> list[float]:
    """Copies of each stream before they are whole sequences."""
    empty: dict[str, Any] = {"topics": None, "languages": None, "upsampling": None, "max_repeats": 7.0}
    empty |= {name: {} for name in ("buckets", "repeats", "best", "floors", "min_repeats")}
    return rates(Streams.of(pa.Table.from_pylist(rows, schema=STREAMS)), Terms(**{"tokens": tokens, "shares": shares, **empty, **params}))[0].tolist()


def amount(made: list[dict[str, Any]], **only: Any) -> int:
    """Sequences that are served."""
    return sum(row["sequences"] for row in made if all(row[name] == value for name, value in only.items()))


def refused(rows: list[dict[str, Any]], tokens: int | None, shares: dict[str, float] | None, **params: Any) -> list[DolmaError]:
    with pytest.raises(DolmaError) as error:
        planned(rows, tokens, shares, **params)
    return list(error.value.errors) if isinstance(error.value, Errors) else [error.value]


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
    art, law = solve(np.full(5, 40.0), 0.7 * 500, **named).rates, solve(np.full(5, 60.0), 0.3 * 500, **named).rates
    assert asked(POOL, WEB, {"web": 1.0}, **settings)[:10] == pytest.approx([*art, *law])
    assert np.abs(np.array([row["sequences"] for row in made[:10]]) - [*(40 * art), *(60 * law)]).max() < 1
    assert (amount(made, topic="art"), amount(made, topic="law")) == (350, 150)
    assert planned(POOL[::-1], WEB, {"web": 1.0}, size=3, **settings) == made[::-1]


def test_absent_topics_are_as_they_are_in_the_pool() -> None:
    made = planned(POOL, WEB, {"web": 1.0}, upsampling=CURVE)
    assert (amount(made, topic="art"), amount(made, topic="law")) == (200, 300)


def test_topics_without_a_curve_have_their_shares_and_equal_repeats_within() -> None:
    made = planned(POOL, WEB, {"web": 1.0}, topics={"art": 0.7, "law": 0.3})
    assert repeats(made, topic="art") == pytest.approx([1.75] * 5) and repeats(made, topic="law") == pytest.approx([0.5] * 5)
    with pytest.raises(ConfigError, match=r"plan_mix: web/art: its share needs more repeats.*\n.*2\.50 copies"):
        planned(POOL, WEB, {"web": 1.0}, topics={"art": 1.0, "law": 0.0}, max_repeats=2.0)


def test_a_topic_that_is_not_named_gets_nothing() -> None:
    made = planned(POOL, WEB // 5, {"web": 1.0}, topics={"law": 1.0}, upsampling=CURVE)
    assert repeats(made, topic="art") == [0.0] * 5 and amount(made) == 100


def test_the_streams_of_one_cell_are_one_bucket() -> None:
    twice = [{**row, "sequences": row["sequences"] // 2, "tokens": row["tokens"] // 2} for row in POOL[:10]]
    split = [*twice, *({**row, "dataset": "shard/other"} for row in twice)]
    whole = planned(POOL[:10], WEB, {"web": 1.0}, upsampling=CURVE)
    both = planned(split, WEB, {"web": 1.0}, upsampling=CURVE)
    assert asked(split, WEB, {"web": 1.0}, upsampling=CURVE) == asked(POOL[:10], WEB, {"web": 1.0}, upsampling=CURVE) * 2
    assert amount(both) == amount(whole) == 500 and all(abs(a["sequences"] - b["sequences"] * 2) <= 2 for a, b in zip(whole, both, strict=False))


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
@given(SIZES, st.integers(1, 300), st.floats(0, 1).map(lambda share: round(share, 9)), st.floats(0, 2), st.sampled_from(["A", "B", "C"]))
def test_any_feasible_mix_has_its_shares_and_repeats_that_rise_with_quality(
    cells: list[tuple[str, str, int, int]], code: int, share: float, copies: float, name: str
) -> None:
    sizes = {cell[:3]: cell[3] for cell in cells}
    pool = [*(stream(*cell, size) for cell, size in sizes.items()), stream("code", None, 0, code)]
    quality = {source for source, *_ in sizes if any(size for cell, size in sizes.items() if cell[0] == source)}
    shares = {**{source: (1 - share) / len(quality) for source in quality}, "code": share if quality else 1.0}
    totals = {source: sum(row["tokens"] for row in pool if row["source"] == source) for source in shares}
    tokens = max(int(copies * min(totals[source] / part for source, part in shares.items() if part)), LENGTH)
    made = planned(pool, tokens, shares, upsampling=Upsampling(params=name))
    wanted = asked(pool, tokens, shares, upsampling=Upsampling(params=name))
    assert abs(amount(made) - tokens / LENGTH) <= 0.5 + 1e-5
    for source, part in shares.items():
        assert abs(amount(made, source=source) - part * tokens / LENGTH) < 1 + 1e-5
        for topic in ("art", "law", "home"):
            rows = sorted((row["vigintile"], rate) for row, rate in zip(pool, wanted, strict=True)
                          if row["tokens"] and (row["source"], row["topic"]) == (source, topic))  # fmt: skip
            found = [rate for _, rate in rows]
            assert (np.diff(found) >= -1e-9).all()
            if found and SETS[name].upper == 1.0:
                assert max(found) <= 7 * (1 + 1e-9)
    for before, rate, row in zip(pool, wanted, made, strict=True):
        assert row["sequences"] == int(before["sequences"] * row["repeats"]) and abs(row["sequences"] - before["sequences"] * rate) < 1 + 1e-5
        assert row["tokens"] == row["sequences"] * LENGTH


@pytest.mark.parametrize(
    ("shares", "named"),
    [
        ({"web": 0.5, "code": 0.4}, "sum 0.900000"), ({"web": 0.7, "code": 0.5}, "sum 1.200000"), ({}, "sum 0.000000"), ({"web": 0.0}, "sum 0.000000"),
        ({"web": 1.5, "code": -0.5}, "code: -0.5"), ({"web": NAN, "code": 0.5}, "web: nan"), ({"web": float("inf")}, "web: inf"),
        ({"web": 0.5, "books": 0.5}, "got code, math, web, expected books"),
    ],
)  # fmt: skip
def test_shares_that_cannot_be_are_refused(shares: dict[str, float], named: str) -> None:
    (error,) = refused(POOL, 1000, shares)
    assert error.where == "plan_mix: shares" and named in str(error)


@pytest.mark.parametrize(
    ("topics", "where", "named"),
    [
        ({"art": 0.5, "law": 0.4}, "topics", "sum 0.900000"),
        ({"art": 1.5, "law": -0.5}, "topics", "law: -0.5"), ({"art": NAN, "law": 0.5}, "topics", "art: nan"),
        ({"art": 0.5, "music": 0.5}, "topics of web", "no stream of topic music"), ({"web": {"art": 0.5}}, "topics.web", "sum 0.5"),
        ({"web": {"lwa": 1.0}}, "topics of web", "did you mean `law`?"), ({"wbe": {"art": 1.0}}, "topics", "no stream of source wbe"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("upsampling", [CURVE, None])
def test_topics_that_cannot_be_are_refused(topics: dict[str, Any], where: str, named: str, upsampling: Upsampling | None) -> None:
    (error,) = refused(POOL, 1000, {"web": 1.0}, topics=topics, upsampling=upsampling)
    assert error.where == f"plan_mix: {where}" and named in str(error)


def test_tenths_that_sum_to_one_but_for_rounding_are_taken() -> None:
    assert sum([0.1] * 10) != 1
    pool = [stream(f"s{k}", None, 0, 10) for k in range(10)]
    assert repeats(planned(pool, 10 * LENGTH, {f"s{k}": 0.1 for k in range(10)})) == pytest.approx([0.1] * 10)


@pytest.mark.parametrize("tokens", [0, -5])
def test_a_mix_of_no_tokens_is_refused(tokens: int) -> None:
    with pytest.raises(ConfigError, match=f"plan_mix: tokens.*\n.*got {tokens}"):
        planned(POOL, tokens, {"code": 1.0})


def test_a_mix_of_less_than_half_a_sequence_is_refused_and_half_of_one_served() -> None:
    with pytest.raises(ConfigError, match=r"(?s)plan_mix: tokens: the mix would have no sequence.*got 31 tokens.*64 tokens"):
        planned(POOL, 31, {"code": 1.0})
    with pytest.raises(ConfigError, match="the mix would have no sequence"):
        planned(POOL, None, None, repeats={"math": 0.001})
    assert amount(planned(POOL, 32, {"code": 1.0})) == 1


def test_a_source_over_its_repeats_is_refused_with_the_shortage() -> None:
    assert repeats(planned(POOL, 2100 * LENGTH, {"code": 1.0}), source="code") == [7.0]
    with pytest.raises(ConfigError, match=r"plan_mix: source code: .*\n.*140,800 tokens from 19,200 \(7\.33 copies\), expected at most 134,400 "):
        planned(POOL, 2200 * LENGTH, {"code": 1.0})
    with pytest.raises(ConfigError, match="plan_mix: max_repeats: a cap is a number above 0"):
        planned(POOL, 2200 * LENGTH, {"code": 1.0}, max_repeats=NAN)


def test_a_topic_over_the_cap_of_its_curve_is_refused_with_the_shortage() -> None:
    possible = 4.0 * 0.1 * 0.6**1.4 / (0.6**1.4 - 0.5**1.4) * 200 * LENGTH  # x^0.4 on [0, 0.6], its mean over [0.5, 0.6] at the cap
    named = rf"plan_mix: web/art: the target is over what the cap allows: .*\n  got 32,000 tokens of 12,800 .*, expected at most {possible:,.0f}"
    with pytest.raises(ConfigError, match=named):
        planned(POOL, WEB, {"web": 1.0}, topics={"art": 1.0}, upsampling=Upsampling(cap=4.0))


def test_best_that_leaves_nothing_or_names_no_source_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"plan_mix: source web(.|\n)*from 0,"):
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
    with pytest.raises(ConfigError, match=r"plan_mix: source web(.|\n)*from 0,"):
        planned(pool, 1000, {"web": 0.5, "code": 0.5}, upsampling=CURVE)
    assert repeats(planned(pool, 1000, {"web": 0.0, "code": 1.0}, upsampling=CURVE), source="web") == [0.0, 0.0]


def test_a_topic_whose_scores_are_all_equal_is_one_bucket_without_a_best_part() -> None:
    pool = [stream("web", "art", 1, 100), stream("code", None, 0, 100)]
    assert repeats(planned(pool, 250 * LENGTH, {"web": 1.0}, upsampling=CURVE), source="web") == pytest.approx([2.5])
    with pytest.raises(ConfigError, match=r"plan_mix: source web: (.|\n)*from 0,"):
        planned(pool, 250 * LENGTH, {"web": 1.0}, best={"web": 16})


def test_the_fields_of_a_curve_are_checked_before_anything_runs() -> None:
    for wrong in ({"cap": 0}, {"cap": NAN}, {"throwaway": 1.0}, {"throwaway": -0.1}, {"throwaway": NAN}, {"params": "D"}, {"capp": 7}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            plan_mix.params(tokens=1, shares={"web": 1.0}, upsampling=wrong)


def test_with_tokens_alone_every_source_is_as_large_as_in_the_pool() -> None:
    made = planned(POOL, 450 * LENGTH, None)
    assert [row["sequences"] for row in made] == [20] * 5 + [30] * 5 + [150, 25, 25]


def test_topics_and_languages_by_source() -> None:
    pool = [
        *(stream("web", topic, v, 50, lang) for lang in ("en", "de") for topic in ("art", "law") for v in (10, 20)),
        *(stream("code", t, 0, 60) for t in ("py", "rs")),
    ]
    shares = {"web": 0.5, "code": 0.5}
    made = planned(pool, 200 * LENGTH, shares, topics={"code": {"py": 0.9, "rs": 0.1}}, languages={"web": {"en": 0.75, "de": 0.25}})
    assert amount(made, lang="en") == 75 and amount(made, lang="de") == 25 and amount(made, topic="py") == 90 and amount(made, topic="rs") == 10
    both = planned(pool, 200 * LENGTH, shares, topics={"web": {"art": 0.8, "law": 0.2}}, languages={"web": {"en": 0.75, "de": 0.25}}, upsampling=CURVE)
    found = {(lang, topic): amount(both, lang=lang, topic=topic) for lang in ("en", "de") for topic in ("art", "law")}
    assert found == {("en", "art"): 60, ("en", "law"): 15, ("de", "art"): 20, ("de", "law"): 5}
    (error,) = refused(POOL, 1000, {"web": 1.0}, languages={"web": {"en": 1.0}})
    assert error.where == "plan_mix: languages of web" and "tag_cell: {by: [lang]}" in error.mend


def test_buckets_are_shares_of_vigintiles_and_best_is_a_flat_filter() -> None:
    made = planned(POOL, 300 * LENGTH, {"web": 1.0}, buckets={"web": {20: 0.5, 16: 0.3, 12: 0.2}}, upsampling=CURVE)
    assert [amount(made, vigintile=v) for v in (4, 8, 12, 16, 20)] == [0, 0, 60, 90, 150]
    assert amount(made, topic="art", vigintile=20) == 60  # as in the pool within a vigintile
    made = planned(POOL, 300 * LENGTH, {"web": 1.0}, topics={"art": 0.5, "law": 0.5}, buckets={"web": {20: 1.0}})
    assert repeats(made, topic="art", vigintile=20) == [3.75] and repeats(made, topic="law", vigintile=20) == [2.5]
    (error,) = refused(POOL, 300 * LENGTH, {"web": 1.0}, buckets={"web": {19: 1.0}})
    assert error.where == "plan_mix: buckets.web" and "vigintile 19" in error.what and error.got == "4, 8, 12, 16, 20"
    (error,) = refused(POOL, 900 * LENGTH, {"web": 1.0}, buckets={"web": {20: 1.0}})
    assert error.where == "plan_mix: web, vigintile 20" and "12,800 tokens are missing" in error.what


def test_repeats_are_taken_as_they_are_and_shares_divide_the_rest() -> None:
    made = planned(POOL, 1000 * LENGTH, {"web": 0.25, "code": 0.75}, repeats={"math": 2.0})
    assert repeats(made, source="math") == [2.0, 2.0] and amount(made, source="web") == 200 and amount(made, source="code") == 600
    made = planned(POOL, None, None, repeats={"math": 1, "web": {20: 4, 16: 0.5}})
    assert repeats(made, source="web") == [0, 0, 0, 0.5, 4] * 2 and amount(made) == 100 + 50 + 400 and repeats(made, source="code") == [0.0]
    assert refused(POOL, None, {"web": 1.0})[0].where == "plan_mix: tokens"
    assert refused(POOL, None, {"web": 1.0}, repeats={"web": 1.0})[-1].where == "plan_mix: repeats and shares"
    assert "`tokens: 12800`" in refused(POOL, 100 * LENGTH, {"web": 1.0}, repeats={"math": 2.0})[0].mend
    assert "at most 7" in str(refused(POOL, None, None, repeats={"math": 7.5})[0])


def test_floors_raise_the_small_and_leave_the_proportions_of_the_others() -> None:
    pool = [stream("web", None, 0, 900), stream("code", None, 0, 90), stream("wiki", None, 0, 10)]
    made = planned(pool, 500 * LENGTH, None, floors={"wiki": 0.05})
    assert [row["sequences"] for row in made] == [432, 43, 25]  # 475 in 900 : 90, and 25
    assert [row["sequences"] for row in planned(pool, 500 * LENGTH, None, min_repeats={"wiki": 1.0})] == [445, 45, 10]
    assert repeats(planned(pool, 100 * LENGTH, {"web": 1.0}, floors={"wiki": 0.1}), source="wiki") == [1.0]
    made = planned(POOL, WEB, {"web": 1.0}, floors={"web/art": 0.6}, upsampling=CURVE)
    assert (amount(made, topic="art"), amount(made, topic="law")) == (300, 200)
    assert refused(pool, 5 * LENGTH, None, min_repeats={"wiki": 1.0})[0].where == "plan_mix: floors of sources"
    assert refused(pool, 5 * LENGTH, None, floors={"wkii": 0.1})[0].mend == "did you mean `wiki`?"


def test_a_cap_of_one_source_or_topic_is_its_own() -> None:
    caps = {"code": 9.0, "web/art": 2.0}
    assert repeats(planned(POOL, 2400 * LENGTH, {"code": 1.0}, max_repeats=caps), source="code") == [8.0]
    for upsampling in (None, CURVE):
        (error,) = refused(POOL, 500 * LENGTH, {"web": 1.0}, topics={"art": 0.9, "law": 0.1}, max_repeats=caps, upsampling=upsampling)
        assert error.where == "plan_mix: web/art" and "tokens are missing" in error.what
    assert refused(POOL, 500 * LENGTH, {"web": 1.0}, max_repeats={"web/music": 2.0})[0].where == "plan_mix: max_repeats of web"


def test_all_that_is_short_is_said_at_once() -> None:
    errors = refused(POOL, 10_000 * LENGTH, {"web": 0.5, "code": 0.3, "math": 0.2})
    assert [error.where for error in errors] == [f"plan_mix: source {name}" for name in ("code", "math", "web")]


def ways(error: DolmaError) -> dict[str, float]:
    """The changes that a message offers, each with its number."""
    found = re.findall(r"`([a-z_./]+)` of at (?:most|least) ([\d.,]*\d)", error.mend)
    return {name: float(value.replace(",", "")) for name, value in found}


@pytest.mark.parametrize("upsampling", [None, CURVE, Upsampling(params="A", cap=3.0)])
@pytest.mark.parametrize("copies", [2.6, 5.13, 7.77])
def test_each_mend_of_a_shortage_suffices_alone_and_is_no_more_than_needed(upsampling: Upsampling | None, copies: float) -> None:
    tokens, cap = int(copies * 200 * LENGTH / 0.35), 2.0
    plan: dict[str, Any] = {"tokens": tokens, "shares": {"web": 0.7, "code": 0.3}, "topics": {"art": 0.5, "law": 0.5}, "upsampling": upsampling}
    plan["max_repeats"] = {"web": 100.0, "web/art": cap, "code": 100.0}

    def art(pool: list[dict[str, Any]] = POOL, **changed: Any) -> list[DolmaError]:
        try:
            asked(pool, **{**plan, **changed})
        except DolmaError as error:
            return [one for one in (error.errors if isinstance(error, Errors) else [error]) if one.where == "plan_mix: web/art"]
        return []

    (error,) = art()
    found = ways(error)
    assert not art(tokens=int(found["tokens"])) and art(tokens=int(found["tokens"]) + LENGTH)
    share, field = found["topics.art"], "max_repeats.web/art"
    assert not art(topics={"art": share, "law": 1 - share}) and art(topics={"art": share + 1e-4, "law": 1 - share - 1e-4})
    assert not art(max_repeats={**plan["max_repeats"], "web/art": found[field]}, upsampling=upsampling and Upsampling(params=upsampling.params, cap=99))
    assert art(max_repeats={**plan["max_repeats"], "web/art": found[field] - 1e-3}, upsampling=upsampling and Upsampling(params=upsampling.params, cap=99))
    if upsampling and "throwaway" in found:
        assert not art(upsampling=Upsampling(params=upsampling.params, throwaway=found["throwaway"]))
    (more,) = re.findall(r"([\d,]+) more tokens of data", error.mend)
    assert not art([{**row, "tokens": row["tokens"] + (-(-int(more.replace(",", "")) // 5) if row["topic"] == "art" else 0)} for row in POOL])


def test_the_order_of_sources_with_equal_remainders_is_that_of_their_names() -> None:
    pool = [stream(name, None, 0, 3) for name in "cab"]
    assert [row["sequences"] for row in planned(pool, 4 * LENGTH, dict.fromkeys("cab", 1 / 3))] == [1, 2, 1]
    assert [row["sequences"] for row in planned(pool[::-1], 4 * LENGTH, dict.fromkeys("cab", 1 / 3))] == [1, 2, 1]


def test_a_fallback_gives_way_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DolmaError, match="web/art"):
        planned(POOL, WEB, {"web": 1.0}, topics={"art": 1.0}, upsampling=Upsampling(cap=4.0))
    for fallback, said in (("throwaway", "throwaway lowered from 0.4"), ("cap", "cap raised from 4")):
        made = planned(POOL, WEB, {"web": 1.0}, topics={"art": 1.0}, upsampling=Upsampling(cap=4.0, fallback=fallback))
        assert abs(amount(made, topic="art") * LENGTH - WEB) <= LENGTH
        assert said in caplog.text
    with pytest.raises(DolmaError, match="web/art"):
        planned(POOL, WEB, {"web": 1.0}, topics={"art": 1.0}, upsampling=Upsampling(cap=4.0, fallback="cap"), max_repeats={"web/art": 5.0})


def test_a_curve_over_streams_without_vigintiles_says_that_it_has_no_effect(caplog: pytest.LogCaptureFixture) -> None:
    made = planned([stream("code", None, 0, 300)], 150 * LENGTH, {"code": 1.0}, upsampling=CURVE)
    assert repeats(made, source="code") == pytest.approx([0.5]) and "`upsampling` has no effect" in caplog.text
