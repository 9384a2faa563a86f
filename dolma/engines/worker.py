"""The one worker: `run_unit` is the only thing an engine calls, so the engine cannot change a byte of the result.

A unit writes into `.work/<attempt>/`, hashes the closed file, renames it into place, then writes its record. Killed at any point, the same unit
run again leaves the same file and the same record.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dolma.core.errors import DataError, DolmaError
from dolma.core.files import disk_errors, sha256
from dolma.core.manifest import File
from dolma.core.recipe import Bound, Compiled
from dolma.core.schema import append
from dolma.engines import components, cost, shuffle
from dolma.engines import plan as plans
from dolma.engines.ledger import QUARANTINE, Ledger
from dolma.engines.plan import Plan, Record, Shard, Unit
from dolma.engines.records import commit, record
from dolma.io import raw, tables


def run_unit(path: str, kind: str, index: int, attempt: str) -> Record:
    """Run unit `index` of the pass `kind` of the plan at `path`, unless its record is there; the record.

    Raises:
        DolmaError: the unit cannot be done; its place stands in the message.
    """
    plan, compiled = plans.load(path)
    unit = next(one for one in plan.passes if one.kind == kind).units[index]
    if (done := record(plan, kind, unit)) is not None:
        return done
    with _workplace(plan, f"{attempt}-{os.getpid()}-{kind}-{unit.name}") as work:
        return commit(plan, kind, unit, work, PASSES[kind](plan, compiled, unit, work))


@contextmanager
def _workplace(plan: Plan, name: str) -> Iterator[Path]:
    """A folder of its own for one attempt at a unit, gone afterwards; a disk that fills up at any step of the unit is a fault of the machine."""
    work = Path(plan.folder) / ".work" / name
    shutil.rmtree(work, ignore_errors=True)
    with disk_errors(work):
        try:
            work.mkdir(parents=True)
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)


def try_unit(path: str, kind: str, index: int, attempt: str) -> tuple[int, Record | None, DolmaError | None]:
    """`run_unit` with its error as a value, so that no engine retries what cannot succeed or hides which unit failed."""
    try:
        return index, run_unit(path, kind, index, attempt), None
    except DolmaError as error:
        return index, None, error
    except Exception as error:  # a fault of a step: it must name its unit, whatever it is
        import traceback

        frames = traceback.extract_tb(error.__traceback__)
        last = next((frame for frame in reversed(frames) if "site-packages" not in frame.filename and frame.filename.endswith(".py")), frames[-1])
        plan, _ = plans.load(path)
        return (
            index,
            None,
            DataError(
                f"{plan.dataset} {kind} {index}",
                f"{type(error).__name__}: {error}",
                got=f"at {Path(last.filename).name}:{last.lineno}",
                expected="no exception",
                mend="this is a fault of the step, not of the input; the other units are kept and a rerun resumes",
            ),
        )


def map_unit(plan: Plan, compiled: Compiled, unit: Unit, work: Path) -> Record:
    """Read, run the map steps, write the shard."""
    ledger = Ledger(unit.name)
    rows = run_steps(plan, compiled, unit, ledger, work)
    schema = compiled.schema
    return finish(plan, "map", compiled, unit, work, ledger, rows, schema)


def edges_unit(plan: Plan, compiled: Compiled, unit: Unit, work: Path) -> Record:
    """Run the map steps and put the edges of one input shard where every round of a distributed reduce step, and every attempt, finds them."""
    assert compiled.final is not None
    ledger = Ledger(unit.name)
    taken = Counted(run_steps(plan, compiled, unit, ledger, work))
    name = f".work/edges/{unit.name}.arrow"
    (work / ".work/edges").mkdir(parents=True)
    file = components.save_edges(taken, work / name, name)
    ledger.counts[f"{compiled.final.label}.rows_in"] += taken.rows
    ledger.counts[f"{compiled.final.label}.edges"] += file.rows
    return finish(plan, "edges", compiled, unit, work, ledger, None, None, files=(file,))


def reduce_unit(plan: Plan, compiled: Compiled, unit: Unit, work: Path) -> Record:
    """Give the reduce step all rows; its table, or each table that it gives, is a shard, the files it leaves are assets."""
    assert compiled.final is not None
    ledger = Ledger(unit.name)
    label, step = compiled.final.label, compiled.final.step
    folder = work / "assets"
    folder.mkdir()
    taken = Counted(components.edges(plan) if step.distributed else run_steps(plan, compiled, unit, ledger, work))
    result = step.fn(taken, folder=folder, **compiled.final.arguments(Path(plan.root)))
    if step.distributed:
        files = [components.write_shard(table.to_batches(), compiled.schema, number, work) for number, table in result]
        return _reduced(plan, compiled, unit, work, ledger, files)
    table, counts = result if isinstance(result, tuple) else (result, {})
    ledger.clock.lap(label)
    for _ in taken:  # what the step did not ask for still counts
        pass
    ledger.counts[f"{label}.rows_in"] += taken.rows
    ledger.counts[f"{label}.rows_out"] += table.num_rows
    ledger.counts.update({f"{label}.{name}": value for name, value in counts.items()})
    table = _typed(table, compiled.schema, label)
    assets = []
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            name = str(file.relative_to(folder))
            target = work / name
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, target)
            assets.append(File(name=name, rows=0, bytes=target.stat().st_size, sha256=sha256(target)))
    made = finish(plan, "reduce", compiled, unit, work, ledger, table.to_batches(), compiled.schema)
    return made.model_copy(update={"assets": tuple(assets)})


def reduce_natively(plan: Plan, compiled: Compiled, attempt: str, make: Callable[[Path], list[File]]) -> Record:
    """`reduce_unit` for shards that an engine's own way of reducing writes: `make` puts them into the folder that it is given."""
    unit = next(one for one in plan.passes if one.kind == "reduce").units[0]
    with _workplace(plan, f"{attempt}-{os.getpid()}-reduce-{unit.name}") as work:
        ledger = Ledger(unit.name)
        return commit(plan, "reduce", unit, work, _reduced(plan, compiled, unit, work, ledger, make(work)))


