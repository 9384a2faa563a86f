"""True Jaccard similarity of texts: the share of word shingles that two texts have in common, by sets and not by signatures."""

import numba
import numpy as np
import pyarrow as pa

from dolma.kernels.minhash import fill_shingles
from dolma.kernels.unionfind import root
from dolma.kernels.words import buffers, fill_words, longest, most_words


@numba.njit(cache=True)
def _sets(data: np.ndarray, offsets: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    rows = len(offsets) - 1
    most = most_words(longest(offsets))
    starts, ends, hashes = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.uint64)
    out = np.empty(most_words(int(offsets[rows] - offsets[0])) + rows, np.uint32)
    borders = np.zeros(rows + 1, np.int64)
    for row in range(rows):
        words = fill_words(data, offsets[row], offsets[row + 1], starts, ends, hashes)
        first = borders[row]
        count = fill_shingles(hashes, words, size, out[first:])
        out[first : first + count].sort()
        last = first
        for k in range(first, first + count):
            if k == first or out[k] != out[last - 1]:
                out[last] = out[k]
                last += 1
        borders[row + 1] = last
    return out[: borders[rows]], borders


@numba.njit(cache=True)
def _jaccard(sets: np.ndarray, borders: np.ndarray, left: int, right: int) -> np.float32:
    i, one = borders[left], borders[left + 1]
    j, other = borders[right], borders[right + 1]
    total, both = (one - i) + (other - j), 0
    while i < one and j < other:
        x, y = sets[i], sets[j]
        both += x == y
        i += x <= y
        j += y <= x
    return np.float32(both) / np.float32(total - both) if total else np.float32(0)


@numba.njit(cache=True)
def _jaccards(sets: np.ndarray, borders: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    out = np.empty(len(left), np.float32)
    for pair in range(len(left)):
        out[pair] = _jaccard(sets, borders, left[pair], right[pair])
    return out


@numba.njit(cache=True)
def forest(sets: np.ndarray, borders: np.ndarray, starts: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows whose Jaccard is at least `threshold`, as many as join what such pairs join: a spanning forest of each group.

    Args:
        sets, borders: of `shingle_sets`.
        starts: first row of each group, and the number of rows; pairs lie within a group.
    """
    rows = len(borders) - 1
    left, right = np.empty(rows, np.int64), np.empty(rows, np.int64)
    parent = np.arange(rows)
    found = 0
    for group in range(len(starts) - 1):
        for i in range(starts[group], starts[group + 1]):
            for j in range(i + 1, starts[group + 1]):
                a, b = root(parent, i), root(parent, j)
                if a == b:
                    continue
                small, large = borders[i + 1] - borders[i], borders[j + 1] - borders[j]
                if min(small, large) < threshold * max(small, large):  # the sizes alone bound the similarity
                    continue
                if _jaccard(sets, borders, i, j) >= threshold:
                    parent[max(a, b)] = min(a, b)
                    left[found], right[found] = i, j
                    found += 1
    return left[:found], right[:found]


def shingle_sets(texts: pa.Array, shingle: int) -> tuple[np.ndarray, np.ndarray]:
    """Sorted distinct uint32 hashes of the shingles of every text in one array, and the int64 borders of the texts in it, shape (texts + 1,).

    Two different shingles share a hash once in 2^32 pairs: .000002 of a Jaccard between texts of 10,000 words.
    """
    data, offsets = buffers(texts)
    return _sets(data, offsets, shingle)


def jaccards(texts: pa.Array, left: np.ndarray, right: np.ndarray, *, shingle: int) -> np.ndarray:
    """float32 Jaccard similarity of the shingle sets of the rows left[i] and right[i], shape (pairs,); 0 where neither text has a word."""
    sets, borders = shingle_sets(texts, shingle)
    return _jaccards(sets, borders, np.asarray(left, np.int64), np.asarray(right, np.int64))
