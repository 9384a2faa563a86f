"""No archive takes more memory than the cap: records, bodies, windows and bombs."""

import gzip
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from tests.io.records import FRAMES, ZIPPED, ZSTD, read, record, response


def test_records_and_bodies_over_the_cap_are_quarantined(tmp_path: Path) -> None:
    bomb = zlib.compress(b"a" * 5_000_000, 9)
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: deflate\r\n\r\n" + bomb
    big = record("response", response(b"b" * 200_000), k=8)
    rows = read(tmp_path / "x", gzip.compress(record("response", http, k=7)) + gzip.compress(big) + ZIPPED[2], max_bytes=100_000)
    assert rows["_error"].to_pylist() == ["body of more than 100000 bytes", "record of more than 100000 bytes", None]


def test_a_frame_that_asks_for_too_much_memory_is_refused(tmp_path: Path) -> None:
    greedy = b"\x28\xb5\x2f\xfd" + bytes([0x00, (31 - 10) << 3]) + b"\x01\x00\x00"  # window of 2 GB, one empty block
    rows = read(tmp_path / "x", FRAMES[0] + greedy + FRAMES[1])
    assert rows["id"].to_pylist()[::2] == ["id-0", "id-1"] and "memory" in rows["_error"][1].as_py()


BOMB = """
import re, sys
from dolma.io.warc import warc
rows = [row for batch in warc(sys.argv[1], file="bomb", max_bytes=1 << 20) for row in batch.to_pylist()]
print([row["_error"] for row in rows], int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]) // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc (ru_maxrss of a child begins at its parent's)")
@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_bomb_of_a_gigabyte_is_stopped_at_the_cap(tmp_path: Path, kind: str) -> None:
    size = 1 << 30
    head = record("response", b"", length=size)[:-4]
    block = b"a" * (1 << 20)
    if kind == "gzip":
        deflate = zlib.compressobj(9, wbits=-15)
        begin = deflate.compress(head) + deflate.flush(zlib.Z_FULL_FLUSH)
        same = deflate.compress(block) + deflate.flush(zlib.Z_FULL_FLUSH)
        check = zlib.crc32(head)
        for _ in range(1 << 10):
            check = zlib.crc32(block, check)
        tail = deflate.compress(b"\r\n\r\n") + deflate.flush()
        check = zlib.crc32(b"\r\n\r\n", check)
        length = (len(head) + size + 4) & 0xFFFFFFFF
        bomb = b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + begin + same * (1 << 10) + tail + check.to_bytes(4, "little") + length.to_bytes(4, "little")
    else:
        stream = ZSTD.compressobj()
        bomb = stream.compress(head) + b"".join(stream.compress(block) for _ in range(1 << 10)) + stream.compress(b"\r\n\r\n") + stream.flush()
    assert len(bomb) < 2 << 20
    first, last = (ZIPPED[0], ZIPPED[6]) if kind == "gzip" else (FRAMES[0], FRAMES[6])
    (tmp_path / "x").write_bytes(first + bomb + last)
    done = subprocess.run([sys.executable, "-c", BOMB, str(tmp_path / "x")], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    errors, memory = done.stdout.rsplit(" ", 1)
    assert errors == "[None, 'record of more than 1048576 bytes', None]"
    assert int(memory) < 512
