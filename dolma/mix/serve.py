"""Whole sequences in place of rates: how many of each stream are served, and the repeats that make Streaming serve just these."""

from collections.abc import Sequence

import numpy as np

UNIT = 1 << 20  # fractions of a sequence are counted in these: sums of integers do not depend on their order


def whole(ideal: np.ndarray, *levels: np.ndarray, ties: np.ndarray | None = None) -> np.ndarray:
    """Whole numbers for `ideal` ones, each its floor or ceiling, so that the total and the sum of every group are floor or ceiling of theirs too.

    From above: the total is rounded, then shared out among the groups of the first level by largest remainder (Hamilton's method), then within each of
    these among those of the next, and so to the streams: any level is within one of what was asked for, not within one a stream.

    Args:
        ideal: sequences of each stream, >= 0, shape (streams,).
        levels: the group of each stream, outermost first; int, shape (streams,). A group lies in one group of the level above.
        ties: place of each stream among equals, so that the order of rows does not matter; by row when absent.
    Returns:
        int64, shape (streams,).
    """
    units = np.rint(ideal * UNIT).astype(np.int64)
    given, parent = np.array([(units.sum() + UNIT // 2) // UNIT]), np.zeros(len(units), np.int64)
    for level in (*levels, np.arange(len(units)) if ties is None else ties):
        names, first, mine = np.unique(level, return_index=True, return_inverse=True)
        sums = np.zeros(len(names), np.int64)
        np.add.at(sums, mine, units)
        given, parent = _share_out(given, parent[first], sums), mine
    return given[parent]


def _share_out(given: np.ndarray, above: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Floors of `sums` (in UNITs), and one more for those with the largest remainders, until each group above has what it was given."""
    floors, rest = sums // UNIT, sums % UNIT
    held = np.zeros(len(given), np.int64)
    np.add.at(held, above, floors)
    order = np.lexsort((np.arange(len(sums)), -rest, above))
    place = np.arange(len(sums)) - np.searchsorted(above[order], above[order])  # rank by remainder within the group above
    floors[order[place < (given - held)[above[order]]]] += 1
    return floors


def exact(rows: Sequence[int] | np.ndarray, served: Sequence[int] | np.ndarray) -> np.ndarray:
    """Repeats of each stream with which Streaming, which serves int(rows x repeats), serves `served`; 0 for a stream without rows.

    `served / rows` times `rows` may be a hair below `served`; the next larger float is then taken. float64, shape (streams,).
    """
    rows, served = np.asarray(rows, np.int64), np.asarray(served, np.int64)
    made = np.divide(served, rows, out=np.zeros(len(rows)), where=rows > 0)
    while (short := (rows * made).astype(np.int64) < np.where(rows > 0, served, 0)).any():
        made[short] = np.nextafter(made[short], np.inf)
    return made
