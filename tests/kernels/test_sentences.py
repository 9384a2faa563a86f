"""Sentences against plain Python's regular expressions, on generated text."""

import re
from itertools import chain

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from dolma.kernels.sentences import sentences
from dolma.kernels.words import buffers, column, words

PIECES = st.sampled_from(
    [
        "One",
        "two ",
        "Three four ",
        ".",
        "...",
        "!? ",
        ". ",
        "\n",
        "\u3002",
        "\u3000",
        "\u00c9t\u00e9 ",
        "\u4e2d\u6587",
        "3.14",
        "?\n\n",
        "\U0001f600 ",
        "e\u0301 ",
    ]
)
TEXT = st.one_of(st.lists(PIECES, max_size=30).map("".join), st.text(st.characters(exclude_categories=("Cs", "Cn")), max_size=40))


def plain(text: str) -> list[tuple[str, str]]:
    """Sentences, and the marks behind each."""
    parts = re.split(r"([.!?]+)\s+", text)
    return [(part, marks) for part, marks in zip(parts[::2], [*parts[1::2], ""], strict=True) if part.strip()]


def in_list_case(sentence: str, least: int, share: float) -> bool:
    found = words(sentence)
    capitals = sum(word[0].isalpha() and len(word[0].lower()) == 1 and word[0].lower() != word[0] for word in found)
    return len(found) >= least and capitals > share * len(found)


@given(st.lists(TEXT, max_size=4), st.integers(0, 4), st.sampled_from([0.5, 0.25]))
def test_sentences_equal_plain_python_on_any_text(texts: list[str], least: int, share: float) -> None:
    data, borders, listed, places = sentences(*buffers(pa.array(texts, pa.large_string())), least, share)
    want = [plain(text) for text in texts]
    assert places.tolist() == [sum(map(len, want[:k])) for k in range(len(want) + 1)]
    flat = list(chain.from_iterable(want))
    assert column(data, borders).to_pylist() == [one + marks for one, marks in flat]
    assert listed.tolist() == [in_list_case(one, least, share) for one, _ in flat]
