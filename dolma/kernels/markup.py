"""How deep HTML is nested, from its tags alone: bytes in, one number out.

Read as a browser's tokenizer does (WHATWG HTML 13.2.5): what stands in a comment, a quoted attribute or the text of a script is no tag. Where that hangs
on the tree, inside of `svg`, `math` and `select`, nothing is believed hidden: rather too deep than a page that hides its depth.
"""

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
# Elements whose content is text up to their end tag. Source: WHATWG HTML, 13.2.6.4.4 and 13.2.6.4.7
_RAW = ("script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes")
_UNSURE = ("svg", "math", "select")  # in these the tree builder decides whether a raw element is one, and `<![CDATA[` what it is


def _code(name: str) -> int:
    """A tag name of up to eight letters as one integer."""
    return int.from_bytes(name.encode(), "big")


_LOOSE_CODES = np.array([_code(name) for name in _LOOSE], np.uint64)
_RAW_CODES = np.array([_code(name) for name in _RAW], np.uint64)
_UNSURE_CODES = np.array([_code(name) for name in _UNSURE], np.uint64)
_SCRIPT = np.uint64(_code("script"))
_LONG, _PRIME, _GOLDEN = np.uint64(1 << 63), np.uint64(0x100000001B3), np.uint64(0x9E3779B97F4A7C15)


@numba.njit(cache=True)
def _blank(byte: int) -> bool:
    return byte == 32 or byte == 9 or byte == 10 or byte == 12 or byte == 13


@numba.njit(cache=True)
def _letter(data: np.ndarray, i: int) -> bool:
    return i < len(data) and 97 <= data[i] | 0x20 <= 122


@numba.njit(cache=True)
def _name(data: np.ndarray, i: int, end: int) -> tuple[np.uint64, int]:
    """Code of the tag name that begins at byte `i`, and the byte after it: a blank, `/`, `>` or `end`; names of over eight bytes have hashes."""
    code = np.uint64(0)
    start = i
    while i < end and not (_blank(data[i]) or data[i] == 47 or data[i] == 62):
        byte = np.uint64(data[i] | 0x20 if 65 <= data[i] <= 90 else data[i])
        code = code << np.uint64(8) | byte if i - start < 8 else (code ^ byte) * _PRIME | _LONG
        i += 1
    return code, i


@numba.njit(cache=True)
def _within(code: np.uint64, codes: np.ndarray) -> bool:
    found = False
    for other in codes:
        found = found or other == code
    return found


@numba.njit(cache=True)
def _past(data: np.ndarray, i: int, byte: int) -> int:
    """The byte behind the next `byte`, or the end."""
    while i < len(data) and data[i] != byte:
        i += 1
    return min(i + 1, len(data))


@numba.njit(cache=True)
def _dashes(data: np.ndarray, i: int) -> bool:
    """Whether `<!--` stands at byte `i`."""
    return i + 3 < len(data) and data[i] == 60 and data[i + 1] == 33 and data[i + 2] == 45 and data[i + 3] == 45


@numba.njit(cache=True)
def _after_comment(data: np.ndarray, i: int) -> int:
    """The byte behind the comment that begins at byte `i`; `<!-->`, `<!--->` and `--!>` end one too, and without an end all the rest is comment."""
    for k in range(i + 4, len(data)):
        if data[k] == 62 and data[k - 1] == 45 and (data[k - 2] == 45 or k == i + 4):
            return k + 1
        if data[k] == 62 and k >= i + 7 and data[k - 1] == 33 and data[k - 2] == 45 and data[k - 3] == 45:
            return k + 1
    return len(data)


@numba.njit(cache=True)
def _after_tag(data: np.ndarray, i: int) -> int:
    """The byte behind the tag whose name ends at byte `i`; a quote quotes only where an attribute's value begins."""
    while i < len(data):
        while i < len(data) and (_blank(data[i]) or data[i] == 47):
            i += 1
        if i >= len(data) or data[i] == 62:
            break
        i += 1  # the first byte of an attribute's name, also `=`
        while i < len(data) and not (_blank(data[i]) or data[i] == 47 or data[i] == 62 or data[i] == 61):
            i += 1
        while i < len(data) and _blank(data[i]):
            i += 1
        if i >= len(data) or data[i] != 61:
            continue
        i += 1
        while i < len(data) and _blank(data[i]):
            i += 1
        if i < len(data) and (data[i] == 34 or data[i] == 39):
            i = _past(data, i + 1, data[i])
        else:
            while i < len(data) and not (_blank(data[i]) or data[i] == 62):
                i += 1
    return min(i + 1, len(data))


@numba.njit(cache=True)
def _after_text(data: np.ndarray, i: int, raw: np.uint64) -> int:
    """Where the end tag of the raw element `raw` begins; in a script behind `<!--` a further `<script>` needs an end tag of its own."""
    escaped = doubled = False
    while i < len(data):
        if raw == _SCRIPT and _dashes(data, i):
            escaped = True
            i += 2  # the dashes may be those of `-->`
        elif data[i] == 62 and data[i - 1] == 45 and data[i - 2] == 45:
            escaped = doubled = False
        elif data[i] == 60:
            closing = i + 1 < len(data) and data[i + 1] == 47
            code, after = _name(data, i + 1 + closing, min(len(data), i + 11))  # the longest has eight letters: `<<<<` stays linear
            if code == raw and after < len(data):
                if closing and not doubled:
                    return i
                doubled = escaped and not closing
        i += 1
    return len(data)


@numba.njit(cache=True)
def _deepest(data: np.ndarray) -> int:
    depth = most = i = unsure = kept = 0
    opened = np.zeros(4096, np.int32)  # by a hash of the name: an end tag whose element is not open closes nothing
    while i + 1 < len(data):
        closing = data[i] == 60 and data[i + 1] == 47
        if data[i] != 60:
            i += 1
        elif _dashes(data, i):
            after = _after_comment(data, i) if i >= kept else kept  # once for all in it: unsure markup stays linear
            i, kept = (i + 4, after) if unsure else (after, kept)
        elif not _letter(data, i + 1 + closing):
            bogus = closing or data[i + 1] == 33 or data[i + 1] == 63  # `</ `, `<!` and `<?` begin what ends at the next `>`
            i = _past(data, i + 1, 62) if bogus and not unsure else i + 1
        else:
            begin = i
            code, i = _name(data, i + 1 + closing, min(len(data), i + 64) if unsure else len(data))
            i = begin + 1 + closing if unsure else _after_tag(data, i)
            slot = int(code * _GOLDEN >> np.uint64(52))
            if closing:
                if opened[slot] > 0 and begin >= kept:  # in what may be a comment none is believed
                    opened[slot] -= 1
                    depth -= 1
                    unsure -= _within(code, _UNSURE_CODES)
            elif _within(code, _RAW_CODES) and not unsure:
                i = _after_text(data, i, code)
            elif not _within(code, _LOOSE_CODES):
                opened[slot] += 1
                depth += 1
                most = max(most, depth)
                unsure += _within(code, _UNSURE_CODES)
    return most


def depth(html: bytes) -> int:
    """An estimate of the deepest nesting of elements; elements whose end tag may be left out are not counted."""
    return _deepest(np.frombuffer(html, np.uint8))
