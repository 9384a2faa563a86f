"""WARC archives as rows: the bytes of every page with the place it came from.

fastwarc parses the records; `members` opens the compressed members, one at a time, because fastwarc ends in silence where an archive is cut short
(measured: every cut of a gzip archive, from one byte to half the file, gave fewer or shorter records and no error). So a damaged member costs its own
record only (where members hold several it is an error: nobody can count what is lost), each row has the offset of its member, and an archive that ends
too early is an error. The only file that imports fastwarc.
"""

import hashlib
import re
import sys
from base64 import b32encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from dolma.core.errors import DataError, EnvironmentFault
from dolma.core.files import version
from dolma.core.schema import ERROR, append, keys
from dolma.core.step import reader
from dolma.io import members
from dolma.io.coding import decoded
from dolma.io.columns import filled
from dolma.io.members import Archive, Member

Row = dict[str, Any]

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
TEXT_COLUMNS = {
    "id": pa.string(),
    "key": pa.int64(),
    "source": pa.string(),
    "url": pa.string(),
    "date": pa.string(),
    "file": pa.string(),
    "offset": pa.int64(),
    "record": pa.string(),
    "content_type": pa.string(),
    "languages": pa.string(),
    "text": pa.large_string(),
}
SCHEMA = pa.schema([*COLUMNS.items(), (ERROR, pa.string())])
TEXT_SCHEMA = pa.schema([*TEXT_COLUMNS.items(), (ERROR, pa.string())])

RECORD_END = b"\r\n\r\n"  # source: WARC 1.1, 4
BATCH_ROWS, BATCH_BYTES = 512, 32 << 20  # a batch ends at either: pages of 70 kB fill it at the bytes


@reader(out=COLUMNS, splittable=True, version=3, packages=("fastwarc",))
def warc(path: str, *, file: str, source: str = "web", max_bytes: int = 64 << 20, begin: int = 0, end: int | None = None) -> Iterator[pa.RecordBatch]:
    """One row for every record of a WARC file (gzip, zstd or plain); `keep` decides which are pages.

    `record` is the WARC type (response, revisit, request, ...), `status` and `content_type` are the HTTP status and type of a response (NULL for the
    others), `charset` what its header says. The type is in lower case, since media types are compared so (RFC 9110 8.3.1), and the first of a list such as
    `text/html, text/html`. `content` is the body of a response with status 200, chunks joined and decompressed (see `coding.decoded`); empty for all others.
    `offset` is the byte in the file where the member (or the plain record) begins. Records that cannot be read get `_error`; so do those whose bytes are
    not those of their WARC-Block-Digest, where the archive has no checksum of its own (plain, or zstd without).

    Args:
        source: value of the column `source`.
        max_bytes: a record or a decompressed body of more bytes is not held in memory: it gets `_error`.
    Raises:
        DataError: the archive ends inside a record, is no WARC, or is damaged where a member can hold several records.
    """
    yield from _batches(_rows(_Place(file, source, max_bytes, _http), Path(path), begin, end), SCHEMA, "content")


@reader(out=TEXT_COLUMNS, splittable=True, version=2, packages=("fastwarc",))
def wet(path: str, *, file: str, source: str = "web", max_bytes: int = 64 << 20, begin: int = 0, end: int | None = None) -> Iterator[pa.RecordBatch]:
    """One row for every record of a WET file (gzip, zstd or plain): the text that a crawl's publisher extracted.

    `text` is that of a `conversion` record, as it is, and empty for all others; `languages` is its WARC-Identified-Content-Language (such as `eng,deu`)
    or NULL. `key` is that of the id. A text that is not UTF-8 gets `_error`.

    Args:
        source: value of the column `source`.
        max_bytes: a record of more bytes is not held in memory: it gets `_error`.
    Raises:
        DataError: the archive ends inside a record, is no WARC, or is damaged where a member can hold several records.
    """
    for batch in _batches(_rows(_Place(file, source, max_bytes, _text), Path(path), begin, end), TEXT_SCHEMA, "text"):
        yield append(batch, {"key": keys(batch.column("id"))})


