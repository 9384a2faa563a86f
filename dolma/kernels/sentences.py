"""Sentences over Arrow string buffers, and which of them read like a list of names.

A sentence stands between runs of `.`, `!` and `?` that white space follows; what is only white space is none.
"""

import numba
import numpy as np

from dolma.kernels.lines import trim
from dolma.kernels.words import ASCII_CLASS, LETTER, MARK, NUMBER, SPACE, class_of, decode, lower_of


@numba.njit(cache=True)
def _capitals(data: np.ndarray, start: int, end: int) -> tuple[int, int]:
    """Words (rule v1), and those that begin with an upper-case letter."""
    words = capitals = 0
    inside = False
    i = start
    while i < end:
        byte = data[i]
        if byte < 128:
            code, kind = int(byte), int(ASCII_CLASS[byte])
            i += 1
        else:
            code, i = decode(data, i, end)
            kind = class_of(code)
        here = kind in (LETTER, NUMBER) or (inside and kind == MARK)
        if here and not inside:
            words += 1
            capitals += kind == LETTER and lower_of(code) != code
        inside = here
    return words, capitals


@numba.njit(cache=True)
def _next(data: np.ndarray, start: int, end: int) -> tuple[int, int, int]:
    """Where the sentence that begins at `start` ends, without its marks and with them, and where the next begins."""
    i = start
    run = -1
    while i < end:
        byte = data[i]
        if byte in (33, 46, 63):
            run = i if run < 0 else run
            i += 1
            continue
        if run < 0 and byte < 128:
            i += 1
            continue
        code, after = decode(data, i, end)
        if run >= 0 and class_of(code) == SPACE:
            while after < end:
                code, following = decode(data, after, end)
                if class_of(code) != SPACE:
                    break
                after = following
            return run, i, after
        run = -1
        i = after
    return end, end, end


@numba.njit(cache=True)
def sentences(data: np.ndarray, offsets: np.ndarray, least: int, share: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """All sentences of a column as one column.

    Args:
        data, offsets: see `words.buffers`.
        least, share: a sentence of at least `least` words of which more than this share begin with an upper-case letter is in list case.
    Returns:
        bytes and int64 offsets of the sentences with their marks, bool for each whether it is in list case, and int64 offsets of shape (rows + 1,): the
        sentences of text i are those from `[i]` up to `[i + 1]`.
    """
    rows = len(offsets) - 1
    most = rows
    for byte in data[offsets[0] : offsets[rows]]:
        most += byte in (33, 46, 63)
    out, borders = np.empty(offsets[rows] - offsets[0], np.uint8), np.zeros(most + 1, np.int64)
    listed, places = np.zeros(most, np.bool_), np.zeros(rows + 1, np.int64)
    n = at = 0
    for row in range(rows):
        i, end = int(offsets[row]), int(offsets[row + 1])
        while i < end:
            stop, closed, following = _next(data, i, end)
            if trim(data, i, stop)[0] < stop:
                words, capitals = _capitals(data, i, stop)
                listed[n] = words >= least and capitals > share * words
                out[at : at + closed - i] = data[i:closed]
                at += closed - i
                n += 1
                borders[n] = at
            i = following
        places[row + 1] = n
    return out[:at], borders[: n + 1], listed[:n], places
