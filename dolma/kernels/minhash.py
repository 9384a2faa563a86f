"""MinHash of word shingles over Arrow buffers: bytes in, band keys out. Signatures never leave the worker."""

from typing import Any

import numba
import numpy as np
import pyarrow as pa

from dolma.kernels.words import buffers, fill_words, longest, most_words

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_M1, _M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S32, _ONE = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(32), np.uint64(1)


def coefficients(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """uint32 factors (odd) and summands of `count` permutations x -> a x + b mod 2^32."""
    rng = np.random.Generator(np.random.PCG64(seed))
    return rng.integers(0, 1 << 32, count, np.uint32) | np.uint32(1), rng.integers(0, 1 << 32, count, np.uint32)


@numba.njit(cache=True)
def mix(state: np.uint64) -> np.uint64:
    """The finaliser of splitmix64."""
    state = (state ^ (state >> _S30)) * _M1
    state = (state ^ (state >> _S27)) * _M2
    return state ^ (state >> _S31)


@numba.njit(cache=True)
def fill_shingles(hashes: np.ndarray, words: int, size: int, out: np.ndarray) -> int:
    """uint32 hashes of all runs of `size` words; a text of fewer words is one shingle of all of them, one without words has none."""
    if words == 0:
        return 0
    width = size if words >= size else words
    for start in range(words - width + 1):
        state = _GOLDEN
        for k in range(start, start + width):
            state = mix((state ^ hashes[k]) * _GOLDEN)
        out[start] = np.uint32(state >> _S32)
    return words - width + 1


@numba.njit(cache=True)
def _lower(signature: np.ndarray, a: np.ndarray, b: np.ndarray, x: np.uint32) -> None:
    """signature = min(signature, a x + b): alone, so that it becomes vector instructions."""
    for k in range(len(signature)):
        value = np.uint32(a[k] * x + b[k])
        signature[k] = value if value < signature[k] else signature[k]


@numba.njit(cache=True)
def _signatures(data: np.ndarray, offsets: np.ndarray, size: int, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows = len(offsets) - 1
    most = most_words(longest(offsets))
    starts, ends, hashes = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.uint64)
    shingles = np.empty(most, np.uint32)
    out = np.full((rows, len(a)), np.uint32(0xFFFFFFFF))
    counts = np.zeros(rows, np.int32)
    for row in range(rows):
        words = fill_words(data, offsets[row], offsets[row + 1], starts, ends, hashes)
        counts[row] = fill_shingles(hashes, words, size, shingles)
        signature = out[row]
        for n in range(counts[row]):
            _lower(signature, a, b, shingles[n])
    return out, counts


@numba.njit(cache=True)
def _bands(signatures: np.ndarray, bands: int, height: int) -> np.ndarray:
    out = np.empty((len(signatures), bands), np.int64)
    for row in range(len(signatures)):
        for band in range(bands):
            state = mix(np.uint64(band + 1) * _GOLDEN)
            for k in range(band * height, (band + 1) * height):
                state = mix((state ^ np.uint64(signatures[row, k])) * _GOLDEN)
            out[row, band] = np.int64(state >> _ONE)
    return out


def signatures(texts: pa.Array, *, shingle: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """uint32 MinHash signatures, shape (texts, count), and the number of shingles of each text (0: its signature means nothing)."""
    data, offsets = buffers(texts)
    a, b = coefficients(count, seed)
    return _signatures(data, offsets, shingle, a, b)


def band_keys(texts: pa.Array, *, shingle: int, bands: int, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """int64 band keys, shape (texts, bands), and the number of shingles of each text. Two texts share a key where `rows` minima in a row agree."""
    found: Any
    found, counts = signatures(texts, shingle=shingle, count=bands * rows, seed=seed)
    return _bands(found, bands, rows), counts


@numba.njit(cache=True)
def _token_signatures(ids: np.ndarray, offsets: np.ndarray, size: int, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows = len(offsets) - 1
    most = longest(offsets)
    hashes, shingles = np.empty(most, np.uint64), np.empty(most, np.uint32)
    out = np.full((rows, len(a)), np.uint32(0xFFFFFFFF))
    counts = np.zeros(rows, np.int32)
    for row in range(rows):
        words = offsets[row + 1] - offsets[row]
        for k in range(words):
            hashes[k] = mix(np.uint64(ids[offsets[row] + k]) + _GOLDEN)
        counts[row] = fill_shingles(hashes, words, size, shingles)
        signature = out[row]
        for n in range(counts[row]):
            _lower(signature, a, b, shingles[n])
    return out, counts


def token_band_keys(tokens: pa.Array, *, shingle: int, bands: int, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`band_keys` of lists of token ids: runs of `shingle` ids are the shingles. NULL counts as no ids."""
    ids, offsets = token_buffers(tokens)
    found: Any
    found, counts = _token_signatures(ids, offsets, shingle, *coefficients(bands * rows, seed))
    return _bands(found, bands, rows), counts


def token_buffers(tokens: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The uint32 ids and the int64 row borders of a list column."""
    lists = tokens.cast(pa.large_list(pa.uint32()))
    counts = lists.value_lengths().fill_null(0).to_numpy()
    return lists.flatten().to_numpy(), np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


@numba.njit(cache=True)
def mixed(keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    """int64 keys, shape (rows, bands), that are equal only where both the key and the row's value are."""
    out = np.empty_like(keys)
    for row in range(len(keys)):
        for band in range(keys.shape[1]):
            out[row, band] = np.int64(mix((np.uint64(keys[row, band]) ^ mix(np.uint64(values[row]))) * _GOLDEN) >> _ONE)
    return out


@numba.njit(cache=True)
def text_hashes(data: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """uint64 hashes of the bytes of each text, two independent ones, shape (texts, 2)."""
    out = np.empty((len(offsets) - 1, 2), np.uint64)
    for row in range(len(out)):
        size = offsets[row + 1] - offsets[row]
        one, two = mix(np.uint64(size) + _GOLDEN), mix(np.uint64(size) ^ _M1)
        i = offsets[row]
        while i + 8 <= offsets[row + 1]:
            word = np.uint64(0)
            for k in range(8):
                word |= np.uint64(data[i + k]) << np.uint64(8 * k)
            one, two = mix((one ^ word) * _GOLDEN), mix((two + word) * _M2)
            i += 8
        word = np.uint64(0)
        for k in range(offsets[row + 1] - i):
            word |= np.uint64(data[i + k]) << np.uint64(8 * k)
        out[row, 0], out[row, 1] = mix((one ^ word) * _GOLDEN), mix((two + word) * _M2)
    return out
