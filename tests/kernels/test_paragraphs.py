"""Paragraphs and cuts over buffers, against Python strings."""

import re
from itertools import pairwise

import numpy as np
import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dolma.kernels.paragraphs import cut, digest, paragraphs
from dolma.kernels.words import buffers

PIECES = [
    "\n",
    "\n\n",
    "\r\n",
    "\r",
    " ",
    "\u3000",
    "\u00a0",
    "a",
    "line of text",
    "中文没有空格",
    "नमस्ते",
    "😀",
    "é",
    "e\u0301",
    "\x85",
    "\u2028",
    "0123456",
    "01234567",
]
TEXT = st.lists(st.sampled_from(PIECES), max_size=14).map("".join)
Paragraph = tuple[int, str, int, int]


def of_lines(row: int, text: str) -> list[Paragraph]:
    """Content, start and end of every line that is not blank, in plain Python."""
    found, at = [], 0
    for line in re.findall(r"[^\n]*\n|[^\n]+", text):
        content = line.removesuffix("\n")
        content = content.removesuffix("\r")
        if content.strip():
            found.append((row, content, at, at + len(line)))
        at += len(line)
    return found


def of_blocks(row: int, text: str) -> list[Paragraph]:
    """The same for runs of such lines, up to the run that follows."""
    runs: list[list[Paragraph]] = []
    for one in of_lines(row, text):
        if runs and runs[-1][-1][3] == one[2]:
            runs[-1].append(one)
        else:
            runs.append([one])
    starts = [run[0][2] for run in runs] + [len(text)]
    return [(row, text[run[0][2] : run[-1][2] + len(run[-1][1])], run[0][2], after) for run, after in zip(runs, starts[1:], strict=True)]


def found(texts: list[str], blocks: bool, least: int = 1) -> list[tuple[int, tuple[int, ...], int, int]]:
    row_of, hashes, places = paragraphs(*buffers(pa.array(texts, pa.large_string())), blocks, least)
    return [(row, tuple(pair), *place) for row, pair, place in zip(row_of.tolist(), hashes.tolist(), places.tolist(), strict=True)]


def hashed(contents: list[str]) -> list[tuple[int, ...]]:
    """Hashes of contents that stand alone."""
    pairs = [digest(np.frombuffer(content.encode(), np.uint8), 0, len(content.encode())) for content in contents]
    return [tuple(np.array(pair, np.uint64).view(np.int64).tolist()) for pair in pairs]


@settings(max_examples=150, deadline=None)
@given(st.lists(TEXT, max_size=5), st.booleans(), st.integers(1, 9))
@example(["x" * 7 + "\n" + "y" * 8 + "\r\n" + "中" * 9, "", "\n\n", "last"], False, 1)
def test_paragraphs_equal_those_of_python_strings(texts: list[str], blocks: bool, least: int) -> None:
    plain = [one for row, text in enumerate(texts) for one in (of_blocks if blocks else of_lines)(row, text) if len(one[1]) >= least]
    made = found(texts, blocks, least)
    assert [(row, start, end) for row, _, start, end in made] == [(row, start, end) for row, _, start, end in plain]
    assert [pair for _, pair, _, _ in made] == hashed([content for _, content, _, _ in plain])


def test_the_hash_does_not_see_where_a_paragraph_stands() -> None:
    line = "a line of some length, with é and 中文 in it"
    made = found([line, f"x\n{line}", f"{line}\r\nyy", f"123456789\n\n{line}\n"], False)
    assert len({pair for _, pair, start, end in made if end - start > 20}) == 1
    lines = {bytes(np.random.default_rng(k).integers(0, 2, 1 + k % 40, np.uint8) + 97).decode() for k in range(3000)}
    assert len({pair[0] for _, pair, _, _ in found(sorted(lines), False)}) == len({pair[1] for _, pair, _, _ in found(sorted(lines), False)}) == len(lines)
    assert len({pair for _, pair, _, _ in found(["a", "b", "a ", "A", "ab", "a\x00", "aa"], False)}) == 7


def test_a_sliced_column_gives_the_paragraphs_of_its_own_rows() -> None:
    whole = pa.array(["one\ntwo", "three\nfour 中", "five"], pa.large_string())
    row_of, _, places = paragraphs(*buffers(whole.slice(1)), False, 1)
    assert (row_of.tolist(), places.tolist()) == ([0, 0, 1], [[0, 6], [6, 12], [0, 4]])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(TEXT, st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=4)), max_size=4))
def test_cuts_equal_those_of_python_strings(rows: list[tuple[str, list[tuple[int, int]]]]) -> None:
    texts = [text for text, _ in rows]
    spans = sorted((row, min(*pair, len(text)), min(max(pair), len(text))) for row, (text, pairs) in enumerate(rows) for pair in pairs)
    gone = {(row, place) for row, start, end in spans for place in range(start, end)}
    kept = ["".join(c for place, c in enumerate(text) if (row, place) not in gone) for row, text in enumerate(texts)]
    columns = np.array(spans, np.int64).reshape(-1, 3)
    data, offsets, made, wrong = cut(*buffers(pa.array(texts, pa.large_string())), columns[:, 0], columns[:, 1], columns[:, 2])
    assert [data[a:b].tobytes().decode() for a, b in pairwise(offsets)] == kept
    some = {row for row, _, _ in spans}
    assert made.tolist() == [[len(text) - len(left), len(text) if row in some else 0] for row, (text, left) in enumerate(zip(texts, kept, strict=True))]
    assert wrong == -1
