"""Floors of topics and of languages of one source: each holds by itself over the whole of the source."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dolma.core.errors import DolmaError
from dolma.core.recipe import STREAMS
from dolma.mix.floors import restated
from dolma.mix.rates import Streams, rates
from dolma.mix.shares import Terms, divide
from tests.mix.test_plan import LENGTH, amount, planned, refused, stream

CAP = 1e9  # copies: no cap in the way of a floor
FIELDS = ("buckets", "repeats", "best", "floors", "min_repeats")


def pool(cells: dict[str, int]) -> list[dict]:
    """Streams of the web by `language/topic`, in sequences."""
    return [stream("web", topic, 10, size, lang) for name, size in cells.items() for lang, topic in [name.split("/")]]


BOTH = {"en/law": 100, "en/art": 300, "de/law": 10, "de/art": 90}


def test_a_topic_and_a_language_are_not_added_up() -> None:
    made = planned(pool(BOTH), 100 * LENGTH, {"web": 1.0}, floors={"web/de": 0.6, "web/law": 0.7})
    assert (amount(made, lang="de"), amount(made, topic="law")) == (60, 70)


def test_topics_that_are_together_too_much_are_refused_with_what_is_missing() -> None:
    for floors, what in (({"web/law": 0.6, "web/art": 0.5}, "topics"), ({"web/en": 0.7, "web/de": 0.4}, "languages")):
        (error,) = refused(pool(BOTH), 100 * LENGTH, {"web": 1.0}, floors=floors)
        assert error.where == "plan_mix: floors of web" and f"least shares of {what} of web" in error.what and "0.1 is missing" in error.what
        assert error.got is not None and str(error.got).endswith("= 1.1")
    made = planned(pool(BOTH), 100 * LENGTH, {"web": 1.0}, floors={"web/law": 0.6, "web/art": 0.4})
    assert (amount(made, topic="law"), amount(made, topic="art")) == (60, 40)


def test_a_floor_that_the_other_languages_hold_raises_nothing() -> None:
    cells = {"en/law": 150, "en/art": 150, "de/law": 10, "de/art": 190}
    plain = planned(pool(cells), 100 * LENGTH, {"web": 1.0}, languages={"en": 0.5, "de": 0.5})
    assert amount(plain, topic="law") == 27  # 25 of English, 2.5 of German, in whole sequences of each
    assert planned(pool(cells), 100 * LENGTH, {"web": 1.0}, languages={"en": 0.5, "de": 0.5}, floors={"web/law": 0.2}) == plain
    more = planned(pool(cells), 100 * LENGTH, {"web": 1.0}, languages={"en": 0.5, "de": 0.5}, floors={"web/law": 0.4})
    assert amount(more, topic="law") == 40 and amount(more, topic="law", lang="en") == 25 and amount(more, topic="law", lang="de") == 15


def test_a_topic_that_few_languages_have_is_more_than_its_floor_there() -> None:
    cells = {"en/law": 100, "en/art": 300, "de/art": 400}
    made = planned(pool(cells), 100 * LENGTH, {"web": 1.0}, languages={"en": 0.5, "de": 0.5}, floors={"web/law": 0.3})
    assert amount(made, topic="law") == amount(made, topic="law", lang="en") == 30
    assert amount(planned(pool(cells), 100 * LENGTH, {"web": 1.0}, languages={"en": 0.5, "de": 0.5}, min_repeats={"web/law": 0.25}), topic="law") == 25
    (error,) = refused(pool(cells), 100 * LENGTH, {"web": 1.0}, languages={"en": 0.5, "de": 0.5}, floors={"web/law": 0.6})
    assert error.where == "plan_mix: floors of web" and "topic law is in en only" in error.what and "640 tokens are missing" in error.what


def test_floors_hold_where_each_language_can_give_only_one_of_them() -> None:
    cells = {"en/law": 50, "en/art": 350, "de/law": 400}
    made = planned(pool(cells), 100 * LENGTH, {"web": 1.0}, languages={"en": 0.5, "de": 0.5}, floors={"web/law": 0.5, "web/art": 0.5})
    assert (amount(made, topic="law"), amount(made, topic="art")) == (50, 50)


THREE = {"en/A": 200, "en/C": 200, "de/B": 200, "de/C": 200, "es/A": 100, "es/B": 100, "es/C": 200}
EVEN = {"languages": {"en": 1 / 3, "de": 1 / 3, "es": 1 / 3}}


@pytest.mark.parametrize("share", [0.4, 0.5])
def test_floors_hold_where_one_language_cannot_keep_them_as_the_others_do(share: float) -> None:
    made = planned(pool(THREE), 300 * LENGTH, {"web": 1.0}, floors={"web/A": share, "web/B": share}, **EVEN)
    assert [amount(made, lang=lang) for lang in ("en", "de", "es")] == [100, 100, 100]
    assert (amount(made, topic="A"), amount(made, topic="B"), amount(made, topic="C")) == (300 * share, 300 * share, 300 - 600 * share)
    assert planned(pool(THREE)[::-1], 300 * LENGTH, {"web": 1.0}, floors={"web/A": share, "web/B": share}, **EVEN) == made[::-1]


def test_topics_that_are_together_more_than_their_languages_get_are_named() -> None:
    cells = {"en/A": 100, "en/B": 100, "en/C": 100, "de/C": 100}
    shares = {"languages": {"en": 0.5, "de": 0.5}}
    (error,) = refused(pool(cells), 100 * LENGTH, {"web": 1.0}, floors={"web/A": 0.3}, min_repeats={"web/B": 0.3}, **shares)
    assert error.where == "plan_mix: floors and min_repeats of web" and "topics A, B are in en only" in error.what and "640 tokens are missing" in error.what
    assert error.mend == "lower `floors` of `web/A` or `min_repeats` of `web/B`, or raise the share of en"
    assert amount(planned(pool(cells), 100 * LENGTH, {"web": 1.0}, floors={"web/A": 0.3}, min_repeats={"web/B": 0.2}, **shares), topic="B") == 20


def test_a_least_number_of_copies_that_is_out_of_reach_is_named_as_that() -> None:
    (error,) = refused(pool(THREE), 300 * LENGTH, {"web": 1.0}, min_repeats={"web/A": 20}, max_repeats=100, **EVEN)
    assert error.where == "plan_mix: min_repeats of web" and "lower `min_repeats` of `web/A`" in error.mend


SHARE = st.floats(0, 1).map(lambda share: round(share, 6))
CELLS = st.lists(st.tuples(st.sampled_from(["en", "de", "fr"]), st.sampled_from(["law", "art", "home"]), st.integers(1, 400)), min_size=1, max_size=12)


def of(sizes: dict[str, int], lang: str) -> float:
    """The share of a language in the pool."""
    return sum(size for name, size in sizes.items() if name.startswith(f"{lang}/")) / sum(sizes.values())


@settings(max_examples=100, deadline=None)
@given(CELLS, st.dictionaries(st.sampled_from(["law", "art", "home", "en", "de", "fr"]), SHARE, min_size=1), st.integers(1, 500))
def test_floors_hold_each_by_itself_or_are_refused(cells: list[tuple[str, str, int]], least: dict[str, float], tokens: int) -> None:
    sizes = {f"{lang}/{topic}": size for lang, topic, size in cells}
    langs, topics = sorted({name.split("/")[0] for name in sizes}), sorted({name.split("/")[1] for name in sizes})
    least = {name: share for name, share in least.items() if name in (*langs, *topics)}
    assume(least)
    rows = pool(sizes)
    streams = Streams.of(pa.Table.from_pylist(rows, schema=STREAMS))
    given = {"topics": None, "languages": None, "upsampling": None, **{name: {} for name in FIELDS}}
    terms = Terms(**{**given, "tokens": tokens * LENGTH, "shares": None, "max_repeats": CAP, "floors": {f"web/{n}": s for n, s in least.items()}})
    sums = [sum(share for name, share in least.items() if name in names) for names in (langs, topics)]
    try:
        rate = rates(streams, restated(streams, terms))[0]
    except DolmaError as error:
        if max(sums) <= 1:  # only a set of topics can be too much, for the languages that have one of them
            taken = dict(zip(langs, divide(1.0, *np.array([[of(sizes, lang), least.get(lang, 0.0)] for lang in langs]).T).tolist(), strict=True))
            some = [[topic for n, topic in enumerate(topics) if chosen >> n & 1] for chosen in range(1, 2 ** len(topics))]
            reach = [sum(share for lang, share in taken.items() if {f"{lang}/{topic}" for topic in names} & set(sizes)) for names in some]
            assert any(sum(least.get(topic, 0.0) for topic in names) > much for names, much in zip(some, reach, strict=True)), str(error)
        return
    served = rate * streams.tokens
    assert max(sums) <= 1 + 1e-9 and served.sum() == pytest.approx(tokens * LENGTH)
    for name, share in least.items():
        part = served[(streams.topic == name) | (streams.lang == name)].sum()
        assert part >= share * tokens * LENGTH * (1 - 1e-6)
    if not np.any([name in topics for name in least]):
        assert restated(streams, terms) == terms
