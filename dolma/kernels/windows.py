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
from dolma.kernels.spans import blocks, code_points, joined, whole
from dolma.kernels.words import buffers

SMALLEST = 8  # least `least`: a shorter repeat has no anchor of two bytes or more within a quarter of it
FEWER = 4  # parts of a part
DEPTH = 4  # earlier places that an anchor is compared with, the first ones: bounds the time where one short string stands everywhere
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
def _reach(x: int, part: int, parts: int, slack: int, least: int, begin: int, end: int) -> tuple[int, int]:
    """From where to where the strings of `least` bytes in a text reach that hold the anchor at `x`, or those of one of their parts (see `_parted`)."""
    return max(begin, x - (part + 1) * slack // parts), min(end, x + least - part * slack // parts)


@numba.njit(cache=True)
def _repeats(
    data: np.ndarray, offsets: np.ndarray, at: np.ndarray, keys: np.ndarray, rows: np.ndarray, part: np.ndarray, parts: int, least: int, slack: int, depth: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Text, begin and end of repeats around anchors, as they are found.

    And the anchors that later ones will not be compared with, for `depth` of their hash came before; and the repeat around each, shape (anchors, 2).
    """
    slots, newer = _slots(len(at)), np.empty(len(at), np.int32)
    found, begins, ends = np.empty(1024, np.int32), np.empty(1024, np.int64), np.empty(1024, np.int64)
    over, around = np.empty(1024, np.int32), np.empty(2048, np.int64)
    passed, count, row, s, e = 0, 0, -1, 0, 0
    for n in range(len(at)):
        if rows[n] != row:
            row = rows[n]
            s = e = offsets[row]  # the repeat of this text that reaches furthest
        x = at[n]
        low, high = _reach(x, part[n], parts, slack, least, offsets[row], offsets[row + 1])
        if s <= low and e >= high:
            continue  # whoever repeats one of these strings meets their earlier copies: this anchor need not be found again
        slot = _slot(slots, keys, keys[n])
        new, left, m, last = True, depth, slots[slot], -1
        while m >= 0 and left > 0:
            y, there = at[m], rows[m]
            begin = end = x
            if y < x:  # else it is itself, as another part with the same hash
                begin -= _back(data, x, y, min(x - low, y - offsets[there]))
                end += _ahead(data, x, y, min(high - x, offsets[there + 1] - y))
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
            over, around = _grown(over, passed, 1), _grown(around, 2 * passed, 2)
            over[passed], around[2 * passed], around[2 * passed + 1] = n, s, e
            passed += 1
        elif new:
            newer[n] = -1
            if last < 0:
                slots[slot] = n
            else:
                newer[last] = n
    return found[:count], begins[:count], ends[:count], over[:passed], around[: 2 * passed].copy().reshape(-1, 2)


@numba.njit(cache=True)
def _parted(
    data: np.ndarray, offsets: np.ndarray, at: np.ndarray, rows: np.ndarray, part: np.ndarray, parts: int, around: np.ndarray, least: int, slack: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Anchors again, as up to `FEWER` of `parts` parts, with hashes of more bytes in the place of their own: places, hashes, texts and parts.

    The strings of `least` bytes that hold an anchor are parted by where it stands in them; what all strings of a part have in common is hashed. Whoever
    repeats one of them has that hash, too. A part that the repeat `around` the anchor holds is left out.
    """
    most, count = len(at) * FEWER, 0
    places, keys, texts, of = np.empty(most, np.int64), np.empty(most, np.uint64), np.empty(most, np.int32), np.empty(most, np.int32)
    for n in range(len(at)):
        for k in range(part[n] * FEWER, part[n] * FEWER + FEWER):
            first, last = int(offsets[rows[n]]), int(offsets[rows[n] + 1])
            low, high = _reach(at[n], k, parts, slack, least, first, last)
            begin, end = at[n] - k * slack // parts, at[n] + least - (k + 1) * slack // parts
            if begin < first or end > last or (around[n, 0] <= low and around[n, 1] >= high):
                continue
            state, i = mix(np.uint64(k + 1)), begin
            while i + 8 <= end:
                word = np.uint64(0)
                for byte in range(8):
                    word |= np.uint64(data[i + byte]) << np.uint64(8 * byte)
                state = mix(state ^ word)
                i += 8
            while i < end:
                state = mix(state ^ np.uint64(data[i]))
                i += 1
            places[count], keys[count], texts[count], of[count] = at[n], state, rows[n], k
            count += 1
    return places[:count], keys[:count], texts[:count], of[:count]


def repeats(data: np.ndarray, offsets: np.ndarray, *, least: int, depth: int = DEPTH, apart: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Text (int32), begin and end (int64, places in `data`) of all bytes that stand in a repeat, as disjoint spans in order.

    A repeat is a string of `least` bytes inside of one text that stands as a whole before it: in an earlier text, or in its own without a common byte.
    So the first of all copies stays, and of a string of period p the first ceil(least / p) periods. What is marked is a repeat, compared byte by byte.
    With no bound of `depth` and `apart` 1 every repeat is marked. Memory: about a quarter of a byte for each byte of text, besides the text.

    Args:
        depth: earlier places of its hash that an anchor is compared with. Anchors with more are compared again by longer strings around them, of which a
            repeat that holds the anchor has one: by 4 of .78 `least` or more, and those that have more places even so by 16 of .94 `least` or more.
        apart: as for `anchors`.
    """
    slack = least - width_of(least)
    at, keys, rows = anchors(data, offsets, least=least, apart=apart)
    part, spans = np.zeros(len(at), np.int32), []
    for parts in (1, FEWER, FEWER**2):
        *found, over, around = _repeats(data, offsets, at, keys, rows, part, parts, least, slack, depth)
        spans.append(found)
        if parts < FEWER**2:
            at, keys, rows, part = _parted(data, offsets, at[over], rows[over], part[over], parts * FEWER, around, least, slack)
    return joined(*(np.concatenate(column) for column in zip(*spans, strict=True)))


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
