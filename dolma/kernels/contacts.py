"""Where in a text an e-mail address, a telephone number or an IP address could stand: one pass over the bytes, so that rules look at these places alone."""

import numba
import numpy as np

from dolma.kernels.words import code_points

MAIL, NUMBER, GROUPS = 0, 1, 2  # around an `@`; digits with what may stand between them; groups of hexadecimal digits with colons
FIELDS = 6  # row, kind, and in bytes: begin of the context, of the place, its end; code points of the row before the context
_CONTEXT = 48  # bytes before a place that its rule may look at
_LOCAL, _DOMAIN = 64, 255  # bytes of the longest parts of an address. Source: RFC 5321, 4.5.3.1
_GROUPS_BYTES = 46  # one more than the longest IPv6 address has
_GAP = 3  # most characters between two digits of a number: `) -`
_DIGITS = 7  # fewest digits of a telephone number. Source: NANP subscriber numbers


@numba.njit(cache=True)
def _digit(byte: int) -> bool:
    return 48 <= byte <= 57


@numba.njit(cache=True)
def _alnum(byte: int) -> bool:
    return 48 <= byte <= 57 or 65 <= byte <= 90 or 97 <= byte <= 122


@numba.njit(cache=True)
def _hex(byte: int) -> bool:
    return 48 <= byte <= 57 or 65 <= byte <= 70 or 97 <= byte <= 102


@numba.njit(cache=True)
def _local(byte: int) -> bool:
    return _alnum(byte) or byte in (37, 39, 43, 45, 46, 95)  # % ' + - . _


@numba.njit(cache=True)
def _mail(data: np.ndarray, i: int, start: int, end: int) -> tuple[int, int]:
    """Begin and end of what could be an address around the `@` at `i`, letters of any script among it; nothing (`i`, `i`) where there is none."""
    first, right = i, i + 1
    while first > start and i - first <= _LOCAL and _local(data[first - 1]):
        first -= 1
    if i - first > _LOCAL:
        return i, i
    while first > start and i - first < _LOCAL and (_local(data[first - 1]) or data[first - 1] >= 0x80):  # a long run of them is a text without blanks
        first -= 1
    while data[first] & 0xC0 == 0x80:
        first += 1
    while right < end and right - i <= _DOMAIN and (_alnum(data[right]) or data[right] in (45, 46, 95) or data[right] >= 0x80):
        right += 1
    return (first, right) if first < i and right > i + 3 else (i, i)


@numba.njit(cache=True)
def _blank(data: np.ndarray, i: int, end: int) -> int:
    """Bytes of the character at `i` if it may stand between two digits of one number, else 0."""
    byte = data[i]
    if byte in (32, 40, 41, 45, 46, 47):  # blank ( ) - . /
        return 1
    if byte == 0xC2 and i + 1 < end and data[i + 1] == 0xA0:  # no-break space
        return 2
    if byte == 0xE2 and i + 2 < end and data[i + 1] == 0x80 and 0x90 <= data[i + 2] <= 0x93:  # hyphens and en dash
        return 3
    return 0


@numba.njit(cache=True)
def _groups(data: np.ndarray, i: int, end: int) -> int:
    """The end of what could be a global IPv6 address that begins at `i`, else `i`. Source: 2000::/3, RFC 4291 2.4."""
    if data[i] not in (50, 51) or i + 5 > end or data[i + 4] != 58 or not (_hex(data[i + 1]) and _hex(data[i + 2]) and _hex(data[i + 3])):
        return i
    stop = min(end, i + _GROUPS_BYTES)
    while i < stop and (_hex(data[i]) or data[i] == 58):
        i += 1
    return i


@numba.njit(cache=True)
def _number(data: np.ndarray, i: int, end: int) -> tuple[int, bool]:
    """The end of the run of digits that begins at `i`, and whether it could be a telephone number or an IPv4 address."""
    last = i
    digits = dots = gap = 0
    while i < end:
        if _digit(data[i]):
            if gap > 0 and _groups(data, i, end) > i:
                break
            digits += 1
            gap = 0
            i += 1
            last = i
            continue
        size = _blank(data, i, end)
        gap += 1
        if size == 0 or gap > _GAP:
            break
        dots += data[i] == 46
        i += size
    return last, digits >= _DIGITS or (digits >= 4 and dots >= 3)


@numba.njit(cache=True)
def _context(data: np.ndarray, start: int, first: int) -> int:
    left = max(start, first - _CONTEXT)
    while left < first and data[left] & 0xC0 == 0x80:
        left += 1
    return left


@numba.njit(cache=True)
def _add(out: np.ndarray, count: int, place: tuple[int, int, int, int, int, int]) -> np.ndarray:
    if count == len(out):
        longer = np.empty((2 * count, FIELDS), np.int64)
        longer[:count] = out
        out = longer
    for k in range(FIELDS):
        out[count, k] = place[k]
    return out


@numba.njit(cache=True)
def places(data: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """The places of all texts, int64 of shape (places, FIELDS), in order; text i is `data[offsets[i]:offsets[i + 1]]`."""
    out = np.empty((64, FIELDS), np.int64)
    count = 0
    for row in range(len(offsets) - 1):
        start, end = offsets[row], offsets[row + 1]
        i, point = start, 0
        while i < end:
            byte = data[i]
            if byte == 64:
                first, right = _mail(data, i, start, end)
                if first < i:
                    left = _context(data, start, first)
                    out = _add(out, count, (row, MAIL, left, first, right, point - code_points(data, left, i)))
                    count += 1
            elif _digit(byte):
                right = _groups(data, i, end)
                if right > i and not (i > start and (_alnum(data[i - 1]) or data[i - 1] == 58)):
                    out = _add(out, count, (row, GROUPS, i, i, right, point))
                    count += 1
                right, likely = _number(data, i, end)
                if likely:
                    first = i
                    while first > start and i - first < 2 and data[first - 1] in (40, 43):  # ( +
                        first -= 1
                    left = _context(data, start, first)
                    out = _add(out, count, (row, NUMBER, left, first, right, point - code_points(data, left, i)))
                    count += 1
                point += code_points(data, i, right)
                i = right
                continue
            point += byte & 0xC0 != 0x80
            i += 1
    return out[:count]
