"""Page statistics over Arrow string buffers: the Gopher quality measures in one pass, the repetition measures in another. Bytes in, numbers out.

Three units, each where its rule asks for it: a *word* (see `words`, punctuation is none), a *run* of characters that are not white space, and a *line*
(between line feeds, white space trimmed, empty ones not counted). A *paragraph* is a group of lines without an empty line in between.
"""

import numba
import numpy as np

from dolma.kernels.words import (
    ASCII_CLASS, ASCII_WORD, LETTER, MARK, NUMBER, SEED, SPACE,
    class_of, code_points, decode, fill_words, hash_end, hash_step, longest, lower_of, most_words,
)  # fmt: skip

# Columns of `quality`, in order; counts come before ratios.
QUALITY = (
    "n_chars",
    "n_words",
    "n_lines",
    "n_sentences",
    "n_braces",
    "stop_words",
    "mean_word_length",
    "symbol_ratio",
    "bullet_ratio",
    "ellipsis_ratio",
    "no_letter_ratio",
    "end_mark_ratio",
    "short_line_ratio",
    "newline_ratio",
)
QUALITY_COUNTS = 6

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

_ELLIPSIS = 0x2026
_BULLETS = (0x25CF, 0x2022, 0x2A, 0x2D)  # black circle, bullet, asterisk, hyphen. Source: Gopher, arXiv:2112.11446 A.1.1; Olmo 3 all-dressed configuration
# . ! ? " ' and closing quotes, ideographic and full-width stops. Source: C4's terminal marks (arXiv:1910.10683 2.2), with their typographic forms
_END_MARKS = (0x2E, 0x21, 0x3F, 0x22, 0x27, 0x201D, 0x2019, 0x2026, 0x3002, 0xFF01, 0xFF1F)


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
def _line_end(data: np.ndarray, start: int, end: int) -> int:
    i = start
    while i < end and data[i] != 10:
        i += 1
    return i


@numba.njit(cache=True)
def _last(data: np.ndarray, start: int, end: int) -> int:
    """The last code point of text that is not empty."""
    before = end - 1
    while before > start and data[before] & 0xC0 == 0x80:
        before -= 1
    return decode(data, before, end)[0]


@numba.njit(cache=True)
def _lines(data: np.ndarray, start: int, end: int, short: int, out: np.ndarray) -> None:
    """Lines, and those that begin with a bullet, end in an ellipsis, end in an end mark, have at most `short` code points: into out[:5]."""
    out[:5] = 0
    i = start
    while i < end:
        stop = _line_end(data, i, end)
        a, b = trim(data, i, stop)
        i = stop + 1
        if a == b:
            continue
        first, last = decode(data, a, b)[0], _last(data, a, b)
        out[0] += 1
        out[1] += first in _BULLETS
        spaced = b - a >= 5 and data[b - 1] == 46 and data[b - 2] == 32 and data[b - 3] == 46 and data[b - 4] == 32 and data[b - 5] == 46
        dots = b - a >= 3 and data[b - 1] == 46 and data[b - 2] == 46 and data[b - 3] == 46
        out[2] += last == _ELLIPSIS or dots or spaced
        out[3] += last in _END_MARKS
        out[4] += b - a <= 4 * short and code_points(data, a, b) <= short


@numba.njit(cache=True)
def _scan(data: np.ndarray, start: int, end: int, wanted: np.ndarray) -> tuple[int, int, int, int, int, int, int, int]:
    """Words, stop words, runs, bytes in runs, runs without a letter, line feeds, sentence ends, braces; in one pass, since words and runs end together."""
    words = stops = runs = size = bare = feeds = sentences = braces = 0
    state = SEED
    inside = letter = ended = False
    begin = -1
    i = start
    while i < end:
        byte = data[i]
        if byte < 128:
            code, after, kind, small = int(byte), i + 1, int(ASCII_CLASS[byte]), int(ASCII_WORD[byte])
        else:
            code, after = decode(data, i, end)
            kind = class_of(code)
            small = lower_of(code) if kind in (LETTER, NUMBER) or (inside and kind == MARK) else 0
        if small:
            state = hash_step(state, small)
            inside = True
        elif inside:
            inside = False
            words += 1
            stops += _among(hash_end(state), wanted)
            state = SEED
        if kind == SPACE:
            feeds += code == 10
            if begin >= 0:
                runs += 1
                size += i - begin
                bare += not letter
                sentences += ended
                begin = -1
        else:
            if begin < 0:
                begin = i
                letter = False
            letter = letter or kind == LETTER
            ended = code in (46, 33, 63)
            braces += code in (123, 125)
        i = after
    if inside:
        words += 1
        stops += _among(hash_end(state), wanted)
    if begin >= 0:
        runs += 1
        size += end - begin
        bare += not letter
        sentences += ended
    return words, stops, runs, size, bare, feeds, sentences, braces


@numba.njit(cache=True)
def _among(key: np.uint64, wanted: np.ndarray) -> int:
    n = 0
    for other in wanted:
        n += key == other
    return n


@numba.njit(cache=True)
def _symbols(data: np.ndarray, start: int, end: int) -> int:
    """Occurrences of `#`, the ellipsis character, `...` and `. . .`, each counted without overlap."""
    n = dots = 0
    spaced = start
    for i in range(start, end):
        byte = data[i]
        if byte == 46:
            dots += 1
            if dots == 3:
                n += 1
                dots = 0
            if i >= spaced and i + 4 < end and data[i + 1] == 32 and data[i + 2] == 46 and data[i + 3] == 32 and data[i + 4] == 46:
                n += 1
                spaced = i + 5
        else:
            dots = 0
            n += byte == 35 or (byte == 0xE2 and i + 2 < end and data[i + 1] == 0x80 and data[i + 2] == 0xA6)
    return n


