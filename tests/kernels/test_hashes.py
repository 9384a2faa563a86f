"""Hashes of rows and of the lines of a file are one function."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from dolma.kernels.hashes import hash_lines, hash_rows
from dolma.kernels.words import buffers


def plain_hash(content: bytes) -> int:
    """FNV-1a of bytes, then half of MurmurHash3's finaliser."""
    state = 0xCBF29CE484222325
    for byte in content:
        state = (state ^ byte) * 0x100000001B3 % 2**64
    state = (state ^ state >> 33) * 0xFF51AFD7ED558CCD % 2**64
    return state ^ state >> 33


@given(st.lists(st.text(max_size=12), max_size=8), st.integers(0, 2))
def test_rows_have_the_published_hash(texts: list[str], start: int) -> None:
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    made = hash_rows(*buffers(pa.array(texts, pa.large_string()).slice(start)))
    assert made.tolist() == [plain_hash(text.encode()) for text in texts[start:]]


@given(st.lists(st.binary(max_size=8), max_size=8), st.booleans())
def test_lines_have_the_hash_of_rows(parts: list[bytes], fold: bool) -> None:
    made = hash_lines(np.frombuffer(b"\n".join(parts), np.uint8), fold)
    white = bytes(range(33))
    want = [line.strip(white) for line in b"\n".join(parts).split(b"\n")]
    assert made.tolist() == [plain_hash(line.lower() if fold else line) for line in want if line and not line.startswith(b"#")]
