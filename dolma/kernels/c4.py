"""C4's rules for lines over Arrow string buffers: text in, text and counts out."""

import numba
import numpy as np

from dolma.kernels.lines import Phrases, first_bytes, holds, line_end, same, trim
from dolma.kernels.words import SPACE, class_of, code_points, decode

# Columns of `c4`, in order.
C4 = ("lines_removed", "c4_sentences", "lorem_ipsum", "curly_brackets")

CITATION = np.frombuffer(b"citation needed", np.uint8)


@numba.njit(cache=True)
def _uncited(data: np.ndarray, start: int, end: int, out: np.ndarray, at: int) -> int:
    """Copy a line without `[1]`, `[]`, `[edit]` and `[citation needed]`; where it ends in `out`."""
    i = start
    while i < end:
        if data[i] == 91:
            j = i + 1
            while j < end and 48 <= data[j] <= 57:
                j += 1
            if j == i + 1 and end - j >= 5 and data[j] == 101 and data[j + 1] == 100 and data[j + 2] == 105 and data[j + 3] == 116:
                j += 4
            elif j == i + 1 and end - j >= 16 and same(data, j, CITATION):
                j += 15
            if j < end and data[j] == 93:
                i = j + 1
                continue
        out[at] = data[i]
        at += 1
        i += 1
    return at


@numba.njit(cache=True)
def n_sentences(data: np.ndarray, start: int, end: int) -> int:
    """Sentences of a line that is not empty: parts between runs of `.`, `!`, `?` before white space; what follows the last such run counts if it is there."""
    n = 1
    ended = False
    i = start
    while i < end:
        code, after = decode(data, i, end)
        if ended and class_of(code) == SPACE and trim(data, i, end)[0] < end:
            n += 1
        ended = code in (33, 46, 63)
        i = after
    return n


@numba.njit(cache=True)
def _runs(data: np.ndarray, start: int, end: int, longest: int) -> tuple[int, bool]:
    """Runs of characters that are not white space, and whether one has more than `longest` code points."""
    runs, long = 0, False
    begin = -1
    i = start
    while i < end:
        code, after = decode(data, i, end)
        if class_of(code) == SPACE:
            long = long or (begin >= 0 and i - begin > longest and code_points(data, begin, i) > longest)
            begin = -1
        elif begin < 0:
            begin = i
            runs += 1
        i = after
    return runs, long or (begin >= 0 and end - begin > longest and code_points(data, begin, end) > longest)


@numba.njit(cache=True)
def _ends(data: np.ndarray, start: int, end: int, marks: np.ndarray) -> bool:
    """Whether a line ends in one of `marks`, and in no ellipsis."""
    if start == end or (end - start >= 3 and data[end - 1] == 46 and data[end - 2] == 46 and data[end - 3] == 46):
        return False
    n = 0
    for mark in marks:
        n += data[end - 1] == mark
    return n > 0


@numba.njit(cache=True)
def c4(
    data: np.ndarray, offsets: np.ndarray, marks: np.ndarray, least: int, longest: int, filler: Phrases, scripts: Phrases, policies: Phrases
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Drop the lines that C4 drops from every text of a column, citations from the others, and count what it drops pages for.

    Args:
        data, offsets: see `words.buffers`.
        marks: uint8 characters of which a line must end in one; none: it need not.
        least: runs that a line must have.
        longest: code points that its runs may have.
        filler, scripts, policies: lower-case phrases, found in any case.
    Returns:
        the bytes and the offsets of the new column, and int32 of shape (rows, 4): `C4`.
    """
    rows = len(offsets) - 1
    out, borders = np.empty(offsets[rows] - offsets[0], np.uint8), np.zeros(rows + 1, np.int64)
    made = np.zeros((rows, 4), np.int32)
    firsts = (first_bytes(filler[0], filler[1]), first_bytes(scripts[0], scripts[1]), first_bytes(policies[0], policies[1]))
    at = 0
    for row in range(rows):
        begin, i, end = at, int(offsets[row]), int(offsets[row + 1])
        first = True
        while i < end:
            stop = line_end(data, i, end)
            a, b = trim(data, i, stop)
            i = stop + 1
            runs, long = _runs(data, a, b, longest)
            line = at + (not first)
            there = _uncited(data, a, b, out, line)
            made[row, 0] += 1
            if long or (len(marks) and not _ends(out, line, there, marks)) or runs < least:
                continue
            made[row, 2] += holds(out, line, there, filler[0], filler[1], firsts[0])
            if holds(out, line, there, scripts[0], scripts[1], firsts[1]):
                continue
            for byte in out[line:there]:
                made[row, 3] += byte == 123
            if holds(out, line, there, policies[0], policies[1], firsts[2]):
                continue
            made[row, 0] -= 1
            made[row, 1] += n_sentences(out, line, there)
            if not first:
                out[at] = 10
            at, first = there, False
        a, b = trim(out, begin, at)  # a citation that is gone may leave white space at either end
        for k in range(b - a):
            out[begin + k] = out[a + k]
        at = begin + b - a
        borders[row + 1] = at
    return out[:at], borders, made
