"""WARC archives as rows: the bytes of every page with the place it came from.

fastwarc parses the records; the compressed members are opened here, one at a time, because fastwarc ends in silence where an archive is cut short
(measured: every cut of a gzip archive, from one byte to half the file, gave fewer or shorter records and no error). So a damaged member costs its own
records only, each row has the offset of its member, and an archive that ends too early is an error. The only file that imports fastwarc.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from dolma.core.errors import DataError, EnvironmentFault
from dolma.core.schema import ERROR
from dolma.core.step import reader

COLUMNS = {
    "id": pa.string(),
    "source": pa.string(),
    "url": pa.string(),
    "date": pa.string(),
    "file": pa.string(),
    "offset": pa.int64(),
    "record": pa.string(),
    "status": pa.int32(),
    "content_type": pa.string(),
    "charset": pa.string(),
    "content": pa.large_binary(),
}
SCHEMA = pa.schema([*COLUMNS.items(), (ERROR, pa.string())])

MAGIC = b"\x1f\x8b\x08"  # gzip, deflate. Source: RFC 1952 2.3
BLOCK = 1 << 16
BATCH_ROWS, BATCH_BYTES = 512, 32 << 20  # a batch ends at either: pages of 70 kB fill it at the bytes


@reader(out=COLUMNS, packages=("fastwarc",))
def warc(path: str, *, file: str, source: str = "web", max_bytes: int = 64 << 20) -> Iterator[pa.RecordBatch]:
    """One row for every record of a WARC file (gzip or plain); `keep` decides which are pages.

    `record` is the WARC type (response, revisit, request, ...), `status` and `content_type` are the HTTP status and type of a response (NULL for the
    others), `charset` what its header says. `content` is the body of a response with status 200, chunks joined and decompressed; empty for all others.
    `offset` is the byte in the file where the gzip member (or the plain record) begins. Records that cannot be read get `_error`.

    Args:
        source: value of the column `source`.
        max_bytes: a record or a decompressed body of more bytes is not held in memory: it gets `_error`.
    Raises:
        DataError: the archive ends inside a record, or is no WARC.
    """
    rows: list[dict[str, Any]] = []
    size = 0
    for row in _rows(Path(path), file, source, max_bytes):
        rows.append(row)
        size += len(row["content"])
        if len(rows) >= BATCH_ROWS or size >= BATCH_BYTES:
            yield pa.RecordBatch.from_pylist(rows, schema=SCHEMA)
            rows, size = [], 0
    if rows:
        yield pa.RecordBatch.from_pylist(rows, schema=SCHEMA)


@dataclass
class _Member:
    """A readable stream of one gzip member, or of a whole plain file; it knows how it ended."""

    file: BinaryIO
    offset: int
    inflate: Any = None
    pending: bytes = b""
    used: int = 0
    ended: bool = False
    position: int = 0
    damage: str | None = None

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes (or a block); b"" at the end or at damage."""
        limit = size if 0 < size < BLOCK else BLOCK
        while not self.ended and self.damage is None:
            raw = self.pending or self.file.read(limit)
            self.pending = b""
            if not raw:
                self.ended = self.inflate is None
                break
            out = raw if self.inflate is None else self._inflated(raw, limit)
            if out:
                self.position += len(out)
                return out
        return b""

    def tell(self) -> int:
        """Bytes read so far, decompressed: what `stream_pos` of a record counts in."""
        return self.position

    def _inflated(self, raw: bytes, limit: int) -> bytes:
        try:
            out = self.inflate.decompress(raw, limit)
        except zlib.error as error:
            self.damage = str(error).removeprefix("Error ").strip()
            return b""
        left = self.inflate.unused_data if self.inflate.eof else self.inflate.unconsumed_tail
        self.used += len(raw) - len(left)
        self.ended = self.inflate.eof
        self.pending = b"" if self.ended else left
        return out

    def close(self) -> None:
        """Read on to the end: what follows the last record must be whole too."""
        while self.read():
            pass


def _rows(path: Path, file: str, source: str, cap: int) -> Iterator[dict[str, Any]]:
    total = path.stat().st_size
    with open(path, "rb") as raw:
        first = raw.read(5)
        if not first:
            raise DataError(file, "empty archive", got="0 bytes", expected="WARC records", mend="fetch the file again, or take it out of `files`")
        if first[:3] != MAGIC and first != b"WARC/"[: len(first)]:
            mend = "convert ARC, zstd or lz4 archives to WARC gzip"
            raise DataError(file, "neither gzip nor plain WARC", got=first.hex(" "), expected="1f 8b 08 or `WARC/`", mend=mend)
        offset = 0
        while offset < total:
            raw.seek(offset)
            zipped = first[:3] == MAGIC
            begin = raw.read(3)
            if zipped and len(begin) < 3 and MAGIC.startswith(begin):
                raise _truncated(file, offset, f"{len(begin)} bytes of the last gzip member", "its end and checksum")
            if zipped and begin != MAGIC:
                yield _failed(file, offset, source, "bytes that begin no gzip member")
                offset = _resume(raw, offset, total)
                continue
            raw.seek(offset)
            member = _Member(raw, offset, zlib.decompressobj(wbits=31) if zipped else None)
            yield from _member_rows(member, file, source, cap)
            if member.damage:
                yield _failed(file, offset, source, f"damaged gzip member: {member.damage}")
                offset = _resume(raw, offset, total)
            elif not member.ended:
                raise _truncated(file, offset, f"{total - offset} bytes of the last gzip member", "its end and checksum")
            else:
                offset = offset + member.used if zipped else total


