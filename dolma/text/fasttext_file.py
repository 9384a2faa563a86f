"""A fastText model as a file: whole or not, and pinned by its hash. The library reads a cut file without a word, and gives wrong labels or dies."""

import mmap
import os
import struct
from typing import Any

from dolma.core.errors import DataError
from dolma.core.files import PinnedFile

MAGIC, NEWEST, SUPERVISED = 793_712_314, 12, 3
CENTROIDS = 256


class ModelFile(PinnedFile):
    """A fastText classifier that is whole and the one meant."""

    def inspect(self) -> None:
        check(self.path)


def check(path: str) -> None:
    """Walk through the file at `path` by the sizes that it names.

    Raises:
        DataError: no such file, not a fastText classifier, or shorter or longer than it says.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            _walk(_Bytes(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) if size else _Bytes(b""))
    except (OSError, _Broken) as error:
        mend = "run the recipe that trains it, get the file again, or mend the path"
        raise DataError(path, "cannot read the classifier", got=str(error), expected="a whole fastText classifier", mend=mend) from error


class _Broken(Exception):
    """Why a file is not a whole model."""


class _Bytes:
    """Bytes with a place in them that only moves on."""

    def __init__(self, content: Any) -> None:
        self.content, self.at = content, 0

    def take(self, layout: str) -> tuple[Any, ...]:
        start = self.at
        self.skip(struct.calcsize("<" + layout))
        return struct.unpack_from("<" + layout, self.content, start)

    def skip(self, size: int) -> None:
        if size < 0 or self.at + size > len(self.content):
            raise _Broken(f"{len(self.content):,} bytes, where {self.at + max(size, 0):,} or more are named")
        self.at += size

    def word(self) -> None:
        end = self.content.find(b"\0", self.at)
        if end < 0:
            raise _Broken(f"{len(self.content):,} bytes, the end of a word missing")
        self.at = end + 1


def _walk(data: _Bytes) -> None:
    """Source: the layout that fastText 0.9.2 writes (signModel, Args, Dictionary, DenseMatrix, QuantMatrix and ProductQuantizer ::save)."""
    if len(data.content) < 8:
        raise _Broken(f"{len(data.content)} bytes")
    magic, number = data.take("ii")
    if magic != MAGIC or number > NEWEST:
        raise _Broken(f"magic number {magic}, version {number}")
    *settings, _ = data.take("12id")
    if settings[7] != SUPERVISED:
        raise _Broken("word vectors, which know no labels")
    entries, _, labels, _, pruned = data.take("iiiqq")
    if labels < 1:
        raise _Broken(f"{labels} labels")
    for _ in range(entries):
        data.word()
        data.skip(9)  # its count and kind
    data.skip(8 * max(pruned, 0))
    for _ in ("input", "output"):
        _quantised(data) if data.take("?")[0] else _dense(data)
    if data.at != len(data.content):
        raise _Broken(f"{len(data.content):,} bytes, where {data.at:,} are named")


def _dense(data: _Bytes) -> None:
    rows, columns = data.take("qq")
    data.skip(4 * rows * columns)


def _quantised(data: _Bytes) -> None:
    norms, rows, _, codes = data.take("?qqi")
    data.skip(codes)
    _quantiser(data)
    if norms:
        data.skip(rows)
        _quantiser(data)


def _quantiser(data: _Bytes) -> None:
    dim, *_ = data.take("4i")
    data.skip(4 * dim * CENTROIDS)