def _reduced(plan: Plan, compiled: Compiled, unit: Unit, work: Path, ledger: Ledger, files: list[File]) -> Record:
    assert compiled.final is not None
    ledger.clock.lap(compiled.final.label)
    ledger.counts[f"{compiled.final.label}.rows_out"] += sum(file.rows for file in files)
    return finish(plan, "reduce", compiled, unit, work, ledger, None, None, files=tuple(files))


def scatter_unit(plan: Plan, compiled: Compiled, unit: Unit, work: Path) -> Record:
    """Run the map steps and lay the rows of a group pass out by bucket, one file per input shard."""
    ledger = Ledger(unit.name)
    name = f".work/shuffle/{unit.name}.arrow"
    (work / ".work/shuffle").mkdir(parents=True)
    rows = shuffle.rows(plan, compiled, run_steps(plan, compiled, unit, ledger, work), ledger)
    file = shuffle.scatter(rows, plan.buckets, compiled, work / name, name)
    return finish(plan, "scatter", compiled, unit, work, ledger, None, None, files=(file,))


def gather_unit(plan: Plan, compiled: Compiled, unit: Unit, work: Path) -> Record:
    """Sort one bucket of every file, give whole groups to the group step, write the shard."""
    ledger = Ledger(unit.name)
    batches = shuffle.gather(plan, compiled, unit, work / "spill", ledger)
    return finish(plan, "gather", compiled, unit, work, ledger, batches, compiled.schema)


def gather_sorted(plan: Plan, compiled: Compiled, unit: Unit, batches: Iterator[pa.RecordBatch], attempt: str) -> Record:
    """`gather_unit` for rows that an engine's own shuffle has brought and sorted."""
    with _workplace(plan, f"{attempt}-{os.getpid()}-gather-{unit.name}") as work:
        ledger = Ledger(unit.name)
        made = finish(plan, "gather", compiled, unit, work, ledger, shuffle.grouped(plan, compiled, batches, ledger), compiled.schema)
        return commit(plan, "gather", unit, work, made)


def save_scattered(plan: Plan, unit: Unit, ledger: Ledger) -> None:
    """Record the counts (and quarantine) of a scatter whose rows went into an engine's own shuffle."""
    _, compiled = plans.load(str(Path(plan.folder) / ".work" / "plan.json"))
    with _workplace(plan, f"native-{os.getpid()}-{unit.name}") as work:
        commit(plan, NATIVE, unit, work, finish(plan, NATIVE, compiled, unit, work, ledger, None, None))


