"""Group passes through files: scatter by bucket, gather sorted whole groups, align tags to the rows they belong to.

One file per input shard with one record batch per bucket, so the result does not depend on how many tasks ran. Reading costs 0.28 ms per (file, bucket).
"""

import zlib
from collections.abc import Callable, Iterable, Iterator
from errno import ENOENT
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from dolma.core.errors import DataError
from dolma.core.files import disk_errors, sha256
from dolma.core.manifest import File
from dolma.core.recipe import Compiled
from dolma.core.schema import append
from dolma.engines.cost import SHUFFLE, WRITE
from dolma.engines.groups import Chunked, join, whole_groups
from dolma.engines.plan import Plan, Shard, Unit, unpack
from dolma.io.spill import sort

if TYPE_CHECKING:
    from dolma.engines.worker import Ledger

OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd")
MIXED = 1 << 15  # rows whose hashes are made at once: they stay in the cache


def rows(plan: Plan, compiled: Compiled, batches: Iterable[pa.RecordBatch], ledger: "Ledger") -> Iterator[pa.RecordBatch]:
    """The rows that are shuffled: those of the input, or what the step's `rows` makes of them."""
    final = compiled.final
    assert final is not None
    arguments = wanted(final.step.rows, final.arguments(Path(plan.root))) if final.step.rows else {}

    def made() -> Iterator[pa.RecordBatch]:
        for batch in batches:
            rows = final.step.rows(batch, **arguments) if final.step.rows else batch
            ledger.counts[f"{final.label}.rows_in"] += batch.num_rows
            ledger.clock.lap(final.label)
            yield rows

    for batch in made() if final.step.combine is None else combined(made(), final.step.combine):
        ledger.counts[f"{final.label}.scattered"] += batch.num_rows
        ledger.clock.lap(final.label)
        yield batch


COMBINE_ROWS = 1 << 18  # rows that wait for `combine`: more of it costs memory, less of it work


