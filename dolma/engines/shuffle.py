"""Group passes through files: scatter by bucket, gather sorted whole groups, align tags to the rows they belong to.

One file per input shard with one record batch per bucket, so the result does not depend on how many tasks ran. Reading costs 0.28 ms per (file, bucket).
"""

import zlib
from collections.abc import Callable, Iterable, Iterator
from errno import ENOENT
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from dolma import table
from dolma.core.errors import DataError
from dolma.core.files import disk_errors, sha256
from dolma.core.manifest import File
from dolma.core.recipe import Compiled
from dolma.core.schema import append
from dolma.core.step import MEND
from dolma.engines.cost import SHUFFLE, WRITE
from dolma.engines.plan import Plan, Shard, Unit, unpack

if TYPE_CHECKING:
    from dolma.engines.worker import Ledger

CHUNK_ROWS, CHUNK_BYTES = 65_536, 128 << 20  # a step gets whole groups, or a piece of one, in batches of at most this size, whichever comes first
OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd")


def rows(plan: Plan, compiled: Compiled, batches: Iterable[pa.RecordBatch], ledger: "Ledger") -> Iterator[pa.RecordBatch]:
    """The rows that are shuffled: those of the input, or what the step's `rows` makes of them."""
    final = compiled.final
    assert final is not None
    arguments = wanted(final.step.rows, final.arguments(Path(plan.root))) if final.step.rows else {}
    for batch in batches:
        made = final.step.rows(batch, **arguments) if final.step.rows else batch
        ledger.counts[f"{final.label}.rows_in"] += batch.num_rows
        ledger.counts[f"{final.label}.scattered"] += made.num_rows
        ledger.clock.lap(final.label)
        yield made


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
    mixed = np.zeros(batch.num_rows, np.uint64)
    for name in key:
        column = batch.column(name)
        if column.null_count or column.type != pa.int64():
            raise DataError(
                name, "a group key must be a non-null int64", got=f"{column.type} with {column.null_count} nulls", expected="int64", mend="mend the step"
            )
        mixed = mixed + column.to_numpy(zero_copy_only=False).view(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed = mixed ^ (mixed >> np.uint64(31))
    return (mixed % np.uint64(buckets)).astype(np.int64)


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
    return table.sort(reader, [*compiled.final.step.key, *compiled.final.step.order], str(spill))


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


def whole_groups(
    batches: Iterable[pa.RecordBatch], key: tuple[str, ...], cap: int, splittable: bool, where: str, *, cap_bytes: int | None = None, mend: str = MEND
) -> Iterator[tuple[pa.RecordBatch, np.ndarray, bool]]:
    """Cut sorted rows into batches of whole groups: (batch, first row of each group, whether row 0 repeats a group's first row).

    A group of a splittable step comes in pieces that each begin with its first row: a piece ends with `cap` rows, or with the row by which its strings and
    lists have `CHUNK_BYTES`. Whole groups come together while they stay within `CHUNK_ROWS` and `CHUNK_BYTES`. So a batch has at most `CHUNK_BYTES` and
    two rows, and all borders are the same however the rows were cut into `batches`. No row is copied more than twice.

    Args:
        cap_bytes: of the strings and lists of one group, where the step cannot take it in pieces.
        mend: what to do about a group that is too large.
    Raises:
        DataError: a group exceeds `cap` or `cap_bytes` and the step cannot take it in pieces; said as soon as it does.
    """
    held: list[pa.RecordBatch] = []
    first: pa.RecordBatch | None = None
    borders, begin = _Borders(key, cap, splittable, cap_bytes, where, mend), 0
    for batch in chain((batch for batch in batches if batch.num_rows), [None]):
        held += [] if batch is None else [batch]
        for end, more in borders.finish() if batch is None else borders.after(batch):
            rows, held = _split(held, end - begin)
            begin, joined = end, _join(rows)
            yield _chunk(first, joined, key)
            first = (first if first is not None else joined.slice(0, 1)) if more else None


class _Borders:
    """Where the chunks of `whole_groups` end, from rows that come in batches: row numbers, and whether the group goes on after the border."""

    def __init__(self, key: tuple[str, ...], cap: int, splittable: bool, cap_bytes: int | None, where: str, mend: str) -> None:
        self.key, self.cap, self.splittable, self.where, self.mend = key, cap, splittable, where, mend
        self.most = CHUNK_BYTES if splittable else cap_bytes
        self.tail: pa.RecordBatch | None = None  # the last row
        self.grown = 0, 0  # rows and bytes of the last piece so far; the next three are rows and bytes before a place
        self.begin = self.last = self.total = 0, 0  # where the open chunk begins, the last border in it, the end

    def after(self, batch: pa.RecordBatch) -> list[tuple[int, bool]]:
        """The borders that are known once `batch` is."""
        ends = np.concatenate([[0], np.cumsum(table.long_bytes(batch))])
        starts = _starts(batch, self.key)
        same = self.tail is not None and _same(self.tail, batch, self.key)
        rows, size = np.diff(np.append(starts, batch.num_rows)), np.diff(np.append(ends[starts], ends[-1]))
        if same:
            rows[0], size[0] = rows[0] + self.grown[0], size[0] + self.grown[1]
        cuts = self._cuts(starts, rows, size, ends)
        own = bool(cuts) and cuts[-1] >= starts[-1]  # the last piece began in this batch, inside a group
        self.grown = (batch.num_rows - cuts[-1], int(ends[-1] - ends[cuts[-1]])) if own else (int(rows[-1]), int(size[-1]))
        places = np.concatenate([starts[int(same or self.tail is None) :], cuts]).astype(np.int64)
        order = np.argsort(places, kind="stable")
        found = self._pack(self.total[0] + places[order], self.total[1] + ends[places[order]], order >= len(places) - len(cuts))
        self.total, self.tail = (self.total[0] + batch.num_rows, self.total[1] + int(ends[-1])), batch.slice(batch.num_rows - 1)
        return found

    def finish(self) -> list[tuple[int, bool]]:
        """The borders that are left when there are no more rows."""
        if self.tail is None:
            return []
        found = self._pack(*(np.array([value]) for value in (*self.total, False)))
        return found + ([(self.last[0], False)] if self.last > self.begin else [])

    def _cuts(self, starts: np.ndarray, rows: np.ndarray, size: np.ndarray, ends: np.ndarray) -> list[int]:
        """Rows of a batch at which a group goes on in another piece.

        Args:
            rows, size: of each group in the batch; of the first one with what is open of it.
            ends: bytes before each row.
        """
        large = rows > self.cap
        if self.most is not None:
            large |= size >= self.most if self.splittable else size > self.most
        cuts: list[int] = []
        for group in np.flatnonzero(large):
            if not self.splittable:
                self._refuse(int(rows[group]))
            at, end = int(starts[group]), int(starts[group + 1]) if group + 1 < len(starts) else len(ends) - 1
            had, bytes_had = int(rows[group]) - (end - at), int(size[group] - (ends[end] - ends[at]))
            while True:
                full = int(np.searchsorted(ends, ends[at] + CHUNK_BYTES - bytes_had))  # the first row before which the piece has its bytes
                at = min(at + self.cap - had, max(full, at))
                if at >= end:
                    break
                cuts.append(at)
                had = bytes_had = 0
        return cuts

    def _refuse(self, rows: int) -> None:
        most, unit = (self.cap, "rows") if rows > self.cap or self.most is None else (self.most, "bytes")
        what = f"one group has more {unit} than this step can take"
        raise DataError(self.where, what, got=f"over {most:,}", expected=f"at most {most:,} {unit}", mend=self.mend)

    def _pack(self, rows: np.ndarray, size: np.ndarray, cut: np.ndarray) -> list[tuple[int, bool]]:
        """Chunks of pieces: a piece after which its group goes on, or that is too large, is a chunk of its own.

        Args:
            rows, size: before each border between pieces.
            cut: whether the group goes on after it.
        """
        found: list[tuple[int, bool]] = []
        hard, at = np.append(np.flatnonzero(cut), len(rows)), 0
        while at < len(rows):
            until = at if cut[at] else int(hard[np.searchsorted(hard, at)])
            by_rows = np.searchsorted(rows[at:until], self.begin[0] + CHUNK_ROWS, "right")
            fit = int(min(by_rows, np.searchsorted(size[at:until], self.begin[1] + CHUNK_BYTES, "right")))
            if fit:
                at += fit
                self.last = int(rows[at - 1]), int(size[at - 1])
            elif self.last > self.begin:
                found.append((self.last[0], False))
                self.begin = self.last
            else:
                found.append((int(rows[at]), bool(cut[at])))
                self.begin = self.last = int(rows[at]), int(size[at])
                at += 1
        return found


def _split(batches: list[pa.RecordBatch], rows: int) -> tuple[list[pa.RecordBatch], list[pa.RecordBatch]]:
    """The first `rows` rows, and the rest."""
    for n, batch in enumerate(batches):
        if rows < batch.num_rows:
            return [*batches[:n], *([batch.slice(0, rows)] if rows else [])], [batch.slice(rows), *batches[n + 1 :]]
        rows -= batch.num_rows
    return batches, []


class Chunked:
    """Counts the groups that came in chunks, and their rows."""

    def __init__(self) -> None:
        self.groups = self.rows = 0
        self._last, self._counted = 0, False  # rows of the last group of the chunk before, and whether they are counted

    def see(self, rows: int, starts: np.ndarray, cont: bool) -> None:
        """A chunk of `rows` rows as `whole_groups` gave it."""
        if cont:
            self.groups += not self._counted
            self.rows += (0 if self._counted else self._last) + (int(starts[1]) if len(starts) > 1 else rows) - 1
        self._last, self._counted = rows - int(starts[-1]), cont and len(starts) == 1


def _chunk(first: pa.RecordBatch | None, batch: pa.RecordBatch, key: tuple[str, ...]) -> tuple[pa.RecordBatch, np.ndarray, bool]:
    if first is None:
        return batch, _starts(batch, key), False
    return _join([first, batch]), np.concatenate([[0], _starts(batch, key)[1:] + 1]).astype(np.int64), True


def _join(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    batches = [batch for batch in batches if batch.num_rows] or batches[:1]
    return batches[0] if len(batches) == 1 else pa.Table.from_batches(batches).combine_chunks().to_batches()[0]


def _starts(batch: pa.RecordBatch, key: tuple[str, ...]) -> np.ndarray:
    new = np.zeros(batch.num_rows, bool)
    new[0] = True
    for name in key:
        column = batch.column(name).to_numpy()
        new[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(new)


def _same(one: pa.RecordBatch, other: pa.RecordBatch, key: tuple[str, ...]) -> bool:
    return all(one.column(name)[0] == other.column(name)[0] for name in key)


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
        joined = _join(parts) if parts else _empty(empty)
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
