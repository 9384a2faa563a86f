"""The members of a compressed archive, one at a time: gzip members, zstd frames, or a plain file as one.

What follows a damaged member is found again, an archive that is cut short is told from a whole one, and the chain of members is the same wherever in
the file the reading begins. The only file that imports zstandard.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

from dolma.core.errors import DataError, EnvironmentFault

WARC = b"WARC/"
GZIP = b"\x1f\x8b\x08"  # gzip, deflate. Source: RFC 1952 2.3
ZSTD = b"\x28\xb5\x2f\xfd"  # source: RFC 8878 3.1.1
DICTIONARY = b"\x5d\x2a\x4d\x18"  # source: Zstandard Compression for WARC Files 1.0, 4.2.1
BLOCK = 1 << 16
ZSTD_BLOCK = 1 << 17  # no block holds more. Source: RFC 8878 3.1.1.2.4
ZSTD_HEADER = 18  # the longest frame header, with its magic number. Source: RFC 8878 3.1.1.1
WINDOW = 1 << 27  # bytes; a frame that wants more is refused before they are taken. The limit of the zstd program; the WARC rule asks for 2^23
DICTIONARY_BYTES = 1 << 23  # what a reader must take. Source: Zstandard Compression for WARC Files 1.0, 5


@dataclass
class Member:
    """A readable stream of one member; it knows how it ended.

    `at` is where in the file its reading is, `stop` where its bytes end, once it has ended. `checked`: a checksum guards what was read.
    """

    offset: int
    more: Callable[["Member", int], bytes]
    at: int
    plain: bool = False
    checked: bool = True
    ended: bool = False
    damage: str | None = None
    position: int = 0
    stop: int = 0
    source: Any = None

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes (or a block); b"" at the end or at damage."""
        limit = size if 0 < size < BLOCK else BLOCK
        if self.ended or self.damage is not None:
            return b""
        out = self.more(self, limit)
        self.position += len(out)
        return out

    def tell(self) -> int:
        """Bytes read so far, decompressed: what `stream_pos` of a record counts in."""
        return self.position

    def close(self) -> None:
        """Read on to the end: what follows the last record must be whole too."""
        while self.read():
            pass