def _resume(raw: BinaryIO, offset: int, total: int) -> int:
    """The next offset where a gzip member with a WARC record begins, or the end of the file."""
    at = offset + 1
    while at < total:
        raw.seek(at)
        block = raw.read(BLOCK)
        found = block.find(MAGIC)
        if found < 0:
            at += max(len(block) - 2, 1)
            continue
        raw.seek(at + found)
        head = raw.read(1024)
        try:
            if zlib.decompressobj(wbits=31).decompress(head, 5) == b"WARC/":
                return at + found
        except zlib.error:  # three bytes that look like a header by chance
            pass
        at += found + 1
    return total


def _member_rows(member: _Member, file: str, source: str, cap: int) -> Iterator[dict[str, Any]]:
    try:
        from fastwarc.warc import ArchiveIterator, WarcRecordType
    except ImportError as error:
        raise EnvironmentFault("dolma.io.warc", "fastwarc is not installed", mend="pip install 'dolma-flow[web]'") from error

    plain = member.inflate is None
    held: dict[str, Any] | None = None  # a row is given out when what follows it was read: only then is its checksum known to hold
    found = 0
    stream: Any = member
    records = iter(ArchiveIterator(stream, record_types=WarcRecordType.any_type, parse_http=False, fsspec_args=False))
    while True:
        try:
            record = next(records, None)
        except (OSError, ValueError) as error:
            member.close()
            if member.damage:
                held = None
                break
            if not plain and not member.ended:
                raise _truncated(file, member.offset, "no end of the last gzip member", "its end and checksum") from error
            if plain or found or _hides_records(member):
                raise DataError(
                    f"{file} at byte {member.offset}",
                    f"record {found + 1} of this stream cannot be read, and so those after it cannot be found",
                    got=str(error)[:200],
                    expected="a WARC header",
                    mend="fetch it again, or compress it record by record: damage then costs one record",
                ) from error
            held = _failed(file, member.offset, source, f"unreadable record: {str(error)[:200]}")
            break
        if record is None:
            break
        found += 1
        if held:
            yield held
        held = _checked(record, member, file, source, cap)
        if held is None:
            break
    member.close()
    if member.damage is None and member.ended:
        yield held or _failed(file, member.offset, source, "no WARC record in this member")


def _hides_records(member: _Member) -> bool:
    """Whether a record header follows somewhere after the beginning of a gzip member."""
    member.file.seek(member.offset)
    again = _Member(member.file, member.offset, zlib.decompressobj(wbits=31))
    tail = b""
    while block := again.read():
        block = tail + block
        if b"\r\n\r\nWARC/" in block:
            return True
        tail = block[-8:]  # one byte less than what is looked for
    return False


def _checked(record: Any, member: _Member, file: str, source: str, cap: int) -> dict[str, Any] | None:
    """The row of a record whose bytes are as many as its header promises; None in a damaged member."""
    plain = member.inflate is None
    offset = member.offset + (record.stream_pos if plain else 0)
    promised = record.headers.get("Content-Length")
    block = record.reader.read(cap + 1) if record.reader else b""
    if len(block) > cap:
        return _row(record, b"", file, offset, source, cap, f"record of more than {cap} bytes")
    if len(block) == _int(promised):
        return _row(record, block, file, offset, source, cap, None)
    member.close()
    if member.damage:
        return None
    if plain or not member.ended:
        raise _truncated(file, offset, f"{len(block)} bytes of the last record", f"Content-Length {promised}" if promised else "its header and its end")
    return _failed(file, offset, source, f"record has {len(block)} bytes, its header says {promised}")


def _row(record: Any, block: bytes, file: str, offset: int, source: str, cap: int, error: str | None) -> dict[str, Any]:
    kind = str(record.headers.get("WARC-Type") or "unknown").lower()
    url = (record.headers.get("WARC-Target-URI") or "").strip("<> ") or None
    name = (record.record_id or "").strip("<> ").removeprefix("urn:uuid:")
    row = _failed(file, offset, source, error) | {"url": url, "date": record.headers.get("WARC-Date"), "record": kind}
    if name:
        row["id"] = name
    if error is None and kind == "response" and record.is_http:
        row.update(_http(record, block, cap))
        if row[ERROR] is None and url is None:
            row[ERROR] = "response without WARC-Target-URI"
    return row


def _http(record: Any, block: bytes, cap: int) -> dict[str, Any]:
    """Status, type, charset and body of an HTTP response."""
    try:
        record.set_bytes_content(block)
        record.parse_http(auto_decode="all")
        headers = record.http_headers
        status = headers.status_code if headers else None
        if status is None:
            return {ERROR: "HTTP response without a status"}
        body = record.reader.read(cap + 1) if status == 200 else b""
    except (OSError, ValueError) as error:
        return {ERROR: f"unreadable HTTP body: {str(error)[:200]}"}
    made = {"status": status, "content_type": record.http_content_type or None, "charset": record.http_charset}
    return made | ({ERROR: f"body of more than {cap} bytes"} if len(body) > cap else {"content": body})


def _failed(file: str, offset: int, source: str, reason: str | None) -> dict[str, Any]:
    """A row without content; its id is its place."""
    empty = dict.fromkeys(("url", "date", "record", "status", "content_type", "charset"))
    return {"id": f"{file}@{offset}", "source": source, "file": file, "offset": offset, "content": b"", ERROR: reason, **empty}


def _truncated(file: str, offset: int, got: str, expected: str) -> DataError:
    return DataError(f"{file} at byte {offset}", "the archive is cut short", got=got, expected=expected, mend="fetch the file again; nothing of it was taken")


def _int(value: str | None) -> int:
    return int(value) if value and value.strip().isdigit() else -1
