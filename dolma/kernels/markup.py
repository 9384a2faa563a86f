"""How deep HTML is nested, from its tags alone: bytes in, one number out."""

import numba
import numpy as np

# Elements that hold nothing, or whose end tag may be left out: their tags say nothing about depth. Source: WHATWG HTML, 13.1.2 and 13.1.2.4
_LOOSE = (
    "area",
    "base",
    "body",
    "br",
    "caption",
    "col",
    "colgroup",
    "dd",
    "dt",
    "embed",
    "head",
    "hr",
    "html",
    "img",
    "input",
    "li",
    "link",
    "meta",
    "option",
    "optgroup",
    "p",
    "param",
    "path",
    "rp",
    "rt",
    "source",
    "tbody",
    "td",
    "tfoot",
    "th",
    "thead",
    "tr",
    "track",
    "wbr",
)
_RAW = ("script", "style", "textarea", "title")


def _code(name: str) -> int:
    """Up to eight letters of a tag name as one integer."""
    return int.from_bytes(name[:8].encode(), "big")


_LOOSE_CODES = np.array([_code(name) for name in _LOOSE], np.uint64)
_FOREIGN_CODES = np.array([_code(name) for name in ("svg", "math")], np.uint64)
_RAW_CODES = np.array([_code(name) for name in _RAW], np.uint64)


@numba.njit(cache=True)
def _name(data: np.ndarray, i: int) -> tuple[np.uint64, int]:
    """Code of the tag name that begins at byte `i` (0: none does; 1: one with other characters than letters and digits), and the byte after it."""
    code = np.uint64(0)
    start = i
    if i < len(data) and not 97 <= data[i] | 0x20 <= 122:
        return code, i
    while i < len(data):
        byte = data[i] | 0x20 if 65 <= data[i] <= 90 else data[i]
        if not (97 <= byte <= 122 or 48 <= byte <= 57):
            break
        if i - start < 8:
            code = code << np.uint64(8) | np.uint64(byte)
        i += 1
    ends = i >= len(data) or data[i] == 62 or data[i] == 47 or data[i] == 32 or 9 <= data[i] <= 13
    return code if ends or code == 0 else np.uint64(1), i


@numba.njit(cache=True)
def _within(code: np.uint64, codes: np.ndarray) -> bool:
    found = False
    for other in codes:
        found = found or other == code
    return found


@numba.njit(cache=True)
def _tag_end(data: np.ndarray, i: int) -> int:
    """The byte after the `>` of the tag whose name ends at byte `i`; a quote opens a value only behind `=` (WHATWG HTML, 13.2.5.32 to 13.2.5.37)."""
    value = False
    while i < len(data):
        byte = data[i]
        if byte == 62:
            return i + 1
        if value and (byte == 34 or byte == 39):
            i += 1
            while i < len(data) and data[i] != byte:
                i += 1
        value = byte == 61 or (value and (byte == 32 or 9 <= byte <= 13))
        i += 1
    return i


@numba.njit(cache=True)
def _comment_end(data: np.ndarray, i: int) -> int:
    """The byte after the comment whose `<!--` ends before byte `i`; one that does not end takes the rest, as in a browser."""
    if i < len(data) and data[i] == 62:  # <!-->
        return i + 1
    if i + 1 < len(data) and data[i] == 45 and data[i + 1] == 62:  # <!--->
        return i + 2
    while i + 2 < len(data):
        if data[i] == 45 and data[i + 1] == 45:
            if data[i + 2] == 62:
                return i + 3
            if data[i + 2] == 33 and i + 3 < len(data) and data[i + 3] == 62:  # --!>
                return i + 4
        i += 1
    return len(data)


@numba.njit(cache=True)
def _deepest(data: np.ndarray) -> int:
    depth = most = foreign = i = 0
    raw = np.uint64(0)  # inside a script and its like only the end tag counts
    while i + 1 < len(data):
        if data[i] != 60:
            i += 1
            continue
        if raw == 0 and i + 3 < len(data) and data[i + 1] == 33 and data[i + 2] == 45 and data[i + 3] == 45:
            i = _comment_end(data, i + 4)
            continue
        closing = data[i + 1] == 47
        code, after = _name(data, i + 2 if closing else i + 1)
        if code == 0 or (raw != 0 and not (closing and code == raw)):
            i += 1
            continue
        i = _tag_end(data, after)
        if _within(code, _FOREIGN_CODES):
            alone = data[i - 2] == 47
            foreign = max(0, foreign - 1) if closing else foreign + (not alone)
        if foreign == 0 and _within(code, _RAW_CODES):  # a <title> of a drawing holds elements
            raw = np.uint64(0) if closing else code
        elif not _within(code, _LOOSE_CODES):
            depth = max(0, depth - 1) if closing else depth + 1
            most = max(most, depth)
    return most


def depth(html: bytes) -> int:
    """An estimate of the deepest nesting of elements; elements whose end tag may be left out are not counted."""
    return _deepest(np.frombuffer(html, np.uint8))
