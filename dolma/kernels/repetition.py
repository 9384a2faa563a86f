"""Repetition over Arrow string buffers: what lines, paragraphs and n-grams of words repeat in their own text. Bytes in, numbers out.

A *line* stands between line feeds, white space trimmed, empty ones not counted. A *paragraph* is a group of lines without an empty line in between.
"""

import numba
import numpy as np

from dolma.kernels.lines import line_end, most_lines, trim
from dolma.kernels.words import code_points, fill_words, hash_end, longest, most_words

# Columns of `repetition`, in order.
REPETITION = (
    "duplicate_line_ratio",
    "duplicate_line_chars",
    "duplicate_paragraph_ratio",
    "duplicate_paragraph_chars",
    "top_2gram_chars",
    "top_3gram_chars",
    "top_4gram_chars",
    "repeated_5gram_chars",
    "repeated_6gram_chars",
    "repeated_7gram_chars",
    "repeated_8gram_chars",
    "repeated_9gram_chars",
    "repeated_10gram_chars",
)

_ODD = np.uint64(0x9FB21C651E98DF25)  # an odd number with as many ones as zeros


@numba.njit(cache=True)
def mix(left: np.uint64, right: np.uint64) -> np.uint64:
    """The hash of two hashes in this order."""
    return (left ^ (right + np.uint64(0x9E3779B97F4A7C15) + (left << np.uint64(6)) + (left >> np.uint64(2)))) * _ODD


@numba.njit(cache=True)
def clear(counts: np.ndarray, n: int) -> np.uint64:
    """Make room for `n` distinct hashes in an open-addressing table that is at most half full; its mask."""
    size = 16
    while size < 2 * n:
        size *= 2
    counts[:size] = 0
    return np.uint64(size - 1)


@numba.njit(cache=True)
def slot(keys: np.ndarray, counts: np.ndarray, mask: np.uint64, key: np.uint64) -> np.uint64:
    """Where `key` stands in the table, or the free slot where it belongs."""
    at = (key ^ (key >> np.uint64(32))) & mask
    while counts[at] and keys[at] != key:
        at = (at + np.uint64(1)) & mask
    return at


