"""Edits of lines over Arrow string buffers: what the rules drop or cut, and how much that was. Text in, text and numbers out.

A line stands between line feeds. Phrases are found by their bytes; where a search is in any case, that is any case of ASCII.
"""

import numba
import numpy as np

from dolma.kernels.words import ASCII_WORD, LETTER, MARK, NUMBER, SPACE, class_of, decode, lower_of

# Columns of `edit`, in order.
EDIT = ("words_before", "words_removed", "lines_removed")

Phrases = tuple[np.ndarray, np.ndarray]
"""Bytes and borders of a list of phrases, as `words.buffers` gives them."""


@numba.njit(cache=True)
def trim(data: np.ndarray, start: int, end: int) -> tuple[int, int]:
    """`data[start:end]` without white space (of any script) at both ends."""
    while start < end:
        code, after = decode(data, start, end)
        if class_of(code) != SPACE:
            break
        start = after
    while end > start:
        before = end - 1
        while before > start and data[before] & 0xC0 == 0x80:
            before -= 1
        code, _ = decode(data, before, end)
        if class_of(code) != SPACE:
            break
        end = before
    return start, end


@numba.njit(cache=True)
def last_of(data: np.ndarray, start: int, end: int) -> int:
    """The last code point of text that is not empty."""
    before = end - 1
    while before > start and data[before] & 0xC0 == 0x80:
        before -= 1
    return decode(data, before, end)[0]


@numba.njit(cache=True)
def most_lines(data: np.ndarray, offsets: np.ndarray) -> int:
    """Lines of the text of a column that has most: what scratch arrays are sized by."""
    most = 0
    for row in range(len(offsets) - 1):
        n = 1
        for byte in data[offsets[row] : offsets[row + 1]]:
            n += byte == 10
        most = n if n > most else most
    return most


@numba.njit(cache=True)
def same(data: np.ndarray, i: int, text: np.ndarray) -> bool:
    """Whether the bytes `text` stand in `data` from byte `i` on; they must fit."""
    n = 0
    for k in range(len(text)):
        n += data[i + k] == text[k]
    return n == len(text)


@numba.njit(cache=True)
def at_phrase(data: np.ndarray, i: int, end: int, phrases: np.ndarray, borders: np.ndarray, fold: bool) -> int:
    """Bytes of the first of the phrases that stands at byte `i`, 0 where none does; with `fold`, lower-case phrases in any case."""
    for k in range(len(borders) - 1):
        a, size = borders[k], borders[k + 1] - borders[k]
        if size == 0 or i + size > end:
            continue
        equal = True
        for j in range(size):
            byte = data[i + j]
            if fold and 65 <= byte <= 90:
                byte += 32
            if byte != phrases[a + j]:
                equal = False
                break
        if equal:
            return size
    return 0


@numba.njit(cache=True)
def first_bytes(phrases: np.ndarray, borders: np.ndarray) -> np.ndarray:
    """Which bytes one of the phrases begins with, lower-case letters in either case: bool of shape (256,)."""
    first = np.zeros(256, np.bool_)
    for k in range(len(borders) - 1):
        if borders[k + 1] > borders[k]:
            byte = phrases[borders[k]]
            first[byte] = True
            if 97 <= byte <= 122:
                first[byte - 32] = True
    return first


@numba.njit(cache=True)
def holds(data: np.ndarray, start: int, end: int, phrases: np.ndarray, borders: np.ndarray, first: np.ndarray) -> bool:
    """Whether one of the lower-case phrases stands in `data[start:end]`, in any case; `first` of `first_bytes`."""
    i = start
    while i < end and not (first[data[i]] and at_phrase(data, i, end, phrases, borders, True)):
        i += 1
    return i < end


@numba.njit(cache=True)
def line_end(data: np.ndarray, start: int, end: int) -> int:
    """The line feed that ends the line which begins at `start`, or `end`."""
    i = start
    while i < end and data[i] != 10:
        i += 1
    return i


@numba.njit(cache=True)
def n_words(data: np.ndarray, start: int, end: int) -> int:
    """Words of `data[start:end]` under word rule v1."""
    n = 0
    inside = False
    i = start
    while i < end:
        byte = data[i]
        if byte < 128:
            here = bool(ASCII_WORD[byte])
            i += 1
        else:
            code, i = decode(data, i, end)
            kind = class_of(code)
            here = kind in (LETTER, NUMBER) or (inside and kind == MARK)
        n += here and not inside
        inside = here
    return n


@numba.njit(cache=True)
def _is_counter(data: np.ndarray, start: int, end: int, units: np.ndarray, borders: np.ndarray) -> bool:
    """Whether a line is nothing but a number and a unit, such as `1.2K likes`, among characters that are no part of words."""
    i = start
    while i < end:
        code, after = decode(data, i, end)
        if code == 95 or class_of(code) in (LETTER, NUMBER, MARK):
            break
        i = after
    if i == end or not 48 <= data[i] <= 57:
        return False
    while i < end and (48 <= data[i] <= 57 or data[i] in (44, 46)):
        i += 1
    if i < end and data[i] | 32 in (98, 107, 109):  # b, k, m
        i += 1
    unit = i
    while unit < end:
        code, after = decode(data, unit, end)
        if class_of(code) != SPACE:
            break
        unit = after
    size = at_phrase(data, unit, end, units, borders, True)
    if unit == i or size == 0:
        return False
    i = unit + size
    while i < end:
        code, i = decode(data, i, end)
        if code == 95 or class_of(code) in (LETTER, NUMBER, MARK):
            return False
    return True


