"""Exact marks of paragraphs: every one but the first of its equals, whatever order the rows come in."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.core.errors import ConfigError
from dolma.core.schema import TABLES
from dolma.dedup.paragraphs import mark_paragraphs
from dolma.engines import groups
from tests.dedup.groups import documents, marks

LINES = st.lists(st.sampled_from(["", " ", "a", "b", "a ", "A", "中文没有空格", "नमस्ते दुनिया", "😀", "line", "line of text", "\u3000"]), max_size=7)
TEXTS = st.lists(st.tuples(LINES, st.sampled_from(["\n", "\r\n"]), st.booleans()).map(lambda t: t[1].join(t[0]) + t[1] * t[2]), max_size=8)
Span = tuple[int, int, int]


def found(batch: pa.RecordBatch, **params: Any) -> list[Span]:
    """(key, start, end) of every span."""
    return sorted((row["key"], row["start"], row["end"]) for row in marks(mark_paragraphs, batch, **params))


def plain(texts: list[str], keys: list[int], least: int) -> list[Span]:
    """The same with a set."""
    seen, spans = set(), []
    for key, text in sorted(zip(keys, texts, strict=True)):
        at = 0
        for line in text.split("\n"):
            content, end = line.removesuffix("\r"), min(at + len(line) + 1, len(text))
            if len(content) >= least and content.strip():
                spans += [(key, at, end)] if content in seen else []
                seen.add(content)
            at = end
    return sorted(spans)


def without(texts: list[str], keys: list[int], spans: list[Span]) -> list[str]:
    gone = {(key, place) for key, start, end in spans for place in range(start, end)}
    return ["".join(c for place, c in enumerate(text) if (key, place) not in gone) for key, text in zip(keys, texts, strict=True)]


@settings(max_examples=100, deadline=None)
@given(TEXTS, st.integers(1, 6), st.randoms(use_true_random=False))
def test_marks_equal_plain_python_and_the_order_of_rows_makes_no_difference(texts: list[str], least: int, random) -> None:
    keys = random.sample(range(1 << 40), len(texts))
    expected = plain(texts, keys, least)
    assert found(documents(texts, keys), least=least) == expected
    mixed = random.sample(list(zip(texts, keys, strict=True)), len(texts))
    assert found(documents([text for text, _ in mixed], [key for _, key in mixed]), least=least) == expected


@settings(max_examples=60, deadline=None)
@given(TEXTS, st.integers(1, 4), st.sampled_from(["line", "paragraph"]))
def test_cutting_leaves_one_copy_of_each_paragraph_and_all_that_is_shorter(texts: list[str], least: int, unit: str) -> None:
    keys = list(range(len(texts)))
    left = without(texts, keys, found(documents(texts), least=least, unit=unit))
    assert found(documents(left), least=least, unit=unit) == []

    def content(of: list[str]) -> list[str]:
        return [line.removesuffix("\r") for text in of for line in text.split("\n")]

    assert set(content(left)) - {""} == set(content(texts)) - {""}
    if unit == "line":
        short = [line for line in content(texts) if line.strip() and len(line) < least]
        assert [line for line in content(left) if line.strip() and len(line) < least] == short


def test_a_span_holds_the_end_of_its_line_and_the_first_of_equals_is_the_smallest_key_then_the_first_place() -> None:
    texts = ["b\nx\r\ny", "x\ny\ny\n", "y"]
    assert found(documents(texts, keys=[9, 4, 6])) == [(4, 4, 6), (6, 0, 1), (9, 2, 5), (9, 5, 6)]


def test_blocks_are_parted_by_blank_lines_and_their_spans_go_up_to_the_next() -> None:
    text = "a\nb\n \n\nc\n"
    assert found(documents([text, f"c\n\n{text}"]), unit="paragraph") == [(1, 0, 3), (1, 3, 10), (1, 10, 12)]
    assert found(documents(["a\nb", "b\na", "a\r\nb"]), unit="paragraph") == []  # the end of the last line is no part of a block, others are
    assert found(documents(["a\nb", "a\nb\r\n"]), unit="paragraph") == [(1, 0, 5)]


def test_only_bytes_that_are_the_same_are_equal_and_null_has_no_paragraph() -> None:
    assert found(documents(["é", "e\u0301", "Text", "text", "text ", None, None, "", ""])) == []
    assert found(documents(["\u3000\u3000", "\u3000\u3000", "   ", "   "])) == []


def test_short_paragraphs_are_left_alone_by_their_characters_not_bytes() -> None:
    texts = ["中文字\r\nabcd\nabc"] * 2
    assert found(documents(texts), least=4) == [(1, 5, 10)]
    assert found(documents(texts), least=3) == [(1, 0, 5), (1, 5, 10), (1, 10, 13)]


def test_a_giant_group_in_chunks_gives_the_spans_of_one_that_arrives_whole(monkeypatch) -> None:
    batch = documents(["Read more\nRead more\nown"] * 40 + ["other\nRead more"] * 3)
    expected = found(batch)
    assert len(expected) == 79 + 39 + 2 + 3
    monkeypatch.setattr(groups, "CHUNK_ROWS", 10)
    assert found(batch, size=7, cap=20) == expected


@pytest.mark.parametrize("size", [3, 7, 1 << 20])
def test_rows_with_one_key_keep_the_first_row_in_whatever_order_they_come(size: int, monkeypatch) -> None:
    assert marks(mark_paragraphs, documents(["x", "x\r\n"], keys=[3, 3])) == [{"origin": 1, "key": 3, "start": 0, "end": 3}]
    monkeypatch.setattr(groups, "CHUNK_ROWS", min(size, groups.CHUNK_ROWS))
    batch = documents(["x\nx"] * 9, keys=[5] * 7 + [4, 4])
    expected = marks(mark_paragraphs, batch, size=size, cap=size)
    assert [row["origin"] for row in expected if row["key"] == 4] == [8, 7, 8]  # sorted by their place in the text, then by their row
    mixed = batch.take(pa.array([8, 1, 5, 7, 0, 2, 6, 4, 3]))
    rows = marks(mark_paragraphs, mixed, size=size, cap=size)
    assert sorted(map(str, rows)) == sorted(map(str, expected))
    assert size < 18 or rows == expected


def test_paragraphs_that_share_half_of_their_hash_are_not_equal() -> None:
    columns = {"high": [1] * 7 + [2, 2], "low": [5, 6, 5, 7, 6, 6, 5, 5, 6], "key": range(9), "origin": range(9), "start": [0] * 9, "end": [1] * 9}
    kinds = {"high": pa.int64(), "low": pa.int64(), **TABLES["span"]}
    batch = pa.RecordBatch.from_pydict({name: list(column) for name, column in columns.items()}, schema=pa.schema(list(kinds.items())))
    made = mark_paragraphs(batch, np.array([0, 7]), cont=False)
    assert made["key"].to_pylist() == [2, 4, 5, 6]
    assert mark_paragraphs(batch, np.array([0, 7]), cont=True)["key"].to_pylist() == [2, 4, 5, 6]


def test_no_rows_give_no_spans_and_a_length_of_nothing_is_refused() -> None:
    assert marks(mark_paragraphs, documents([])) == []
    assert mark_paragraphs.adds(mark_paragraphs.params(), pa.schema([])) == pa.schema(list(TABLES["span"].items()))
    with pytest.raises(ConfigError, match=r"mark_paragraphs: least.*\n.*got 0"):
        found(documents(["a"]), least=0)
