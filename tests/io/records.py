"""WARC records and archives of them, for the tests of everything that reads them."""

import gzip
from pathlib import Path

import pyarrow as pa
import pytest
import zstandard

from dolma.io.warc import SCHEMA, warc


def record(kind: str, body: bytes, *, k: int = 1, url: str | None = "http://example.com/", length: int | str | None = None, http: bool = True) -> bytes:
    """One WARC record."""
    lines = [f"WARC/1.0\r\nWARC-Type: {kind}", f"WARC-Record-ID: <urn:uuid:id-{k}>", "WARC-Date: 2024-01-02T03:04:05Z"]
    lines += [f"WARC-Target-URI: {url}"] if url else []
    lines += [f"Content-Type: application/http; msgtype={kind}" if http else "Content-Type: application/warc-fields"]
    lines += [f"Content-Length: {len(body) if length is None else length}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body + b"\r\n\r\n"


def response(html: bytes, status: int = 200, kind: str = "text/html; charset=utf-8", more: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\n{more}Content-Length: {len(html)}\r\n\r\n".encode() + html


RECORDS = [
    record("warcinfo", b"software: x\r\n", k=0, url=None, http=False),
    record("request", b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n", k=1),
    record("response", response(b"<p>one</p>" * 30), k=2),
    record("response", response(b"gone", 404), k=3),
    record("response", response(b"\x89PNG" * 9, kind="image/png"), k=4),
    record("revisit", response(b""), k=5),
    record("response", response(b"<p>last</p>" * 30), k=6),
]
ZIPPED = [gzip.compress(piece, mtime=0) for piece in RECORDS]
ZSTD = zstandard.ZstdCompressor(level=3, write_checksum=True)
FRAMES = [ZSTD.compress(piece) for piece in RECORDS]
DICTIONARY = zstandard.train_dictionary(4096, [RECORDS[k % 7][: k + 60] * 2 for k in range(300)])
TRAINED = [zstandard.ZstdCompressor(write_checksum=True, dict_data=DICTIONARY).compress(piece) for piece in RECORDS]
PACKED = pytest.mark.parametrize(("pieces", "pack"), [(ZIPPED, gzip.compress), (FRAMES, ZSTD.compress)], ids=["gzip", "zstd"])


def skippable(content: bytes, kind: int = 0x5D) -> bytes:
    """A zstd frame that holds no data; of kind 5d it is a dictionary."""
    return bytes([kind]) + b"\x2a\x4d\x18" + len(content).to_bytes(4, "little") + content


def read(path: Path, content: bytes, max_bytes: int = 1 << 20) -> pa.Table:
    path.write_bytes(content)
    return pa.Table.from_batches(list(warc(str(path), file="web/x.warc.gz", max_bytes=max_bytes)), schema=SCHEMA)