NATIVE = "scatter-native"  # scatter records of an engine that shuffles itself: they have counts but no file


def tags_unit(plan: Plan, compiled: Compiled, unit: Unit, work: Path) -> Record:
    """Lay the rows of a tag shard out by the input shard that they belong to."""
    ledger = Ledger(unit.name)
    name = f".work/tags/{unit.name}.arrow"
    (work / ".work/tags").mkdir(parents=True)
    shard = unit.inputs[0]
    columns = ["origin", "key", *compiled.recipe.tags[shard.dataset]]
    file = shuffle.by_origin(
        tables.read(Path(shard.path), shard.file, columns=columns), plans.unpack(plan.schemas[shard.dataset]), columns, plan.shards, work / name, name
    )
    ledger.counts["tags.rows"] += file.rows
    return finish(plan, "tags", compiled, unit, work, ledger, None, None, files=(file,))


PASSES: dict[str, Callable[[Plan, Compiled, Unit, Path], Record]] = {
    "map": map_unit,
    "scatter": scatter_unit,
    "gather": gather_unit,
    "edges": edges_unit,
    "reduce": reduce_unit,
    "tags": tags_unit,
}


class Counted:
    """An iterator of batches that knows how many rows it gave."""

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        self.batches, self.rows = iter(batches), 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return self

    def __next__(self) -> pa.RecordBatch:
        batch = next(self.batches)
        self.rows += batch.num_rows
        return batch


def finish(
    plan: Plan,
    kind: str,
    compiled: Compiled,
    unit: Unit,
    work: Path,
    ledger: Ledger,
    rows: Iterable[pa.RecordBatch] | None,
    schema: pa.Schema | None,
    files: tuple[File, ...] = (),
) -> Record:
    """Write the rows and the quarantine into `work`, check the unit's ledger, and describe it."""
    from dolma.core import counts

    if rows is not None and schema is not None:
        taken = Counted(rows)
        if compiled.recipe.format == "mds":
            from dolma.io import mds

            (work / unit.name).mkdir()
            written = [f.model_copy(update={"name": f"{unit.name}/{f.name}"}) for f in mds.write(taken, work / unit.name)]
        else:
            written = [tables.write(taken, schema, work / f"{unit.name}.parquet", f"{unit.name}.parquet")]
        files = (*files, *written)
        if sum(file.rows for file in written) != taken.rows:
            raise DataError(f"{plan.dataset}/{unit.name}", "rows were lost in writing", got=sum(f.rows for f in written), expected=taken.rows, mend="run again")
    aside: tuple[File, ...] = ()
    if ledger.quarantined:
        name = f"_quarantine/{kind}-{unit.name}.parquet"
        (work / "_quarantine").mkdir()
        aside = (tables.write(ledger.quarantined, QUARANTINE, work / name, name),)
    counts.check(ledger.counts, f"{plan.dataset}/{unit.name}")
    ledger.clock.lap(cost.WRITE if rows is not None else cost.SHUFFLE)
    cost.save(ledger.clock, work, plan.task(kind, unit))
    return Record(task=plan.task(kind, unit), unit=unit.name, kind=kind, files=files, quarantine=aside, counts=dict(sorted(ledger.counts.items())))


def read_unit(plan: Plan, compiled: Compiled, unit: Unit, ledger: Ledger, work: Path | None = None) -> Iterator[pa.RecordBatch]:
    """The rows of a unit's inputs: raw files through the reader, shards as the manifest lists them, with tags aligned.

    Args:
        work: where files that lie at a URL are brought to, one at a time; the system's temporary folder when absent.
    """
    if compiled.reader:
        inputs: list[Shard | None] = list(unit.inputs) or [None]
        for shard in inputs:
            for batch in _raw_rows(compiled.reader, shard, Path(plan.root), work):
                good = ledger.quarantine(compiled.reader.label, batch)
                ledger.moved(compiled.reader.label, batch.num_rows, good.num_rows)
                yield _typed(good, compiled.source, compiled.reader.label)
        return
    for shard in unit.inputs:
        if shard.file.extra.get("format") == "mds":
            from dolma.io import mds

            for batch in mds.streams(Path(shard.path), shard.dataset).to_batches():
                ledger.moved("read:input", batch.num_rows, batch.num_rows)
                yield _typed(batch, compiled.source, shard.dataset)
            continue
        start = 0
        tags = shuffle.aligned(plan, compiled, shard) if compiled.recipe.tags else None
        for batch in tables.read(Path(shard.path), shard.file, without=compiled.unread):
            if tags is not None:
                batch = tags(batch, start)
            if "origin" in compiled.source.names and "origin" not in batch.schema.names:
                first = (shard.index << 32) | start
                batch = append(batch, {"origin": pa.array(np.arange(first, first + batch.num_rows))})
            start += batch.num_rows
            ledger.moved("read:input", batch.num_rows, batch.num_rows)
            yield _typed(batch, compiled.taken, shard.dataset)


