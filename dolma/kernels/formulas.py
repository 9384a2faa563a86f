"""Formulas in running text over Arrow string buffers: where LaTeX stands between dollar signs, brackets or in an environment. Bytes in, numbers out.

A formula is `$...$`, `$$...$$`, `\\(...\\)`, `\\[...\\]`, or an environment of `ENVIRONMENTS`, within one paragraph. A single dollar sign begins one if what
follows is no white space, and the next one must end it: with no white space before it and no digit behind it, so `$5 and $6` is money. A backslash takes
the next character with it. Source: Pandoc's `tex_math_dollars`; amsmath's environments.
"""

import numba
import numpy as np

from dolma.kernels.words import code_points, stands_at

# Columns of `formulas`, in order.
FORMULAS = ("n_formulas", "math_chars", "n_chars", "n_commands")
ENVIRONMENTS = ("equation", "align", "gather", "multline", "eqnarray", "displaymath", "math", "flalign", "alignat")


def _marks(before: str) -> np.ndarray:
    """uint8 (2 * environments, 24): each mark after its length, without and with a star."""
    names = [before + "{" + name + star + "}" for name in ENVIRONMENTS for star in ("", "*")]
    made = np.zeros((len(names), 24), np.uint8)
    for k, name in enumerate(names):
        made[k, 0] = len(name)
        made[k, 1 : 1 + len(name)] = list(name.encode())
    return made


_BEGIN, _END = _marks("begin"), _marks("end")
_DOLLAR, _SLASH, _FEED = 36, 92, 10


@numba.njit(cache=True)
def _is_space(byte: int) -> bool:
    return byte == 32 or 9 <= byte <= 13


@numba.njit(cache=True)
def _paragraph(data: np.ndarray, i: int, end: int) -> int:
    """Where the paragraph ends: at a line feed behind which stands nothing but blanks and another one, or at the end."""
    while i < end:
        if data[i] == _FEED:
            k = i + 1
            while k < end and (data[k] == 32 or data[k] == 9 or data[k] == 13):
                k += 1
            if k < end and data[k] == _FEED:
                return i
        i += 1
    return end


@numba.njit(cache=True)
def _dollar(data: np.ndarray, i: int, stop: int, end: int) -> int:
    """The byte after a formula between single dollar signs; -1 where the sign at `i` begins none."""
    if i + 1 >= stop or _is_space(data[i + 1]):
        return -1
    k = i + 1
    while k < stop:
        if data[k] == _SLASH:
            k += 2
        elif data[k] == _DOLLAR:
            digit = k + 1 < end and 48 <= data[k + 1] <= 57
            return -1 if _is_space(data[k - 1]) or digit else k + 1
        else:
            k += 1
    return -1


@numba.njit(cache=True)
def _double(data: np.ndarray, i: int, stop: int) -> int:
    """The byte after a formula between double dollar signs; -1 where they are never closed."""
    k = i + 2
    while k + 1 < stop:
        if data[k] == _SLASH:
            k += 2
        elif data[k] == _DOLLAR and data[k + 1] == _DOLLAR:
            return k + 2
        else:
            k += 1
    return -1


@numba.njit(cache=True)
def _command(data: np.ndarray, i: int, stop: int, close: int, environment: int) -> int:
    """The byte after the backslash command that closes a formula: `close` is its character, or `environment` the row of its name; -1 without one."""
    k = i
    while k + 1 < stop:
        if data[k] != _SLASH:
            k += 1
            continue
        if environment < 0 and data[k + 1] == close:
            return k + 2
        if environment >= 0 and stands_at(data, k + 1, stop, _END[environment]):
            return k + 1 + int(_END[environment, 0])
        k += 2
    return -1


@numba.njit(cache=True)
def _one(data: np.ndarray, i: int, stop: int, end: int, dead: np.ndarray) -> int:
    """The byte after the formula that begins at `i`; -1 where none does. `dead`: up to where each kind is known not to be closed."""
    if data[i] == _DOLLAR:
        if i + 1 >= stop or data[i + 1] != _DOLLAR:
            return _dollar(data, i, stop, end)
        after = -1 if i < dead[0] else _double(data, i, stop)
        dead[0] = dead[0] if after >= 0 else stop
        return after
    following = int(data[i + 1]) if i + 1 < stop else 0
    if following == 40 or following == 91:
        kind = 1 if following == 40 else 2
        after = -1 if i < dead[kind] else _command(data, i + 2, stop, 41 if following == 40 else 93, -1)
        dead[kind] = dead[kind] if after >= 0 else stop
        return after
    if following == 98:
        for row in range(_BEGIN.shape[0]):
            if stands_at(data, i + 1, stop, _BEGIN[row]):
                after = -1 if i < dead[3 + row] else _command(data, i + 1 + int(_BEGIN[row, 0]), stop, 0, row)
                dead[3 + row] = dead[3 + row] if after >= 0 else stop
                return after
    return -1


@numba.njit(cache=True)
def formulas(data: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """int64 of shape (rows, len(FORMULAS)): formulas, code points in them (with their marks), code points of the text, and commands (a backslash and two
    letters, formulas included) of every text of a column (see `words.buffers`)."""
    rows = len(offsets) - 1
    out = np.zeros((rows, 4), np.int64)
    dead = np.zeros(3 + _BEGIN.shape[0], np.int64)
    for row in range(rows):
        start, end = offsets[row], offsets[row + 1]
        dead[:] = 0
        made = out[row]
        made[2] = code_points(data, start, end)
        stop = i = start
        while i < end:
            if i >= stop:
                stop = max(i + 1, _paragraph(data, i, end))
            byte = data[i]
            after = _one(data, i, stop, end, dead) if byte in (_DOLLAR, _SLASH) else -1
            if after >= 0:
                made[0] += 1
                made[1] += code_points(data, i, min(after, end))
                i = after
            elif byte == _SLASH or (byte == _DOLLAR and i + 1 < end and data[i + 1] == _DOLLAR):
                i += 2
            else:
                i += 1
        for k in range(start, end - 2):
            if data[k] == _SLASH:
                a, b = data[k + 1] | 32, data[k + 2] | 32
                made[3] += 97 <= a <= 122 and 97 <= b <= 122
    return out