def _batches(rows: Iterator[Row], schema: pa.Schema, heavy: str) -> Iterator[pa.RecordBatch]:
    for held in filled(((row, len(row[heavy])) for row in rows), BATCH_ROWS, BATCH_BYTES):
        yield pa.RecordBatch.from_pylist(held, schema=schema)


@dataclass(frozen=True)
class _Place:
    """What all rows of a file share, and how the block of a record becomes columns."""

    file: str
    source: str
    cap: int
    columns: Callable[[Any, str, bytes, int], Row]

    def failed(self, offset: int, reason: str | None) -> Row:
        """A row without content; its id is its place."""
        return {"id": f"{self.file}@{offset}", "source": self.source, "file": self.file, "offset": offset, "content": b"", "text": "", ERROR: reason}


def _rows(place: _Place, path: Path, begin: int, end: int | None) -> Iterator[Row]:
    """The rows of the members whose first byte lies in [begin, end), and of what continues the last of them."""
    with open(path, "rb") as raw:
        archive = members.opened(raw, place.file)
        end = archive.total if end is None else end
        if archive.name == "plain":
            yield from _member_rows(archive, archive.member(0), place, begin, end)
            return
        offset = archive.first(begin, _border(path, begin) if archive.name == "gzip" else 0) if begin else 0
        while offset < archive.total and (offset < end or archive.continues(offset)):
            if not archive.begins(offset):
                reason, ahead = f"bytes that begin no {archive.name} member", archive.resume(offset)
                if not _ones_around(archive, offset, ahead):
                    raise _lost(archive, offset, reason)
                yield place.failed(offset, reason)
                offset = ahead
                continue
            member = archive.member(offset)
            yield from _member_rows(archive, member, place)
            if member.damage:
                yield place.failed(offset, f"damaged {archive.name} member: {member.damage}")
            elif not member.ended:
                raise archive.cut(offset)
            offset = archive.after(member)
        if end < archive.total:
            _border(path, offset, new=True)


_BORDERS: dict[tuple[object, ...], list[int]] = {}


def _border(path: Path, at: int, new: bool = False) -> int:
    """The last member border up to `at` that this process has seen in this file.

    To walk a gzip archive to where a part begins is to inflate it (85 MB of archive a CPU second); by the headers of zstd frames it is 3 GB a second.
    """
    seen = _BORDERS.setdefault((str(path), *version(path)), [0])
    if new:
        seen.append(at)
    return max(one for one in seen if one <= at)


def _member_rows(archive: Archive, member: Member, place: _Place, begin: int = 0, end: int = sys.maxsize) -> Iterator[Row]:
    """The rows of one member; of a plain file those of the records that begin in [begin, end)."""
    try:
        from fastwarc.warc import ArchiveIterator, WarcRecordType
    except ImportError as error:
        raise EnvironmentFault("dolma.io.warc", "fastwarc is not installed", mend="pip install 'dolma-flow[web]'") from error

    held: Row | None = None  # a row is given out when what follows it was read: only then is its checksum known to hold
    found = last = 0
    stream: Any = member
    records = iter(ArchiveIterator(stream, record_types=WarcRecordType.any_type, parse_http=False, fsspec_args=False))
    while True:
        try:
            record = next(records, None)
        except (OSError, ValueError) as error:
            member.close()
            if member.damage:
                break
            if not member.plain and not member.ended:
                raise archive.cut(member.offset) from error
            if member.plain or _header_follows(archive.member(member.offset), last):
                raise DataError(
                    f"{place.file} at byte {member.offset}",
                    f"record {found + 1} of this stream cannot be read, and so those after it cannot be found",
                    got=str(error)[:200],
                    expected="a WARC header",
                    mend="fetch it again, or compress it record by record: damage then costs one record",
                ) from error
            held = place.failed(member.offset, f"unreadable record: {str(error)[:200]}")
            break
        if record is None:
            break
        found, last = found + 1, record.stream_pos
        if member.damage:
            break
        if held:
            yield held
        held = None
        if member.plain and record.stream_pos < begin:
            continue
        if member.plain and record.stream_pos >= end:
            return
        held = _checked(record, archive, member, place)
        if held is None:
            break
    member.close()
    if member.damage and (found > 1 or not _one_record(archive, member)):
        raise _lost(archive, member.offset, member.damage)
    if member.damage is None and member.ended and (held or (not found and member.position)):
        yield held or place.failed(member.offset, "no WARC record in this member")