class Archive:
    """A plain archive: one member, and the base of those that have many."""

    name = "plain"

    def __init__(self, raw: BinaryIO, file: str) -> None:
        self.raw, self.file = raw, file
        self.total = raw.seek(0, 2)

    def peek(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes of the file from `offset`."""
        self.raw.seek(offset)
        return self.raw.read(size)

    def begins(self, offset: int) -> bool:
        """Whether a member can begin here."""
        return offset == 0

    def continues(self, offset: int) -> bool:
        """Whether what is here belongs to the record before: a reader that begins in the middle leaves it to the one before."""
        return False

    def member(self, offset: int) -> Member:
        """The member at `offset`."""
        return Member(offset, self._plain, offset, plain=True, checked=False)

    def _plain(self, member: Member, limit: int) -> bytes:
        out = self.peek(member.at, limit)
        member.at += len(out)
        member.ended, member.stop = not out, member.at
        return out

    def after(self, member: Member) -> int:
        """Where to go on after a member that was read to its end or to its damage."""
        return self.resume(member.offset) if member.damage else member.stop

    def resume(self, offset: int) -> int:
        """The next place after damage where a member with a WARC record begins, or the end of the file."""
        return self.total

    def noted(self, member: Member) -> int:
        """How many bytes a damaged member held, as its writer noted; no number of bytes where nothing says."""
        return -1

    def pass_by(self, offset: int) -> int:
        """Where the chain goes on after what is at `offset`, without its rows."""
        if not self.begins(offset):
            return self.resume(offset)
        member = self.member(offset)
        member.close()
        return self.total if not member.ended and not member.damage else self.after(member)

    def first(self, begin: int, known: int = 0) -> int:
        """The first place of the chain from `begin` on that continues nothing; `known` is a place of the chain before it."""
        offset = known
        while offset < self.total and (offset < begin or (begin > 0 and self.continues(offset))):
            offset = self.pass_by(offset)
        return offset

    def cut(self, offset: int) -> DataError:
        """The error of a last member that is not whole."""
        got = f"{self.total - offset} bytes of the last {self.name} member"
        return DataError(
            f"{self.file} at byte {offset}",
            "the archive is cut short",
            got=got,
            expected="its end and checksum",
            mend="fetch the file again; nothing of it was taken",
        )

    def _scan(self, offset: int, magic: bytes, accepts: Callable[[int], bool]) -> int:
        at = offset + 1
        while at < self.total:
            block = self.peek(at, BLOCK)
            found = block.find(magic)
            if found < 0:
                at += max(len(block) - len(magic) + 1, 1)
            elif accepts(at + found):
                return at + found
            else:
                at += found + 1
        return self.total


class Gzip(Archive):
    """Concatenated gzip members."""

    name = "gzip"

    def begins(self, offset: int) -> bool:
        begin = self.peek(offset, len(GZIP))
        if len(begin) < len(GZIP) and GZIP.startswith(begin):
            raise self.cut(offset)
        return begin == GZIP

    def member(self, offset: int) -> Member:
        inflate = zlib.decompressobj(wbits=31)
        pending = b""

        def inflated(member: Member, limit: int) -> bytes:
            nonlocal pending
            while True:
                raw = pending or self.peek(member.at, BLOCK)
                member.at += 0 if pending else len(raw)
                if not raw:
                    return b""  # not ended: the file is
                try:
                    out = inflate.decompress(raw, limit)
                except zlib.error as error:
                    member.damage = str(error).removeprefix("Error ").strip()
                    return b""
                pending = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
                member.ended, member.stop = inflate.eof, member.at - len(pending)
                if out or member.ended:
                    return out

        return Member(offset, inflated, offset)

    def noted(self, member: Member) -> int:
        return int.from_bytes(self.peek(self.resume(member.offset) - 4, 4), "little")  # source: RFC 1952 2.3.1, ISIZE

    def resume(self, offset: int) -> int:
        return self._scan(offset, GZIP, self._holds_record)

    def _holds_record(self, offset: int) -> bool:
        try:
            return zlib.decompressobj(wbits=31).decompress(self.peek(offset, 1024), len(WARC)) == WARC
        except zlib.error:  # three bytes that look like a header by chance
            return False


class _Window:
    """The bytes [at, end) of a file as a source to read from, wherever others have moved the file's own position."""

    def __init__(self, archive: Archive, at: int, end: int) -> None:
        self.archive, self.at, self.end = archive, at, end

    def read(self, size: int = -1) -> bytes:
        left = self.end - self.at
        out = self.archive.peek(self.at, left if size < 0 else min(size, left))
        self.at += len(out)
        return out


class Zstd(Archive):
    """Concatenated zstd frames. A whole frame without a WARC header goes on with the record before it; skippable frames hold no record."""

    name = "zstd"

    def __init__(self, raw: BinaryIO, file: str) -> None:
        super().__init__(raw, file)
        try:
            import zstandard
        except ImportError as error:
            raise EnvironmentFault("dolma.io.members", "zstandard is not installed", mend="pip install 'dolma-flow[web]'") from error
        self.lib = zstandard
        self._use(None)
        if self.peek(0, 4) == DICTIONARY:
            self._load(0)

    def _use(self, dictionary: Any) -> None:
        self.reading, self.peeking = (self.lib.ZstdDecompressor(dict_data=dictionary, max_window_size=WINDOW) for _ in range(2))

    def _load(self, offset: int) -> None:
        """Take the dictionary of a skippable frame, which may be compressed itself."""
        end = self._end(offset)
        size = end - offset - 8
        try:
            if end > self.total or size > DICTIONARY_BYTES:
                raise ValueError(f"{size} bytes")
            data = self.peek(offset + 8, size)
            if data.startswith(ZSTD):
                data = self.lib.ZstdDecompressor(max_window_size=WINDOW).stream_reader(data).read(DICTIONARY_BYTES + 1)
            if not data.startswith(b"\x37\xa4\x30\xec") or len(data) > DICTIONARY_BYTES:  # source: RFC 8878 5
                raise ValueError(f"{len(data)} bytes that begin {data[:4].hex(' ')}")
            dictionary = self.lib.ZstdCompressionDict(data, dict_type=self.lib.DICT_TYPE_FULLDICT)
            dictionary.precompute_compress(level=1)  # reads its tables: damage shows here and not in every frame
        except (ValueError, self.lib.ZstdError) as error:
            raise DataError(
                f"{self.file} at byte {offset}",
                "the archive's dictionary cannot be read",
                got=str(error),
                expected="37 a4 30 ec ...",
                mend="fetch the file again",
            ) from error
        self._use(dictionary)

    def _skippable(self, offset: int) -> bool:
        magic = self.peek(offset, 4)
        return len(magic) == 4 and 0x50 <= magic[0] <= 0x5F and magic[1:] == DICTIONARY[1:]

    def begins(self, offset: int) -> bool:
        begin = self.peek(offset, 4)
        if len(begin) < 4 and (ZSTD.startswith(begin) or DICTIONARY.startswith(begin)):
            raise self.cut(offset)
        return begin == ZSTD or self._skippable(offset)

    def _end(self, offset: int) -> int:
        """Where the frame at `offset` ends by its block headers, past the end of the file if it is cut; 0 if it is no frame."""
        if self._skippable(offset):
            return offset + 8 + int.from_bytes(self.peek(offset + 4, 4), "little") if self.total >= offset + 8 else self.total + 1
        head = self.peek(offset, ZSTD_HEADER)
        try:
            at = offset + self.lib.frame_header_size(head)
            checksum = 4 * self.lib.get_frame_parameters(head).has_checksum
        except self.lib.ZstdError:
            return self.total + 1 if len(head) < ZSTD_HEADER and head.startswith(ZSTD) else 0
        last = False
        while not last:
            if at + 3 > self.total:
                return self.total + 1
            header = int.from_bytes(self.peek(at, 3), "little")
            last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
            if kind == 3 or size > ZSTD_BLOCK:
                return 0
            at += 3 + (1 if kind == 1 else size)
        return at + checksum

    def _frame(self, offset: int, end: int, with_: Any) -> Any:
        return with_.stream_reader(_Window(self, offset, end), read_size=BLOCK)

    def _head(self, offset: int, end: int) -> bytes | None:
        """The first decompressed bytes of a frame, None for one that cannot be decompressed."""
        try:
            return self._frame(offset, end, self.peeking).read(len(WARC))
        except self.lib.ZstdError:
            return None

    def continues(self, offset: int) -> bool:
        end = self._end(offset) if offset < self.total else 0
        if not 0 < end <= self.total:
            return False
        return self._skippable(offset) or (self._head(offset, end) not in (None, WARC) and self._whole(offset, end))

    def member(self, offset: int) -> Member:
        end = self._end(offset)
        member = Member(offset, self._joined, offset)
        if end > self.total and self.resume(offset) == self.total:
            raise self.cut(offset)
        if not 0 < end <= self.total:
            member.damage = "blocks that make no frame"
        elif self._skippable(offset):
            if self.peek(offset, 4) == DICTIONARY:
                self._load(offset)
            member.ended, member.stop = True, end
        else:
            self._go_on(member, offset, end)
        return member

    def _go_on(self, member: Member, offset: int, end: int) -> None:
        member.at, member.stop, member.source = offset, end, self._frame(offset, end, self.reading)
        member.checked &= self.lib.get_frame_parameters(self.peek(offset, ZSTD_HEADER)).has_checksum

    def _joined(self, member: Member, limit: int) -> bytes:
        while True:
            try:
                out = member.source.read(limit)
            except self.lib.ZstdError as error:
                member.damage = str(error).removeprefix("zstd decompress error: ").strip()
                return b""
            if out:
                return out
            ahead = member.stop
            while ahead < self.total and self._skippable(ahead) and self._end(ahead) <= self.total:
                ahead = self._end(ahead)
            if not (ahead < self.total and self.peek(ahead, 4) == ZSTD and self.continues(ahead)):
                member.ended = True
                return b""
            self._go_on(member, ahead, self._end(ahead))

    def noted(self, member: Member) -> int:
        try:
            size = self.lib.get_frame_parameters(self.peek(member.offset, ZSTD_HEADER)).content_size
        except self.lib.ZstdError:
            return -1
        return size if member.at == member.offset else -1

    def after(self, member: Member) -> int:
        return self.pass_by(member.at) if member.damage else member.stop

    def pass_by(self, offset: int) -> int:
        """By the block headers alone, unless what they say leads nowhere."""
        if not self.begins(offset):
            return self.resume(offset)
        end = self._end(offset)
        if not 0 < end <= self.total:
            return self.resume(offset)
        if self.peek(offset, 4) == DICTIONARY:
            self._load(offset)
        if end == self.total or self._skippable(offset) or self.peek(end, 4) == ZSTD or self._skippable(end):
            return end
        return end if self._whole(offset, end) else self.resume(offset)

    def _whole(self, offset: int, end: int) -> bool:
        source = self._frame(offset, end, self.peeking)
        try:
            while source.read(BLOCK):
                pass
        except self.lib.ZstdError:
            return False
        return True

    def resume(self, offset: int) -> int:
        return self._scan(offset, ZSTD, lambda at: self._head(at, self.total) == WARC)


def opened(raw: BinaryIO, file: str) -> Archive:
    """The archive in `raw`.

    Raises:
        DataError: it is empty, or neither gzip, zstd nor plain WARC.
    """
    raw.seek(0)
    first = raw.read(5)
    if not first:
        raise DataError(file, "empty archive", got="0 bytes", expected="WARC records", mend="fetch the file again, or take it out of `files`")
    if first[:3] == GZIP:
        return Gzip(raw, file)
    if first[:4] in (ZSTD, DICTIONARY):
        return Zstd(raw, file)
    if first == WARC[: len(first)]:
        return Archive(raw, file)
    expected = "1f 8b 08, 28 b5 2f fd or `WARC/`"
    raise DataError(file, "neither gzip, zstd nor plain WARC", got=first.hex(" "), expected=expected, mend="convert ARC or lz4 archives to WARC gzip")
