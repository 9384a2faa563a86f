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
_RAW_CODES = np.array([_code(name) for name in _RAW], np.uint64)


@numba.njit(cache=True)
def _name(data: np.ndarray, i: int) -> tuple[np.uint64, int]:
    """Code of the tag name that begins at byte `i`, and the byte after it."""
    code = np.uint64(0)
    start = i
    while i < len(data):
        byte = data[i] | 0x20 if 65 <= data[i] <= 90 else data[i]
        if not (97 <= byte <= 122 or 48 <= byte <= 57):
            break
        if i - start < 8:
            code = code << np.uint64(8) | np.uint64(byte)
        i += 1
    return code, i


@numba.njit(cache=True)
def _within(code: np.uint64, codes: np.ndarray) -> bool:
    found = False
    for other in codes:
        found = found or other == code
    return found


@numba.njit(cache=True)
def _deepest(data: np.ndarray) -> int:
    depth = most = i = 0
    raw = np.uint64(0)  # inside a script and its like only the end tag counts
    while i + 1 < len(data):
        if data[i] != 60:
            i += 1
            continue
        closing = data[i + 1] == 47
        code, after = _name(data, i + 2 if closing else i + 1)
        i = after if after > i + 1 else i + 1
        if code == 0 or (raw != 0 and not (closing and code == raw)):
            continue
        if _within(code, _RAW_CODES):
            raw = np.uint64(0) if closing else code
        elif not _within(code, _LOOSE_CODES):
            depth = max(0, depth - 1) if closing else depth + 1
            most = max(most, depth)
    return most


def depth(html: bytes) -> int:
    """An estimate of the deepest nesting of elements; elements whose end tag may be left out are not counted."""
    return _deepest(np.frombuffer(html, np.uint8))
