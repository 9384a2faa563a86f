"""Parquet shards with the same bytes for the same rows, however they arrive.

Batch borders leak into a file unless it is re-chunked: the writer cuts exact row groups and makes each contiguous. All options that decide bytes
stand here under one name, `WRITER`, which enters every fingerprint.
"""

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dolma.core.errors import DataError
from dolma.core.files import disk_errors, sha256
from dolma.core.manifest import File

WRITER = "v1"
GROUP_ROWS = 4096  # max RSS 192 MB at 165 MiB of text, against 442 at 65,536; the size of the file does not change


def write(batches: Iterable[pa.RecordBatch], schema: pa.Schema, path: Path, name: str) -> File:
    """Write all rows to one Parquet file and describe it; rows are cast to `schema`, metadata is dropped."""
    rows = tokens = 0
    buffered: list[pa.RecordBatch] = []
    waiting = 0
    schema = schema.remove_metadata()
    with (
        disk_errors(path),
        pq.ParquetWriter(
            path,
            schema,
            version="2.6",
            compression="zstd",
            compression_level=3,
            use_dictionary=[f.name for f in schema if f.type == pa.string()],  # pyright: ignore[reportArgumentType]
            write_statistics=True,
            data_page_version="1.0",
            data_page_size=1 << 20,
            write_batch_size=1024,
            store_schema=True,
        ) as writer,
    ):

        def flush(everything: bool) -> None:
            nonlocal buffered, waiting
            if waiting < GROUP_ROWS and not (everything and waiting):
                return
            table = pa.Table.from_batches(buffered, schema=schema)
            start = 0
            while waiting - start >= GROUP_ROWS or (everything and start < waiting):
                writer.write_table(table.slice(start, GROUP_ROWS).combine_chunks(), row_group_size=GROUP_ROWS)
                start = min(start + GROUP_ROWS, waiting)
            buffered = table.slice(start).to_batches() if start < waiting else []
            waiting -= start

        for batch in batches:
            rows += batch.num_rows
            tokens += count_tokens(batch)
            if batch.num_rows:
                buffered.append(batch.cast(schema) if not batch.schema.equals(schema) else batch)
                waiting += batch.num_rows
                flush(False)
        flush(True)
    return File(name=name, rows=rows, tokens=tokens, bytes=path.stat().st_size, sha256=sha256(path))


def count_tokens(batch: pa.RecordBatch) -> int:
    """Tokens in a batch: the lengths of its `tokens` lists, or the sum of `n_tokens`."""
    if "tokens" in batch.schema.names and pa.types.is_large_list(batch.schema.field("tokens").type):
        return pc.sum(pc.list_value_length(batch.column("tokens"))).as_py() or 0
    if "n_tokens" in batch.schema.names:
        return pc.sum(batch.column("n_tokens")).as_py() or 0
    return 0


def read(path: Path, file: File, *, columns: list[str] | None = None, without: Collection[str] = (), size: int = GROUP_ROWS) -> Iterator[pa.RecordBatch]:
    """The batches of a shard, after its bytes were checked against the manifest; of its columns those named in `columns`, or all but those in `without`.

    Raises:
        DataError: the file is missing, or its bytes or rows are not those of the manifest.
    """
    got = sha256(path) if path.is_file() else "no file"
    if got != file.sha256:
        raise DataError(
            str(path),
            "shard differs from its manifest",
            got=got[:16],
            expected=file.sha256[:16],
            mend="delete the dataset's manifest.json and run again: only the damaged shard is recomputed",
        )
    rows = 0
    opened = pq.ParquetFile(path, pre_buffer=False)
    columns = [name for name in opened.schema_arrow.names if name not in without] if without else columns
    for batch in opened.iter_batches(batch_size=size, columns=columns, use_threads=False):  # with threads twice the CPU time, in freed and new pages
        rows += batch.num_rows
        yield batch
    if rows != file.rows:
        raise DataError(str(path), "shard has another number of rows than its manifest", got=rows, expected=file.rows, mend="run its recipe again")
