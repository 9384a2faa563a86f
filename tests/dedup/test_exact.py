"""Exact duplicates: every text but the first of its equals, whatever order the rows come in."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.core.errors import ConfigError
from dolma.dedup.exact import mark_exact
from dolma.engines import groups
from tests.dedup.groups import documents, marks

TEXTS = st.lists(st.sampled_from(["", None, "a", "A", "a ", "a\n", "中文", "中文 ", "😀", "é", "e\u0301", "long " * 40]), max_size=30)


def found(batch: pa.RecordBatch, **sizes: Any) -> dict[int, int]:
    """Key of each duplicate to the key of the one that is kept."""
    return {row["key"]: row["exact_of"] for row in marks(mark_exact, batch, **sizes)}


def plain(texts: list[str | None], keys: list[int]) -> dict[int, int]:
    first: dict[str, int] = {}
    for key, text in sorted((key, text) for key, text in zip(keys, texts, strict=True) if text is not None):
        first.setdefault(text, key)
    return {key: first[text] for key, text in zip(keys, texts, strict=True) if text is not None and first[text] != key}


@settings(max_examples=100, deadline=None)
@given(TEXTS, st.randoms(use_true_random=False))
def test_marks_equal_plain_python_and_the_order_of_rows_makes_no_difference(texts: list[str | None], random) -> None:
    keys = random.sample(range(1 << 40), len(texts))
    expected = plain(texts, keys)
    assert found(documents(texts, keys)) == expected
    mixed = random.sample(list(zip(texts, keys, strict=True)), len(texts))
    assert found(documents([text for text, _ in mixed], [key for _, key in mixed])) == expected


def test_origin_says_which_row_is_marked() -> None:
    rows = marks(mark_exact, documents(["x", "y", "x", "x"], keys=[9, 1, 5, 7]))
    assert sorted((row["origin"], row["key"], row["exact_of"]) for row in rows) == [(0, 9, 5), (3, 7, 5)]


def test_only_bytes_that_are_the_same_are_duplicates() -> None:
    assert found(documents(["Text", "text", "text ", "te\u00adxt", "é", "e\u0301"])) == {}
    assert found(documents(["", None, "😀", "😀"])) == {3: 2}  # NULL is no text


def test_two_rows_with_one_key_keep_the_first_row() -> None:
    assert [row["origin"] for row in marks(mark_exact, documents(["x", "x"], keys=[3, 3]))] == [1]


def test_a_giant_group_in_chunks_gives_the_marks_of_one_that_arrives_whole(monkeypatch) -> None:
    batch = documents(["same"] * 95 + ["other"] * 3 + ["same"] * 5)
    expected = found(batch)
    assert len(expected) == 101 and set(expected.values()) == {0, 95}
    monkeypatch.setattr(groups, "CHUNK_ROWS", 10)
    assert found(batch, size=7, cap=20) == expected


def test_no_rows_give_no_marks() -> None:
    assert marks(mark_exact, documents([])) == []
    assert mark_exact.rows is not None
    rows = mark_exact.rows(documents([]))
    made = mark_exact(rows, np.zeros(0, np.int64), cont=False)
    assert (rows.num_rows, made.num_rows, made.schema) == (0, 0, mark_exact.adds(mark_exact.params(), rows.schema))


CRAWLS = st.lists(st.tuples(st.sampled_from([None, "a", "b"]), st.sampled_from([None, "a", "b"]), st.sampled_from([None, 1, 2])), max_size=25)


@settings(max_examples=60, deadline=None)
@given(CRAWLS, st.randoms(use_true_random=False))
def test_within_a_crawl_only_its_own_are_compared_and_the_preferred_is_kept(rows: list, random) -> None:
    keys = random.sample(range(1 << 40), len(rows))
    batch = documents(["text"] * len(rows), keys)
    for name, number, kind in (("url", 0, pa.string()), ("crawl", 1, pa.string()), ("age", 2, pa.int64())):
        batch = batch.append_column(name, pa.array([row[number] for row in rows], kind))
    sets: dict[tuple[str, str], list[tuple[bool, int, int]]] = {}
    for key, (url, crawl, age) in zip(keys, rows, strict=True):
        if url is not None and crawl is not None:
            sets.setdefault((url, crawl), []).append((age is None, age or 0, key))
    expected = {key: min(alike)[2] for alike in sets.values() for _, _, key in alike if key != min(alike)[2]}
    assert found(batch, by="url", within="crawl", prefer="age") == expected


def test_addresses_are_compared_as_they_stand() -> None:
    urls = ["http://a.org/", "https://a.org/", "http://a.org", "http://www.a.org/", "http://a.org/?", "http://a.org/", None, None]
    batch = documents(["text"] * len(urls)).append_column("url", pa.array(urls, pa.string()))
    assert found(batch, by="url") == {5: 0}


def test_a_value_and_its_crawl_may_not_change_places() -> None:
    batch = documents(["x", "y"]).append_column("crawl", pa.array(["y", "x"]))
    assert found(batch, within="crawl") == {}


def test_the_column_of_marks_has_the_name_that_is_asked_for() -> None:
    batch = documents(["x", "y", "x"], keys=[9, 1, 5])
    assert marks(mark_exact, batch, name="url_of") == [{"origin": 0, "key": 9, "url_of": 5}]
    assert mark_exact.adds(mark_exact.params(name="url_of"), batch.schema) == pa.schema({"origin": pa.int64(), "key": pa.int64(), "url_of": pa.int64()})
    assert mark_exact.adds(mark_exact.params(), batch.schema).names == ["origin", "key", "exact_of"]


def test_columns_of_the_wrong_type_are_refused_by_their_parameter() -> None:
    for params in ({"by": "key"}, {"prefer": "text"}):
        with pytest.raises(ConfigError, match=f"mark_exact: {next(iter(params))}"):
            found(documents(["x"]), **params)
