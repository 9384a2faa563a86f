"""Edges of a distributed reduce step, and the shards of its result: what both engines share, so that both write the same bytes."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from dolma.core.errors import DataError
from dolma.core.files import disk_errors, sha256
from dolma.core.manifest import File
from dolma.core.schema import TABLES
from dolma.engines import records
from dolma.engines.plan import Plan
from dolma.io import tables

EDGE = pa.schema(list(TABLES["edge"].items()))
OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd")


def save_edges(batches: Iterable[pa.RecordBatch], path: Path, name: str) -> File:
    """Write edges as one Arrow file, as stars with the same components: many bands join the same two documents, and one edge says it."""
    from dolma.kernels import stars

    return save(stars.contracted(stars.pairs(batch.select(EDGE.names)) for batch in batches), stars.PAIR, path, name)


def save(batches: Iterable[pa.RecordBatch], schema: pa.Schema, path: Path, name: str) -> File:
    """Write batches as one Arrow file and describe it."""
    rows = 0
    with disk_errors(path), pa.ipc.new_file(str(path), schema, options=OPTIONS) as writer:
        for batch in batches:
            rows += batch.num_rows
            if batch.num_rows:
                writer.write_batch(batch)
    return File(name=name, rows=rows, bytes=path.stat().st_size, sha256=sha256(path))


def load(path: Path) -> Iterator[pa.RecordBatch]:
    """The batches of a file that `save` wrote, one in memory at a time."""
    with pa.OSFile(str(path)) as source:
        reader = pa.ipc.open_file(source)
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)


def edge_files(plan: Plan) -> list[File]:
    """The files of the pass `edges`, in the order of its units.

    Raises:
        DataError: a unit has no record any more.
    """
    units = next(one for one in plan.passes if one.kind == "edges").units
    found = [records.record(plan, "edges", unit) for unit in units]
    for unit, one in zip(units, found, strict=True):
        if one is None:
            raise DataError(
                plan.dataset, f"edges of unit {unit.name} are gone", got="no record", expected="a record", mend="run the same command again: it resumes"
            )
    return [file for one in found if one is not None for file in one.files]


def edges(plan: Plan) -> Iterator[pa.RecordBatch]:
    """All edges, after the bytes of each file were checked."""
    for file in edge_files(plan):
        for batch in load(records.whole(Path(plan.folder), file, "edges")):
            yield batch.rename_columns(["key_a", "origin_a", "key_b", "origin_b"])


def write_shard(batches: Iterable[pa.RecordBatch], schema: pa.Schema, number: int, folder: Path, mark: str = "") -> File:
    """Write one shard of the result; with `mark` under a name of its own first, since an engine may try a task twice at once."""
    name = f"{number:05d}.parquet"
    temporary = folder / f"{mark}{name}"
    file = tables.write(batches, schema, temporary, name)
    temporary.rename(folder / name)
    return file
