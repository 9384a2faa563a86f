"""The engine `spark`: map passes run the same units as every engine; group passes go through Spark's own shuffle, which spills, retries and scales.

Only records cross to the driver. A session is taken from spark-submit when there is one, else a local one is started. Without Java nothing but
this file fails, and it says how to get one.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dolma.core import manifest
from dolma.core.config import Env
from dolma.core.errors import DolmaError, EnvironmentFault
from dolma.core.manifest import File, Manifest
from dolma.engines import plan as plans
from dolma.engines import shuffle, worker
from dolma.engines.spark_tasks import RESULT, as_json, collect, from_json, mapped

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

Result = tuple[int, DolmaError | None]
JAVA = 17  # Spark 4 needs Java 17 or newer
BUCKET = "_bucket"


def java_version() -> int | None:
    """The major version of the Java that Spark would start, or None."""
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if not java or not Path(java).exists():
        return None
    text = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    quoted = text.split('"')
    return int(quoted[1].split(".")[0]) if len(quoted) > 1 and quoted[1].split(".")[0].isdigit() else None


def active() -> "SparkSession | None":
    """The session that is running in this process, if any.

    Raises:
        EnvironmentFault: no PySpark.
    """
    try:
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise EnvironmentFault(
            "engine spark", "PySpark is not installed", got="no package pyspark", expected="4.1 or newer", mend="pip install 'dolma-flow[spark]'"
        ) from error
    return SparkSession.getActiveSession()


def session(workers: int = 2) -> "SparkSession":
    """The running session, one as spark-submit configures it, or a local one with `workers` cores.

    Raises:
        EnvironmentFault: no PySpark, no Java, or one that is too old.
    """
    if (running := active()) is not None:
        return running
    from pyspark.sql import SparkSession

    if "PYSPARK_GATEWAY_PORT" not in os.environ and (java_version() or 0) < JAVA:
        raise EnvironmentFault(
            "engine spark",
            "no Java that Spark can use",
            got=f"Java {java_version() or 'none'}",
            expected=f"{JAVA} or newer",
            mend="install one (Debian: `apt-get install openjdk-17-jre-headless`) or set JAVA_HOME; or use `engine: datatrove`",
        )
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    builder = SparkSession.builder.appName("dolma")
    if "PYSPARK_GATEWAY_PORT" not in os.environ:
        options = {
            "spark.driver.memory": "1g",
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.log.level": "ERROR",
            "spark.executorEnv.PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        builder = builder.master(f"local[{workers},3]")
        for key, value in options.items():
            builder = builder.config(key, value)
    with _quiet():
        made = builder.getOrCreate()
    made.sparkContext.setLogLevel("ERROR")
    return made


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the JVM's first lines, which obey no logging, off the terminal."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


class Spark:
    """Runs units as Spark tasks, and group passes as a Spark shuffle."""

    def __init__(self, env: Env) -> None:
        self.env = env
        self.own = active() is None
        self.session = session(env.workers)

    def run(self, path: Path, kind: str, indices: Sequence[int], attempt: str) -> Iterator[Result]:
        """Run these units of a pass as tasks; (index, error or None). A task that dies is retried by Spark."""
        context = self.session.sparkContext
        slices = min(len(indices), self.env.tasks or 4 * context.defaultParallelism)
        where = str(path)

        def one(index: int) -> tuple[int, DolmaError | None]:
            number, _, error = worker.try_unit(where, kind, index, attempt)
            return number, error

        yield from context.parallelize(list(indices), slices).map(one).collect()

    def shuffle(self, path: Path, indices: Sequence[int], attempt: str) -> Iterator[Result]:
        """A whole group pass through Spark's shuffle for the output shards `indices`; (index, error or None)."""
        from pyspark.sql import functions as F

        plan, compiled = plans.load(str(path))
        assert compiled.final is not None
        units = next(one for one in plan.passes if one.kind == "scatter").units
        schema = shuffle.shuffled_schema(plan, compiled)
        wire = _wire(schema)
        slices = min(len(units), self.env.tasks or 4 * self.session.sparkContext.defaultParallelism)
        numbers = self.session.createDataFrame([(n,) for n in range(len(units))], "unit int").repartition(slices)
        gathers = next(one for one in plan.passes if one.kind == "gather").units
        keep = pa.array([gathers[index].bucket for index in indices], pa.int32())
        told = pa.RecordBatch.from_arrays([keep], names=[BUCKET])  # a bucket that lacks rows must not leave a record
        rows = mapped(numbers, _scatterer(str(path), keep), wire.append(pa.field(BUCKET, pa.int32())), told)
        order = [F.col(name).asc_nulls_last() for name in (BUCKET, *compiled.final.step.key, *compiled.final.step.order)]
        placed = rows.repartitionById(plan.buckets, F.col(BUCKET)).sortWithinPartitions(*order)
        try:
            done = [json.loads(result) for result in collect(mapped(placed, _gatherer(str(path), attempt), RESULT))]
        except DolmaError as error:
            yield indices[0], error
            return
        seen = {index for index, _ in done}
        for index, error in done:
            yield index, None if error is None else from_json(error)
        rest = [index for index in indices if index not in seen]  # empty buckets: no partition saw a row of them
        if rest:
            where = str(path)
            for index, error in self.session.sparkContext.parallelize(rest, 1).map(lambda index: _gather(where, index, iter(()), attempt)).collect():
                yield index, None if error is None else from_json(error)

    def components(self, path: Path, attempt: str) -> Iterator[Result]:
        """A reduce pass over edges as rounds of Spark shuffles; (0, error or None)."""
        from dolma.engines.spark_components import Components

        try:
            Components(self.session, path, self.env.tasks or 4 * self.session.sparkContext.defaultParallelism).reduce(attempt)
        except DolmaError as error:
            yield 0, error
        else:
            yield 0, None

    def close(self) -> None:
        """End the session that this engine began; one that was there before stays."""
        if self.own:
            stop(self.session)