@numba.njit(cache=True)
def _is_shouted(data: np.ndarray, start: int, end: int, upper: float, digits: float) -> bool:
    """Whether more than these shares of a line's bytes are upper-case letters, or digits."""
    high = low = 0
    i = start
    while i < end:
        byte = data[i]
        if byte < 128:
            low += 48 <= byte <= 57
            high += 65 <= byte <= 90
            i += 1
        else:
            code, i = decode(data, i, end)
            high += class_of(code) == LETTER and lower_of(code) != code
    return high > upper * (end - start) or low > digits * (end - start)


@numba.njit(cache=True)
def _space_before(data: np.ndarray, start: int, i: int) -> int:
    """Where the one white-space character before `i` begins, if there is one, else `i`."""
    before = i - 1
    while before > start and data[before] & 0xC0 == 0x80:
        before -= 1
    return before if before >= start and class_of(decode(data, before, i)[0]) == SPACE else i


@numba.njit(cache=True)
def _space_after(data: np.ndarray, i: int, end: int) -> int:
    if i >= end:
        return i
    code, after = decode(data, i, end)
    return after if class_of(code) == SPACE else i


@numba.njit(cache=True)
def _cut(data: np.ndarray, start: int, end: int, out: np.ndarray, at: int, inner: Phrases, first: np.ndarray, tail: Phrases, head: Phrases) -> int:
    """Copy a line to `out[at:]` without the phrases `inner` anywhere (a space in their place), `tail` at its end, `head` at its beginning; where it ends."""
    begin = floor = at
    i = start
    while i < end:
        size = at_phrase(data, i, end, inner[0], inner[1], False) if first[data[i]] else 0
        if size:
            at = _space_before(out, floor, at)
            out[at] = 32
            at = floor = at + 1
            i = _space_after(data, i + size, end)
            continue
        out[at] = data[i]
        at += 1
        i += 1
    for k in range(len(tail[1]) - 1):
        size = tail[1][k + 1] - tail[1][k]
        if size and at - size >= begin and at_phrase(out, at - size, at, tail[0], tail[1][k : k + 2], False):
            at = _space_before(out, begin, at - size)
    size = at_phrase(out, begin, at, head[0], head[1], False)
    if size:
        rest = _space_after(out, begin + size, at)
        for j in range(at - rest):
            out[begin + j] = out[rest + j]
        at -= rest - begin
    return at


@numba.njit(cache=True)
def edit(
    data: np.ndarray, offsets: np.ndarray, upper: float, digits: float, units: Phrases, least: int, inner: Phrases, tail: Phrases, head: Phrases, most: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Drop and cut lines of every text of a column; an empty line stays.

    Args:
        data, offsets: see `words.buffers`.
        upper, digits: a line with more than these shares of upper-case letters or digits is dropped.
        units: lower-case; a line that is a number and one of these is dropped.
        least: a line with fewer words is dropped.
        inner, tail, head: phrases cut anywhere, at the end, at the beginning; a line of which nothing is left is dropped.
        most: words up to which a line is cut; 0: any line is.
    Returns:
        the bytes and the offsets of the new column, and int32 of shape (rows, 3): `EDIT`.
    """
    rows = len(offsets) - 1
    out, borders = np.empty(offsets[rows] - offsets[0], np.uint8), np.zeros(rows + 1, np.int64)
    made = np.zeros((rows, 3), np.int32)
    firsts = first_bytes(inner[0], inner[1])
    at = 0
    for row in range(rows):
        i, end = int(offsets[row]), int(offsets[row + 1])
        first = True
        before = after = removed = 0
        while i <= end and offsets[row] < end:
            stop = line_end(data, i, end)
            words = n_words(data, i, stop)
            before += words
            line = at + (not first)
            there = line
            kept = i == stop or not (words < least or _is_shouted(data, i, stop, upper, digits) or _is_counter(data, i, stop, units[0], units[1]))
            if kept and i < stop:
                if most and words > most:
                    out[line : line + stop - i] = data[i:stop]
                    there = line + stop - i
                else:
                    there = _cut(data, i, stop, out, line, inner, firsts, tail, head)
                a, b = trim(out, line, there)
                kept = a < b
            if kept:
                if not first:
                    out[at] = 10
                at, first = there, False
                untouched = there - line == stop - i and same(out, line, data[i:stop])
                after += words if untouched else n_words(out, line, there)
            removed += not kept
            i = stop + 1
        made[row, 0], made[row, 1], made[row, 2] = before, before - after, removed
        borders[row + 1] = at
    return out[:at], borders, made


@numba.njit(cache=True)
def collapse(data: np.ndarray, offsets: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut every run of line feeds down to `most`: the bytes and the offsets of the new column."""
    rows = len(offsets) - 1
    out, borders = np.empty(offsets[rows] - offsets[0], np.uint8), np.zeros(rows + 1, np.int64)
    at = 0
    for row in range(rows):
        run = 0
        for byte in data[offsets[row] : offsets[row + 1]]:
            run = run + 1 if byte == 10 else 0
            if run <= most:
                out[at] = byte
                at += 1
        borders[row + 1] = at
    return out[:at], borders
