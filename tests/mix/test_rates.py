"""Copies of streams under caps of two kinds, and at the ends of what a double can hold."""

import math
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
from dolma.mix.plan import Upsampling, plan_mix
from dolma.mix.rates import Streams, rates
from dolma.mix.shares import LARGEST, LEAST, Terms

LENGTH = 64
EMPTY: dict[str, Any] = {"topics": None, "languages": None, "upsampling": None, "max_repeats": {}}
EMPTY |= {name: {} for name in ("buckets", "repeats", "best", "floors", "min_repeats")}


def stream(source: str, topic: str | None, vigintile: int, tokens: int) -> dict[str, Any]:
    name = f"{source}/{topic or 'all'}/{vigintile:02d}"
    return dict(zip(STREAMS.names, ("shard/x", name, source, topic, vigintile, None, -(-tokens // LENGTH), tokens), strict=True))


def copies(rows: list[dict[str, Any]], tokens: int | None, shares: dict[str, float] | None, **params: Any) -> np.ndarray:
    """Copies of each stream, (streams,)."""
    streams = Streams.of(pa.Table.from_pylist(rows, schema=STREAMS))
    return rates(streams, Terms(**{"tokens": tokens, "shares": shares, **EMPTY, **params}))[0]


WEB = [*(stream("web", "art", v, 640) for v in (4, 8, 12, 16, 20)), *(stream("web", "law", v, 1280) for v in (5, 10, 15, 20))]
CODE = stream("code", None, 0, 3200)


def test_a_cap_of_the_curve_above_seven_is_one_without_another_field() -> None:
    wanted = 17 * (5 * 640 + 4 * 1280) // 2  # 8.5 copies
    made = copies([*WEB, CODE], wanted, {"web": 1.0}, upsampling=Upsampling(cap=12.0, throwaway=0.0))
    assert 8.5 < made.max() <= 12 and made @ np.array([row["tokens"] for row in [*WEB, CODE]]) == pytest.approx(wanted)
    even = [stream("web", "art", 20, 640)]
    assert copies(even, 640 * 11, {"web": 1.0}, upsampling=Upsampling(params="B", cap=12.0)).tolist() == pytest.approx([11.0])
    with pytest.raises(ConfigError, match="`cap` of at least 13"):
        copies(even, 640 * 13, {"web": 1.0}, upsampling=Upsampling(params="B", cap=12.0))
    with pytest.raises(ConfigError, match=r"(?s)source code: .*`max_repeats` of at least 8"):  # no curve: seven
        copies([*WEB, CODE], 8 * 3200, {"code": 1.0}, upsampling=Upsampling(cap=12.0))


@pytest.mark.parametrize("said", [5.0, {"web": 5.0}, {"web/art": 5.0}])
@pytest.mark.parametrize("fallback", ["none", "throwaway", "cap"])
@pytest.mark.parametrize("cap", [7.0, 12.0])
def test_what_the_recipe_says_of_all_of_a_source_or_of_a_topic_is_never_overruled_by_a_curve(said: Any, fallback: str, cap: float) -> None:
    even, shares, curve = [stream("web", "art", 20, 640)], {"web": 1.0}, Upsampling.model_validate({"params": "B", "cap": cap, "fallback": fallback})
    assert copies(even, 640 * 5, shares, max_repeats=said, upsampling=curve).tolist() == pytest.approx([5.0])
    field = "max_repeats" if isinstance(said, float) else f"max_repeats.{next(iter(said))}"
    with pytest.raises(ConfigError, match=f"`{field}` of at least 6"):
        copies(even, 640 * 6, shares, max_repeats=said, upsampling=curve)
    rising = [stream("web", "art", v, 640) for v in (4, 8, 12, 16, 20)]
    made = copies(rising, 3200 * 2, shares, max_repeats=said, upsampling=curve)
    assert 4.9 < made.max() <= 5 * (1 + 1e-9) and (np.diff(made) >= 0).all()


def test_a_refusal_names_each_field_that_is_too_low_and_doing_so_suffices() -> None:
    even, shares, most = [stream("web", "art", 20, 640)], {"web": 1.0}, "`max_repeats.web/art`"
    for cap, said, named in ((4.0, 9.0, "`cap`"), (9.0, 4.0, most), (4.0, 4.0, f"`cap` and {most}"), (5.0, 4.0, f"`cap` and {most}")):
        with pytest.raises(ConfigError) as error:
            copies(even, 640 * 6, shares, max_repeats={"web/art": said}, upsampling=Upsampling(params="B", cap=cap))
        (field, least) = re.findall(r"((?:`\w+` and )?`[\w./]+`) of at least ([\d.]+)", error.value.mend)[0]
        assert field == named
        raised = {"cap": float(least) if "cap" in field else cap, "said": float(least) if "max" in field else said}
        copies(even, 640 * 6, shares, max_repeats={"web/art": raised["said"]}, upsampling=Upsampling(params="B", cap=raised["cap"]))


@pytest.mark.parametrize("upsampling", [None, Upsampling(params="B", cap=20.0, throwaway=0.0)])
def test_the_cap_of_a_topic_is_taken_before_that_of_its_source_with_a_curve_and_without(upsampling: Upsampling | None) -> None:
    rows, settings = [stream("web", "law", 20, 640), stream("web", "art", 20, 640)], {"topics": {"law": 0.8, "art": 0.2}, "upsampling": upsampling}
    caps = {"web": 5.0, "web/law": 10.0}
    assert copies(rows, 640 * 10, {"web": 1.0}, max_repeats=caps, **settings).tolist() == pytest.approx([8.0, 2.0])
    only = {**settings, "topics": {"law": 1.0}}
    assert copies(rows[:1], 640 * 8, {"web": 1.0}, max_repeats=caps, **only).tolist() == pytest.approx([8.0])  # more than 5 of all the web
    with pytest.raises(ConfigError, match=r"(?s)web/law: .*`max_repeats.web/law` of at least 10.4"):
        copies(rows, 640 * 13, {"web": 1.0}, max_repeats=caps, **settings)
    with pytest.raises(ConfigError, match=r"(?s)web/art: .*`max_repeats.web` of at least 6"):
        copies(rows, 640 * 10, {"web": 1.0}, max_repeats=caps, **{**settings, "topics": {"law": 0.4, "art": 0.6}})


def test_every_cap_that_is_as_specific_must_be_raised() -> None:
    rows = [{**stream("web", "law", 20, 640), "lang": "en"}]
    with pytest.raises(ConfigError, match=r"`max_repeats.web/en` and `max_repeats.web/law` of at least 6"):
        copies(rows, 640 * 6, {"web": 1.0}, max_repeats={"web": 2.0, "web/en": 3.0, "web/law": 4.0})
    with pytest.raises(ConfigError, match=r"; `max_repeats.web/en` of at least 6"):
        copies(rows, 640 * 6, {"web": 1.0}, max_repeats={"web": 2.0, "web/en": 3.0, "web/law": 8.0})


def test_a_topic_without_a_share_need_not_be_there_and_the_mend_is_of_the_form_that_was_written() -> None:
    for given_, mend in (({"law": 0.5, "musik": 0.5}, "give shares by source"), ({"web": {"law": 0.5, "musik": 0.5}}, "drop it from `topics.web`")):
        with pytest.raises(ConfigError, match="no stream of topic musik") as error:
            copies([stream("web", "law", 20, 640)], 640, {"web": 1.0}, topics=given_)
        assert mend in error.value.mend
    assert copies([stream("web", "law", 20, 640)], 640, {"web": 1.0}, topics={"law": 1.0, "musik": 0.0}).tolist() == [1.0]


def test_the_step_says_seven_only_where_no_curve_is() -> None:
    def planned(**params: Any) -> list[float]:
        table = pa.Table.from_pylist([stream("web", "art", 20, 640)], schema=STREAMS)
        return plan_mix(iter(table.to_batches()), folder=Path(), tokens=640 * 8, shares={"web": 1.0}, **params)["repeats"].to_pylist()

    assert planned(upsampling=Upsampling(params="B", cap=8.0)) == [8.0] == planned(max_repeats=8.0)
    for params in ({}, {"upsampling": Upsampling(params="B")}, {"upsampling": Upsampling(params="B", cap=8.0), "max_repeats": 7.0}):
        with pytest.raises(ConfigError):
            planned(**params)


SMALL = st.one_of(st.just(0.0), st.sampled_from([5e-324, 1e-320, 1e-300, 1e-30, 1e-12]), st.floats(0, 1))
CAPS = st.one_of(st.floats(0.5, 9), st.sampled_from([5e-324, 1e-300, 1e-12, 1e3, 1e300]))
TOKENS = st.one_of(st.integers(0, 3), st.integers(0, 10**6), st.sampled_from([10**15, 10**18]))
POOL = st.lists(st.tuples(st.sampled_from(["web", "code"]), st.sampled_from(["art", "law", None]), st.integers(0, 20), TOKENS), min_size=1, max_size=12)


@settings(max_examples=150)
@given(
    POOL,
    st.sampled_from([1, 1000, 10**12, 6 * 10**18]),
    SMALL,
    SMALL,
    SMALL,
    CAPS,
    CAPS,
    st.sampled_from(["A", "B", "C", ""]),
    st.sampled_from(["none", "throwaway", "cap"]),
)
def test_no_share_no_cap_and_no_size_gives_anything_but_numbers_or_a_refusal(
    pool: list[tuple[str, str | None, int, int]], tokens: int, share: float, topic: float, floor: float, cap: float, most: float, name: str, fallback: str
) -> None:
    rows = [stream(*row) for row in pool]
    params: dict[str, Any] = {"topics": {"art": topic, "law": 1 - topic}} if any(row[0] == "web" for row in pool) else {}
    params["upsampling"] = Upsampling.model_validate({"params": name, "cap": min(max(cap, LEAST), LARGEST), "fallback": fallback}) if name else None
    for given_ in ({}, {"max_repeats": most}, {"floors": {"web": floor}, "max_repeats": {"web": most}}):
        try:
            made = copies(rows, tokens, {"web": share, "code": 1 - share}, **{**params, **given_})
        except DolmaError as error:
            for one in error.errors if isinstance(error, Errors) else [error]:
                assert not re.search(r"\b(nan|inf)\b", f"{one.what} {getattr(one, 'got', '')} {getattr(one, 'expected', '')} {getattr(one, 'mend', '')}"), one
            continue
        assert np.isfinite(made).all() and (made >= 0).all()
        assert math.isclose(made @ np.array([row["tokens"] for row in rows], float), tokens, rel_tol=1e-8) or not any(row["tokens"] for row in rows)