def _raw_rows(reader: Bound, shard: Shard | None, root: Path, work: Path | None) -> Iterator[pa.RecordBatch]:
    """The rows that a reader finds in a raw file or a part of one; a generator of problems has no file."""
    arguments = reader.arguments(root)
    if shard is None:
        yield from reader.step.fn(None, file="", **arguments)
        return
    if shard.end is not None:
        arguments |= {"begin": shard.begin, "end": shard.end}
    with raw.local(shard.path, shard.file, work) if raw.is_url(shard.path) else nullcontext(shard.path) as path:
        yield from reader.step.fn(str(path), file=shard.file.name, **arguments)


def run_steps(plan: Plan, compiled: Compiled, unit: Unit, ledger: Ledger, work: Path | None = None) -> Iterator[pa.RecordBatch]:
    """The rows of a unit after the map steps, each step counted."""
    root = Path(plan.root)
    steps = [(bound, bound.arguments(root)) for bound in compiled.steps]
    read = compiled.reader.label if compiled.reader else "read:input"
    taker = cost.WRITE if compiled.final is None else cost.SHUFFLE if compiled.final.step.kind == "group" else compiled.final.label
    for batch in read_unit(plan, compiled, unit, ledger, work):
        ledger.clock.lap(read)
        for bound, arguments in steps:
            try:
                batch = apply(bound, arguments, batch, ledger)
            except DataError as error:
                raise DataError(f"{plan.dataset}/{unit.name}: {error.where}", error.what, got=error.got, expected=error.expected, mend=error.mend) from error
            ledger.clock.lap(bound.label)
        yield batch
        ledger.clock.lap(taker)
    ledger.clock.lap(read)


def apply(bound: Bound, arguments: dict[str, Any], batch: pa.RecordBatch, ledger: Ledger) -> pa.RecordBatch:
    """One map step or `keep` on one batch, with what it promised checked.

    Raises:
        DataError: the step changed the number of rows, its columns are not the declared ones, or a float column holds NaN.
    """
    if bound.step.kind == "keep":
        kept = batch.filter(bound.step.fn(batch, **arguments))
        ledger.moved(bound.label, batch.num_rows, kept.num_rows)
        if kept.num_rows < batch.num_rows:
            ledger.counts[f"{bound.label}.dropped.{arguments['reason']}"] += batch.num_rows - kept.num_rows
        return kept
    made = bound.step.fn(batch, **arguments)
    if made.num_rows != batch.num_rows:
        raise DataError(bound.label, "a map step changed the number of rows", got=made.num_rows, expected=batch.num_rows, mend="only `keep` drops rows")
    good = ledger.quarantine(bound.label, made)
    ledger.moved(bound.label, batch.num_rows, good.num_rows)
    good = _typed(good, bound.step.adds(bound.params, batch.schema), bound.label)
    for field in good.schema:
        if pa.types.is_floating(field.type) and pc.any(pc.is_nan(good.column(field.name))).as_py():
            raise DataError(
                bound.label, f"column {field.name} holds NaN", got="NaN", expected="a number or NULL", mend="the step must give NULL where there is no value"
            )
    return good


def _typed(batch: Any, schema: pa.Schema, where: str) -> Any:
    missing = [f.name for f in schema if f.name not in batch.schema.names]
    wrong = [f"{f.name} {batch.schema.field(f.name).type} instead of {f.type}" for f in schema if not missing and batch.schema.field(f.name).type != f.type]
    if missing or wrong:
        raise DataError(
            where,
            "the columns are not the declared ones",
            got="; ".join(wrong) or f"no {', '.join(missing)}",
            expected=", ".join(schema.names),
            mend="mend the step",
        )
    return batch.select(schema.names)
