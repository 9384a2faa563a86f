"""Repeated substrings against all strings of `least` bytes in a dictionary; anchors, blocks and code points against plain Python."""

import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.kernels import windows
from dolma.kernels.words import buffers

ALL = {"depth": 1 << 40, "apart": 1}  # nothing is left out
LEAST = st.sampled_from([8, 9, 12, 16, 20, 33])
LETTERS = st.sampled_from(["a", "ab", "abc", "abcdefgh", "aé中😀", "é中"])


@st.composite
def groups(draw: st.DrawFn) -> list[str]:
    """Texts of pieces that come again, of few letters."""
    letters = st.sampled_from(draw(LETTERS))
    pieces = draw(st.lists(st.text(letters, min_size=1, max_size=50), min_size=1, max_size=4))
    part = st.one_of(st.sampled_from(pieces), st.sampled_from(pieces), st.text(letters, max_size=3))
    return draw(st.lists(st.lists(part, max_size=6).map("".join), min_size=1, max_size=5))


def oracle(texts: list[bytes], least: int) -> list[list[bool]]:
    """Whether each byte of each text is part of a string of `least` bytes whose first place, as a whole, is before it."""
    first: dict[bytes, int] = {}
    out, passed = [], 0
    for text in texts:
        marked = [False] * len(text)
        for start in range(len(text) - least + 1):
            if first.setdefault(text[start : start + least], passed + start) <= passed + start - least:
                marked[start : start + least] = [True] * least
        out.append(marked)
        passed += len(text)
    return out


def marked(texts: list[str], least: int, **how: int) -> list[list[bool]]:
    data, offsets = buffers(pa.array(texts, pa.large_string()))
    out = [[False] * len(text.encode()) for text in texts]
    for row, begin, end in zip(*windows.repeats(data, offsets, least=least, **how), strict=True):
        assert offsets[row] <= begin < end <= offsets[row + 1]
        out[row][begin - offsets[row] : end - offsets[row]] = [True] * (end - begin)
    return out


def flat(marks: list[list[bool]]) -> np.ndarray:
    return np.array([byte for text in marks for byte in text], bool)


@settings(max_examples=400, deadline=None)
@given(groups(), LEAST)
def test_with_no_bound_every_repeat_is_marked_and_nothing_else(texts: list[str], least: int) -> None:
    assert marked(texts, least, **ALL) == oracle([text.encode() for text in texts], least)


@settings(max_examples=300, deadline=None)
@given(groups(), LEAST)
def test_within_bounds_only_repeats_are_marked(texts: list[str], least: int) -> None:
    expected = flat(oracle([text.encode() for text in texts], least))
    for how in ({}, {"depth": 1}, {"depth": 16, "apart": 1}):
        assert not (flat(marked(texts, least, **how)) & ~expected).any()


def test_within_bounds_nearly_all_repeats_of_500_bytes_are_marked() -> None:
    draw = random.Random(5)
    words = ["".join(draw.choices("abcdefghijklmnop", k=draw.randint(2, 9))) for _ in range(3000)]
    foot = " ".join(draw.choices(words, k=60))  # a string under 500 bytes on many pages
    parts = [" ".join(draw.choices(words, k=draw.randint(20, 400))) for _ in range(60)]
    texts = [" ".join([*draw.choices(parts, k=3), foot, draw.choice(parts)]) for _ in range(120)]
    expected = flat(oracle([text.encode() for text in texts], 500))
    assert 0.5 < expected.mean() < 0.99
    assert flat(marked(texts, 500)).sum() >= 0.999 * expected.sum()


