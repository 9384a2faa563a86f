"""Spans of texts, as rows of (text, begin, end): their union, whole code points, blocks, and places in code points."""

import numba
import numpy as np


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
