"""Gopher's measures, C4's and FineWeb's as DataTrove defines them, over Arrow string buffers: for recipes that must decide as FineWeb did.

They differ from `measures` and `repetition` in what is counted: words as they stand (`The` is not `the`), shares of all characters of a text, lines that are
not trimmed, repeated n-grams by their later occurrences only. A word is one of word rule v1.
"""

import numba
import numpy as np

from dolma.kernels.hashes import hash_bytes
from dolma.kernels.lines import last_of, line_end, most_lines, trim
from dolma.kernels.repetition import clear, mix, slot
from dolma.kernels.words import LETTER, class_of, code_points, decode, fill_words, longest, lower_of, most_words

# Columns of `gopher`, in order.
QUALITY = ("n_words", "stop_words", "mean_word_chars", "hash_ratio", "dots_ratio", "bullet_ratio", "ellipsis_ratio", "no_letter_ratio")
COUNTS = 2
# Columns of `fineweb`, in order.
FINEWEB = ("line_end_ratio", "short_line_ratio", "duplicate_char_ratio", "list_ratio")

# Ranges of code points that end sentences. Source: Unicode 15.1, Sentence_Terminal, with three Khmer marks (17D6, 17D9, 17DA) as DataTrove 0.9 has them.
_TERMINAL = (
    "21 2E 3F 589 61D-61F 6D4 700-702 7F9 837 839 83D-83E 964-965 104A-104B 1362 1367-1368 166E 1735-1736 17D4-17D6 17D9-17DA 1803 1809 "
    "1944-1945 1AA8-1AAB 1B5A-1B5B 1B5E-1B5F 1B7D-1B7E 1C3B-1C3C 1C7E-1C7F 203C-203D 2047-2049 2E2E 2E3C 2E53-2E54 3002 A4FF A60E-A60F A6F3 "
    "A6F7 A876-A877 A8CE-A8CF A92F A9C8-A9C9 AA5D-AA5F AAF0-AAF1 ABEB FE52 FE56-FE57 FF01 FF0E FF1F FF61 10A56-10A57 10F55-10F59 10F86-10F89 "
    "11047-11048 110BE-110C1 11141-11143 111C5-111C6 111CD 111DE-111DF 11238-11239 1123B-1123C 112A9 1144B-1144C 115C2-115C3 115C9-115D7 "
    "11641-11642 1173C-1173E 11944 11946 11A42-11A43 11A9B-11A9C 11C41-11C42 11EF7-11EF8 11F43-11F44 16A6E-16A6F 16AF5 16B37-16B38 16B44 "
    "16E98 1BC9F 1DA88 "
)


def _ranges(text: str) -> np.ndarray:
    """int32 code points of ranges in hexadecimal, sorted."""
    bounds = [one.split("-") for one in text.split()]
    return np.concatenate([np.arange(int(one[0], 16), int(one[-1], 16) + 1, dtype=np.int32) for one in bounds])


SENTENCE_TERMINAL = _ranges(_TERMINAL)


@numba.njit(cache=True)
def _plain(data: np.ndarray, start: int, end: int) -> bool:
    """Whether a word is its own lower-case form."""
    i = start
    while i < end:
        code, i = decode(data, i, end)
        if lower_of(code) != code:
            return False
    return True


@numba.njit(cache=True)
def _distinct(data: np.ndarray, starts: np.ndarray, ends: np.ndarray, hashes: np.ndarray, wanted: np.ndarray) -> int:
    """How many of the `wanted` words occur, in lower case."""
    n = 0
    for word in wanted:
        for k in range(len(hashes)):
            if hashes[k] == word and _plain(data, starts[k], ends[k]):
                n += 1
                break
    return n


