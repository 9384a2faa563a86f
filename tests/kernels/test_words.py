"""Word rule v1 against the rule written with Python's own Unicode tables."""

import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.kernels import words as kernel


def plain_words(text: str) -> list[str]:
    """The rule in ten lines: L, N, M runs that begin with L or N."""
    found, word = [], ""
    for char in text:
        kind = unicodedata.category(char)[0]
        if kind in "LN" or (kind == "M" and word):
            word += char
        elif word:
            found.append(word)
            word = ""
    return [*found, word] if word else found


# Unicode 14.0 is fixed in the kernel; other Python versions know other code points.
same_unicode = pytest.mark.skipif(unicodedata.unidata_version != "14.0.0", reason="this Python has another Unicode version")
ODD = st.sampled_from("aB1 .\n-'\u00e9\u0301\u0915\u093f\u4e2d\ufe0f\U0001f600\U00010400")
TEXT = st.text(st.one_of(ODD, st.characters(exclude_categories=("Cs", "Cn"))), max_size=60)


@same_unicode
@settings(max_examples=300, deadline=None)
@given(TEXT)
def test_words_equal_plain_python_on_any_text(text: str) -> None:
    assert kernel.words(text) == plain_words(text)


@same_unicode
def test_classes_equal_unicodedata_on_every_code_point() -> None:
    want = {"L": 1, "N": 2, "M": 3}
    kinds = kernel._classes()
    for code in range(0x110000):
        char = chr(code)
        expected = 4 if char.isspace() else want.get(unicodedata.category(char)[0], 0)
        assert kinds[code] == expected, hex(code)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't stop", ["Don", "t", "stop"]),
        ("3.14 x_y", ["3", "14", "x", "y"]),
        ("\u0939\u093f\u0928\u094d\u0926\u0940", ["\u0939\u093f\u0928\u094d\u0926\u0940"]),
        ("\u4f60\u597d\uff0c\u4e16\u754c", ["\u4f60\u597d", "\u4e16\u754c"]),
        ("\u2764\ufe0f", []),
        ("\u0301a", ["a"]),
        ("", []),
        ("...", []),
        ("a", ["a"]),
    ],
)
def test_words_of_golden_texts(text: str, expected: list[str]) -> None:
    assert kernel.words(text) == expected


def test_hash_is_the_same_for_any_case() -> None:
    assert kernel.hash_word("\u00c9COLE") == kernel.hash_word("\u00e9cole")
    assert kernel.hash_word("\u0416") == kernel.hash_word("\u0436")
    assert kernel.hash_word("the") != kernel.hash_word("eth")


def plain_hash(word: str) -> int:
    """Blocks of eight bytes of the lower-case word, multiplied one into the other, then half of MurmurHash3's finaliser."""
    small = "".join(low if len(low := char.lower()) == 1 else char for char in word).encode()
    state = 0
    for at in range(0, len(small), 8):
        state = (state ^ int.from_bytes(small[at : at + 8], "little")) * 0x9E3779B97F4A7C15 % 2**64
        state ^= state >> 32
    state = (state ^ state >> 33) * 0xFF51AFD7ED558CCD % 2**64
    return state ^ state >> 33


MIXED = st.lists(
    st.one_of(
        st.text("abcXYZ019", min_size=1, max_size=70),
        st.sampled_from([" ", ", ", "\u2019", "\u00e9", "\u00c9t", "\u0130", "\u212a", "\u0301", "\u4e2d\u6587", "\U00010400", "[`{@/:", "\x7f", "\n"]),
    ),
    max_size=40,
).map("".join)


@same_unicode
@settings(max_examples=400, deadline=None)
@given(st.lists(st.one_of(MIXED, TEXT), min_size=1, max_size=3), st.integers(0, 150))
def test_borders_and_hashes_equal_plain_python_wherever_the_buffer_ends(texts: list[str], room: int) -> None:
    data, offsets = kernel.buffers(pa.array([*texts, "x" * room], pa.large_string()))
    for text, start, end in zip(texts, offsets[:-1].tolist(), offsets[1:].tolist(), strict=False):
        size = kernel.most_words(end - start)
        starts, ends, hashes = np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, np.uint64)
        n = kernel.fill_words(data, start, end, starts, ends, hashes)
        found = [data[a:b].tobytes().decode() for a, b in zip(starts[:n], ends[:n], strict=True)]
        assert found == plain_words(text)
        assert hashes[:n].tolist() == [plain_hash(word) for word in found]


def test_hash_is_the_published_function_of_lower_case_code_points() -> None:
    for word in ("the", "A", "\u00c9COLE", "\u4e2d\u6587", "42", "\U00010400"):
        assert kernel.hash_word(word) == plain_hash(word)


def test_every_letter_is_lowered_as_it_is_alone() -> None:
    lowered = kernel._lower(kernel._classes())
    letters = np.flatnonzero(kernel._classes()[:0x1E944] == kernel.LETTER).tolist()
    assert [int(lowered[code]) for code in letters] == [ord(small) if len(small := chr(code).lower()) == 1 else code for code in letters]


def test_hash_word_refuses_what_is_not_one_word() -> None:
    for text in ("two words", "", "x.", "-"):
        with pytest.raises(AssertionError):
            kernel.hash_word(text)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_decode_as_python_does_or_separate(raw: bytes) -> None:
    data = np.frombuffer(raw, np.uint8)
    at, codes = 0, []
    while at < len(raw):
        code, after = kernel.decode(data, at, len(raw))
        assert at < after <= len(raw)
        if code >= 0:
            assert raw[at:after].decode() == chr(code)
            codes.append(chr(code))
        at = after
    assert "".join(codes) == raw.decode("utf-8", "ignore")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.none(), TEXT), max_size=8), st.integers(0, 3), st.sampled_from([pa.string(), pa.large_string()]))
def test_count_words_over_sliced_and_null_columns(texts: list[str | None], start: int, kind: pa.DataType) -> None:
    column = pa.array(texts, kind).slice(start)
    counts = kernel.count_words(*kernel.buffers(column))
    assert counts.tolist() == [len(kernel.words(text or "")) for text in texts[start:]]


def test_word_borders_are_positions_in_the_column() -> None:
    data, offsets = kernel.buffers(pa.array(["ab c", "x \u00e9t\u00e9!"], pa.large_string()))
    starts, ends, hashes = np.zeros(4, np.int64), np.zeros(4, np.int64), np.zeros(4, np.uint64)
    assert kernel.fill_words(data, offsets[1], offsets[2], starts, ends, hashes) == 2
    assert [data[a:b].tobytes().decode() for a, b in zip(starts[:2], ends[:2], strict=True)] == ["x", "\u00e9t\u00e9"]
    assert int(hashes[1]) == kernel.hash_word("\u00c9T\u00c9")
