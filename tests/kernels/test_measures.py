"""The measures against plain Python with the same word rule, on generated text and on the kit's pages."""

import gzip
import json
import re
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.kernels import measures
from dolma.kernels import repetition as repetitions
from dolma.kernels.words import buffers, hash_word, words

STOP = ("the", "be", "to", "of", "and", "that", "have", "with")
PIECES = st.sampled_from(
    ["the ", "of ", "a b c d e ", "word ", "\n", "\n\n", "- ", "\u2022 ", "* ", "...", ". . .", "\u2026", "#", "{", "12 ", "| ", "Yes. ", "No!\n",
     "\u4e2d\u6587\u3002", "\u00c9t\u00e9 ", "E\u0301te\u0301 ", "\u0645\u0631\u062d\u0628\u0627\u061f ", "\u0939\u093f\u0928\u094d\u0926\u0940 ",
     "\U0001f600 ",
     "\u3000", "\u00a0", "same line\n", "one two three four five six seven eight nine ten eleven ", "\ufe0f"]
)  # fmt: skip
TEXT = st.one_of(st.lists(PIECES, max_size=40).map("".join), st.text(st.characters(exclude_categories=("Cs", "Cn")), max_size=80))


def plain_quality(text: str) -> list[float | None]:
    """The quality measures, word for word as documented."""
    found, runs, lines = words(text), text.split(), [line.strip() for line in text.split("\n") if line.strip()]

    def share(hits: list[bool], of: int) -> float | None:
        return sum(hits) / of if of else None

    symbols = sum(text.count(symbol) for symbol in ("#", "...", ". . .", "\u2026"))
    return [
        len(text), len(found), len(lines), sum(run[-1] in ".!?" for run in runs), text.count("{") + text.count("}"),
        sum(word.lower() in STOP for word in found),
        sum(len(run.encode()) for run in runs) / len(runs) if runs else None,
        symbols / len(found) if found else None,
        share([line[0] in "\u25cf\u2022*-" for line in lines], len(lines)),
        share([line.endswith(("...", "\u2026", ". . .")) for line in lines], len(lines)),
        share([not any(unicodedata.category(char)[0] == "L" for char in run) for run in runs], len(runs)),
        share([line[-1] in ".!?\"'\u201d\u2019\u2026\u3002\uff01\uff1f" for line in lines], len(lines)),
        share([len(line) <= 30 for line in lines], len(lines)),
        text.count("\n") / len(found) if found else None,
    ]  # fmt: skip


def plain_repetition(text: str) -> list[float]:
    """The repetition measures, word for word as documented."""
    out: list[float] = []
    lines = [line.strip() for line in text.split("\n")]
    paragraphs = [p.strip("\n") for p in re.split(r"\n\n+", "\n".join(lines)) if p.strip("\n")]
    for parts in ([line for line in lines if line], paragraphs):
        again = [part for k, part in enumerate(parts) if part in parts[:k]]
        size = sum(len(part.replace("\n", "")) for part in parts)
        out += [len(again) / len(parts), sum(len(part.replace("\n", "")) for part in again) / size] if parts else [0.0, 0.0]
    found = ["".join(low if len(low := char.lower()) == 1 else char for char in word) for word in words(text)]
    total = sum(map(len, found))
    for n in range(2, 11):
        grams = [tuple(found[k : k + n]) for k in range(len(found) - n + 1)]
        counts = Counter(grams)
        if n <= 4:
            top = max(counts.items(), key=lambda item: (item[1], len("".join(item[0]))), default=None)
            out.append(min(1.0, top[1] * len("".join(top[0])) / total) if top and len(grams) > 1 else 0.0)
        else:
            covered = {k + j for k, gram in enumerate(grams) if counts[gram] > 1 for j in range(n)}
            out.append(sum(len(found[k]) for k in covered) / total if covered else 0.0)
    return out


def measured(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    data, offsets = buffers(pa.array(texts, pa.large_string()))
    wanted = np.array([hash_word(word) for word in STOP], np.uint64)
    return measures.quality(data, offsets, wanted, 30), repetitions.repetition(data, offsets)


def assert_same(got: np.ndarray, want: list[list[float | None]], names: tuple[str, ...]) -> None:
    expected = np.array([[np.nan if value is None else value for value in row] for row in want], float)
    for k, name in enumerate(names):
        np.testing.assert_allclose(got[:, k], expected[:, k], rtol=1e-12, err_msg=name)


@settings(max_examples=200, deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=4))
def test_measures_equal_plain_python_on_any_text(texts: list[str]) -> None:
    quality, repetition = measured(texts)
    assert_same(quality, [plain_quality(text) for text in texts], measures.QUALITY)
    assert_same(repetition, [[*plain_repetition(text)] for text in texts], repetitions.REPETITION)


@pytest.mark.kit
def test_measures_equal_plain_python_on_kit_pages(kit: Path) -> None:
    with gzip.open(kit / "web" / "pages_gold.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = [text for line in lines if (text := json.loads(line)["gold_text"]) and len(text) < 20_000][:150]
    quality, repetition = measured(texts)
    assert_same(quality, [plain_quality(text) for text in texts], measures.QUALITY)
    assert_same(repetition, [[*plain_repetition(text)] for text in texts], repetitions.REPETITION)


def column(texts: list[str], name: str) -> list[float]:
    quality, repetition = measured(texts)
    if name in measures.QUALITY:
        return [float(value) for value in quality[:, measures.QUALITY.index(name)]]
    return [float(value) for value in repetition[:, repetitions.REPETITION.index(name)]]


def test_no_ngram_or_just_one_has_share_zero() -> None:
    assert column(["", "one", "one two"], "top_2gram_chars") == [0.0, 0.0, 0.0]
    assert column(["aa bb cccc"], "top_2gram_chars") == [6 / 8]  # two 2-grams, none repeats: the longest


def test_repeated_ngrams_count_the_union_of_their_spans() -> None:
    five = "alpha beta gamma delta echo"
    overlapping = "x " * 12
    assert column([f"{five} one two {five}", five, overlapping], "repeated_5gram_chars") == [46 / 52, 0.0, 1.0]


def test_top_ngram_of_one_word_repeated_is_capped_at_one() -> None:
    assert column(["go " * 10], "top_2gram_chars") == [1.0]


def test_repeats_are_those_after_the_first() -> None:
    assert column(["a\nb\na\na", " a \na"], "duplicate_line_ratio") == [0.5, 0.5]
    assert column(["p\nq\n\n\np\nq\n \nr"], "duplicate_paragraph_ratio") == [1 / 3]