@numba.njit(cache=True)
def _repeats(hashes: np.ndarray, chars: np.ndarray, n: int, keys: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """The share of `n` elements that equal an earlier one, and the share of characters in those; 0 where there is none."""
    mask = clear(counts, n)
    again = again_chars = total = 0
    for k in range(n):
        at = slot(keys, counts, mask, hashes[k])
        if counts[at]:
            again += 1
            again_chars += chars[k]
        keys[at] = hashes[k]
        counts[at] += 1
        total += chars[k]
    return (again / n, again_chars / total) if n else (0.0, 0.0)


@numba.njit(cache=True)
def _hash(text: np.ndarray) -> np.uint64:
    """A hash of bytes, eight at a time, for comparisons within one text."""
    size = len(text)
    state = np.uint64(size)
    whole = size - size % 8
    for i in range(0, whole, 8):
        part = np.uint64(0)
        for k in range(8):
            part |= np.uint64(text[i + k]) << np.uint64(8 * k)
        state = (state ^ part) * _ODD
        state ^= state >> np.uint64(32)
    part = np.uint64(0)
    for i in range(whole, size):
        part = part << np.uint64(8) | np.uint64(text[i])
    return hash_end((state ^ part) * _ODD)


@numba.njit(cache=True)
def _split(data: np.ndarray, start: int, end: int, lines: np.ndarray, line_chars: np.ndarray, groups: np.ndarray, group_chars: np.ndarray) -> tuple[int, int]:
    """Hash and code points of every line and every paragraph; how many there are of each."""
    n = m = 0
    gap = True
    i = start
    while i < end:
        stop = line_end(data, i, end)
        a, b = trim(data, i, stop)
        i = stop + 1
        if a == b:
            gap = True
            continue
        lines[n], line_chars[n] = _hash(data[a:b]), code_points(data, a, b)
        if gap:
            groups[m], group_chars[m] = lines[n], line_chars[n]
            m += 1
        else:
            groups[m - 1] = mix(groups[m - 1], lines[n])
            group_chars[m - 1] += line_chars[n]
        gap = False
        n += 1
    return n, m


@numba.njit(cache=True)
def _grow(grams: np.ndarray, hashes: np.ndarray, at: np.ndarray, slots: np.ndarray, n: int, last: int, keys: np.ndarray, counts: np.ndarray) -> int:
    """Turn the (n - 1)-grams at the `last` positions `at` into n-grams where one fits, and count them in `slots` of the table; how many fit."""
    mask = clear(counts, last)
    kept = 0
    for k in range(last):
        i = int(at[k])
        if i + n > len(hashes):
            break
        grams[i] = mix(grams[i], hashes[i + n - 1])
        place = slot(keys, counts, mask, grams[i])
        keys[place] = grams[i]
        counts[place] += 1
        at[kept], slots[kept] = i, place
        kept += 1
    return kept


@numba.njit(cache=True)
def _top(best: int, span: int, n: int, size: int, border: np.ndarray) -> float:
    """Share of characters in the most frequent n-gram: where none repeats the longest is it; a text that has just one n-gram has share 0."""
    if size <= n:
        return 0.0
    if best < 2:
        best = 1
        for i in range(size - n + 1):
            here = int(border[i + n] - border[i])
            span = here if here > span else span
    return min(1.0, best * span / border[size])


@numba.njit(cache=True)
def _ngrams(
    hashes: np.ndarray, border: np.ndarray, grams: np.ndarray, at: np.ndarray, slots: np.ndarray, keys: np.ndarray, counts: np.ndarray, out: np.ndarray
) -> None:
    """Top n-gram shares for n = 2, 3, 4 into out[:3], shares of the union of repeated n-grams for n = 5 .. 10 into out[3:9].

    An n-gram can only repeat where its first n - 1 words do: each length looks only at the positions that the length before left over.
    """
    size = len(hashes)
    out[:9] = 0.0
    last = size
    for i in range(size):
        grams[i] = hashes[i]
        at[i] = i
    for n in range(2, 11):
        fit = _grow(grams, hashes, at, slots, n, last, keys, counts)
        best = span = covered = reach = last = 0
        for k in range(fit):
            i = int(at[k])
            count = int(counts[slots[k]])
            if count < 2:
                continue
            here = int(border[i + n] - border[i])
            if count > best or (count == best and here > span):
                best, span = count, here
            begin = i if i > reach else reach
            covered += border[i + n] - border[begin]
            reach = i + n
            at[last] = i
            last += 1
        if n <= 4:
            out[n - 2] = _top(best, span, n, size, border)
        elif last:
            out[n - 2] = covered / border[size]


@numba.njit(cache=True)
def _length(data: np.ndarray, start: int, end: int) -> int:
    """Code points of a short text, where a vectorised loop takes longer to begin than to end."""
    n = 0
    i = start
    while i < end:
        byte = data[i]
        i += 1 if byte < 0x80 else (2 if byte < 0xE0 else (3 if byte < 0xF0 else 4))
        n += 1
    return n


@numba.njit(cache=True)
def repetition(data: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """The measures `REPETITION` of every text of a column (see `words.buffers`).

    Words are compared in lower case, by 64-bit hashes: a text of 100,000 words meets a false match with a chance of 3e-10. Characters are code points
    of words (n-grams) or of trimmed lines (lines, paragraphs); a text without words or lines has 0.

    Returns:
        float64 of shape (rows, len(REPETITION)), all in [0, 1].
    """
    rows = len(offsets) - 1
    size, most = most_words(longest(offsets)), most_lines(data, offsets)
    starts, ends, hashes = np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, np.uint64)
    border, grams = np.zeros(size + 1, np.int64), np.empty(size, np.uint64)
    at, slots = np.empty(size, np.int64), np.empty(size, np.int64)
    lines, groups = np.empty(most, np.uint64), np.empty(most, np.uint64)
    line_chars, group_chars = np.empty(most, np.int64), np.empty(most, np.int64)
    room = 16
    while room < 2 * max(size, most):
        room *= 2
    keys, counts = np.empty(room, np.uint64), np.empty(room, np.int32)
    out = np.zeros((rows, 13))
    for row in range(rows):
        start, end = offsets[row], offsets[row + 1]
        made = out[row]
        n, m = _split(data, start, end, lines, line_chars, groups, group_chars)
        made[0], made[1] = _repeats(lines, line_chars, n, keys, counts)
        made[2], made[3] = _repeats(groups, group_chars, m, keys, counts)
        words = fill_words(data, start, end, starts, ends, hashes)
        ascii = code_points(data, start, end) == end - start
        for k in range(words):
            border[k + 1] = border[k] + (ends[k] - starts[k] if ascii else _length(data, starts[k], ends[k]))
        _ngrams(hashes[:words], border[: words + 1], grams, at, slots, keys, counts, made[4:])
    return out
