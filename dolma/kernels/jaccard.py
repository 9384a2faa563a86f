"""True Jaccard similarity of texts: the share of word shingles that two texts have in common, by sets and not by signatures.

A set is a run of sorted distinct shingle hashes, as `dolma.kernels.minhash.shingle_sets` makes them; two sets are merged in one pass.
"""

import numba
import numpy as np
import pyarrow as pa

from dolma.kernels.minhash import shingle_sets
from dolma.kernels.unionfind import root


@numba.njit(cache=True)
def shared(flat: np.ndarray, i: int, one: int, j: int, other: int, least: int) -> int:
    """How many hashes the sets `flat[i:one]` and `flat[j:other]` share; -1 as soon as it is known that they are under `least`."""
    both = 0
    while i < one and j < other:
        if flat[i] == flat[j]:
            both += 1
            i += 1
            j += 1
        elif flat[i] < flat[j]:
            i += 1
            if both + one - i < least:
                return -1
        else:
            j += 1
            if both + other - j < least:
                return -1
    return both if both >= least else -1


@numba.njit(cache=True)
def _jaccards(flat: np.ndarray, borders: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    out = np.empty(len(left), np.float32)
    for pair in range(len(left)):
        a, b = left[pair], right[pair]
        total = borders[a + 1] - borders[a] + borders[b + 1] - borders[b]
        both = shared(flat, int(borders[a]), int(borders[a + 1]), int(borders[b]), int(borders[b + 1]), 0)
        out[pair] = np.float32(both / (total - both)) if total else np.float32(0)
    return out


def jaccards(texts: pa.Array, left: np.ndarray, right: np.ndarray, *, shingle: int) -> np.ndarray:
    """float32 Jaccard similarity of the shingle sets of the rows left[i] and right[i], shape (pairs,); 0 where neither text has a word."""
    flat, borders = shingle_sets(texts, shingle=shingle)
    return _jaccards(flat, borders, np.asarray(left, np.int64), np.asarray(right, np.int64))


@numba.njit(cache=True)
def _joins(flat: np.ndarray, borders: np.ndarray, starts: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    rows = len(borders) - 1
    parent = np.arange(rows)
    left, right = np.empty(rows, np.int64), np.empty(rows, np.int64)
    found = 0
    for group in range(len(starts)):
        end = starts[group + 1] if group + 1 < len(starts) else rows
        for a in range(starts[group], end):
            first = borders[a + 1] - borders[a]
            for b in range(a + 1, end):
                second = borders[b + 1] - borders[b]
                # J is at most the smaller set over the larger; divided as J is, so that rounding cannot part the two
                if first == 0 or second == 0 or min(first, second) / max(first, second) < threshold:
                    continue
                one, other = root(parent, a), root(parent, b)
                if one == other:
                    continue
                # J >= t where both >= t / (1 + t) (|a| + |b|); one less, so that rounding decides nothing: the division does
                least = int(threshold / (1 + threshold) * (first + second)) - 1
                both = shared(flat, borders[a], borders[a + 1], borders[b], borders[b + 1], max(least, 0))
                if both >= 0 and both / (first + second - both) >= threshold:
                    parent[max(one, other)] = min(one, other)
                    left[found], right[found] = a, b
                    found += 1
    return left[:found], right[:found]


def joins(texts: pa.Array, starts: np.ndarray, *, shingle: int, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows of one group with a Jaccard similarity of at least `threshold`, as few as connect what all such pairs connect.

    A pair whose rows earlier pairs already connect is neither compared nor given: a group of n equal texts costs n - 1 comparisons, at most
    n - 1 pairs leave a group. A text without words is in no pair.

    Args:
        texts: string column; group g is its rows starts[g] to starts[g + 1].
        starts: int64, ascending from 0.
    Returns:
        int64 rows (left, right), left < right, ordered by left, then right.
    """
    flat, borders = shingle_sets(texts, shingle=shingle)
    return _joins(flat, borders, np.asarray(starts, np.int64), threshold)
