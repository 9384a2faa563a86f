"""Readers of files that are not archives: `jsonl` (one JSON object a line, plain, .gz or .zst) and `blob` (a whole file as bytes)."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from dolma.core.errors import ConfigError, DataError
from dolma.core.schema import ERROR, Columns
from dolma.core.step import reader

CHUNK = 1 << 20  # bytes decompressed at a time: with the line cap, what bounds the memory of a decompression bomb
BATCH_BYTES = 16 << 20  # lines of one batch together, so that long texts do not meet in memory
COMPRESSION = {".gz": "gzip", ".zst": "zstd"}

Kinds = dict[str, tuple[pa.DataType, Callable[[Any], bool]]]
Line = tuple[int, bytes | None]  # byte offset in the decompressed file; None for a line over the cap


def _string(value: Any) -> bool:
    return isinstance(value, str)


def _whole(bits: int) -> Callable[[Any], bool]:
    limit = 1 << (bits - 1)
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and -limit <= value < limit


def _number(value: Any) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool)


# Name in a recipe: the Arrow type, and whether a JSON value is of it. `json` takes any value and keeps it as JSON text.
SCALARS: dict[str, tuple[pa.DataType, Callable[[Any], bool]]] = {
    "string": (pa.string(), _string),
    "large_string": (pa.large_string(), _string),
    "int32": (pa.int32(), _whole(32)),
    "int64": (pa.int64(), _whole(64)),
    "float32": (pa.float32(), _number),
    "float64": (pa.float64(), _number),
    "bool": (pa.bool_(), lambda value: isinstance(value, bool)),
    "json": (pa.large_string(), lambda _: True),
}


def type_of(name: str) -> tuple[pa.DataType, Callable[[Any], bool]]:
    """The Arrow type called `name` (a scalar or `list<scalar>`), and the test of a JSON value.

    Raises:
        ConfigError: no such type.
    """
    if name in SCALARS:
        return SCALARS[name]
    if name.startswith("list<") and name.endswith(">") and name[5:-1] in SCALARS and name != "list<json>":
        inner, fits = SCALARS[name[5:-1]]
        return pa.list_(inner), lambda value: isinstance(value, list) and all(map(fits, value))
    raise ConfigError("jsonl", f"unknown column type `{name}`", expected=f"{', '.join(SCALARS)} or list<...>", mend="write one of these types")


def _schema(params: Any) -> Columns:
    for name in ("file", "offset", ERROR):
        if name in params.columns:
            raise ConfigError("jsonl", f"column `{name}` is made by the reader", got=name, expected="another name", mend="leave it out of `columns`")
    for name in params.required:
        if name not in params.columns:
            known = ", ".join(params.columns)
            raise ConfigError("jsonl", f"`required` names `{name}`, which is no column", got=name, expected=known, mend="add it to `columns`")
    return {**{name: type_of(kind)[0] for name, kind in params.columns.items()}, "file": pa.string(), "offset": pa.int64()}


@reader(out=_schema)
def jsonl(
    path: str | Path,
    *,
    file: str,
    columns: dict[str, str],
    required: list[str] = [],  # noqa: B006
    batch_rows: int = 1000,
    max_line_bytes: int = 64_000_000,
) -> Iterator[pa.RecordBatch]:
    """Rows of a JSON-lines file (plain, .gz or .zst), with `file` and `offset` (bytes into the decompressed file).

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
    kinds = {name: type_of(kind) for name, kind in columns.items()}
    text = {name for name, kind in columns.items() if kind == "json"}
    rows: list[tuple[int, dict[str, Any] | str]] = []
    size = 0
    for offset, line in _lines(Path(path), file, max_line_bytes):
        if line is not None and not line.strip():
            continue
        rows.append((offset, _row(line, kinds, text, required)))
        size += len(line or b"")
        if len(rows) >= batch_rows or size >= BATCH_BYTES:
            yield _batch(rows, kinds, file)
            rows, size = [], 0
    if rows:
        yield _batch(rows, kinds, file)


def _row(line: bytes | None, kinds: Kinds, text: set[str], required: list[str]) -> dict[str, Any] | str:
    """The values of a line, or why it cannot be read."""
    if line is None:
        return "line is too long"
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:  # also invalid UTF-8, lone surrogates, NaN, and nesting deeper than 1024
        return f"not JSON: {error.msg}"
    if not isinstance(value, dict):
        return "not a JSON object"
    row: dict[str, Any] = {}
    for name, (_, fits) in kinds.items():
        got = value.get(name)
        if got is None or (got == "" and name in required):
            if name in required:
                return f"`{name}` is missing"
            row[name] = None
        elif not fits(got):
            return f"`{name}` has the wrong type"
        else:
            row[name] = orjson.dumps(got).decode() if name in text else got
    return row


def _batch(rows: list[tuple[int, dict[str, Any] | str]], kinds: Kinds, file: str) -> pa.RecordBatch:
    made = {name: pa.array([row[name] if isinstance(row, dict) else None for _, row in rows], kind) for name, (kind, _) in kinds.items()}
    made["file"] = pa.array([file] * len(rows), pa.string())
    made["offset"] = pa.array([offset for offset, _ in rows], pa.int64())
    errors = [row if isinstance(row, str) else None for _, row in rows]
    if any(errors):
        made[ERROR] = pa.array(errors, pa.string())
    return pa.RecordBatch.from_pydict(made)


def _lines(path: Path, file: str, limit: int) -> Iterator[Line]:
    """Each line with its offset; a line over `limit` bytes comes once, as None."""
    start, here, over = 0, 0, False  # where this line begins, where the reading is, whether the rest of the line is skipped
    kept = bytearray()
    for chunk in _chunks(path, file):
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


def _chunks(path: Path, file: str) -> Iterator[bytes]:
    done = 0
    try:
        with pa.input_stream(str(path), compression=COMPRESSION.get(path.suffix)) as stream:
            while chunk := stream.read(CHUNK):
                done += len(chunk)
                yield chunk
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise DataError(
            f"{file}, byte {done} of the content",
            "the compressed file is cut short or damaged",
            got=str(error),
            expected="a whole file",
            mend="fetch or gather this file again",
        ) from error


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
