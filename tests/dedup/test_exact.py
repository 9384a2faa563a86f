"""Exact duplicates: every text but the first of its equals, whatever order the rows come in."""

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.dedup.exact import TAG, mark_exact
from dolma.engines import shuffle
from tests.dedup.groups import documents, marks

TEXTS = st.lists(st.sampled_from(["", None, "a", "A", "a ", "a\n", "中文", "中文 ", "😀", "é", "e\u0301", "long " * 40]), max_size=30)


def found(batch: pa.RecordBatch, **sizes: Any) -> dict[int, int]:
    """Key of each duplicate to the key of the one that is kept."""
    return {row["key"]: row["exact_of"] for row in marks(mark_exact, batch, **sizes)}


def plain(texts: list[str | None], keys: list[int]) -> dict[int, int]:
    first: dict[str, int] = {}
    for key, text in sorted(zip(keys, texts, strict=True)):
        if text is not None:
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
    assert found(documents(["", None, None, "", "😀", "😀"])) == {3: 0, 5: 4}  # NULL equals nothing


def test_two_rows_with_one_key_keep_the_first_row() -> None:
    assert [row["origin"] for row in marks(mark_exact, documents(["x", "x"], keys=[3, 3]))] == [1]


def test_a_giant_group_in_chunks_gives_the_marks_of_one_that_arrives_whole(monkeypatch) -> None:
    batch = documents(["same"] * 95 + ["other"] * 3 + ["same"] * 5)
    expected = found(batch)
    assert len(expected) == 101 and set(expected.values()) == {0, 95}
    monkeypatch.setattr(shuffle, "CHUNK_ROWS", 10)
    assert found(batch, size=7, cap=20) == expected


def test_no_rows_give_no_marks() -> None:
    assert marks(mark_exact, documents([])) == []
    assert mark_exact.rows is not None
    rows = mark_exact.rows(documents([]))
    made = mark_exact(rows, np.zeros(0, np.int64), cont=False)
    assert (rows.num_rows, made.num_rows, made.schema) == (0, 0, pa.schema(list(TAG.items())))


def crawled(rows: list[tuple[str | None, str | None, int | None]]) -> pa.RecordBatch:
    """Documents of unlike texts with (url, crawl, age); their keys are their numbers."""
    made = documents([f"text {n}" for n in range(len(rows))])
    columns = {name: pa.array(values, kind) for name, values, kind in zip(("url", "crawl", "age"), zip(*rows, strict=True), KINDS, strict=True)}
    return pa.RecordBatch.from_pydict({**{name: made.column(name) for name in made.schema.names}, **columns})


KINDS = (pa.string(), pa.string(), pa.int64())


def test_by_address_the_preferred_is_kept_null_last_and_without_an_address_nothing_is_marked() -> None:
    batch = crawled([("u", "a", 3), ("u", "b", 1), ("v", "a", 1), (None, "a", 0), ("u", "a", None), (None, "a", 0), ("v", "a", 1)])
    assert found(batch, by="url", prefer="age") == {0: 1, 4: 1, 6: 2}
    assert found(batch, by="url") == {1: 0, 4: 0, 6: 2}


def test_within_a_crawl_only_its_own_documents_are_compared() -> None:
    batch = crawled([("u", "a", 3), ("u", "b", 1), ("u", "a", 1), ("u", None, 0), ("u", None, 0)])
    assert found(batch, by="url", within="crawl") == {2: 0}
    assert found(batch, by="url", within="crawl", prefer="age") == {0: 2}
