"""The content of a file that may be compressed (.gz, .zst, .bz2, .xz), chunk by chunk: no more than a chunk of a decompression bomb is ever held."""

import lzma
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from dolma.core.errors import DataError

CHUNK = 1 << 20  # bytes decompressed at a time
PACKED = 1 << 16  # bytes read at a time; what is left behind the end of a stream is copied, and a stream may be 32 bytes
CODECS = {".gz": "gzip", ".tgz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".tbz2": "bz2"}  # those that Arrow opens
XZ_MEMORY = 256 << 20  # `xz -9` needs 65 MiB; a header may ask for 4 GiB (xz(1))


def chunks(path: Path, file: str) -> Iterator[bytes]:
    """The decompressed content; several streams behind one another are one content.

    Args:
        file: the name in messages.
    Raises:
        DataError: the compressed file is cut short or damaged, or an .xz asks for more than 256 MiB.
    """
    done = 0
    with damage(file, lambda: f"byte {done} of the content"):
        if path.suffix in {*CODECS, ".xz"} and path.stat().st_size == 0:
            raise OSError("0 bytes")
        for chunk in _xz(path) if path.suffix == ".xz" else _arrow(path):
            done += len(chunk)
            yield chunk


@contextmanager
def damage(file: str, place: Callable[[], str]) -> Iterator[None]:
    """Errors of a decompressor as an error that names the file and, by `place()`, where in it."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise DataError(
            f"{file}, {place()}", "the compressed file is cut short or damaged", got=str(error), expected="a whole file", mend="fetch or gather this file again"
        ) from error


def _arrow(path: Path) -> Iterator[bytes]:
    with pa.input_stream(str(path), compression=CODECS.get(path.suffix)) as stream:
        while chunk := stream.read(CHUNK):
            yield chunk


def _xz(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        raw: bytes = file.read(PACKED)
        while raw:
            decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY)
            while not decoder.eof:
                if chunk := decoder.decompress(raw, CHUNK):
                    yield chunk
                raw = file.read(PACKED) if decoder.needs_input and not decoder.eof else b""
                if not raw and decoder.needs_input and not decoder.eof:
                    raise EOFError("no end of the last stream")
            raw = (decoder.unused_data or file.read(PACKED)).lstrip(b"\0")  # padding between streams. Source: the .xz file format, 2.2


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
