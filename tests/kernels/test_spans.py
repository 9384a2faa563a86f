"""Blocks of spans against ten lines of plain Python; unions and code points by example."""

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.kernels import spans as kernel
from dolma.kernels.words import buffers


def plain_blocks(spans: list[tuple[int, int]], share: float) -> list[tuple[int, int]]:
    """Forward and backward scan of the spans of one text; their union."""
    bytes_in = set()
    for scan in (spans, [(-end, -begin) for begin, end in reversed(spans)]):
        made: list[list[int]] = []
        for begin, end in scan:
            if made and made[-1][2] + end - begin >= share * (end - made[-1][0]):
                made[-1] = [made[-1][0], end, made[-1][2] + end - begin]
            else:
                made.append([begin, end, end - begin])
        bytes_in |= {byte if scan is spans else -byte - 1 for begin, end, _ in made for byte in range(begin, end)}
    starts = sorted(byte for byte in bytes_in if byte - 1 not in bytes_in)
    return list(zip(starts, sorted(byte + 1 for byte in bytes_in if byte + 1 not in bytes_in), strict=True))


SIZES = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 40)), max_size=8)  # before a span, and of it


@settings(max_examples=300, deadline=None)
@given(st.lists(SIZES, min_size=1, max_size=3), st.sampled_from([0.25, 0.5, 0.8, 0.95, 1.0]))
def test_blocks_equal_plain_python(texts: list[list[tuple[int, int]]], share: float) -> None:
    rows, spans, expected, place = [], [], [], 0
    for row, sizes in enumerate(texts):
        mine = []
        for gap, size in sizes:
            mine.append((place + gap, place + gap + size))
            place += gap + size
        rows += [row] * len(mine)
        spans += mine
        expected += [(row, *block) for block in plain_blocks(mine, share)]
    table = np.array(spans, np.int64).reshape(-1, 2)
    made = kernel.blocks(np.array(rows, np.int32), table[:, 0], table[:, 1], share)
    assert list(zip(*(column.tolist() for column in made), strict=True)) == expected


def test_a_block_that_only_one_scan_finds_is_marked() -> None:
    rows, begins, ends = np.zeros(3, np.int32), np.array([0, 25, 30]), np.array([10, 29, 130])
    # from the left 14 of 29 bytes do not join at .8; from the right 104 of 105 do, and then 114 of 130
    for share, expected in ((0.9, [(0, 10), (25, 130)]), (0.8, [(0, 130)]), (1.0, [(0, 10), (25, 29), (30, 130)])):
        _, first, last = kernel.blocks(rows, begins, ends, share)
        assert list(zip(first.tolist(), last.tolist(), strict=True)) == expected


def table(*spans: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    columns = np.array(spans, np.int64).reshape(-1, 3)
    return columns[:, 0].astype(np.int32), columns[:, 1].copy(), columns[:, 2].copy()


def rows(made: tuple[np.ndarray, ...]) -> list[tuple[int, ...]]:
    return list(zip(*(column.tolist() for column in made), strict=True))


def test_spans_that_touch_become_one_inside_of_a_text() -> None:
    made = kernel.joined(*table((1, 20, 30), (0, 5, 9), (0, 1, 3), (1, 12, 20), (0, 8, 12), (1, 13, 15), (0, 3, 4)))
    assert rows(made) == [(0, 1, 4), (0, 5, 12), (1, 12, 30)]


def test_pieces_of_code_points_are_left_out_and_places_are_counted_in_code_points() -> None:
    data, offsets = buffers(pa.array(["aé中b", "😀😀"], pa.large_string()))  # a at 0, é at 1, 中 at 3, b at 6; the next text at 7
    whole = kernel.whole(data, offsets, *table((0, 0, 2), (0, 2, 4), (0, 4, 7), (1, 8, 11), (1, 10, 15)))
    assert rows(whole) == [(0, 0, 1), (0, 6, 7), (1, 11, 15)]
    starts, stops = kernel.code_points(data, offsets, *whole)
    assert list(zip(starts.tolist(), stops.tolist(), strict=True)) == [(0, 1), (3, 4), (1, 2)]