def _one_record(archive: Archive, member: Member) -> bool:
    """Whether a damaged member held one record: by the size that its writer noted, else by what the members around it hold."""
    end, more = _extent(archive.member(member.offset))
    if more or (end and archive.noted(member) in (end, end + len(RECORD_END))):
        return not more
    return _ones_around(archive, member.offset, archive.after(member))


def _ones_around(archive: Archive, offset: int, ahead: int) -> bool:
    """Whether the archive's first member and that after a damaged place [offset, ahead) hold one record each: a writer packs all in one way."""
    other = members.opened(archive.raw, archive.file)  # it may load a dictionary that is not the one in use at `offset`
    seen = [_holds_one(other, 0, offset), _holds_one(other, ahead, archive.total)]
    return True in seen and False not in seen


def _holds_one(archive: Archive, at: int, end: int) -> bool | None:
    """Whether the first whole member with a record in [at, end) holds one only; None if there is none."""
    while at < end:
        if archive.begins(at):
            member = archive.member(at)
            length, more = _extent(member)
            member.close()
            if length and member.ended:
                return not more
        at = archive.pass_by(at)
    return None


def _extent(member: Member) -> tuple[int, bool]:
    """Where the first record of a member ends by its header (0: it has none), and whether another header follows.

    It reads in small steps, since a step that meets damage gives nothing.
    """
    head = b""
    while (at := head.find(b"\r\n\r\n") + 4) < 4 and len(head) < members.BLOCK and (block := member.read(64)):
        head += block
    told = re.search(rb"(?i)\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*\r\n", head[:at]) if at >= 4 and head.startswith(members.WARC) else None
    if told is None:
        return 0, False
    end = at + int(told[1])
    return end, _header_follows(member, end, head[at:], 1024)


def _lost(archive: Archive, offset: int, reason: str) -> DataError:
    return DataError(
        f"{archive.file} at byte {offset}",
        f"damage where a {archive.name} member can hold several records, and those after it cannot be found",
        got=reason,
        expected="whole members, or one record in each",
        mend="fetch it again, or compress it record by record: damage then costs one record",
    )


def _header_follows(member: Member, begin: int, tail: bytes = b"", step: int = members.BLOCK) -> bool:
    """Whether a record header follows somewhere behind the byte `begin` of a member; `tail` is what was read of it last."""
    block = tail
    while True:
        if b"\r\n\r\nWARC/" in block[max(0, begin - member.position + len(block)) :]:
            return True
        tail = block[-8:]  # one byte less than what is looked for
        if not (more := member.read(step)):
            return False
        block = tail + more


def _checked(record: Any, archive: Archive, member: Member, place: _Place) -> Row | None:
    """The row of a record whose bytes are as many as its header promises; None in a damaged member."""
    offset = member.offset + (record.stream_pos if member.plain else 0)
    promised = record.headers.get("Content-Length")
    block = record.reader.read(place.cap + 1) if record.reader else b""
    if len(block) > place.cap:
        return _row(record, b"", offset, place, f"record of more than {place.cap} bytes")
    if len(block) == _int(promised):
        altered = not member.checked and _altered(record.headers.get("WARC-Block-Digest") or "", block)
        return _row(record, block, offset, place, "its bytes are not those of its WARC-Block-Digest" if altered else None)
    member.close()
    if member.damage:
        return None
    if member.plain or not member.ended:
        expected = f"Content-Length {promised}" if promised else "its header and its end"
        raise DataError(
            f"{place.file} at byte {offset}",
            "the archive is cut short",
            got=f"{len(block)} bytes of the last record",
            expected=expected,
            mend="fetch the file again; nothing of it was taken",
        )
    return place.failed(offset, f"record has {len(block)} bytes, its header says {promised}")


