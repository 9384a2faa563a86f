"""MinHash of word shingles over Arrow buffers: bytes in, band keys out. Signatures never leave the worker."""

from typing import Any

import numba
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dolma.core.errors import DataError
from dolma.kernels.words import buffers, fill_words, longest, most_words

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_M1, _M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_SIGNED = 1 << 22  # minima that are held at once: signatures of 200 x 31 take 25 kB a text
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
    """uint64 hashes of all runs of `size` words; a text of fewer words is one shingle of all of them, one without words has none.

    Rolling: the sum of hash * g^place mod 2^64 with the golden ratio g (of order 2^62), then mixed, a third of the time of mixing word by word.
    """
    if words == 0:
        return 0
    width = size if words >= size else words
    state, power = np.uint64(0), np.uint64(1)
    for k in range(width):
        state = state * _GOLDEN + hashes[k]
        power *= _GOLDEN
    out[0] = mix(state)
    for start in range(1, words - width + 1):
        state = state * _GOLDEN + hashes[start + width - 1] - hashes[start - 1] * power
        out[start] = mix(state)
    return words - width + 1


@numba.njit(cache=True)
def _hash_ids(ids: np.ndarray) -> np.ndarray:
    out = np.empty(len(ids), np.uint64)
    for k in range(len(ids)):
        out[k] = mix(np.uint64(ids[k]) + _GOLDEN)
    return out


@numba.njit(cache=True)
def _lower(signature: np.ndarray, a: np.ndarray, b: np.ndarray, x: np.uint32) -> None:
    """signature = min(signature, a x + b): alone, so that it becomes vector instructions."""
    for k in range(len(signature)):
        value = np.uint32(a[k] * x + b[k])
        signature[k] = value if value < signature[k] else signature[k]


@numba.njit(cache=True)
def _lower_four(signature: np.ndarray, a: np.ndarray, b: np.ndarray, w: np.uint32, x: np.uint32, y: np.uint32, z: np.uint32) -> None:
    """`_lower` by four shingles: the signature is read and written once for them, which is what takes the time."""
    for k in range(len(signature)):
        one, two = np.uint32(a[k] * w + b[k]), np.uint32(a[k] * x + b[k])
        three, four = np.uint32(a[k] * y + b[k]), np.uint32(a[k] * z + b[k])
        one, three = two if two < one else one, four if four < three else three
        one = three if three < one else one
        signature[k] = one if one < signature[k] else signature[k]


@numba.njit(cache=True)
def _sign(signature: np.ndarray, a: np.ndarray, b: np.ndarray, shingles: np.ndarray, count: int) -> None:
    fours = count - count % 4
    for n in range(0, fours, 4):
        w, x = np.uint32(shingles[n] >> _S32), np.uint32(shingles[n + 1] >> _S32)
        y, z = np.uint32(shingles[n + 2] >> _S32), np.uint32(shingles[n + 3] >> _S32)
        _lower_four(signature, a, b, w, x, y, z)
    for n in range(fours, count):
        _lower(signature, a, b, np.uint32(shingles[n] >> _S32))


