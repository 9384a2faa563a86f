"""MinHash of word shingles over Arrow buffers: bytes in, band keys out. Signatures never leave the worker."""

from typing import Any, NamedTuple

import numba
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dolma.core.errors import DataError
from dolma.kernels.words import buffers, fill_words, longest, most_words

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_M1, _M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_SIGNED = 1 << 18  # minima that are held at once, 1 MB of them: they stay in the cache, and their memory is used again
_S30, _S27, _S31, _S32, _ONE = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(32), np.uint64(1)
_LOW, _EMPTY = np.uint64(0xFFFFFFFF), np.uint64(0xFFFFFFFFFFFFFFFF)


_SLOTS = 256  # of a signature, for each round: 26 x 11 has 1 round, 200 x 31 has 24. Least time for 200 x 31; for 26 x 11 1 to 16 rounds take the same


class Permutations(NamedTuple):
    """What a seed draws: x -> a x + b mod 2^64 for each round and mod 2^32 for each slot, the factors odd."""

    round_a: np.ndarray
    round_b: np.ndarray
    slot_a: np.ndarray
    slot_b: np.ndarray


def permutations(count: int, seed: int) -> Permutations:
    """Those of a signature of `count` slots."""
    rng = np.random.Generator(np.random.PCG64(seed))
    slots = rng.integers(0, 1 << 32, (2, count), np.uint32)
    rounds = rng.integers(0, 1 << 64, (2, max(1, count // _SLOTS)), np.uint64)
    return Permutations(rounds[0] | np.uint64(1), rounds[1], slots[0] | np.uint32(1), slots[1])


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
def _throw(slots: np.ndarray, a: np.uint64, b: np.uint64, first: np.uint64, shingles: np.ndarray) -> None:
    """Each shingle into one slot: the upper half of its hash says which, the lower half is its value, behind the number of the round."""
    size = np.uint64(len(slots))
    for k in range(len(shingles)):
        thrown = shingles[k] * a + b
        slot = ((thrown >> _S32) * size) >> _S32
        value = first | (thrown & _LOW)
        held = slots[slot]
        slots[slot] = value if value < held else held


@numba.njit(cache=True)
def _least(uppers: np.ndarray, a: np.uint32, b: np.uint32) -> np.uint32:
    """The minimum of a x + b mod 2^32: alone, so that it becomes vector instructions."""
    least = np.uint32(0xFFFFFFFF)
    for k in range(len(uppers)):
        value = np.uint32(a * uppers[k] + b)
        least = value if value < least else least
    return least


@numba.njit(cache=True)
def _sign(out: np.ndarray, shingles: np.ndarray, drawn: Permutations, slots: np.ndarray, uppers: np.ndarray) -> None:
    """The signature of a row: rounds until no slot is empty, then for each empty slot the minimum over all shingles."""
    slots[:] = _EMPTY
    empty, number = len(slots), 0
    while empty and number < len(drawn.round_a):
        _throw(slots, drawn.round_a[number], drawn.round_b[number], np.uint64(number) << _S32, shingles)
        number, empty = number + 1, 0
        for k in range(len(slots)):
            empty += slots[k] == _EMPTY
    for k in range(len(slots)):
        out[k] = np.uint32(slots[k])
    if empty == 0:
        return
    for k in range(len(shingles)):
        uppers[k] = np.uint32(shingles[k] >> _S32)
    for k in range(len(slots)):
        if slots[k] == _EMPTY:
            out[k] = _least(uppers[: len(shingles)], drawn.slot_a[k], drawn.slot_b[k])


@numba.njit(cache=True)
def _text_signatures(data: np.ndarray, offsets: np.ndarray, size: int, drawn: Permutations) -> tuple[np.ndarray, np.ndarray]:
    rows = len(offsets) - 1
    most = most_words(longest(offsets))
    starts, ends = np.empty(most, np.int64), np.empty(most, np.int64)
    hashes, shingles, uppers = np.empty(most, np.uint64), np.empty(most, np.uint64), np.empty(most, np.uint32)
    count = len(drawn.slot_a)
    out, counts, slots = np.full((rows, count), np.uint32(0xFFFFFFFF)), np.zeros(rows, np.int32), np.empty(count, np.uint64)
    for row in range(rows):
        words = fill_words(data, offsets[row], offsets[row + 1], starts, ends, hashes)
        counts[row] = fill_shingles(hashes, words, size, shingles)
        if counts[row]:
            _sign(out[row], shingles[: counts[row]], drawn, slots, uppers)
    return out, counts


@numba.njit(cache=True)
def _list_signatures(hashes: np.ndarray, offsets: np.ndarray, size: int, drawn: Permutations) -> tuple[np.ndarray, np.ndarray]:
    rows = len(offsets) - 1
    shingles, uppers = np.empty(longest(offsets), np.uint64), np.empty(longest(offsets), np.uint32)
    count = len(drawn.slot_a)
    out, counts, slots = np.full((rows, count), np.uint32(0xFFFFFFFF)), np.zeros(rows, np.int32), np.empty(count, np.uint64)
    for row in range(rows):
        counts[row] = fill_shingles(hashes[offsets[row] : offsets[row + 1]], offsets[row + 1] - offsets[row], size, shingles)
        if counts[row]:
            _sign(out[row], shingles[: counts[row]], drawn, slots, uppers)
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

    In a round each shingle falls into one slot with a value of 32 bits, and a slot holds the smallest of the first round in which one fell into it; a slot
    that stays empty holds the minimum over all shingles, as MinHash has it, of the hashes' upper halves by x -> a x + b mod 2^32. So time goes with the
    shingles and not with shingles x slots, and two texts agree in a slot with probability J, since (round, value) orders shingles alike for both. Slots of one
    round are drawn without replacement: the share that agrees has .7 to 1 of the binomial spread. Source: Dahlgaard, Knudsen, Thorup 2017, Fast Similarity
    Sketching, whose rounds go on until all slots are full.

    Values of 32 bits: two sets of n shingles that share nothing seem to have J = n / (2^33 slots), 4e-7 at 26 x 11 and a million shingles (a text of 6 MB);
    in slots that rounds left empty, of which such texts have none, n / 2^33.

    Returns:
        uint32 signatures, shape (rows, count), and the int32 number of shingles of each row, repeats counted (0: its signature means nothing).
    """
    drawn = permutations(count, seed)
    if _is_text(texts):
        return _text_signatures(*buffers(texts), shingle, drawn)
    return _list_signatures(*list_buffers(texts), shingle, drawn)


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