@numba.njit(cache=True)
def _without_letter(data: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> int:
    n = 0
    for k in range(len(starts)):
        i, end, letter = int(starts[k]), int(ends[k]), False
        while i < end and not letter:
            code, i = decode(data, i, end)
            letter = class_of(code) == LETTER
        n += not letter
    return n


@numba.njit(cache=True)
def _marks(data: np.ndarray, start: int, end: int) -> tuple[int, int]:
    """`#`, and `...` together with the ellipsis character, without overlap."""
    hashes = dots = run = 0
    for i in range(start, end):
        byte = data[i]
        run = run + 1 if byte == 46 else 0
        if run == 3:
            dots += 1
            run = 0
        hashes += byte == 35
        dots += byte == 0xE2 and i + 2 < end and data[i + 1] == 0x80 and data[i + 2] == 0xA6
    return hashes, dots


@numba.njit(cache=True)
def _edges(data: np.ndarray, start: int, end: int) -> tuple[int, int, int]:
    """Lines, empty ones too; those that begin with a bullet or a hyphen; those that end in an ellipsis."""
    lines = bullets = dots = 0
    i = start
    while i < end:
        stop = line_end(data, i, end)
        a, b = trim(data, i, stop)
        i = stop + 1
        lines += 1
        if a == b:
            continue
        bullets += decode(data, a, b)[0] in (0x2022, 0x2D)
        if b - a >= 3:
            last = (data[b - 3], data[b - 2], data[b - 1])
            dots += last in ((46, 46, 46), (0xE2, 0x80, 0xA6))
    return lines, bullets, dots


@numba.njit(cache=True)
def _parts(data: np.ndarray, start: int, end: int, least: int, keys: np.ndarray, counts: np.ndarray) -> tuple[int, int, int]:
    """Parts between runs of at least `least` line feeds; those that equal an earlier one; the characters in those."""
    mask = clear(counts, end - start + 1)
    parts = again = chars = 0
    i = begin = start
    while i <= end:
        stop = i
        while stop < end and data[stop] == 10:
            stop += 1
        if i < end and stop - i < least:
            i = max(stop, i + 1)
            continue
        key = hash_bytes(data, begin, i)
        at = slot(keys, counts, mask, key)
        if counts[at]:
            again += 1
            chars += code_points(data, begin, i)
        keys[at], counts[at] = key, 1
        parts += 1
        if i == end:
            break
        begin = i = stop
    return parts, again, chars


@numba.njit(cache=True)
def _top(grams: np.ndarray, border: np.ndarray, n: int, keys: np.ndarray, counts: np.ndarray) -> int:
    """Characters in the most frequent n-gram, of several the first: its words with a space between two, as often as it occurs."""
    size = len(grams)
    mask = clear(counts, size)
    for key in grams:
        at = slot(keys, counts, mask, key)
        keys[at] = key
        counts[at] += 1
    best = chars = 0
    for i in range(size):
        count = counts[slot(keys, counts, mask, grams[i])]
        if count > best:
            best, chars = count, int(border[i + n] - border[i]) + n - 1
    return best * chars


@numba.njit(cache=True)
def _later(grams: np.ndarray, border: np.ndarray, n: int, keys: np.ndarray, counts: np.ndarray) -> int:
    """Characters in n-grams that were seen before, from left to right: after one the next n words on."""
    mask = clear(counts, len(grams))
    chars = i = 0
    while i < len(grams):
        at = slot(keys, counts, mask, grams[i])
        if counts[at]:
            chars += border[i + n] - border[i]
            i += n
        else:
            keys[at], counts[at] = grams[i], 1
            i += 1
    return chars


@numba.njit(cache=True)
def _ngrams(words: np.ndarray, border: np.ndarray, chars: int, grams: np.ndarray, keys: np.ndarray, counts: np.ndarray, out: np.ndarray) -> None:
    """Shares of the top n-gram for n = 2, 3, 4 into out[:3], of n-grams seen before for n = 5 .. 10 into out[3:9]."""
    size = len(words)
    grams[:size] = words
    for n in range(2, 11):
        fit = size - n + 1
        if fit < 1:
            break
        for i in range(fit):
            grams[i] = mix(grams[i], words[i + n - 1])
        found = _top(grams[:fit], border, n, keys, counts) if n <= 4 else _later(grams[:fit], border, n, keys, counts)
        out[n - 2] = found / chars


@numba.njit(cache=True)
def gopher(data: np.ndarray, offsets: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The measures `QUALITY`, then `repetition.REPETITION`, of every text of a column, the words found once for both.

    Args:
        data, offsets: see `words.buffers`.
        wanted: uint64 hashes of the stop words, in lower case (`words.hash_word`).
    Returns:
        float64 of shape (rows, 21); NaN where a ratio has nothing to divide by, 0 where a text has no n-gram.
    """
    rows = len(offsets) - 1
    most = longest(offsets)
    size = most_words(most)
    starts, ends, hashes = np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, np.uint64)
    border, grams = np.zeros(size + 1, np.int64), np.empty(size, np.uint64)
    room = 16
    while room < 2 * (most + 1):
        room *= 2
    keys, counts = np.empty(room, np.uint64), np.empty(room, np.int32)
    out = np.full((rows, 21), np.nan)
    for row in range(rows):
        start, end = int(offsets[row]), int(offsets[row + 1])
        made, chars = out[row], code_points(data, start, end)
        n = fill_words(data, start, end, starts, ends, hashes)
        made[0], made[1] = n, _distinct(data, starts[:n], ends[:n], hashes[:n], wanted)
        bare = _without_letter(data, starts[:n], ends[:n])
        for k in range(n):
            border[k + 1] = border[k] + code_points(data, starts[k], ends[k])
            hashes[k] = hash_bytes(data, starts[k], ends[k])
        if n:
            marks, dots = _marks(data, start, end)
            made[2], made[3], made[4], made[7] = border[n] / n, marks / n, dots / n, bare / n
        lines, bullets, ellipses = _edges(data, start, end)
        if lines:
            made[5], made[6] = bullets / lines, ellipses / lines
        made[8:] = 0.0
        if chars:
            lines, again, same = _parts(data, start, end, 1, keys, counts)
            made[8], made[9] = again / lines, same / chars
            a, b = trim(data, start, end)
            groups, again, same = _parts(data, a, b, 2, keys, counts)
            made[10], made[11] = again / groups, same / chars
            _ngrams(hashes[:n], border, chars, grams, keys, counts, made[12:])
    return out


@numba.njit(cache=True)
def fineweb(data: np.ndarray, offsets: np.ndarray, marks: np.ndarray, short: int) -> np.ndarray:
    """The measures `FINEWEB` of every text of a column.

    Args:
        marks: sorted int32 code points that may end a line.
        short: code points up to which a line is short.
    Returns:
        float64 of shape (rows, 4); NaN where a text has no line, or no word.
    """
    rows = len(offsets) - 1
    size, most = most_words(longest(offsets)), most_lines(data, offsets)
    starts, ends, hashes = np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, np.uint64)
    room = 16
    while room < 2 * most:
        room *= 2
    keys, counts = np.empty(room, np.uint64), np.empty(room, np.int32)
    out = np.full((rows, 4), np.nan)
    for row in range(rows):
        start, end = int(offsets[row]), int(offsets[row + 1])
        mask = clear(counts, most)
        lines = ended = small = same = chars = feeds = 0
        i = start
        while i < end:
            stop = line_end(data, i, end)
            here = code_points(data, i, stop)
            chars += here
            feeds += stop < end
            a, b = trim(data, i, stop)
            if a < b:
                lines += 1
                last = last_of(data, i, stop)
                mark = np.searchsorted(marks, last)
                ended += mark < len(marks) and marks[mark] == last
                small += here <= short
                key = hash_bytes(data, i, stop)
                at = slot(keys, counts, mask, key)
                same += here if counts[at] else 0
                keys[at], counts[at] = key, 1
            i = stop + 1
        if lines:
            out[row, 0], out[row, 1], out[row, 2] = ended / lines, small / lines, same / chars
        words = fill_words(data, start, end, starts, ends, hashes)
        if words:
            out[row, 3] = feeds / words
    return out