@numba.njit(cache=True)
def _text_signatures(data: np.ndarray, offsets: np.ndarray, size: int, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows = len(offsets) - 1
    most = most_words(longest(offsets))
    starts, ends = np.empty(most, np.int64), np.empty(most, np.int64)
    hashes, shingles = np.empty(most, np.uint64), np.empty(most, np.uint64)
    out, counts = np.full((rows, len(a)), np.uint32(0xFFFFFFFF)), np.zeros(rows, np.int32)
    for row in range(rows):
        words = fill_words(data, offsets[row], offsets[row + 1], starts, ends, hashes)
        counts[row] = fill_shingles(hashes, words, size, shingles)
        _sign(out[row], a, b, shingles, counts[row])
    return out, counts


@numba.njit(cache=True)
def _list_signatures(hashes: np.ndarray, offsets: np.ndarray, size: int, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows = len(offsets) - 1
    shingles = np.empty(longest(offsets), np.uint64)
    out, counts = np.full((rows, len(a)), np.uint32(0xFFFFFFFF)), np.zeros(rows, np.int32)
    for row in range(rows):
        counts[row] = fill_shingles(hashes[offsets[row] : offsets[row + 1]], offsets[row + 1] - offsets[row], size, shingles)
        _sign(out[row], a, b, shingles, counts[row])
    return out, counts


@numba.njit(cache=True)
def _distinct(values: np.ndarray) -> int:
    """Sort `values` in place and move the distinct ones to the front; how many these are."""
    values.sort()
    n = 0
    for k in range(len(values)):
        if k == 0 or values[k] != values[n - 1]:
            values[n] = values[k]
            n += 1
    return n


@numba.njit(cache=True)
def _text_sets(data: np.ndarray, offsets: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    rows = len(offsets) - 1
    most = most_words(longest(offsets))
    starts, ends, hashes = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.uint64)
    out = np.empty(most_words(offsets[-1] - offsets[0]) + rows, np.uint64)  # pages that are not written take no memory
    borders = np.zeros(rows + 1, np.int64)
    for row in range(rows):
        words = fill_words(data, offsets[row], offsets[row + 1], starts, ends, hashes)
        free = out[borders[row] :]
        borders[row + 1] = borders[row] + _distinct(free[: fill_shingles(hashes, words, size, free)])
    return out[: borders[rows]].copy(), borders


@numba.njit(cache=True)
def _list_sets(hashes: np.ndarray, offsets: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    rows = len(offsets) - 1
    out = np.empty(offsets[-1] - offsets[0], np.uint64)
    borders = np.zeros(rows + 1, np.int64)
    for row in range(rows):
        free = out[borders[row] :]
        count = fill_shingles(hashes[offsets[row] : offsets[row + 1]], offsets[row + 1] - offsets[row], size, free)
        borders[row + 1] = borders[row] + _distinct(free[:count])
    return out[: borders[rows]].copy(), borders


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


def list_buffers(lists: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The hashes of the token ids and the row borders of a list column.

    Args:
        lists: list or large_list of uint32, sliced or not; a NULL list counts as an empty one.
    Returns:
        uint64 hashes and int64 offsets of shape (rows + 1,), as `words.buffers` gives bytes.

    Raises:
        DataError: another type, or a NULL among the ids.
    """
    array: Any = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    kind = array.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)) or kind.value_type != pa.uint32():
        raise DataError("token lists", "shingles are made of token ids", got=str(kind), expected="list or large_list of uint32", mend="name such a column")
    ids = array.flatten()  # without what lies below a NULL list
    if ids.null_count:
        raise DataError("token lists", "a token id is NULL", got=f"{ids.null_count} of them", expected="ids only", mend="mend the step that encodes")
    sizes = pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False)
    offsets = np.zeros(len(array) + 1, np.int64)
    np.cumsum(sizes, out=offsets[1:])
    return _hash_ids(ids.to_numpy()), offsets


def _is_text(column: pa.Array) -> bool:
    return pa.types.is_string(column.type) or pa.types.is_large_string(column.type)


def signatures(texts: pa.Array, *, shingle: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """MinHash signatures of texts by words, or of lists of uint32 token ids by these.

    Minima of 32 bits: the upper halves of the 64-bit shingle hashes, permuted by x -> a x + b mod 2^32. Two sets of n shingles that share nothing have
    n^2 / 2^32 equal halves, so their Jaccard similarity seems n / 2^33: 1.2e-7 at a thousand shingles, 1.2e-4 at a million (a text of 6 MB), 1.2e-2 at
    10^8; one of J seems (1 - J) times about that more. Equal halves are equal in all rows: a band of 31 rows sees this J, too, and no other bias.

    Returns:
        uint32 signatures, shape (rows, count), and the int32 number of shingles of each row, repeats counted (0: its signature means nothing).
    """
    a, b = coefficients(count, seed)
    if _is_text(texts):
        return _text_signatures(*buffers(texts), shingle, a, b)
    return _list_signatures(*list_buffers(texts), shingle, a, b)


def shingle_sets(texts: pa.Array, *, shingle: int) -> tuple[np.ndarray, np.ndarray]:
    """The distinct shingles of texts by words, or of lists of uint32 token ids by these: what true Jaccard similarities are counted on.

    The same shingles as those of `signatures`: fewer words than `shingle` are one shingle, none is the empty set. Two unlike shingles of a pair of sets of
    n each have equal hashes with probability n^2 / 2^64: 5e-8 at a million.

    Returns:
        uint64 hashes, sorted and distinct in each row, all rows in one flat array, and int64 offsets of shape (rows + 1,): row i is
        `flat[offsets[i]:offsets[i + 1]]`.
    """
    if _is_text(texts):
        return _text_sets(*buffers(texts), shingle)
    return _list_sets(*list_buffers(texts), shingle)


def band_keys(texts: pa.Array, *, shingle: int, bands: int, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """int64 band keys, shape (texts, bands), and the number of shingles of each text or list of token ids. Two share a key where `rows` minima agree."""
    keys, counts = np.empty((len(texts), bands), np.int64), np.zeros(len(texts), np.int32)
    step = max(1, _SIGNED // (bands * rows))
    for start in range(0, len(texts), step):
        part = slice(start, start + step)
        found, counts[part] = signatures(texts.slice(start, step), shingle=shingle, count=bands * rows, seed=seed)
        keys[part] = _bands(found, bands, rows)
    return keys, counts


@numba.njit(cache=True)
def keys_within(keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    """int64 band keys, shape (texts, bands), that two texts share only where they also have the same int64 value, shape (texts,)."""
    out = np.empty(keys.shape, np.int64)
    for row in range(len(keys)):
        own = mix(np.uint64(values[row]) + _GOLDEN)
        for band in range(keys.shape[1]):
            out[row, band] = np.int64(mix((np.uint64(keys[row, band]) ^ own) * _GOLDEN) >> _ONE)
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