@pytest.mark.parametrize("size", [200, 400])
def test_a_repeat_around_a_string_that_stands_on_every_page_is_marked(size: int) -> None:
    draw = random.Random(7)
    words = ["".join(draw.choices("abcdefghijklmnop", k=draw.randint(2, 9))) for _ in range(3000)]

    def prose(length: int) -> str:
        return " ".join(draw.choices(words, k=length // 3))[:length]

    foot = prose(size)
    framed = [prose((520 - size) // 2) + foot + prose((520 - size) // 2) for _ in range(100)]
    texts = [prose(700) + part + prose(700) for part in framed * 2]
    marks = marked(texts, 500)
    assert not any(map(any, marks[:100])) and all(520 <= sum(mark) <= 524 and all(mark[700:1220]) for mark in marks[100:])


def plain_anchors(text: bytes, least: int) -> list[int]:
    """The first place of the smallest hash in each window: the hash of `width` bytes is a sum of shifted random numbers."""
    width = windows.width_of(least)
    shift, numbers = 64 // width, windows._GEAR.tolist()
    hashes = [sum(numbers[byte] << shift * (width - 1 - k) for k, byte in enumerate(text[i : i + width])) % (1 << 64) for i in range(len(text) - width + 1)]
    size = least - width + 1
    return sorted({min(range(i, i + size), key=lambda k: (hashes[k], k)) for i in range(len(hashes) - size + 1)})


@settings(max_examples=200, deadline=None)
@given(groups(), LEAST)
def test_anchors_are_the_smallest_hashes_of_all_windows(texts: list[str], least: int) -> None:
    data, offsets = buffers(pa.array(texts, pa.large_string()))
    at, keys, rows = windows.anchors(data, offsets, least=least, apart=1)
    expected = [plain_anchors(text.encode(), least) for text in texts]
    assert [(at[rows == row] - offsets[row]).tolist() for row in range(len(texts))] == expected
    width = windows.width_of(least)
    strings = [data[place : place + width].tobytes() for place in at]
    assert len({*zip(strings, keys.tolist(), strict=True)}) == len(set(strings))  # equal bytes have equal hashes


@pytest.mark.parametrize(
    "text", ["\n" * 3000, "0x00, " * 900, "".join(random.Random(2).choices("ab", k=6000)), "".join(random.Random(2).choices("abcdefgh", k=40_000))]
)
def test_anchors_where_few_or_no_hashes_are_small(text: str) -> None:
    data, offsets = buffers(pa.array(["short", text], pa.large_string()))
    at, _, rows = windows.anchors(data, offsets, least=80, apart=1)
    assert set(rows.tolist()) == {1} and (at - 5).tolist() == plain_anchors(text.encode(), 80)
    thinned = windows.anchors(data, offsets, least=80)
    assert set(thinned[0].tolist()) <= set(at.tolist()) and len(thinned[0]) <= 2 + len(text) / 16


@pytest.mark.parametrize(
    ("text", "kept"), [("a" * 100, 20), ("abc" * 40, 21), ("abcdefghijklmnopqrst" * 5, 20), ("abcdefghijklmnopqrstu" * 5, 21), ("a" * 39, 39)]
)
def test_of_a_periodic_text_the_first_whole_periods_of_least_bytes_stay(text: str, kept: int) -> None:
    assert marked([text], 20, **ALL) == [[False] * kept + [True] * (len(text) - kept)]
    bounded = marked([text], 20)[0]  # its anchors are some periods apart, so that it may keep up to so much more
    assert bounded == sorted(bounded) and kept <= len(text) - sum(bounded) <= kept + 2 * windows.width_of(20)


def test_a_repeat_ends_at_the_borders_of_texts() -> None:
    half = "the quick brown fox jumps "
    assert not flat(marked([half, half[::-1], half[:13], half[13:], half[::-1][:20]], 22)).any()
    assert marked([half, half], 20) == [[False] * 26, [True] * 26]


def test_a_text_in_many_copies_is_marked_but_for_the_first() -> None:
    text = "".join(random.Random(1).choices("abcdefgh \n", k=3000))
    copies = [f"{chr(200 + number)}-{text}-{chr(200 + number)}" for number in range(100)]
    marks = marked(copies, 500)
    assert not any(marks[0]) and all(all(mark[2:-2]) and not mark[0] + mark[-1] for mark in marks[1:])


@settings(max_examples=200, deadline=None)
@given(groups(), LEAST)
def test_spans_are_of_whole_code_points_inside_of_the_repeats(texts: list[str], least: int) -> None:
    data, offsets = buffers(pa.array(texts, pa.large_string()))
    whole = [[True] * len(text) for text in texts]  # a code point is in a span where all its bytes are in a repeat
    for text, bytes_marked, points in zip(texts, marked(texts, least), whole, strict=True):
        place = 0
        for k, letter in enumerate(text):
            size = len(letter.encode())
            points[k] = all(bytes_marked[place : place + size])
            place += size
    rows, begins, ends = windows.repeated_spans(pa.array(texts, pa.large_string()), least=least, share=None)
    got = [[False] * len(text) for text in texts]
    for row, begin, end in zip(rows, begins, ends, strict=True):
        assert begin < end and not any(got[row][begin:end])
        got[row][begin:end] = [True] * (end - begin)
    assert got == whole and begins.dtype == ends.dtype == np.int32
    assert sorted(zip(rows, begins, strict=True)) == list(zip(rows, begins, strict=True)) and offsets[-1] == len(data)


def test_no_texts_and_short_texts_have_no_spans() -> None:
    for texts in ([], [""], [None], ["a" * 7] * 3):
        assert [column.tolist() for column in windows.repeated_spans(pa.array(texts, pa.large_string()), least=8, share=0.8)] == [[], [], []]
