import bz2
import gzip
import lzma
import random
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.core.errors import DataError
from dolma.io.compressed import CHUNK, Content, chunks
from dolma.io.compressed import PACKED as READ

PACK = {".jsonl": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstandard.compress}
PACKED = sorted(set(PACK) - {".jsonl"})


def content(path: Path) -> bytes:
    made = list(chunks(path, "raw/x"))
    assert all(0 < len(chunk) <= CHUNK for chunk in made)
    return b"".join(made)


@pytest.mark.parametrize("ending", PACK)
def test_streams_behind_one_another_are_one_content(tmp_path, ending):
    path = tmp_path / f"x{ending}"
    data = random.Random(1).randbytes(100_000) + bytes(3 << 20)
    path.write_bytes(PACK[ending](data) + PACK[ending](b"") + PACK[ending](b"end"))
    assert content(path) == data + b"end"
    if ending == ".xz":
        path.write_bytes(PACK[ending](data) + bytes(8) + PACK[ending](b"end"))
        assert content(path) == data + b"end"


@pytest.mark.parametrize("ending", [".bz2", ".xz"])
@settings(max_examples=40, deadline=None)
@given(st.integers(1, 2), st.integers(-3, 3), st.booleans())
def test_zeros_between_streams_end_no_file_wherever_the_borders_of_the_reads_lie(tmp_path_factory, ending, blocks, words, at_border):
    """`xz -dc` reads on behind the padding; a read of 64 KiB may hold nothing else, or the padding may begin with a read."""
    path = tmp_path_factory.mktemp("x") / f"x{ending}"
    data = random.Random(1).randbytes(READ + 5)
    one = PACK[ending](data)
    pad = blocks * READ + 4 * words - at_border * (len(one) % READ)
    path.write_bytes(one + bytes(pad + -pad % 4) + PACK[ending](b"two") + bytes(4))
    assert content(path) == data + b"two"


def test_four_zeros_at_the_border_of_a_read_end_no_file(tmp_path):
    one = lzma.compress(b"") * (READ // 32)  # an .xz stream of nothing is 32 bytes
    assert len(one) == READ
    (tmp_path / "x.xz").write_bytes(one + bytes(4) + lzma.compress(b"two"))
    assert content(tmp_path / "x.xz") == b"two"


@pytest.mark.parametrize(("name", "pack"), [("x.GZ", gzip.compress), ("x.Bz2", bz2.compress), ("x.XZ", lzma.compress), ("x.ZST", zstandard.compress)])
def test_endings_are_known_in_capitals(tmp_path, name, pack):
    (tmp_path / name).write_bytes(pack(b"one"))
    assert content(tmp_path / name) == b"one"


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstandard.compress, lambda data: b"\x04\x22\x4d\x18" + data])
def test_a_compressed_file_under_another_ending_is_refused_by_that_ending(tmp_path, pack):
    (tmp_path / "x.json").write_bytes(pack(b"one"))
    with pytest.raises(DataError, match=r"raw/x: a compressed file under an ending that does not say so\n  got \w+ as `\.json`, expected \.bz2, \.gz"):
        content(tmp_path / "x.json")


@pytest.mark.parametrize("ending", PACKED)
def test_a_file_cut_anywhere_or_with_something_behind_it_is_refused(tmp_path, ending):
    path = tmp_path / f"x{ending}"
    whole = PACK[ending](random.Random(1).randbytes(5000))
    for cut in [0, *range(1, len(whole), 501), len(whole) - 1]:
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError, match=r"raw/x, byte \d+ of the content: the file is cut short or damaged"):
            content(path)
    path.write_bytes(whole + b"junk junk junk")
    with pytest.raises(DataError):
        content(path)


@pytest.mark.parametrize("ending", PACKED)
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damage_is_found_or_does_no_harm(tmp_path_factory, ending, data):
    path = tmp_path_factory.mktemp("x") / f"x{ending}"
    plain = b"many words and some more of them " * 40
    pack = zstandard.ZstdCompressor(write_checksum=True).compress if ending == ".zst" else PACK[ending]
    whole = bytearray(pack(plain))
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(whole)
    with suppress(DataError):
        assert content(path) in (plain, b"")  # some bits of a header mean nothing, and a zstd frame of another magic number is to be skipped


def test_an_xz_that_asks_for_gigabytes_is_refused(tmp_path):
    whole = bytearray(lzma.compress(b"x", filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 16}]))
    at = whole.index(b"\x21\x01")  # the filter and the size of its properties; behind it the dictionary's size. Source: the .xz file format, 5.3.1
    whole[at + 2] = 38  # 2 GiB
    size = (whole[12] + 1) * 4
    whole[12 + size - 4 : 12 + size] = struct.pack("<L", zlib.crc32(whole[12 : 12 + size - 4]))
    (tmp_path / "x.xz").write_bytes(whole)
    with pytest.raises(DataError, match=r"[Mm]emory"):
        content(tmp_path / "x.xz")


@given(st.lists(st.binary(min_size=1, max_size=9), max_size=9), st.lists(st.integers(0, 20), max_size=9), st.integers(0, 40))
def test_content_reads_like_a_file_up_to_its_limit(pieces, sizes, limit):
    whole, stream = b"".join(pieces), Content(iter(pieces))
    at = 0
    for size in sizes:
        assert stream.read(size) == whole[at : at + size]
        at = stream.position
        assert at <= len(whole)
    stream.limit = limit
    if max(len(whole), at) > limit and at < len(whole):
        with pytest.raises(EOFError):
            stream.read()
    else:
        assert stream.read() == whole[at:] and stream.position == len(whole)
