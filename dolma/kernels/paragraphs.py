"""Paragraphs of texts over Arrow string buffers: their 128-bit hashes and their places in code points; and texts without given spans.

Eight bytes are looked at together: a line feed in a word, and its bytes that begin no code point, are found with a few operations on 64 bits.
"""

import numba
import numpy as np

from dolma.kernels.lines import trim
from dolma.kernels.minhash import mix

_U0, _U1, _U6, _U7, _U8, _U29, _U32, _U56 = (np.uint64(k) for k in (0, 1, 6, 7, 8, 29, 32, 56))
_ONES, _HIGHS, _FEEDS = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080), np.uint64(0x0A0A0A0A0A0A0A0A)
_GOLDEN, _M1, _M2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)  # of splitmix64, as `minhash.mix`


@numba.njit(cache=True, inline="always")
def word_at(data: np.ndarray, i: int) -> np.uint64:
    """The eight bytes from byte `i` on, the first one lowest: a single load, as an unsigned index is not tested for being negative."""
    j = np.uint64(i)
    return (
        np.uint64(data[j])
        | np.uint64(data[j + np.uint64(1)]) << np.uint64(8)
        | np.uint64(data[j + np.uint64(2)]) << np.uint64(16)
        | np.uint64(data[j + np.uint64(3)]) << np.uint64(24)
        | np.uint64(data[j + np.uint64(4)]) << np.uint64(32)
        | np.uint64(data[j + np.uint64(5)]) << np.uint64(40)
        | np.uint64(data[j + np.uint64(6)]) << np.uint64(48)
        | np.uint64(data[j + np.uint64(7)]) << np.uint64(56)
    )


@numba.njit(cache=True, inline="always")
def _below(word: np.uint64, size: int) -> np.uint64:
    """The lowest `size` bytes of a word, fewer than eight."""
    return word & ((_U1 << (_U8 * np.uint64(size))) - _U1)


@numba.njit(cache=True)
def line_of(data: np.ndarray, start: int, end: int) -> tuple[int, int]:
    """The line feed that ends the line which begins at `start`, or `end`; and how many bytes of the line begin no code point."""
    i = start
    inner = 0
    while i < end and i + 8 <= len(data):
        word = word_at(data, i)
        feed = word ^ _FEEDS
        found = (feed - _ONES) & ~feed & _HIGHS  # of its bits the lowest is that of the first line feed
        size = 8
        if found:
            size = int(((((found & (_U0 - found)) - _U1) & _ONES) * _ONES) >> _U56) - 1
        size = min(size, end - i)
        follow = (word >> _U7) & ~(word >> _U6) & _ONES
        if size < 8:
            return i + size, inner + int((_below(follow, size) * _ONES) >> _U56)
        if follow:
            inner += int((follow * _ONES) >> _U56)
        i += 8
    while i < end and data[i] != 10:
        inner += int(data[i] & 0xC0 == 0x80)
        i += 1
    return i, inner


@numba.njit(cache=True)
def digest(data: np.ndarray, start: int, end: int) -> tuple[np.uint64, np.uint64]:
    """Two independent 64-bit hashes of the bytes `data[start:end]`; the last word is that of the bytes left over, and zeros."""
    size = np.uint64(end - start)
    one, two = mix(size + _GOLDEN), mix(size ^ _M1)
    i = start
    while i <= end:
        if i + 8 <= end:
            word = word_at(data, i)
        elif i + 8 <= len(data):
            word = _below(word_at(data, i), end - i)
        else:
            word = _U0
            for k in range(end - i):
                word |= np.uint64(data[i + k]) << np.uint64(8 * k)
        word = mix(word * _GOLDEN)  # not of the states, so that one word need not wait for the one before
        one, two = (one ^ word) * _GOLDEN, (two + word) * _M2
        one, two = one ^ (one >> _U32), two ^ (two >> _U29)
        i += 8
    return mix(one), mix(two)


@numba.njit(cache=True)
def is_blank(data: np.ndarray, start: int, end: int) -> bool:
    """Whether `data[start:end]` is empty or white space (of any script)."""
    if start < end and 32 < data[start] < 127:
        return False
    start, end = trim(data, start, end)
    return start == end


