"""Edits of lines against plain Python with regular expressions, on generated text."""

import re
import unicodedata

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.kernels import lines
from dolma.kernels.words import buffers, column, words

UNITS = ("likes", "views")
CUT, END, START = ("items in cart", "\u5e7f\u544a"), ("Read more...", "\u2026"), ("Sign-in",)
PIECES = st.sampled_from(
    ["\n", "\n\n", "a b c", " ", "  ", "\t", "ABC ", "SHOUT", "12", "3.5K", "1,234", "likes", " Views", "!", "_", "items in cart", "Read more...",
     "Read more now", "\u2026", "Sign-in", "sign-in", "\u5e7f\u544a", "\u00c9T\u00c9", "\u00e9t\u00e9", "\u3000", "word", "\U0001f600", "\u0915\u093f",
     "\u0645\u0631", "e\u0301"]
)  # fmt: skip
TEXT = st.one_of(st.lists(PIECES, max_size=20).map("".join), st.text(st.characters(exclude_categories=("Cs", "Cn")), max_size=40))
COUNTER = re.compile(rf"[0-9][0-9,.]*[kmbKMB]?\s+(?ai:{'|'.join(UNITS)})")


def is_counter(line: str) -> bool:
    """A number and a unit among characters that are no part of words: letters, digits, marks and `_` are one."""
    inside = [c == "_" or unicodedata.category(c)[0] in "LNM" for c in line]
    start = next((k for k, part in enumerate(inside) if part), len(line))
    found = COUNTER.match(line, start)
    return bool(found) and not any(inside[found.end() :])


def plain_cut(line: str) -> str:
    line = re.sub("|".join(rf"\s?{re.escape(phrase)}\s?" for phrase in CUT), " ", line)
    for phrase in END:
        line = re.sub(rf"\s?{re.escape(phrase)}\Z", "", line)
    return re.sub(rf"\A{re.escape(START[0])}\s?", "", line)


def plain_edit(text: str, upper: float, digits: float, least: int, most: int) -> tuple[str, list[int]]:
    """The rules in the order of spec/01 section 3, rows 21 to 26."""
    kept: list[str] = []
    before = 0
    for line in text.split("\n"):
        size, count = len(line.encode()), len(words(line))
        before += count
        if line and (sum(c.isalpha() and c.lower() != c for c in line) > upper * size or sum(c in "0123456789" for c in line) > digits * size):
            continue
        if line and (count < least or is_counter(line)):
            continue
        made = plain_cut(line) if not most or count <= most else line
        if line and not made.strip():
            continue
        kept.append(made)
    out = "\n".join(kept) if text else ""
    return out, [before, before - sum(len(words(line)) for line in kept), len(text.split("\n")) - len(kept) if text else 0]


def edited(texts: list[str], upper: float, digits: float, least: int, most: int) -> tuple[list[str], list[list[int]]]:
    units, cut, end, start = (buffers(pa.array(phrases, pa.large_string())) for phrases in (UNITS, CUT, END, START))
    data, offsets, made = lines.edit(*buffers(pa.array(texts, pa.large_string())), upper, digits, units, least, cut, end, start, most)
    return column(data, offsets).to_pylist(), made.tolist()


@settings(max_examples=400)
@given(st.lists(TEXT, max_size=4), st.sampled_from([0.5, 0.2]), st.sampled_from([0.999999, 0.5]), st.sampled_from([0, 2]), st.sampled_from([0, 3]))
def test_edits_equal_plain_python_on_any_text(texts: list[str], upper: float, digits: float, least: int, most: int) -> None:
    got, numbers = edited(texts, upper, digits, least, most)
    want = [plain_edit(text, upper, digits, least, most) for text in texts]
    assert got == [text for text, _ in want]
    assert numbers == [counts for _, counts in want]


@given(st.lists(TEXT, max_size=4), st.integers(0, 3))
def test_runs_of_line_feeds_are_cut_down(texts: list[str], most: int) -> None:
    data, offsets = lines.collapse(*buffers(pa.array(texts, pa.large_string())), most)
    assert column(data, offsets).to_pylist() == [re.sub(rf"\n{{{most + 1},}}", "\n" * most, text) for text in texts]


@given(st.lists(TEXT, max_size=6), st.integers(0, 2))
def test_a_slice_is_edited_as_if_it_stood_alone(texts: list[str], start: int) -> None:
    whole = pa.array(texts, pa.large_string())
    data, offsets = lines.collapse(*buffers(whole.slice(start)), 1)
    assert column(data, offsets).to_pylist() == [re.sub(r"\n{2,}", "\n", text) for text in texts[start:]]


@given(TEXT)
def test_words_are_counted_as_they_are_found(text: str) -> None:
    data, offsets = buffers(pa.array([text], pa.large_string()))
    assert lines.n_words(data, offsets[0], offsets[1]) == len(words(text))


def test_what_a_kernel_wrote_is_one_type_with_what_arrow_holds() -> None:
    """numba compiles a kernel for each type of array: a writable one would cost seconds in the middle of a run."""
    made = buffers(column(np.frombuffer(b"ab", np.uint8).copy(), np.array([0, 1, 2])))
    empty, whole = buffers(pa.array([], pa.large_string())), buffers(pa.array(["x", None]))
    assert [array.flags.writeable for pair in (made, empty, whole) for array in pair] == [False] * 6
