"""A fastText model as a file: whole or not, and pinned by its hash. The library reads a cut file without a word, and gives wrong labels or dies."""

import mmap
import os
import struct
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from dolma.core.config import Strict
from dolma.core.errors import ConfigError, DataError
from dolma.core.files import sha256, version

MAGIC, NEWEST, SUPERVISED = 793_712_314, 12, 3
CENTROIDS = 256


class ModelFile(Strict):
    """A fastText classifier anywhere on this machine; refused when a recipe is compiled, before any data is read, unless it is whole and the one meant."""

    file: str = Field(description="absolute path; `~` and `$VARIABLE` are filled in")
    sha256: str = Field(description="hex digest of its bytes, so that the recipe says which model it means", pattern="^[0-9a-f]{64}$")

    @property
    def path(self) -> str:
        """The file with its variables filled in."""
        return os.path.expandvars(os.path.expanduser(self.file))

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not os.path.isabs(self.path):
            raise ConfigError("model", "`file` is no absolute path", got=self.path, expected="/...", mend="give the whole path, or set the variable in it")
        check(self.path)
        if (got := _digest(self.path, *version(self.path))) != self.sha256:
            raise DataError(self.path, "this is another model", got=got, expected=self.sha256, mend="get the right file, or write its hash into the recipe")
        return self


@lru_cache(8)
def _digest(path: str, *version: int) -> str:
    return sha256(Path(path))


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
