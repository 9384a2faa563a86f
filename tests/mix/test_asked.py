"""What would be ignored is refused, and a mix of nothing; by the words that a user reads."""

import re
from typing import Any

import pytest

from tests.mix.test_plan import CURVE, LENGTH, POOL, amount, planned, refused, repeats, stream

WIKI = [*POOL, stream("wiki", "law", 0, 50), stream("wiki", "art", 0, 50)]
TOPICS = {"art": 0.7, "law": 0.3}


def test_topics_for_all_where_no_source_has_vigintiles_are_refused() -> None:
    pool = [stream("web", "art", 0, 50), stream("web", "law", 0, 50), stream("code", None, 0, 100)]
    (error,) = refused(pool, 50 * LENGTH, None, topics=TOPICS)
    assert error.where == "plan_mix: topics" and "none has them: code, web" in error.what and "topics: {code:" in error.mend
    made = planned(pool, 100 * LENGTH, {"web": 0.5, "code": 0.5}, topics={"web": TOPICS})
    assert (amount(made, topic="art"), amount(made, topic="law")) == (35, 15)


def test_topics_for_all_that_pass_by_a_source_with_the_same_topics_are_refused() -> None:
    (error,) = refused(WIKI, 100 * LENGTH, {"web": 0.5, "wiki": 0.5}, topics=TOPICS)
    assert error.where == "plan_mix: topics" and "source wiki has such topics, and no vigintiles" in error.what and error.got == "wiki with art, law"
    made = planned(WIKI, 100 * LENGTH, {"web": 0.5, "wiki": 0.5}, topics={"web": TOPICS, "wiki": {"law": 1.0}})
    assert repeats(made, source="wiki") == [1.0, 0.0] and amount(made, source="web", topic="art") == 35
    assert amount(planned(WIKI, 100 * LENGTH, {"web": 1.0}, topics=TOPICS), topic="art") == 70  # nothing is asked of wiki


def test_topics_for_all_that_pass_by_a_source_without_topics_are_said(caplog: pytest.LogCaptureFixture) -> None:
    made = planned(POOL, 100 * LENGTH, {"web": 0.5, "code": 0.5}, topics=TOPICS, upsampling=CURVE)
    assert amount(made, topic="art") == 35 and amount(made, source="code") == 50
    assert re.search("`topics` does not hold for code \\(no topics\\)", caplog.text) and "math" not in caplog.text
    caplog.clear()
    planned(POOL, 100 * LENGTH, {"web": 0.5, "code": 0.5}, topics={"web": TOPICS}, upsampling=CURVE)
    planned(POOL, 100 * LENGTH, {"web": 1.0}, topics=TOPICS, upsampling=CURVE)
    assert not caplog.text


@pytest.mark.parametrize(
    ("params", "where", "words"),
    [
        ({"best": {"code": 15}, "shares": {"web": 0.5, "code": 0.5}}, "plan_mix: best.code", "source code has no vigintiles"),
        ({"best": {"code": 1}, "shares": None}, "plan_mix: best.code", "leave code out of `best`"),
        ({"best": {"web": 18}, "shares": None}, "plan_mix: best.web", "takes nothing of source web.*`best` of at most 16"),
        ({"best": {"web": 18}, "shares": None, "tokens": None, "repeats": {"web": 2.0}}, "plan_mix: best.web", "takes nothing of source web"),
        ({"shares": None, "tokens": None, "repeats": {"web": 0.0}}, "plan_mix: repeats", "would have no sequence.*web: 0.0"),
        ({"shares": None, "tokens": 3}, "plan_mix: tokens", "would have no sequence.*3 tokens, expected at least one, of 64 tokens.*at least 64"),
    ],
)
def test_what_takes_nothing_is_refused_by_its_field(params: dict[str, Any], where: str, words: str) -> None:
    pool = [row for row in POOL if row["vigintile"] != 20]
    (error,) = refused(pool, **{"tokens": 100 * LENGTH, **params})
    assert error.where == where and re.search(f"(?s){words}", str(error))


def test_nothing_to_mix_is_said_and_not_blamed_on_repeats() -> None:
    for pool, got in (([], "no streams"), ([stream("web", None, 0, 0), stream("web", "art", 4, 0)], "2 streams without a sequence")):
        for params in ({"tokens": 1000, "shares": None}, {"tokens": 1000, "shares": {"web": 1.0}}, {"tokens": None, "shares": None, "repeats": {"web": 1.0}}):
            (error,) = refused(pool, **params)
            assert (error.where, error.what, error.got) == ("plan_mix: input", "there is nothing to mix", got)
