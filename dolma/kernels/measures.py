"""Page statistics over Arrow string buffers: the Gopher quality measures. Bytes in, numbers out.

Three units, each where its rule asks for it: a *word* (see `words`, punctuation is none), a *run* of characters that are not white space, and a *line*
(between line feeds, white space trimmed, empty ones not counted).
"""

import numba
import numpy as np

from dolma.kernels.lines import last_of, line_end, trim
from dolma.kernels.words import ASCII_CLASS, ASCII_WORD, LETTER, MARK, NUMBER, SPACE, class_of, code_points, decode, lower_of, word_at

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

_ELLIPSIS = 0x2026
_BULLETS = (0x25CF, 0x2022, 0x2A, 0x2D)  # black circle, bullet, asterisk, hyphen. Source: Gopher, arXiv:2112.11446 A.1.1; Olmo 3 all-dressed configuration
# . ! ? " ' and closing quotes, ideographic and full-width stops. Source: C4's terminal marks (arXiv:1910.10683 2.2), with their typographic forms
_END_MARKS = (0x2E, 0x21, 0x3F, 0x22, 0x27, 0x201D, 0x2019, 0x2026, 0x3002, 0xFF01, 0xFF1F)


@numba.njit(cache=True)
def _lines(data: np.ndarray, start: int, end: int, short: int, out: np.ndarray) -> None:
    """Lines, and those that begin with a bullet, end in an ellipsis, end in an end mark, have at most `short` code points: into out[:5]."""
    out[:5] = 0
    i = start
    while i < end:
        stop = line_end(data, i, end)
        a, b = trim(data, i, stop)
        i = stop + 1
        if a == b:
            continue
        first, last = decode(data, a, b)[0], last_of(data, a, b)
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
    inside = letter = ended = False
    begin = word = -1
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
            word = word if inside else i
            inside = True
        elif inside:
            inside = False
            words += 1
            stops += _among(word_at(data, word, i)[1], wanted)
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
        stops += _among(word_at(data, word, end)[1], wanted)
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
