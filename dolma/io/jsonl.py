"""Readers of files that are not archives: `jsonl` (one JSON object a line) and `blob` (a whole file as bytes)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from dolma.core.schema import ERROR, Columns
from dolma.core.step import reader
from dolma.io.columns import Picker, Row, batch, declared, filled
from dolma.io.compressed import chunks

BATCH_BYTES = 16 << 20  # lines of one batch together, so that long texts do not meet in memory

Line = tuple[int, bytes | None]  # byte offset in the decompressed file; None for a line over the cap


def _schema(params: Any) -> Columns:
    return declared("jsonl", params.columns, params.required)


@reader(out=_schema, version=3)
def jsonl(
    path: str | Path,
    *,
    file: str,
    columns: dict[str, str],
    required: list[str] = [],  # noqa: B006
    batch_rows: int = 1000,
    max_line_bytes: int = 64_000_000,
) -> Iterator[pa.RecordBatch]:
    """Rows of a JSON-lines file (plain, .gz, .zst, .bz2 or .xz), with `file` and `offset` (bytes into the decompressed file).

    A line that is not a JSON object, is too long, lacks a required value or has a value of another type is an `_error` row with null columns.

    Args:
        columns: name and type of each field that is read: string, large_string, int32, int64, float32, float64, bool, json or list<...>. A field that a
            line does not have is null; fields that are not named here are not read.
        required: columns whose value must be there and not be empty text.
        batch_rows: most rows of one batch.
        max_line_bytes: a longer line is an error row and is not held in memory.
    Raises:
        DataError: the compressed file is cut short or damaged.
    """
    picker = Picker(columns, required, "jsonl")

    def rows() -> Iterator[tuple[tuple[int, Row], int]]:
        for offset, line in lines(Path(path), file, max_line_bytes):
            yield (offset, value if isinstance(value := decoded(line), str) else picker.row(value)), len(line or b"")

    for held in filled(rows(), batch_rows, BATCH_BYTES):
        yield batch(held, picker.types, file)


def decoded(line: bytes | None) -> dict[str, Any] | str:
    """The object of a line, or why it cannot be read."""
    if line is None:
        return "line is too long"
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:  # also invalid UTF-8, lone surrogates, NaN, and nesting deeper than 1024
        return f"not JSON: {error.msg}"
    return value if isinstance(value, dict) else "not a JSON object"


def lines(path: Path, file: str, limit: int) -> Iterator[Line]:
    """Each line that is not blank, with its offset; a line over `limit` bytes comes once, as None.

    Raises:
        DataError: the compressed file is cut short or damaged.
    """
    for offset, line in _lines(path, file, limit):
        if line is None or line.strip():
            yield offset, line


def _lines(path: Path, file: str, limit: int) -> Iterator[Line]:
    """Each line with its offset; a line over `limit` bytes comes once, as None."""
    start, here, over = 0, 0, False  # where this line begins, where the reading is, whether the rest of the line is skipped
    kept = bytearray()
    for chunk in chunks(path, file):
        for piece in _split(chunk):
            here += len(piece)
            if not over:
                kept += piece
                if len(kept) > limit + 1:
                    yield start, None
                    kept, over = bytearray(), True
            if piece.endswith(b"\n"):
                if not over:
                    yield start, bytes(kept)
                start, kept, over = here, bytearray(), False
    if kept:
        yield start, bytes(kept)


def _split(chunk: bytes) -> list[bytes]:
    """Pieces that end with a line feed, but for the last; `splitlines` would also end them at a carriage return."""
    *pieces, rest = chunk.split(b"\n")
    return [piece + b"\n" for piece in pieces] + ([rest] if rest else [])


@reader(out={"id": pa.string(), "source": pa.string(), "file": pa.string(), "offset": pa.int64(), "content": pa.large_binary()})
def blob(path: str | Path, *, file: str, source: str, max_bytes: int) -> Iterator[pa.RecordBatch]:
    """One row: the whole file as bytes. Its id is the path below the raw folder, so that files of the same name in two folders stay apart.

    Args:
        source: value of the column `source`.
        max_bytes: a larger file is an `_error` row and is not read.
    """
    over = Path(path).stat().st_size > max_bytes
    made = {
        "id": pa.array([file], pa.string()),
        "source": pa.array([source], pa.string()),
        "file": pa.array([file], pa.string()),
        "offset": pa.array([0], pa.int64()),
        "content": pa.array([None if over else Path(path).read_bytes()], pa.large_binary()),
    }
    if over:
        made[ERROR] = pa.array([f"larger than {max_bytes} bytes"], pa.string())
    yield pa.RecordBatch.from_pydict(made)
