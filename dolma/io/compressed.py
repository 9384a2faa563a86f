"""The content of a file that may be compressed (.gz, .zst, .bz2, .xz), chunk by chunk: no more than a chunk of a decompression bomb is ever held."""

import bz2
import lzma
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from dolma.core.errors import DataError

CHUNK = 1 << 20  # bytes decompressed at a time
PACKED = 1 << 16  # bytes read at a time; what is left behind the end of a stream is copied, and a stream may be 32 bytes
XZ_MEMORY = 256 << 20  # `xz -9` needs 65 MiB; a header may ask for 4 GiB (xz(1))
CODECS = {".gz": "gzip", ".tgz": "gzip", ".zst": "zstd", ".tzst": "zstd"}  # those that Arrow opens; its bz2 fails on an empty stream among others (26.0)
STREAMS = {
    **dict.fromkeys((".bz2", ".tbz", ".tbz2"), bz2.BZ2Decompressor),
    **dict.fromkeys((".xz", ".txz"), lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY)),
}
MAGIC = {  # first bytes, none of which begin a text or a tar. Source: magic(5), the file `compress`
    "gzip": b"\x1f\x8b",
    "zstd": b"\x28\xb5\x2f\xfd",
    "xz": b"\xfd7zXZ\0",
    "bzip2": b"BZh91AY&SY",
    "lz4": b"\x04\x22\x4d\x18",
    "lzip": b"LZIP\1",
    "compress": b"\x1f\x9d",
    "7-zip": b"7z\xbc\xaf\x27\x1c",
    "RAR": b"Rar!\x1a\7",
}


def chunks(path: Path, file: str) -> Iterator[bytes]:
    """The decompressed content; several streams behind one another are one content.

    Args:
        file: the name in messages.
    Raises:
        DataError: the compressed file is cut short or damaged, it is compressed and its ending is none of ours, or an .xz asks for more than 256 MiB.
    """
    done = 0
    ending = path.suffix.lower()
    with damage(file, lambda: f"byte {done} of the content", OSError, EOFError, lzma.LZMAError):
        if ending not in {*CODECS, *STREAMS}:
            _refuse_packed(path, file)
        elif path.stat().st_size == 0:
            raise OSError("0 bytes")
        found = _streams(path, STREAMS[ending]) if ending in STREAMS else _arrow(path, CODECS.get(ending))
        for chunk in found:
            done += len(chunk)
            yield chunk


@contextmanager
def damage(file: str, place: Callable[[], str], *kinds: type[Exception]) -> Iterator[None]:
    """What a library says of bytes that it cannot read, errors of these `kinds`, as an error that names the file and, by `place()`, where in it."""
    try:
        yield
    except FileNotFoundError:
        raise
    except kinds as error:
        raise broken(file, place(), " ".join(str(error).split())[:200], "a whole file") from error


def broken(file: str, place: str, got: str, expected: str) -> DataError:
    """The error of a file whose bytes are not those that were written."""
    return DataError(f"{file}, {place}", "the file is cut short or damaged", got=got, expected=expected, mend="fetch or gather this file again")


def _refuse_packed(path: Path, file: str) -> None:
    """Refuse a file that would be read as it lies although its first bytes are those of a compressed one."""
    with open(path, "rb") as opened:
        head = opened.read(max(map(len, MAGIC.values())))
    packed = next((name for name, magic in MAGIC.items() if head.startswith(magic)), None)
    if packed:
        known = ", ".join(sorted({*CODECS, *STREAMS}))
        mend = "rename it if it is one of these, else unpack it or pack it anew"
        raise DataError(file, "a compressed file under an ending that does not say so", got=f"{packed} as `{path.suffix}`", expected=known, mend=mend)


def _arrow(path: Path, codec: str | None) -> Iterator[bytes]:
    with pa.input_stream(str(path), compression=codec) as stream:
        while chunk := stream.read(CHUNK):
            yield chunk


def _streams(path: Path, decoder: Callable[[], Any]) -> Iterator[bytes]:
    """What one decoder a stream makes of the file; zeros between streams are padding. Source: the .xz file format, 2.2."""
    with open(path, "rb") as file:
        raw: bytes = file.read(PACKED)
        while raw:
            stream = decoder()
            while not stream.eof:
                if chunk := stream.decompress(raw, CHUNK):
                    yield chunk
                raw = file.read(PACKED) if stream.needs_input and not stream.eof else b""
                if not raw and stream.needs_input and not stream.eof:
                    raise EOFError("no end of the last stream")
            raw = stream.unused_data.lstrip(b"\0")
            while not raw and (more := file.read(PACKED)):
                raw = more.lstrip(b"\0")


class Content:
    """Chunks as a readable file that counts what was read and refuses to read beyond `limit`."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self.chunks, self.held, self.position = chunks, memoryview(b""), 0
        self.limit: int | None = None

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, fewer only at the end.

        Raises:
            EOFError: more than `limit` bytes from the beginning are asked for.
        """
        parts: list[memoryview] = []
        left = size if size >= 0 else 1 << 62
        while left:
            if not self.held:
                self.held = memoryview(next(self.chunks, b""))
                if not self.held:
                    break
            part, self.held = self.held[:left], self.held[left:]
            parts.append(part)
            left -= len(part)
            self.position += len(part)
            if self.limit is not None and self.position > self.limit:
                raise EOFError(f"more than the {self.limit} bytes that were expected")
        return b"".join(parts)
