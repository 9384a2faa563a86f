"""Measures of source files over Arrow string buffers: lines, kinds of characters, comments and strings, encoded data. Bytes in, numbers out.

A *line* ends with a line feed, a carriage return, or both; what follows the last end is a line unless it is empty. A *comment* and a *string* are what
the table of languages says (`dolma.text.languages`): an opening that is never closed is neither, so one odd quote does not swallow a file.
"""

import numba
import numpy as np

from dolma.kernels.words import LETTER, NUMBER, SPACE, class_of, decode, longest, stands_at

# Columns of `source`, in order; counts come before ratios.
SOURCE = (
    "n_lines",
    "longest_line",
    "longest_encoded",
    "n_literal_lines",
    "mean_line",
    "alnum_ratio",
    "letter_ratio",
    "digit_ratio",
    "space_ratio",
    "comment_ratio",
    "encoded_ratio",
    "dense_ratio",
)
SOURCE_COUNTS = 4

_COMMENT, _STRING, _ENCODED = 1, 2, 4  # bits of the mask: what each byte of a text is part of
_WRAPPED = 40  # base64 goes on after a line break where the line had this many characters of it: encoders break at 60 to 76
_ASCII = np.array([class_of.py_func(code) for code in range(128)], np.uint8)
_SEPARATORS = np.zeros(256, np.bool_)
_SEPARATORS[list(b" \t\r\n,+-{}()[]\\\"';:")] = True
_BASE64 = np.zeros(256, np.bool_)
_BASE64[list(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")] = True
_WORD = np.zeros(256, np.bool_)
_WORD[list(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.")] = True
_HEX = np.zeros(256, np.bool_)
_HEX[list(b"0123456789abcdefABCDEF")] = True
_CONTINUES = np.zeros(256, np.bool_)  # after one of these a string is part of an expression, no statement of its own
_CONTINUES[list(b"(,[{=+%\\")] = True


@numba.njit(cache=True)
def _block_end(data: np.ndarray, i: int, end: int, opening: np.ndarray, closing: np.ndarray, nested: bool) -> int:
    """The byte after a block comment that begins at `i`; -1 where it is never closed."""
    depth = 1
    i += int(opening[0])
    while i < end:
        if stands_at(data, i, end, closing):
            depth -= 1
            i += int(closing[0])
            if depth == 0:
                return i
        elif nested and stands_at(data, i, end, opening):
            depth += 1
            i += int(opening[0])
        else:
            i += 1
    return -1


@numba.njit(cache=True)
def _triple_end(data: np.ndarray, i: int, end: int) -> int:
    """The byte after a string in three quotes that begins at `i`; -1 where it is never closed."""
    quote = data[i]
    i += 3
    while i + 2 < end:
        if data[i] == 92:
            i += 2
        elif data[i] == quote and data[i + 1] == quote and data[i + 2] == quote:
            return i + 3
        else:
            i += 1
    return -1


@numba.njit(cache=True)
def _string_end(data: np.ndarray, i: int, end: int, mode: int) -> int:
    """The byte after a string that begins at `i`; -1 - b where none of its quote before byte `b` closes it. `mode`: see `dolma.text.languages`."""
    quote = data[i]
    limit = min(end, i + 13) if mode == 4 else end  # the longest character: '\u{10FFFF}'
    if mode == 4 and i + 1 < end and data[i + 1] != 92:
        _, after = decode(data, i + 1, end)
        return after + 1 if after < end and data[after] == quote and data[i + 1] != 10 else -1 - i
    i += 1
    while i < limit:
        if data[i] == 92 and mode != 3:
            i += 2
        elif data[i] == quote:
            return i + 1
        elif data[i] == 10 and (mode == 1 or mode == 4):
            break
        else:
            i += 1
    return -1 - i


@numba.njit(cache=True)
def _comment_end(data: np.ndarray, start: int, i: int, end: int, syntax: tuple, row: int, dead: np.ndarray) -> int:
    """The byte after a comment that begins at `i`; -1 where none does."""
    lines, opens, closes, _, _, flags = syntax
    for k in range(opens.shape[1]):
        mark = opens[row, k]
        if mark[0] == 0:
            break
        begins = mark[-1] == 0 or i == start or data[i - 1] == 10
        if begins and i >= dead[k] and stands_at(data, i, end, mark):
            after = _block_end(data, i, end, mark, closes[row, k], flags[row, 2])
            if after >= 0:
                return after
            dead[k] = end  # it is closed nowhere behind this place: not to look for its end again keeps the scan linear
    before = int(data[i - 1]) if i > start else 10
    if before == 92 or (flags[row, 3] and before not in (9, 10, 13, 32, 59)):
        return -1
    for k in range(lines.shape[1]):
        if stands_at(data, i, end, lines[row, k]):
            while i < end and data[i] != 10:
                i += 1
            return i
    return -1


@numba.njit(cache=True)
def _mark(data: np.ndarray, start: int, end: int, syntax: tuple, row: int, mask: np.ndarray, dead: np.ndarray) -> None:
    """Set in `mask[: end - start]` which bytes are part of comments and of strings."""
    _, _, _, quotes, first, flags = syntax
    mask[: end - start] = 0
    dead[:] = 0
    fresh, last = True, 10  # nothing but blanks since the line began; the last byte of code that is not blank
    i = start
    while i < end:
        byte = int(data[i])
        after, kind = -1, 0
        if first[row, byte]:
            after, kind = _comment_end(data, start, i, end, syntax, row, dead), _COMMENT
            mode = int(quotes[row, byte])
            if after < 0 and mode:
                kind = _STRING
                slot = _slot(byte)
                triple = flags[row, 0] and i + 2 < end and data[i + 1] == byte and data[i + 2] == byte
                if triple and i >= dead[slot]:
                    after = _triple_end(data, i, end)
                    dead[slot] = end if after < 0 else 0
                    kind = _COMMENT if flags[row, 1] and fresh and not _CONTINUES[last] else _STRING
                elif not triple and i >= dead[slot + 3]:
                    after = _string_end(data, i, end, mode)
                    dead[slot + 3] = -1 - after if after < 0 else 0  # every quote up to there is escaped, and closes no later string either
        if after >= 0:
            after = min(after, end)
            mask[i - start : after - start] = kind
            if kind == _STRING:
                fresh, last = False, byte
            i = after
            continue
        if byte == 10:
            fresh = True
        elif byte != 32 and byte != 9 and byte != 13:
            prefix = byte in (66, 82, 85, 98, 114, 117) and i + 1 < end and quotes[row, data[i + 1]] != 0  # r"..." and its like
            if not prefix:
                fresh, last = False, byte
        i += 1


@numba.njit(cache=True)
def _slot(quote: int) -> int:
    """Where `dead` remembers up to which byte no string of this quote is closed: behind the block comments, three quotes and then one."""
    return 9 + (0 if quote == 34 else (1 if quote == 39 else 2))


@numba.njit(cache=True)
def _stop(data: np.ndarray, i: int, end: int, kind: np.ndarray) -> int:
    """The first byte from `i` on that is not of a kind."""
    while i < end and kind[data[i]]:
        i += 1
    return i


@numba.njit(cache=True)
def _is_number(data: np.ndarray, start: int, i: int, stop: int) -> bool:
    """Whether the run of word bytes `data[i:stop]` is a number: it begins with a digit, or is the `x41` of an escaped byte."""
    if 48 <= data[i] <= 57:
        return True
    if i == start or data[i - 1] != 92 or stop - i < 2 or data[i] not in (85, 117, 120):
        return False
    return _stop(data, i + 1, stop, _HEX) == stop


@numba.njit(cache=True)
def _set(mask: np.ndarray, begin: int, end: int) -> None:
    """Mark bytes as encoded data."""
    for k in range(begin, end):
        mask[k] |= _ENCODED


@numba.njit(cache=True)
def _numbers(data: np.ndarray, start: int, end: int, least: int, mask: np.ndarray) -> int:
    """Mark sequences of numbers with nothing but separators between them; the length of the longest."""
    most = 0
    i = start
    while i < end:
        if not _WORD[data[i]]:
            i += 1
            continue
        begin, stop = i, _stop(data, i, end, _WORD)
        i = stop
        if not _is_number(data, start, begin, stop):
            continue
        while True:
            after = _stop(data, stop, end, _SEPARATORS)
            if after == stop or after >= end or not _WORD[data[after]]:
                break
            following = _stop(data, after, end, _WORD)
            if not _is_number(data, start, after, following):
                break
            stop = following
        i = stop
        if stop - begin >= least:
            _set(mask, begin - start, stop - start)
            most = max(most, stop - begin)
    return most


@numba.njit(cache=True)
def _base64(data: np.ndarray, start: int, end: int, least: int, mask: np.ndarray) -> int:
    """Mark runs of base64 or hexadecimal characters that hold a letter and a digit; the length of the longest."""
    most = 0
    i = start
    while i < end:
        if not _BASE64[data[i]]:
            i += 1
            continue
        begin = piece = i
        i = _stop(data, i, end, _BASE64)
        while i - piece >= _WRAPPED and i < end:
            after = i + 1 if data[i] == 13 else i
            if after >= end or data[after] != 10:
                break
            after += 1
            while after < end and (data[after] == 32 or data[after] == 9):
                after += 1
            if after >= end or not _BASE64[data[after]]:
                break
            piece = after
            i = _stop(data, after, end, _BASE64)
        if i - begin < least:
            continue
        letter = digit = False
        for k in range(begin, i):
            byte = data[k]
            digit = digit or 48 <= byte <= 57
            letter = letter or 65 <= byte <= 90 or 97 <= byte <= 122
        if letter and digit:
            _set(mask, begin - start, i - start)
            most = max(most, i - begin)
    return most


@numba.njit(cache=True)
def _characters(data: np.ndarray, start: int, end: int, mask: np.ndarray, long_line: int, dense_line: int, dense_space: float, out: np.ndarray) -> None:
    """Counts over characters and lines: chars, letters, numbers, spaces, visible and comment characters, encoded bytes; lines, their characters, the longest,
    literal ones, characters in dense ones: into out[:12]."""
    chars = letters = numbers = spaces = comments = encoded = 0
    lines = inside = most = literals = dense = 0
    line = blank = literal = 0
    i = start
    while i < end:
        byte = data[i]
        code, after = decode(data, i, end) if byte >= 128 else (int(byte), i + 1)
        kind = int(_ASCII[byte]) if byte < 128 else class_of(code)
        part = int(mask[i - start])
        space = kind == SPACE
        chars += 1
        letters += kind == LETTER
        numbers += kind == NUMBER
        spaces += space
        comments += part == _COMMENT or part == _COMMENT | _ENCODED if not space else 0
        encoded += part >= _ENCODED
        pair = code == 13 and after < end and data[after] == 10  # its line feed comes next and ends the line
        ends = code == 10 or (code == 13 and not pair)
        if not ends and not pair:
            line += 1
            blank += space
            literal += part >= _STRING
        if ends or after >= end:
            lines += 1
            inside += line
            most = max(most, line)
            literals += line > long_line and 2 * literal >= line
            dense += line if line > dense_line and blank < dense_space * line else 0
            line = blank = literal = 0
        i = after
    out[0], out[1], out[2], out[3], out[4], out[5], out[6] = chars, letters, numbers, spaces, chars - spaces, comments, encoded
    out[7], out[8], out[9], out[10], out[11] = lines, inside, most, literals, dense


@numba.njit(cache=True)
def source(
    data: np.ndarray, offsets: np.ndarray, syntax: tuple, rows: np.ndarray, least: int, long_line: int, dense_line: int, dense_space: float, heads: np.ndarray
) -> np.ndarray:
    """The measures `SOURCE` of every text of a column.

    Args:
        data, offsets: see `words.buffers`.
        syntax: `dolma.text.languages.table()`.
        rows: int64, the row of `syntax` of each text; 0: neither comments nor strings.
        least: bytes from which a run is encoded data.
        long_line: characters over which a line may be a literal line.
        dense_line, dense_space: a line with more characters, and a share of white space below this, is dense.
        heads: uint8 (rows, bytes); receives the first bytes of each text with all that is not comment as spaces, line feeds kept, zeros behind the end.
    Returns:
        float64 of shape (rows, len(SOURCE)); NaN where a ratio has nothing to divide by.
    """
    count = len(offsets) - 1
    out = np.full((count, 12), np.nan)
    mask, dead, got = np.zeros(longest(offsets), np.uint8), np.zeros(16, np.int64), np.zeros(12, np.int64)
    for row in range(count):
        start, end = offsets[row], offsets[row + 1]
        _mark(data, start, end, syntax, rows[row], mask, dead)
        for k in range(min(heads.shape[1], end - start)):
            byte = data[start + k]
            heads[row, k] = byte if mask[k] & _COMMENT or byte == 10 else 32
        most = max(_numbers(data, start, end, least, mask), _base64(data, start, end, least, mask))
        _characters(data, start, end, mask, long_line, dense_line, dense_space, got)
        made, chars = out[row], got[0]
        made[0], made[1], made[2], made[3] = got[7], got[9], most, got[10]
        if chars:
            made[4], made[5], made[6], made[7] = got[8] / got[7], (got[1] + got[2]) / chars, got[1] / chars, got[2] / chars
            made[8], made[10] = got[3] / chars, got[6] / chars
        if got[4]:
            made[9] = got[5] / got[4]
        if got[8]:
            made[11] = got[11] / got[8]
    return out