@numba.njit(cache=True)
def quality(data: np.ndarray, offsets: np.ndarray, wanted: np.ndarray, short: int) -> np.ndarray:
    """The measures `QUALITY` of every text of a column.

    Args:
        data, offsets: see `words.buffers`.
        wanted: uint64 hashes of the stop words (`words.hash_word`).
        short: code points up to which a line is short.
    Returns:
        float64 of shape (rows, len(QUALITY)); NaN where a ratio has nothing to divide by.
    """
    rows = len(offsets) - 1
    out = np.full((rows, 14), np.nan)
    lines = np.zeros(5, np.int64)
    for row in range(rows):
        start, end = offsets[row], offsets[row + 1]
        words, stops, runs, size, bare, feeds, sentences, braces = _scan(data, start, end, wanted)
        _lines(data, start, end, short, lines)
        made = out[row]
        made[0], made[1], made[2], made[3], made[4], made[5] = code_points(data, start, end), words, lines[0], sentences, braces, stops
        if runs:
            made[6], made[10] = size / runs, bare / runs
        if words:
            made[7], made[13] = _symbols(data, start, end) / words, feeds / words
        if lines[0]:
            made[8], made[9], made[11], made[12] = lines[1] / lines[0], lines[2] / lines[0], lines[3] / lines[0], lines[4] / lines[0]
    return out


@numba.njit(cache=True)
def _mix(left: np.uint64, right: np.uint64) -> np.uint64:
    """The hash of two hashes in this order."""
    return (left ^ (right + np.uint64(0x9E3779B97F4A7C15) + (left << np.uint64(6)) + (left >> np.uint64(2)))) * np.uint64(0x9FB21C651E98DF25)


@numba.njit(cache=True)
def _clear(counts: np.ndarray, n: int) -> np.uint64:
    """Make room for `n` distinct hashes in an open-addressing table that is at most half full; its mask."""
    size = 16
    while size < 2 * n:
        size *= 2
    counts[:size] = 0
    return np.uint64(size - 1)


@numba.njit(cache=True)
def _slot(keys: np.ndarray, counts: np.ndarray, mask: np.uint64, key: np.uint64) -> np.uint64:
    """Where `key` stands in the table, or the free slot where it belongs."""
    at = (key ^ (key >> np.uint64(32))) & mask
    while counts[at] and keys[at] != key:
        at = (at + np.uint64(1)) & mask
    return at


@numba.njit(cache=True)
def _repeats(hashes: np.ndarray, chars: np.ndarray, n: int, keys: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """The share of `n` elements that equal an earlier one, and the share of characters in those; 0 where there is none."""
    mask = _clear(counts, n)
    again = again_chars = total = 0
    for k in range(n):
        at = _slot(keys, counts, mask, hashes[k])
        if counts[at]:
            again += 1
            again_chars += chars[k]
        keys[at] = hashes[k]
        counts[at] += 1
        total += chars[k]
    return (again / n, again_chars / total) if n else (0.0, 0.0)


@numba.njit(cache=True)
def _split(data: np.ndarray, start: int, end: int, lines: np.ndarray, line_chars: np.ndarray, groups: np.ndarray, group_chars: np.ndarray) -> tuple[int, int]:
    """Hash and code points of every line and every paragraph; how many there are of each."""
    n = m = 0
    gap = True
    i = start
    while i < end:
        stop = _line_end(data, i, end)
        a, b = trim(data, i, stop)
        i = stop + 1
        if a == b:
            gap = True
            continue
        state = np.uint64(0xCBF29CE484222325)
        for byte in data[a:b]:
            state = hash_step(state, int(byte))
        lines[n], line_chars[n] = hash_end(state), code_points(data, a, b)
        if gap:
            groups[m], group_chars[m] = lines[n], line_chars[n]
            m += 1
        else:
            groups[m - 1] = _mix(groups[m - 1], lines[n])
            group_chars[m - 1] += line_chars[n]
        gap = False
        n += 1
    return n, m


@numba.njit(cache=True)
def _grow(grams: np.ndarray, hashes: np.ndarray, at: np.ndarray, slots: np.ndarray, n: int, last: int, keys: np.ndarray, counts: np.ndarray) -> int:
    """Turn the (n - 1)-grams at the `last` positions `at` into n-grams where one fits, and count them in `slots` of the table; how many fit."""
    mask = _clear(counts, last)
    kept = 0
    for k in range(last):
        i = int(at[k])
        if i + n > len(hashes):
            break
        grams[i] = _mix(grams[i], hashes[i + n - 1])
        slot = _slot(keys, counts, mask, grams[i])
        keys[slot] = grams[i]
        counts[slot] += 1
        at[kept], slots[kept] = i, slot
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
            count = counts[slots[k]]
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
def _most_lines(data: np.ndarray, offsets: np.ndarray) -> int:
    most = 0
    for row in range(len(offsets) - 1):
        n = 1
        for byte in data[offsets[row] : offsets[row + 1]]:
            n += byte == 10
        most = n if n > most else most
    return most


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
    size, most = most_words(longest(offsets)), _most_lines(data, offsets)
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
