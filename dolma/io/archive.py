"""Archives member by member: .tar (plain or compressed) as a stream, .zip by its directory. Nothing is ever written to disk, and no archive in
an archive is opened; what would be dangerous to unpack is refused all the same, since a name goes on into ids and files."""

import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pyarrow as pa

from dolma.core.errors import DataError
from dolma.core.schema import ERROR
from dolma.core.step import reader
from dolma.io.columns import filled
from dolma.io.compressed import Content, chunks

COLUMNS = {
    "id": pa.string(),
    "source": pa.string(),
    "file": pa.string(),
    "offset": pa.int64(),
    "name": pa.string(),
    "size": pa.int64(),
    "content": pa.large_binary(),
}
SCHEMA = pa.schema([*COLUMNS.items(), (ERROR, pa.string())])
BATCH_ROWS, BATCH_BYTES = 512, 32 << 20
PIECE = 1 << 20
BUFFER = 1 << 16
PROGRAMS = (b"MZ", b"\x7fELF", b"#!")  # how a self-extracting zip begins: Windows, Linux, a script
HEADERS = 1 << 20  # bytes of headers before one member: a pax header holds a name and some attributes, not content


@dataclass(frozen=True)
class Limits:
    """What an archive may hold; over `max_bytes` a member is an error, over the others the archive."""

    max_bytes: int
    max_members: int
    max_total_bytes: int
    max_ratio: float


@dataclass
class Member:
    """A file in an archive, or why it is not read."""

    name: str
    offset: int
    size: int
    content: bytes | None = None
    error: str | None = None


@reader(out=COLUMNS, version=2)
def archive(
    path: str | Path,
    *,
    file: str,
    source: str,
    max_bytes: int = 64 << 20,
    max_members: int = 250_000,
    max_total_bytes: int = 64 << 30,
    max_ratio: float = 100.0,
) -> Iterator[pa.RecordBatch]:
    """One row for every file in a .tar (also .gz, .bz2, .xz or .zst, .tgz, .tbz, .tbz2, .txz or .tzst) or .zip, with its bytes; no rows of directories.

    `name` is the path in the archive, `size` its bytes, `id` the archive and the name, `offset` where its header begins (of a tar: in the decompressed
    file). An `_error` row without content: a name that is absolute or has `..`, a second file of a name, a link, a device or other special file, an
    encrypted or damaged member, one over `max_bytes`. Archives in the archive are bytes like any other.

    Args:
        source: value of the column `source`.
        max_bytes: a larger member is not held in memory.
        max_members: an archive of more is refused; the source of Linux 6.10 has 85,000 files.
        max_total_bytes: an archive with more content is refused.
        max_ratio: an archive that grows by more is refused, once its content is over `max_bytes`. Source: the ratio from which Apache POI (ZipSecureFile)
            takes a file for a bomb.
    Raises:
        DataError: the archive is cut short or damaged, over a limit, compressed under another ending, or a zip with something before it.
    """
    limits = Limits(max_bytes, max_members, max_total_bytes, max_ratio)

    def rows() -> Iterator[tuple[dict[str, object], int]]:
        for member in members(Path(path), file, limits):
            row = {"id": f"{file}/{member.name}", "source": source, "file": file, "offset": member.offset, "name": member.name, "size": member.size}
            yield {**row, "content": member.content, ERROR: member.error}, len(member.content or b"")

    for held in filled(rows(), BATCH_ROWS, BATCH_BYTES):
        yield pa.RecordBatch.from_pylist(held, schema=SCHEMA)


def members(path: Path, file: str, limits: Limits) -> Iterator[Member]:
    """The files in the archive at `path`.

    Raises:
        DataError: see `archive`.
    """
    gate = Gate(file, path.stat().st_size, limits)
    with open(path, "rb") as opened:
        head = opened.read(4)
    zipped = head in (b"PK\3\4", b"PK\5\6")
    if not zipped and (path.suffix.lower() == ".zip" or head.startswith(PROGRAMS)) and zipfile.is_zipfile(path):
        mend = "pack its files anew: a zip that unpacks itself begins with a program"
        raise DataError(file, "a zip with something before it", got=f"{head!r} at its beginning", expected="PK", mend=mend)
    yield from _zip(path, gate) if zipped else tar_members(Content(chunks(path, file)), gate)


