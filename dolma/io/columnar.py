"""Readers of columns: `parquet`, and `arrow` for what Hugging Face `datasets` saves to disk. A batch is at most `batch_rows` rows and about 16 MB.

Local folders of Hugging Face datasets, by what they hold: `*.parquet` with `parquet`, `*.jsonl` with `jsonl`, `data-*.arrow` of `save_to_disk` with `arrow`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dolma.core.errors import DataError
from dolma.core.schema import ERROR, Columns
from dolma.core.step import reader
from dolma.io.columns import declared, type_of
from dolma.io.compressed import broken, damage
from dolma.io.jsonl import BATCH_BYTES

END = b"\xff\xff\xff\xff\0\0\0\0"  # ends a stream of record batches. Source: the Arrow columnar format, "IPC Streaming Format"
MAGIC = b"ARROW1"  # begins and ends the file format of the same
TEXTS = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary(), pa.string_view(): pa.binary_view()}
UNREADABLE = (OSError, ValueError, OverflowError, MemoryError, pa.ArrowException)  # what Arrow raises of damaged bytes
WRONG = object()  # in place of a value that the declared type does not hold


def _parquet_schema(params: Any) -> Columns:
    return declared("parquet", params.columns, params.required)


def _arrow_schema(params: Any) -> Columns:
    return declared("arrow", params.columns, params.required)


@reader(out=_parquet_schema)
def parquet(
    path: str | Path,
    *,
    file: str,
    columns: dict[str, str],
    required: list[str] = [],  # noqa: B006
    batch_rows: int = 1000,
) -> Iterator[pa.RecordBatch]:
    """Rows of a Parquet file, row group by row group, with `file` and `offset` (the row's number in the file, from 0).

    A row is an `_error` row with null columns when it lacks a required value, a number does not fit its type or a text is not UTF-8. NaN is null.

    Args:
        columns: name and type of each column that is read, as in `jsonl`; `json` takes a column of any type (structs, lists of lists) as JSON text.
        required: columns whose value must be there and not be empty text.
        batch_rows: most rows of one batch.
    Raises:
        DataError: the file is damaged, or lacks a column, or has it in a type that is none of the kind asked for.
    """
    place = ["the footer"]
    with damage(file, lambda: place[0], *UNREADABLE):
        found = pq.ParquetFile(path, buffer_size=1 << 20, page_checksum_verification=True, pre_buffer=False)
        sizes = [(group.total_byte_size, group.num_rows) for group in map(found.metadata.row_group, range(found.num_row_groups))]
        takers = _takers(found.schema_arrow, columns, file)
    start = 0
    for number, (size, rows) in enumerate(sizes):
        place[:] = [f"row group {number}, row {start}"]
        for batch in _guarded(found.iter_batches(_most(batch_rows, size, rows), row_groups=[number], columns=list(columns), use_threads=False), file, place):
            yield _typed(batch, takers, required, file, start)
            start += batch.num_rows
            place[:] = [f"row group {number}, row {start}"]
    if start != found.metadata.num_rows:
        raise broken(file, "the footer", f"{start} rows", f"{found.metadata.num_rows} rows")


@reader(out=_arrow_schema)
def arrow(
    path: str | Path,
    *,
    file: str,
    columns: dict[str, str],
    required: list[str] = [],  # noqa: B006
    batch_rows: int = 1000,
) -> Iterator[pa.RecordBatch]:
    """Rows of an Arrow file: the stream format, which `save_to_disk` of Hugging Face `datasets` writes (`data-*.arrow`), or the file format.

    Else as `parquet`: `offset` is the row's number in the file, and columns, types and `_error` rows are the same.

    Args:
        columns: name and type of each column that is read, as in `jsonl`; `json` takes a column of any type as JSON text.
        required: columns whose value must be there and not be empty text.
        batch_rows: most rows of one batch.
    Raises:
        DataError: the file is damaged or cut short, or lacks a column, or has it in a type that is none of the kind asked for.
    """
    _ended(Path(path), file)
    place = ["the head"]
    takers: dict[str, Taker] = {}
    start = 0
    with pa.memory_map(str(path)) as source:
        for whole in _guarded(_batches(source), file, place):
            with damage(file, lambda: place[0], *UNREADABLE):
                takers = takers or _takers(whole.schema, columns, file)
                chosen = whole.select(list(columns))
                for column in chosen.columns:  # bytes of a file: an offset may point anywhere
                    (column.cast(TEXTS[column.type]) if column.type in TEXTS else column).validate(full=True)
            size = _most(batch_rows, chosen.nbytes, chosen.num_rows)
            for first in range(0, chosen.num_rows, size):
                yield _typed(chosen.slice(first, size), takers, required, file, start + first)
            start += chosen.num_rows
            place[:] = [f"row {start}"]


def _ended(path: Path, file: str) -> None:
    """Refuse a file that does not end as its format does: a stream cut between two batches reads like a whole one."""
    with open(path, "rb") as opened:
        head = opened.read(len(MAGIC))
        opened.seek(-min(len(END), path.stat().st_size), 2)
        tail = opened.read()
    if not (tail.endswith(MAGIC) if head == MAGIC else tail == END):
        raise broken(file, "the end", tail.hex(" ") or "0 bytes", (MAGIC if head == MAGIC else END).hex(" "))


def _batches(source: Any) -> Iterator[pa.RecordBatch]:
    head = source.read(len(MAGIC))
    source.seek(0)
    if head == MAGIC:
        opened = pa.ipc.open_file(source)
        yield from map(opened.get_batch, range(opened.num_record_batches))
    else:
        yield from pa.ipc.open_stream(source)
        if source.tell() != source.size():  # a length that became 0 reads like the end
            raise OSError(f"the stream ends at byte {source.tell()} of {source.size()}")


def _most(batch_rows: int, size: int, rows: int) -> int:
    """Rows of a batch of BATCH_BYTES, when `rows` have `size` bytes."""
    return max(1, min(batch_rows, rows * BATCH_BYTES // max(size, 1)))


def _guarded(items: Iterable[pa.RecordBatch], file: str, place: list[str]) -> Iterator[pa.RecordBatch]:
    with damage(file, lambda: place[0], *UNREADABLE):
        yield from items


Reasons = dict[int, str]  # rows that cannot be read, and why
Taker = Callable[[pa.Array, Reasons], pa.Array]  # gives a column its declared type


def _takers(schema: pa.Schema, columns: Mapping[str, str], file: str) -> dict[str, Taker]:
    """How each declared column is made of the file's.

    Raises:
        DataError: the file lacks a column, or its type is none of the kind asked for.
    """
    made: dict[str, Taker] = {}
    for name, kind in columns.items():
        if schema.names.count(name) != 1:
            got = f"{schema.names.count(name)} of them among {', '.join(schema.names)[:200]}"
            raise DataError(file, f"no column `{name}`", got=got, expected="1", mend="mend `columns`, or leave this file out of `files`")
        there = schema.field(name).type
        if not _of_kind(there, kind):
            raise DataError(file, f"column `{name}` is of another kind", got=there, expected=kind, mend="mend its type in `columns`; `json` takes most")
        made[name] = partial(_taken, name, kind)
    return made


def _of_kind(there: pa.DataType, kind: str) -> bool:
    """Whether a column of type `there` may be read as `kind`."""
    types = pa.types
    if types.is_dictionary(there):
        return _of_kind(there.value_type, kind)
    if kind == "json":
        children = [there.field(i).type for i in range(there.num_fields) if there.field(i).name is not None]  # a damaged name raises here
        return not (types.is_binary(there) or types.is_large_binary(there) or types.is_fixed_size_binary(there) or types.is_binary_view(there)) and all(
            _of_kind(child, "json") for child in children
        )
    if kind.startswith("list<"):
        return (types.is_list(there) or types.is_large_list(there) or types.is_fixed_size_list(there)) and _of_kind(there.value_type, kind[5:-1])
    if kind in ("string", "large_string"):
        return there in TEXTS
    if kind in ("int32", "int64"):
        return types.is_integer(there)
    return types.is_boolean(there) if kind == "bool" else types.is_integer(there) or types.is_floating(there)


def _taken(name: str, kind: str, column: pa.Array, reasons: Reasons) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    target, fits = type_of(kind, "")
    if pa.types.is_floating(target):
        made = column.cast(target, safe=False)
        return pc.if_else(pc.is_nan(made), pa.scalar(None, target), made)
    if kind != "json":
        try:
            made = column.cast(target)
            made.validate(full=True)
            return made
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # somewhere a number over the type's, or bytes that are not UTF-8
            pass
    values = [_value(scalar, fits) for scalar in column]
    for row, value in enumerate(values):
        if value is WRONG:
            reasons.setdefault(row, f"`{name}` has the wrong type")
            values[row] = None
    if kind == "json":
        values = [None if value is None else orjson.dumps(value, default=str).decode() for value in values]
    return pa.array(values, target)


def _value(scalar: pa.Scalar, fits: Callable[[Any], bool]) -> Any:
    try:
        value = scalar.as_py()
    except UnicodeDecodeError:
        return WRONG
    return value if value is None or fits(value) else WRONG


def _typed(batch: pa.RecordBatch, takers: Mapping[str, Taker], required: list[str], file: str, start: int) -> pa.RecordBatch:
    reasons: Reasons = {}
    made = {name: take(batch.column(name), reasons) for name, take in takers.items()}
    for name in required:
        empty = pc.is_null(made[name])
        if made[name].type in TEXTS:
            empty = pc.or_(empty, pc.fill_null(pc.equal(pc.binary_length(made[name]), 0), False))
        for row in pc.indices_nonzero(empty).to_pylist():
            reasons.setdefault(row, f"`{name}` is missing")
    if reasons:
        bad = pa.array([row in reasons for row in range(batch.num_rows)])
        made = {name: pc.if_else(bad, pa.scalar(None, column.type), column) for name, column in made.items()}
    made["file"] = pa.array([file] * batch.num_rows, pa.string())
    made["offset"] = pa.array(range(start, start + batch.num_rows), pa.int64())
    if reasons:
        made[ERROR] = pa.array([reasons.get(row) for row in range(batch.num_rows)], pa.string())
    return pa.RecordBatch.from_pydict(made)