def stop(running: "SparkSession") -> None:
    """End a session that was started here, and its JVM."""
    context = running.sparkContext
    gateway = context._gateway
    running.stop()
    proc = getattr(gateway, "proc", None)
    if gateway is not None and proc is not None:
        gateway.shutdown()
        proc.stdin.close()
        proc.wait()
        type(context)._gateway = None
        type(context)._jvm = None


def _scatterer(path: str, keep: pa.Array) -> Any:
    def scatter(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        plan, compiled = plans.load(path)
        assert compiled.final is not None
        units = next(one for one in plan.passes if one.kind == "scatter").units
        for numbers in batches:
            for number in numbers.column(0).to_pylist():
                unit = units[number]
                ledger = worker.Ledger(unit.name)
                for batch in shuffle.rows(plan, compiled, worker.run_steps(plan, compiled, unit, ledger), ledger):
                    places = pa.array(shuffle.bucket(batch, compiled.final.step.key, plan.buckets), pa.int64()).cast(pa.int32())
                    sent = _cast(batch, _wire(batch.schema)).append_column(BUCKET, places)
                    yield sent.filter(pa.compute.is_in(places, keep))
                worker.save_scattered(plan, unit, ledger)

    return scatter


def _gatherer(path: str, attempt: str) -> Any:
    def gather(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for number, rows in runs(batches, BUCKET):
            yield pa.RecordBatch.from_pydict({"result": [json.dumps(_gather(path, number, rows, attempt))]})

    return gather


def runs(batches: Iterable[pa.RecordBatch], name: str) -> Iterator[tuple[int, Iterator[pa.RecordBatch]]]:
    """(value, batches with it) of batches that are sorted by the column `name`; what is not taken of one is skipped."""
    rest = iter(batches)
    held: list[pa.RecordBatch] = []

    def same(batch: pa.RecordBatch, number: int) -> Iterator[pa.RecordBatch]:
        current: pa.RecordBatch | None = batch
        while current is not None:
            end = pa.compute.sum(pa.compute.equal(current.column(name), number)).as_py() or 0
            if end:
                yield current.slice(0, end)
            if end < current.num_rows:
                held.append(current.slice(end))
                return
            current = next(rest, None)

    while (batch := held.pop() if held else next(rest, None)) is not None:
        if batch.num_rows:
            number = batch.column(name)[0].as_py()
            one = same(batch, number)
            yield number, one
            for _ in one:
                pass


def _gather(path: str, bucket: int, batches: Iterator[pa.RecordBatch], attempt: str) -> tuple[int, str | None]:
    """Group step and shard of one bucket whose rows arrive sorted; (index, error)."""
    plan, compiled = plans.load(path)
    units = next(one for one in plan.passes if one.kind == "gather").units
    index = next(n for n, unit in enumerate(units) if unit.bucket == bucket)
    schema = shuffle.shuffled_schema(plan, compiled)
    try:
        worker.gather_sorted(plan, compiled, units[index], (_cast(b.drop_columns([BUCKET]), schema) for b in batches), attempt)
    except DolmaError as error:
        return index, as_json(error)
    return index, None


UNSIGNED = {pa.uint8(): pa.int16(), pa.uint16(): pa.int32(), pa.uint32(): pa.int64()}  # Spark has no unsigned integers


def _wire(schema: pa.Schema) -> pa.Schema:
    """The schema as Spark can carry it: signed integers, small lists and strings."""

    def kind(of: pa.DataType) -> pa.DataType:
        if pa.types.is_large_list(of) or pa.types.is_list(of):
            return pa.list_(kind(of.value_type))
        return {pa.large_string(): pa.string(), pa.large_binary(): pa.binary(), **UNSIGNED}.get(of, of)

    return pa.schema([pa.field(f.name, kind(f.type)) for f in schema])


def _cast(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([batch.column(f.name).cast(f.type) for f in schema], schema=schema)


@lru_cache(1)
def _reader_options() -> dict[str, str]:
    return {"mergeSchema": "false"}


def read(running: "SparkSession", folder: Path | str) -> "DataFrame":
    """A dataset as a DataFrame: just the files that its manifest lists, checked for their lengths."""
    folder = Path(folder)
    found = manifest.load(folder)
    return running.read.options(**_reader_options()).parquet(*[str(manifest.shard(folder, file)) for file in found.files])


def write(frame: "DataFrame", folder: Path | str, *, table: str = "rows") -> Manifest:
    """Write a DataFrame as a dataset, one shard a partition, with a manifest; the fingerprint is that of the shards.

    Raises:
        DataError: the partitions gave other rows than they took.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / manifest.NAME).unlink(missing_ok=True)
    target = str(folder)

    def save(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from pyspark import TaskContext

        from dolma.io import tables

        context = TaskContext.get()
        assert context is not None
        rest = iter(batches)
        first = next(rest, None)
        if first is None:
            return
        name = f"{context.partitionId():05d}.parquet"
        temporary = Path(target) / f".{name}.{context.taskAttemptId()}"
        file = tables.write((b for part in ([first], rest) for b in part), first.schema, temporary, name)
        os.replace(temporary, Path(target) / name)
        yield pa.RecordBatch.from_pydict({"result": [file.model_dump_json()]})

    files = sorted(map(File.model_validate_json, collect(mapped(frame, save, RESULT))), key=lambda f: f.name)
    from dolma.core.graph import fingerprint

    made = Manifest(
        dataset=folder.name,
        fingerprint=fingerprint([[f.name, f.sha256] for f in files]),
        table=table,
        rows=sum(f.rows for f in files),
        tokens=sum(f.tokens for f in files),
        bytes=sum(f.bytes for f in files),
        files=files,
    )
    manifest.save(folder, made)
    return made
