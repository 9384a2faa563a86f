"""64-bit hashes of whole strings: of a text, of every row of a column, of every line of a file."""

import numba
import numpy as np

from dolma.kernels.words import SEED, hash_end, hash_step


@numba.njit(cache=True)
def hash_bytes(data: np.ndarray, start: int, end: int) -> np.uint64:
    """FNV-1a of `data[start:end]`, all its bits made equally good."""
    state = SEED
    for byte in data[start:end]:
        state = hash_step(state, int(byte))
    return hash_end(state)


@numba.njit(cache=True)
def hash_rows(data: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """uint64 hash of the bytes of every text of a column."""
    made = np.empty(len(offsets) - 1, np.uint64)
    for row in range(len(made)):
        made[row] = hash_bytes(data, offsets[row], offsets[row + 1])
    return made


@numba.njit(cache=True)
def hash_lines(data: np.ndarray, fold: bool) -> np.ndarray:
    """uint64 hashes, as of `hash_rows`, of all lines that are not empty and do not begin with `#`, without ASCII white space around them.

    Args:
        fold: as if ASCII letters were lower-case.
    """
    most = 1
    for byte in data:
        most += byte == 10
    made = np.empty(most, np.uint64)
    n = i = 0
    end = len(data)
    while i < end:
        stop = i
        while stop < end and data[stop] != 10:
            stop += 1
        a, b = i, stop
        while a < b and data[a] <= 32:
            a += 1
        while b > a and data[b - 1] <= 32:
            b -= 1
        if a < b and data[a] != 35:
            state = SEED
            for byte in data[a:b]:
                state = hash_step(state, int(byte) + 32 if fold and 65 <= byte <= 90 else int(byte))
            made[n] = hash_end(state)
            n += 1
        i = stop + 1
    return made[:n]