@numba.njit(cache=True)
def _feeds(data: np.ndarray) -> int:
    n = 0
    for byte in data:
        n += byte == 10
    return n


@numba.njit(cache=True)
def paragraphs(data: np.ndarray, offsets: np.ndarray, blocks: bool, least: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every paragraph of every text of a column that is not blank, in order.

    Args:
        data, offsets: see `words.buffers`.
        blocks: paragraphs are runs of lines between blank lines; else each line is one.
        least: code points that a paragraph must have, white space within it included and what ends it not.
    Returns:
        the row of each, int64 (n,); its hash, int64 (n, 2), of the bytes without the last line's end; its place in code points, int32 (n, 2), up to where
        the next one begins, so that a text without it has no line more.
    """
    rows = len(offsets) - 1
    most = _feeds(data[offsets[0] : offsets[rows]]) + rows
    row_of, hashes, places = np.empty(most, np.int64), np.empty((most, 2), np.int64), np.empty((most, 2), np.int32)
    n = 0
    for row in range(rows):
        i, end = int(offsets[row]), int(offsets[row + 1])
        at = 0  # code points before byte i
        first = -1  # first byte of the paragraph that is open, if one is
        last = start = size = 0
        gap = False
        while True:
            stop, inner = line_of(data, i, end)
            tail = stop - (stop > i and data[stop - 1] == 13)
            blank = is_blank(data, i, tail)
            if first >= 0 and (i >= end or not blocks or (gap and not blank)):
                if size >= least:
                    one, two = digest(data, first, last)
                    row_of[n], hashes[n, 0], hashes[n, 1], places[n, 0], places[n, 1] = row, np.int64(one), np.int64(two), start, at
                    n += 1
                first = -1
            if i >= end:
                break
            if not blank:
                if first < 0:
                    first, start = i, at
                last, size = tail, at + tail - i - inner - start
            gap = blank
            after = stop + (stop < end)
            at += after - i - inner
            i = after
    return row_of[:n], hashes[:n], places[:n]


@numba.njit(cache=True)
def _byte_of(data: np.ndarray, i: int, end: int, count: int) -> int:
    """The byte where the code point begins that comes `count` code points after byte `i`; -1 where the text has no more than that many bytes."""
    while count >= 8 and i + 8 <= end and not word_at(data, i) & _HIGHS:
        i += 8
        count -= 8
    while count > 0 and i < end:
        i += 1
        while i < end and data[i] & 0xC0 == 0x80:
            i += 1
        count -= 1
    return i if count == 0 else -1


@numba.njit(cache=True)
def cut(data: np.ndarray, offsets: np.ndarray, rows_of: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Every text of a column without its spans.

    Args:
        data, offsets: see `words.buffers`.
        rows_of, starts, ends: of each span, sorted by row and start; a code point that lies in several is cut once.
    Returns:
        the bytes and the offsets of the new column; int64 (rows, 2): code points cut, and before, the latter 0 where there is no span; and the first span
        that is not within its text, -1 when all are.
    """
    rows = len(offsets) - 1
    out, borders = np.empty(offsets[rows] - offsets[0], np.uint8), np.zeros(rows + 1, np.int64)
    made = np.zeros((rows, 2), np.int64)
    at = span = 0
    for row in range(rows):
        i, end = int(offsets[row]), int(offsets[row + 1])
        here = 0  # code points before byte i
        some = span < len(rows_of) and rows_of[span] == row
        while span < len(rows_of) and rows_of[span] == row:
            start, stop = max(int(starts[span]), here), int(ends[span])
            if starts[span] < 0 or stop < starts[span]:
                return out, borders, made, span
            if stop > start:
                a = _byte_of(data, i, end, start - here)
                b = _byte_of(data, a, end, stop - start) if a >= 0 else -1
                if b < 0:
                    return out, borders, made, span
                out[at : at + a - i] = data[i:a]
                at += a - i
                made[row, 0] += stop - start
                i, here = b, stop
            span += 1
        out[at : at + end - i] = data[i:end]
        at += end - i
        borders[row + 1] = at
        if some:
            left = 0
            for byte in data[i:end]:
                left += byte & 0xC0 != 0x80
            made[row, 1] = here + left
    return out[:at], borders, made, -1