def _altered(told: str, block: bytes) -> bool:
    """Whether a digest like `sha1:…` (base 32, or hexadecimal) says that a block was changed; asked where the archive has no checksum of its own."""
    name, _, value = told.strip().partition(":")
    if name.lower().replace("-", "") not in ("md5", "sha1", "sha256", "sha512"):
        return False
    made = hashlib.new(name.lower().replace("-", ""), block, usedforsecurity=False).digest()
    return value.lower() != made.hex() and value.upper().rstrip("=") != b32encode(made).decode().rstrip("=")


def _row(record: Any, block: bytes, offset: int, place: _Place, error: str | None) -> Row:
    kind = str(record.headers.get("WARC-Type") or "unknown").lower()
    url = (record.headers.get("WARC-Target-URI") or "").strip("<> ") or None
    name = (record.record_id or "").strip("<> ").removeprefix("urn:uuid:")
    row = place.failed(offset, error) | {"url": url, "date": record.headers.get("WARC-Date"), "record": kind}
    if name:
        row["id"] = name
    if error:
        return row
    row |= place.columns(record, kind, block, place.cap)
    if row[ERROR] is None and url is None and "status" in row:
        row[ERROR] = "response without WARC-Target-URI"
    return row


def _http(record: Any, kind: str, block: bytes, cap: int) -> Row:
    """Status, type, charset and body of an HTTP response; nothing of other records."""
    if kind != "response" or not record.is_http:
        return {}
    from fastwarc.warc import WarcRecord

    response = WarcRecord()  # one of its own: an error in it leaves the archive's iterator without a reader
    response.is_http = True
    response.set_bytes_content(block)
    try:
        response.parse_http(auto_decode="none")
    except (OSError, ValueError) as error:
        return {ERROR: f"unreadable HTTP header: {str(error)[:200]}"}
    headers = response.http_headers
    status = headers.status_code if headers else None
    if status is None or not 0 <= status < 1000:
        return {ERROR: "HTTP response without a status"}
    made = {"status": status, "content_type": _first(response.http_content_type).lower() or None, "charset": _first(response.http_charset).strip("'\"") or None}
    if status != 200:
        return made
    codings = (*headers.get_multiple("Content-Encoding"), *headers.get_multiple("Transfer-Encoding"))
    body = response.reader.read()
    try:
        body = decoded(body, codings, cap) if codings else body
    except ValueError as error:
        return made | {ERROR: f"unreadable HTTP body: {str(error)[:200]}"}
    return made | ({ERROR: f"body of more than {cap} bytes"} if len(body) > cap else {"content": body})


def _first(value: str | None) -> str:
    """The first of a list such as `text/html, text/html`, without its parameters."""
    return next((one for part in (value or "").split(",") if (one := part.split(";")[0].strip())), "")


def _text(record: Any, kind: str, block: bytes, cap: int) -> Row:
    """The text of a `conversion` record; nothing of other records."""
    made = {"content_type": record.headers.get("Content-Type"), "languages": record.headers.get("WARC-Identified-Content-Language")}
    if kind != "conversion":
        return made
    if not (made["content_type"] or "text/plain").startswith("text/plain"):
        return made | {ERROR: f"conversion to {made['content_type']}, not to text/plain"}
    try:
        return made | {"text": block.decode()}
    except UnicodeDecodeError as error:
        return made | {ERROR: f"not UTF-8 at byte {error.start}"}


def _int(value: str | None) -> int:
    """A Content-Length; -1 for what is none."""
    digits = (value or "").strip()
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 19 else -1