@dataclass
class Gate:
    """Counts members and bytes, and refuses an archive that has too many."""

    file: str
    packed: int
    limits: Limits
    seen: set[str] = field(default_factory=set)
    count: int = 0
    total: int = 0

    def enter(self, name: str) -> str | None:
        """Why a member of this name is not read, or None."""
        self.count += 1
        if self.count > self.limits.max_members:
            raise self.refused("too many members", f"more than {self.limits.max_members:,}", f"at most {self.limits.max_members:,}")
        windows = PureWindowsPath(name)
        if not name or "\0" in name or PurePosixPath(name).is_absolute() or windows.drive or windows.root or ".." in windows.parts:
            return "unsafe name: absolute, or with `..`"
        if name in self.seen:
            return "a second member of this name"
        self.seen.add(name)
        return None

    def reach(self, total: int) -> None:
        """`total` bytes are unpacked."""
        self.total = total
        if total > self.limits.max_total_bytes:
            raise self.refused("too much content", f"more than {self.limits.max_total_bytes:,} bytes", f"at most {self.limits.max_total_bytes:,}")
        if total > self.limits.max_bytes and total > self.limits.max_ratio * self.packed:
            raise self.refused("grows like a bomb", f"{total:,} bytes of {self.packed:,} packed, and more", f"at most {self.limits.max_ratio:g} times")

    def refused(self, what: str, got: str, expected: str) -> DataError:
        return DataError(self.file, f"the archive is refused: {what}", got=got, expected=expected, mend="leave it out of `files`, or raise the reader's limit")

    def damaged(self, place: str, got: str) -> DataError:
        mend = "fetch the file again; nothing of it was taken"
        return DataError(f"{self.file}, {place}", "the archive is cut short or damaged", got=got, expected="a whole archive", mend=mend)


class _Header(tarfile.TarInfo):
    """A header that says when it is damaged: `tarfile` itself takes the first bad one behind a good one for the end."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> tarfile.TarInfo:  # pyright: ignore[reportIncompatibleMethodOverride]
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # the block of zeros that ends an archive
            raise
        except tarfile.HeaderError as error:
            raise _Damage(str(error)) from error


class _Damage(Exception):
    """Bytes that are no tar."""


def tar_members(content: Content, gate: Gate) -> Iterator[Member]:
    """The files of a tar whose decompressed bytes `content` gives.

    Raises:
        DataError: see `archive`.
    """
    try:
        content.limit = HEADERS
        with tarfile.open(fileobj=content, mode="r|", tarinfo=_Header, bufsize=BUFFER) as tar:  # pyright: ignore[reportArgumentType, reportCallIssue]
            while (header := _next(tar, content, gate)) is not None:
                name = _name(header.name)
                member = Member(name, header.offset, max(header.size, 0), error=None if header.isdir() else gate.enter(name))
                if not (header.isreg() and not header.issparse()):
                    special = "a link" if header.issym() or header.islnk() else "sparse" if header.issparse() else "a special file"
                    member.error = member.error or f"not a plain file: {special}"
                if header.size > gate.limits.max_bytes:
                    member.error = member.error or f"larger than {gate.limits.max_bytes} bytes"
                member.content = _data(tar, header, content, gate, member.error is None)
                if not header.isdir():
                    yield member
            _end(tar, content, gate)
    except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError, RecursionError, _Damage) as error:
        raise gate.damaged(f"byte {content.position} of the content", str(error)[:200]) from error


def _next(tar: tarfile.TarFile, content: Content, gate: Gate) -> tarfile.TarInfo | None:
    """The next header; what may be read for it is bounded."""
    content.limit = content.position + HEADERS
    header = tar.next()
    content.limit = None
    gate.reach(content.position)
    tar.members = []  # else it keeps all headers
    if header is not None and header.size < 0:
        raise _Damage(f"a member of {header.size} bytes")
    return header


def _data(tar: Any, header: tarfile.TarInfo, content: Content, gate: Gate, keep: bool) -> bytes | None:
    """Read on to the next header; the bytes of the member, when they are to be kept."""
    parts = []
    while (left := tar.offset - tar.fileobj.tell()) > 0:
        piece = tar.fileobj.read(min(PIECE, left))
        if not piece:
            raise _Damage(f"{left} bytes are missing at the end")
        gate.reach(content.position)
        if keep:
            parts.append(piece)
    return b"".join(parts)[: header.size] if keep else None


def _end(tar: Any, content: Content, gate: Gate) -> None:
    """Read what is behind the end of the archive: a checksum, and zeros; another archive there would be lost."""
    while piece := tar.fileobj.read(PIECE):
        gate.reach(content.position)
        if piece.strip(b"\0"):
            raise _Damage("content behind the end of the archive")


def _name(name: str) -> str:
    """The name of a member as text; bytes that are not UTF-8 are replaced."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace").removeprefix("./")


