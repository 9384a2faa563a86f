"""Repeated substrings of a group of texts over Arrow buffers: bytes in, spans of code points out.

Anchors are chosen by content alone, as in winnowing (Schleimer, Wilkerson, Aiken, SIGMOD 2003): of every `least` bytes the `width`-gram with the smallest
rolling hash, the first of equals. Two equal strings of `least` bytes therefore hold the same anchor at the same place. Each anchor is compared, byte by
byte, with the earlier ones of its hash; what is equal around it is a repeat.
"""

from typing import Any

import numba
import numpy as np
import pyarrow as pa

from dolma.kernels.minhash import mix
from dolma.kernels.words import buffers

SMALLEST = 8  # least `least`: a shorter repeat has no anchor of two bytes or more within a quarter of it
DEPTH = 16  # earlier places that an anchor is compared with, the first ones: bounds the time where one short string stands everywhere
_BLOCK, _ONE = np.uint64(32), np.uint64(1)


def scattered(numbers: np.ndarray) -> np.ndarray:
    """uint64 hashes of uint64 numbers: splitmix64."""
    state: np.ndarray = numbers + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


_GEAR: Any = scattered(np.arange(256, dtype=np.uint64))  # a random number for each byte


def width_of(least: int) -> int:
    """Bytes of an anchor: the largest of 2, 4 .. 64 that is at most a quarter of `least`. A 64-bit gear hash forgets a byte after so many shifts."""
    return min(64, 1 << ((least // 4).bit_length() - 1))


@numba.njit(cache=True)
def _grown(array: np.ndarray, used: int, room: int) -> np.ndarray:
    """`array`, or a copy of twice its size, with place for `room` more."""
    if used + room <= len(array):
        return array
    made = np.empty(2 * (used + room), array.dtype)
    made[:used] = array[:used]
    return made


# What the choice of anchors remembers between two hashes of a text
_HEAD, _TAIL, _NEXT, _LAST, _COUNT = 0, 1, 2, 3, 4


@numba.njit(cache=True)
def _advance(end: int, window: int, apart: int, state: np.ndarray, places: np.ndarray, hashes: np.ndarray, at: np.ndarray, keys: np.ndarray) -> None:
    """Emit the anchors of all windows whose last hash is at most `end`. The ring holds a candidate of each of them, the smallest first."""
    mask = len(places) - 1
    while state[_NEXT] <= end:
        while places[state[_HEAD] & mask] < state[_NEXT] - window + 1:
            state[_HEAD] += 1
        place, key = places[state[_HEAD] & mask], hashes[state[_HEAD] & mask]
        n, last = state[_COUNT], state[_LAST]
        near = last >= 0 and keys[n - 1] == key and place - last < apart
        if place != last and not near:
            at[n], keys[n] = place, key
            state[_COUNT], state[_LAST] = n + 1, place
        state[_NEXT] = min(end, place + window - 1) + 1


@numba.njit(cache=True)
def _push(place: int, key: np.uint64, state: np.ndarray, places: np.ndarray, hashes: np.ndarray) -> None:
    mask = len(places) - 1
    while state[_TAIL] > state[_HEAD] and hashes[(state[_TAIL] - 1) & mask] > key:
        state[_TAIL] -= 1
    places[state[_TAIL] & mask], hashes[state[_TAIL] & mask] = place, key
    state[_TAIL] += 1


@numba.njit(cache=True)
def _close(
    data: np.ndarray,
    place: int,
    seen: int,
    width: int,
    window: int,
    apart: int,
    state: np.ndarray,
    places: np.ndarray,
    hashes: np.ndarray,
    at: np.ndarray,
    keys: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Emit the anchors of all windows before `place`, the first candidate after `seen`; the arrays, grown where they must be."""
    if place - seen > window:  # a window without a candidate
        key, shift = np.uint64(0), np.uint64(64 // width)
        for i in range(seen + 1, seen + width):
            key = (key << shift) + _GEAR[data[i]]
        for skipped in range(seen + 1, place):
            key = (key << shift) + _GEAR[data[skipped + width - 1]]
            if state[_COUNT] + len(places) > len(at):
                at, keys = _grown(at, state[_COUNT], len(places)), _grown(keys, state[_COUNT], len(places))
            _advance(skipped - 1, window, apart, state, places, hashes, at, keys)
            _push(skipped, key, state, places, hashes)
    if state[_COUNT] + len(places) > len(at):
        at, keys = _grown(at, state[_COUNT], len(places)), _grown(keys, state[_COUNT], len(places))
    _advance(place - 1, window, apart, state, places, hashes, at, keys)
    return at, keys


@numba.njit(cache=True)
def _next(text: np.ndarray, n: int, end: int, key: np.uint64, shift: np.uint64, limit: np.uint64) -> tuple[np.uint64, np.int64]:
    """Roll the hash over `text[n:end]` until it is below `limit`: the hash, and the place after its last byte. Alone, so that all stays in registers."""
    i, most = np.uint64(n), np.uint64(end)
    while i < most:
        key = (key << shift) + _GEAR[text[i]]
        i += _ONE
        if key < limit:
            break
    return key, np.int64(i)


@numba.njit(cache=True)
def _anchors(data: np.ndarray, offsets: np.ndarray, least: int, width: int, limit: np.uint64, apart: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    window, shift, size = least - width + 1, np.uint64(64 // width), 4
    while size < window + 2:
        size *= 2
    places, hashes, state = np.empty(size, np.int64), np.empty(size, np.uint64), np.zeros(5, np.int64)
    at, keys, rows = np.empty(1024, np.int64), np.empty(1024, np.uint64), np.empty(1024, np.int32)
    for row in range(len(offsets) - 1):
        first, end = offsets[row], offsets[row + 1]
        if end - first < least:
            continue
        begun = state[_COUNT]
        state[_HEAD], state[_TAIL], state[_NEXT], state[_LAST] = 0, 0, first + window - 1, -1
        text = data[first:end]
        key, n = _next(text, 0, width - 1, np.uint64(0), shift, np.uint64(0))
        seen = first - 1
        while n < len(text):
            key, n = _next(text, n, len(text), key, shift, limit)
            place = first + n - width
            if key >= limit:  # the end
                break
            at, keys = _close(data, place, seen, width, window, apart, state, places, hashes, at, keys)
            _push(place, key, state, places, hashes)
            seen = place
        at, keys = _close(data, end - width + 1, seen, width, window, apart, state, places, hashes, at, keys)
        rows = _grown(rows, begun, state[_COUNT] - begun)
        rows[begun : state[_COUNT]] = row
    count = state[_COUNT]
    return at[:count], keys[:count], rows[:count]


def anchors(data: np.ndarray, offsets: np.ndarray, *, least: int, apart: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places in `data` (int64, rising), hashes (uint64) and texts (int32) of all anchors, about 2 in `least` bytes; a text under `least` bytes has none.

    Args:
        apart: an anchor with the hash of the one before it and nearer to it than this is left out (none: the width of an anchor). With 1 none is, and a
            run of one byte has an anchor a byte; with more, a repeat that is only seen inside of a string of a shorter period than this may be missed.
    """
    width = width_of(least)
    window = least - width + 1
    # Hashes below `limit` are candidates, about 6 a window, so that the smallest hash of nearly all windows is sought among few
    limit = np.uint64(min((1 << 64) - 1, (6 << 64) // window))
    return _anchors(data, offsets, least, width, limit, width if apart is None else apart)


@numba.njit(cache=True)
def _ahead(data: np.ndarray, one: int, other: int, most: int) -> np.int64:
    """How many bytes from `one` and from `other` on are equal, at most `most`."""
    a, b = data[one : one + most], data[other : other + most]
    n, end = np.uint64(0), np.uint64(most)  # unsigned, and no way out of a block: so it becomes vector instructions
    while n + _BLOCK <= end:
        differ = np.uint8(0)
        for k in range(_BLOCK):
            differ |= a[n + k] ^ b[n + k]
        if differ:
            break
        n += _BLOCK
    while n < end and a[n] == b[n]:
        n += _ONE
    return np.int64(n)


@numba.njit(cache=True)
def _back(data: np.ndarray, one: int, other: int, most: int) -> np.int64:
    """How many bytes before `one` and before `other` are equal, at most `most`."""
    a, b = data[one - most : one], data[other - most : other]
    n = np.uint64(most)
    while n >= _BLOCK:
        differ = np.uint8(0)
        for k in range(_BLOCK):
            differ |= a[n - _BLOCK + k] ^ b[n - _BLOCK + k]
        if differ:
            break
        n -= _BLOCK
    while n > 0 and a[n - _ONE] == b[n - _ONE]:
        n -= _ONE
    return most - np.int64(n)


@numba.njit(cache=True)
def _slots(anchors: int) -> np.ndarray:
    size = 16
    while size < 2 * anchors:
        size *= 2
    return np.full(size, np.int32(-1))


@numba.njit(cache=True)
def _slot(slots: np.ndarray, keys: np.ndarray, key: np.uint64) -> np.int64:
    """The slot of `key`: open addressing; a slot holds the first anchor of its hash."""
    mask = np.uint64(len(slots) - 1)
    place = mix(key) & mask
    while slots[place] >= 0 and keys[slots[place]] != key:
        place = (place + np.uint64(1)) & mask
    return np.int64(place)


@numba.njit(cache=True)
def _repeats(
    data: np.ndarray, offsets: np.ndarray, at: np.ndarray, keys: np.ndarray, rows: np.ndarray, least: int, width: int, depth: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Text, begin and end of repeats around anchors, as they are found; and the anchors that others were not compared with, for `depth` came before."""
    slots, newer = _slots(len(at)), np.empty(len(at), np.int32)
    over, passed = np.empty(1024, np.int32), 0
    found, begins, ends = np.empty(1024, np.int32), np.empty(1024, np.int64), np.empty(1024, np.int64)
    count, row, s, e = 0, -1, 0, 0
    for n in range(len(at)):
        if rows[n] != row:
            row = rows[n]
            s = e = offsets[row]  # the repeat of this text that reaches furthest
        x = at[n]
        low, high = max(offsets[row], x - (least - width)), min(offsets[row + 1], x + least)  # all strings of `least` bytes that hold this anchor
        if s <= low and e >= high:
            continue  # whoever repeats one of these strings meets their earlier copies: this anchor need not be found again
        slot = _slot(slots, keys, keys[n])
        new, left, m, last = True, depth, slots[slot], -1
        while m >= 0 and left > 0:
            y, there = at[m], rows[m]
            if y == x:  # itself, under another of its hashes
                m, last, left = newer[m], m, left - 1
                continue
            begin = x - _back(data, x, y, min(x - low, y - offsets[there]))
            end = x + _ahead(data, x, y, min(high - x, offsets[there + 1] - y))
            if end == high and e < high:  # once for each byte that it newly reaches: linear time
                end += _ahead(data, end, end - x + y, min(offsets[row + 1] - end, offsets[there + 1] - (end - x + y)))
            new = new and not (begin <= low and end >= high)
            if there == row and x - y < least:  # the copies overlap: the string has the period x - y, and repeats itself after so many whole periods
                begin += (-(-least // (x - y)) - 1) * (x - y)
            if end - begin >= least and (begin < s or end > e):
                found, begins, ends = _grown(found, count, 1), _grown(begins, count, 1), _grown(ends, count, 1)
                found[count], begins[count], ends[count] = row, begin, end
                count += 1
                if end > e:
                    s, e = begin, end
                if s <= low and e >= high:
                    break
            m, last, left = newer[m], m, left - 1
        if new and left == 0:
            over = _grown(over, passed, 1)
            over[passed] = n
            passed += 1
        elif new:
            newer[n] = -1
            if last < 0:
                slots[slot] = n
            else:
                newer[last] = n
    return found[:count], begins[:count], ends[:count], over[:passed]


@numba.njit(cache=True)
def _cores(
    data: np.ndarray, offsets: np.ndarray, at: np.ndarray, rows: np.ndarray, least: int, width: int, cores: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Anchors again, up to `cores` of each, with hashes of more bytes in the place of its own.

    The strings of `least` bytes that hold an anchor are parted by where it stands in them; what all strings of a part have in common is hashed. Whoever
    repeats one of them has that hash, too.
    """
    places, keys, texts = np.empty(len(at) * cores, np.int64), np.empty(len(at) * cores, np.uint64), np.empty(len(at) * cores, np.int32)
    count = 0
    for n in range(len(at)):
        for core in range(cores):
            begin, end = at[n] - core * (least - width) // cores, at[n] + least - (core + 1) * (least - width) // cores
            if begin < offsets[rows[n]] or end > offsets[rows[n] + 1]:
                continue
            state, i = mix(np.uint64(core + 1)), begin
            while i + 8 <= end:
                word = np.uint64(0)
                for k in range(8):
                    word |= np.uint64(data[i + k]) << np.uint64(8 * k)
                state = mix(state ^ word)
                i += 8
            while i < end:
                state = mix(state ^ np.uint64(data[i]))
                i += 1
            places[count], keys[count], texts[count] = at[n], state, rows[n]
            count += 1
    return places[:count], keys[:count], texts[:count]


@numba.njit(cache=True)
def _joined(rows: np.ndarray, begins: np.ndarray, ends: np.ndarray) -> int:
    """Join spans (sorted) that overlap or touch, in place; how many are left."""
    n = 0
    for k in range(len(rows)):
        if n and rows[n - 1] == rows[k] and begins[k] <= ends[n - 1]:
            ends[n - 1] = max(ends[n - 1], ends[k])
        else:
            rows[n], begins[n], ends[n] = rows[k], begins[k], ends[k]
            n += 1
    return n


def joined(rows: np.ndarray, begins: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The union of spans, sorted by text and begin; spans that touch become one."""
    order = np.lexsort((begins, rows))
    rows, begins, ends = rows[order], begins[order], ends[order]
    count = _joined(rows, begins, ends)
    return rows[:count], begins[:count], ends[:count]


def repeats(data: np.ndarray, offsets: np.ndarray, *, least: int, depth: int = DEPTH, apart: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Text (int32), begin and end (int64, places in `data`) of all bytes that stand in a repeat, as disjoint spans in order.

    A repeat is a string of `least` bytes inside of one text that stands as a whole before it: in an earlier text, or in its own without a common byte.
    So the first of all copies stays, and of a string of period p the first ceil(least / p) periods. What is marked is a repeat, compared byte by byte.
    With no bound of `depth` and `apart` 1 every repeat is marked. Memory: about a quarter of a byte for each byte of text, besides the text.

    Args:
        depth: earlier places of its hash that an anchor is compared with. Anchors with more are then compared by longer strings around them, of which
            repeats that hold the anchor have at least one: by 4 of at least .75 `least` - and by 16 of about .95 `least` those that still have more.
        apart: as for `anchors`.
    """
    width = width_of(least)
    at, keys, rows = anchors(data, offsets, least=least, apart=apart)
    spans = []
    for cores in (4, 16, 0):
        *found, over = _repeats(data, offsets, at, keys, rows, least, width, depth)
        spans.append(found)
        if not cores or not len(over):
            break
        _, first = np.unique(at[over], return_index=True)
        at, keys, rows = _cores(data, offsets, at[over[first]], rows[over[first]], least, width, cores)
    return joined(*(np.concatenate(column) for column in zip(*spans, strict=True)))


@numba.njit(cache=True)
def _whole(data: np.ndarray, offsets: np.ndarray, rows: np.ndarray, begins: np.ndarray, ends: np.ndarray) -> int:
    """Draw spans in to borders of code points, in place; how many are left, for a span inside of a code point is none."""
    n = 0
    for k in range(len(rows)):
        begin, end, border = begins[k], ends[k], offsets[rows[k] + 1]
        while begin < end and data[begin] & 0xC0 == 0x80:
            begin += 1
        while end > begin and end < border and data[end] & 0xC0 == 0x80:
            end -= 1
        if begin < end:
            rows[n], begins[n], ends[n] = rows[k], begin, end
            n += 1
    return n


def whole(data: np.ndarray, offsets: np.ndarray, rows: np.ndarray, begins: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The spans without the pieces of code points at their ends."""
    rows, begins, ends = rows.copy(), begins.copy(), ends.copy()
    count = _whole(data, offsets, rows, begins, ends)
    return rows[:count], begins[:count], ends[:count]


@numba.njit(cache=True)
def _blocks(rows: np.ndarray, begins: np.ndarray, ends: np.ndarray, share: float) -> int:
    n = covered = 0
    for k in range(len(rows)):
        size = ends[k] - begins[k]
        if n and rows[n - 1] == rows[k] and covered + size >= share * (ends[k] - begins[n - 1]):
            ends[n - 1], covered = ends[k], covered + size
        else:
            rows[n], begins[n], ends[n], covered = rows[k], begins[k], ends[k], size
            n += 1
    return n


def blocks(rows: np.ndarray, begins: np.ndarray, ends: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Spans (disjoint, in order) with what lies between them where they cover at least `share` of the block from the first begin to the last end.

    A scan from the left lets a block grow by the next span as long as that holds, and begins a new one where it does not; one from the right does the same.
    The union of both is returned, as Olmo 3 did (report s.3.4.1, in words only).
    """
    sides = []
    for sign in (1, -1):
        one = rows[::sign].copy(), (begins if sign > 0 else -ends[::-1]).copy(), (ends if sign > 0 else -begins[::-1]).copy()
        count = _blocks(*one, share)
        sides.append((one[0][:count], one[1][:count], one[2][:count]) if sign > 0 else (one[0][:count], -one[2][:count], -one[1][:count]))
    return joined(*(np.concatenate(column) for column in zip(*sides, strict=True)))


@numba.njit(cache=True)
def _code_points(data: np.ndarray, begin: int, end: int) -> int:
    count = 0
    for byte in data[begin:end]:
        count += byte & 0xC0 != 0x80
    return count


@numba.njit(cache=True)
def code_points(data: np.ndarray, offsets: np.ndarray, rows: np.ndarray, begins: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int32 begin and end of spans (disjoint, in order) in code points of their texts."""
    starts, stops = np.empty(len(rows), np.int32), np.empty(len(rows), np.int32)
    row, place, passed = -1, 0, 0
    for k in range(len(rows)):
        if rows[k] != row:
            row, place, passed = rows[k], offsets[rows[k]], 0
        passed += _code_points(data, place, begins[k])
        starts[k] = passed
        passed += _code_points(data, begins[k], ends[k])
        stops[k], place = passed, ends[k]
    return starts, stops


def repeated_spans(texts: pa.Array, *, least: int, share: float | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Text, begin and end (int32, code points) of the repeats of a column of texts, first copies left out; see `repeats` and `blocks`.

    Args:
        least: bytes of the shortest repeat, `SMALLEST` or more.
        share: of a block that is marked whole; none: no blocks.
    """
    data, offsets = buffers(texts)
    spans = whole(data, offsets, *repeats(data, offsets, least=least))
    if share is not None:
        spans = blocks(*spans, share)
    return spans[0], *code_points(data, offsets, *spans)
