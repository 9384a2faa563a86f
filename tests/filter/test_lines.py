"""Golden pages of the line edits, in any script."""

from typing import Any

import pyarrow as pa
import pytest
import yaml

from dolma.filter.lines import collapse_newlines, edit_lines
from tests.filter.test_url import RECIPE

RULES: dict[str, Any] = next(one["edit_lines"] for one in yaml.safe_load(RECIPE.read_text())["steps"] if "edit_lines" in one)


def edited(*texts: str | None, **changes: Any) -> list[dict[str, Any]]:
    rules = {name: tuple(value) if isinstance(value, list) else value for name, value in {**RULES, **changes}.items()}
    return edit_lines(pa.RecordBatch.from_arrays([pa.array(texts, pa.large_string())], ["text"]), **rules).to_pylist()


@pytest.mark.parametrize(
    ("line", "left"),
    [
        # row 22: more than half of the bytes in upper-case letters
        ("AAAA bbbb", "AAAA bbbb"), ("AAAAA bbb", None), ("\u0416\u0416 \u0436\u0436", "\u0416\u0416 \u0436\u0436"), ("ÀÀ ÀÀ", "ÀÀ ÀÀ"),
        # row 23: digits and nothing else
        ("12 34", "12 34"), ("1234", None), ("\u0661\u0662 \u0663", "\u0661\u0662 \u0663"),
        # row 24: a number and what it counts
        ("1.2K Likes", None), ("\u2605 3,456 views!", None), ("12 likes today", "12 likes today"), ("7M followers \U0001f600", None), ("likes 12", "likes 12"),
        ("12likes a", "12likes a"), ("12  \u3000shares", None), ("a 12 likes", "a 12 likes"), ("12 likes_x", "12 likes_x"),
        ("3 \u0932\u093e\u0907\u0915", "3 \u0932\u093e\u0907\u0915"),
        # row 25: fewer than two words
        ("word", None), ("two words", "two words"), ("\u4e2d\u6587\u3002", None), ("\u4e2d\u6587\uff0c\u4e16\u754c", "\u4e2d\u6587\uff0c\u4e16\u754c"),
        ("\u0939\u093f\u0928\u094d\u0926\u0940 \u092d\u093e\u0937\u093e", "\u0939\u093f\u0928\u094d\u0926\u0940 \u092d\u093e\u0937\u093e"),
        ("\u0627\u0644\u0633\u0644\u0627\u0645 \u0639\u0644\u064a\u0643\u0645", "\u0627\u0644\u0633\u0644\u0627\u0645 \u0639\u0644\u064a\u0643\u0645"),
        ("\U0001f600 \U0001f601", None),
        # row 26: phrases
        ("Now 3 items in cart here", "Now 3 here"), ("3 Items in cart now", "3 Items in cart now"), ("items in cart", None),
        ("All the news Read more...", "All the news"),
        ("All the news Read more\u2026", "All the news"), ("All the news Read more now", "All the news Read more now"),
        ("Read more... of it", "Read more... of it"),
        ("Sign-in to go on", "to go on"), ("Now Sign-in to go on", "Now Sign-in to go on"), ("sign-in to go on", "sign-in to go on"),
    ],
)  # fmt: skip
def test_a_line_stays_goes_or_is_cut(line: str, left: str | None) -> None:
    made = edited(f"Before it.\n{line}\n\nAfter it.")[0]
    assert made["text"] == ("Before it.\n\nAfter it." if left is None else f"Before it.\n{left}\n\nAfter it.")
    assert made["lines_removed"] == (left is None)


def test_what_was_removed_is_measured() -> None:
    made, empty, null = edited("one two\nthree\nfour five items in cart six", "", None)
    assert (made["text"], made["words_before"], made["lines_removed"]) == ("one two\nfour five six", 9, 1)
    assert made["words_removed_ratio"] == pa.scalar(4 / 9, pa.float32()).as_py()
    for row in (empty, null):
        assert (row["text"], row["words_before"], row["words_removed_ratio"]) == ("", 0, None)


def test_composed_and_decomposed_letters_stand_as_they_are() -> None:
    nfc, nfd = "caf\u00e9 cr\u00e8me", "cafe\u0301 cre\u0300me"
    assert [row["text"] for row in edited(nfc, nfd)] == [nfc, nfd] and [row["words_before"] for row in edited(nfc, nfd)] == [2, 2]


def test_long_lines_can_be_left_alone() -> None:
    long, short = "a b c d items in cart", "a items in cart b"
    assert [row["text"] for row in edited(long, short, cut_max_words=6)] == [long, "a b"]


def test_newlines_collapse_and_white_space_ends_a_run() -> None:
    batch = pa.RecordBatch.from_arrays([pa.array(["a\n\n\n\nb\n \n\n\nc\n\n", None, "\n\n\n"], pa.large_string())], ["text"])
    assert collapse_newlines(batch, most=2).column("text").to_pylist() == ["a\n\nb\n \n\nc\n\n", "", "\n\n"]