def combined(batches: Iterable[pa.RecordBatch], combine: Callable[[pa.RecordBatch], pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """All rows of a unit merged, in one batch: the same rows whatever batches they came in."""
    merged: list[pa.RecordBatch] = []
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(one.num_rows for one in waiting) >= max(COMBINE_ROWS, sum(one.num_rows for one in merged)):
            merged, waiting = [combine(join([*merged, *waiting]))], []
    if merged or waiting:
        yield combine(join([*merged, *waiting]))


def shuffled_schema(plan: Plan, compiled: Compiled) -> pa.Schema:
    """The schema of the shuffled rows."""
    assert compiled.final is not None
    schema = compiled.source
    for bound in compiled.steps:
        schema = bound.step.adds(bound.params, schema)
    if compiled.final.step.rows is None:
        return schema
    empty = pa.RecordBatch.from_arrays([pa.array([], f.type) for f in schema], schema=schema)
    return compiled.final.step.rows(empty, **wanted(compiled.final.step.rows, compiled.final.arguments(Path(plan.root)))).schema


def wanted(fn: Callable[..., Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Those of the arguments that `fn` takes."""
    import inspect

    names = inspect.signature(fn).parameters
    return {name: value for name, value in arguments.items() if name in names}


def bucket(batch: pa.RecordBatch, key: tuple[str, ...], buckets: int) -> np.ndarray:
    """The bucket of each row, shape (rows,): splitmix64 over the key columns, the same everywhere."""
    columns: list[np.ndarray] = []
    for name in key:
        column = batch.column(name)
        if column.null_count or column.type != pa.int64():
            raise DataError(
                name, "a group key must be a non-null int64", got=f"{column.type} with {column.null_count} nulls", expected="int64", mend="mend the step"
            )
        columns.append(column.to_numpy(zero_copy_only=False).view(np.uint64))
    made = np.empty(batch.num_rows, np.int64)
    for start in range(0, batch.num_rows, MIXED):
        mixed = np.zeros(len(made[start : start + MIXED]), np.uint64)
        for column in columns:
            mixed += column[start : start + MIXED] + np.uint64(0x9E3779B97F4A7C15)
            mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            mixed ^= mixed >> np.uint64(31)
        made[start : start + MIXED] = mixed % np.uint64(buckets)
    return made


def scatter(batches: Iterable[pa.RecordBatch], buckets: int, compiled: Compiled, path: Path, name: str) -> File:
    """Write the rows as one Arrow file with one batch per bucket, in input order inside a bucket."""
    assert compiled.final is not None
    parts = list(batches)
    whole = pa.Table.from_batches(parts).combine_chunks() if parts else None
    if whole is None or whole.num_rows == 0:
        return _write(None if whole is None else whole, None, buckets, path, name)
    batch = whole.to_batches()[0] if whole.num_rows else None
    assert batch is not None
    return _write(whole, bucket(batch, compiled.final.step.key, buckets), buckets, path, name)


def by_origin(batches: Iterable[pa.RecordBatch], schema: pa.Schema, columns: list[str], shards: int, path: Path, name: str) -> File:
    """Write tag rows as one Arrow file with one batch per shard of the tagged dataset."""
    whole = pa.Table.from_batches(batches, schema=pa.schema([schema.field(c) for c in columns])).combine_chunks()
    return _write(whole, whole.column("origin").to_numpy() >> 32, shards, path, name)


def _write(whole: pa.Table | None, places: np.ndarray | None, buckets: int, path: Path, name: str) -> File:
    with disk_errors(path):
        if whole is None:
            path.write_bytes(b"")
        else:
            count = np.bincount(places, minlength=buckets) if places is not None else np.zeros(buckets, np.int64)
            ends = np.cumsum(count)
            if places is not None and buckets <= 1 << 16:
                places = places.astype(np.uint16)  # sorted by radix
            ordered = whole.take(pa.array(np.argsort(places, kind="stable"))) if places is not None else whole
            with pa.ipc.new_file(str(path), whole.schema, options=OPTIONS) as writer:
                for start, end in zip(ends - count, ends, strict=True):
                    part = ordered.slice(int(start), int(end - start)).combine_chunks().to_batches()
                    batch = part[0] if part else _empty(whole.schema)
                    writer.write_batch(batch, custom_metadata={CHECK: _checksum(batch)})
    return File(name=name, rows=0 if whole is None else whole.num_rows, bytes=path.stat().st_size, sha256=sha256(path))


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], f.type) for f in schema], schema=schema)


def part(path: Path, number: int, schema: pa.Schema) -> pa.RecordBatch:
    """Batch `number` of a scattered file.

    Raises:
        DataError: the file was damaged since it was written. Its hash is checked when a run begins; each part has a checksum of its own, since every
            bucket reads all files.
        OSError: the machine could not read it.
    """
    batch = _empty(schema)
    try:
        if path.stat().st_size == 0:
            return batch
        with pa.OSFile(str(path)) as source:  # not a memory map: buffers that do not shrink are stored bare and would point into it after it is closed
            batch, said = pa.ipc.open_file(source).get_batch_with_custom_metadata(number)
        got, expected = _checksum(batch), dict(said or {}).get(CHECK, b"no checksum")
    except (OSError, pa.ArrowException) as error:
        if getattr(error, "errno", None) not in (None, ENOENT):  # EIO, ESTALE: the machine says so; Arrow's "this is no such file" has no number
            raise
        got, expected = str(error).splitlines()[0][:80].encode(), b"an Arrow file with all its batches"
    if got != expected:
        mend = "run the same command again: only this file is made anew"
        raise DataError(str(path), "an intermediate file was damaged after it was written", got=_plain(got), expected=_plain(expected), mend=mend)
    return batch


CHECK = b"crc32"


def _checksum(batch: pa.RecordBatch) -> bytes:
    return b"%08x" % zlib.crc32(batch.serialize())  # as it is sent, without padding and validity that says nothing: the same before and after a file


def _plain(text: bytes) -> str:
    return text.decode(errors="replace")


def gather(plan: Plan, compiled: Compiled, unit: Unit, spill: Path, ledger: "Ledger") -> Iterator[pa.RecordBatch]:
    """The group step's output for one bucket."""
    schema = shuffled_schema(plan, compiled)
    units = next(one for one in plan.passes if one.kind == "scatter").units
    files = [Path(plan.folder) / ".work" / "shuffle" / f"{unit.name}.arrow" for unit in units]  # never what lies there: an earlier run may have left more
    reader = pa.RecordBatchReader.from_batches(schema, (part(path, unit.bucket, schema) for path in files))
    return grouped(plan, compiled, _sorted(reader, compiled, spill), ledger)


def _sorted(reader: pa.RecordBatchReader, compiled: Compiled, spill: Path) -> Iterator[pa.RecordBatch]:
    assert compiled.final is not None
    return sort(reader, [*compiled.final.step.key, *compiled.final.step.order], str(spill))


def grouped(plan: Plan, compiled: Compiled, batches: Iterable[pa.RecordBatch], ledger: "Ledger") -> Iterator[pa.RecordBatch]:
    """What the group step makes of sorted rows; counted."""
    final = compiled.final
    assert final is not None
    arguments = final.arguments(Path(plan.root))
    if final.step.rows:
        arguments = wanted(final.step.fn, arguments)
    chunked, step = Chunked(), final.step
    most = arguments[step.cap_bytes] if step.cap_bytes else None
    for chunk, starts, cont in whole_groups(batches, step.key, step.cap, step.splittable, final.label, cap_bytes=most, mend=step.cap_mend):
        ledger.clock.lap(SHUFFLE)
        chunked.see(chunk.num_rows, starts, cont)
        made = final.step.fn(chunk, starts, cont=cont, **arguments)
        ledger.clock.lap(final.label)
        out, counts = made if isinstance(made, tuple) else (made, {})
        ledger.counts[f"{final.label}.gathered"] += chunk.num_rows - int(cont)
        ledger.counts[f"{final.label}.rows_out"] += out.num_rows
        ledger.counts.update({f"{final.label}.{name}": value for name, value in counts.items()})
        yield out
        ledger.clock.lap(WRITE)
    if chunked.groups:
        ledger.counts.update({f"{final.label}.split_groups": chunked.groups, f"{final.label}.split_rows": chunked.rows})
    ledger.clock.lap(SHUFFLE)


def aligned(plan: Plan, compiled: Compiled, shard: Shard) -> Callable[[pa.RecordBatch, int], pa.RecordBatch]:
    """A function that gives a batch (and the row it starts at) the tags of its rows, NULL where there is none.

    Raises:
        DataError: (when called) a tag says another key than the row it points to.
    """
    columns: dict[str, tuple[np.ndarray, pa.RecordBatch]] = {}
    for dataset, names in compiled.recipe.tags.items():
        schema = unpack(plan.schemas[dataset])
        wanted = ["origin", "key", *names]
        empty = pa.schema([schema.field(name) for name in wanted])
        folder = Path(plan.folder) / ".work" / "tags"
        parts = [
            part(folder / f"{unit.name}.arrow", shard.index, empty)
            for one in plan.passes
            if one.kind == "tags"
            for unit in one.units
            if unit.inputs[0].dataset == dataset
        ]
        joined = join(parts) if parts else _empty(empty)
        columns[dataset] = joined.column("origin").to_numpy() & 0xFFFFFFFF, joined

    def give(batch: pa.RecordBatch, start: int) -> pa.RecordBatch:
        for dataset, (places, tags) in columns.items():
            index = np.full(batch.num_rows, -1, np.int64)
            inside = np.flatnonzero((places >= start) & (places < start + batch.num_rows))
            index[places[inside] - start] = inside
            taken = tags.take(pa.array(index, mask=index < 0))
            hit = index >= 0
            theirs, ours = tags.column("key").to_numpy()[index[hit]], batch.column("key").to_numpy()[hit]
            if not np.array_equal(theirs, ours):
                raise DataError(
                    f"{plan.dataset}: tags {dataset}",
                    "a tag belongs to another row",
                    got="a different key",
                    expected=shard.path.rsplit("/", 1)[-1],
                    mend=f"run {dataset} again",
                )
            batch = append(batch, {name: taken.column(name) for name in compiled.recipe.tags[dataset]})
        return batch

    return give