def _zip(path: Path, gate: Gate) -> Iterator[Member]:
    promised = _entries(path, gate)
    try:
        opened = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
        raise gate.damaged("the directory", str(error)[:200]) from error
    with opened:
        if (len(opened.infolist()) - promised) % (1 << 16):  # writers without zip64 count to 65,535
            raise gate.damaged("the directory", f"{len(opened.infolist())} entries where its end says {promised}")
        for info in opened.infolist():
            if info.filename.endswith("/") and info.file_size == 0:  # a directory; `is_dir` fails on an empty name
                continue
            name = _name(info.filename)
            member = Member(name, info.header_offset, info.file_size, error=gate.enter(name))
            mode = info.external_attr >> 16 if info.create_system == 3 else 0  # what Unix wrote
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                member.error = member.error or f"not a plain file: {'a link' if stat.S_ISLNK(mode) else 'a special file'}"
            if info.flag_bits & 1:
                member.error = member.error or "encrypted"
            if info.file_size > gate.limits.max_bytes:
                member.error = member.error or f"larger than {gate.limits.max_bytes} bytes"
            if not member.error:
                _read(opened, info, member, gate)
            yield member


def _read(opened: zipfile.ZipFile, info: zipfile.ZipInfo, member: Member, gate: Gate) -> None:
    """Read the bytes of a member, or set why not."""
    parts = []
    try:
        with opened.open(info) as stream:
            while piece := stream.read(PIECE):
                gate.reach(gate.total + len(piece))
                parts.append(piece)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError, RuntimeError, struct.error) as error:
        member.error = f"cannot be unpacked: {str(error)[:200]}"
        return
    member.content = b"".join(parts)
    if len(member.content) != info.file_size:
        member.content, member.error = None, f"cannot be unpacked: {len(member.content)} bytes, its header says {info.file_size}"


def _entries(path: Path, gate: Gate) -> int:
    """How many entries the directory of a zip promises; too many are refused before `zipfile` makes an object of each.

    Source: APPNOTE.TXT 4.3.12 (entries), 4.3.14 to 16 (the end of the directory, and both records of zip64 that stand before it).
    """
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        tail = min(size, 22 + 0xFFFF + 76)
        file.seek(size - tail)
        block = file.read()
        end = block.rfind(b"PK\5\6")
        if end < 0 or len(block) - end < 22:
            raise gate.damaged("the end", "no end of a directory")
        promised, length = struct.unpack_from("<HL", block, end + 10)
        if end >= 76 and block[end - 20 : end - 16] == b"PK\6\7" and block[end - 76 : end - 72] == b"PK\6\6":
            promised, length = struct.unpack_from("<QQ", block, end - 76 + 32)
        file.seek(max(size - tail + end - length - 76, 0))
        entries, carried = 0, b""
        while piece := file.read(PIECE):
            entries += (carried + piece).count(b"PK\1\2")
            carried = piece[-3:]
    if entries > gate.limits.max_members * 2:  # directories are entries too
        raise gate.refused("too many members", f"{entries:,} entries", f"at most {gate.limits.max_members:,}")
    return promised
