"""Connected components on Spark by large-star and small-star (Kiveris et al., SoCC 2014): the rows of `cluster_edges`, with no table in any one process.

A node is (key, origin), as in the union-find of one machine; each round's edges are files below the dataset's `.work`, so that a kill costs one round. Only
counts come to the driver.
"""

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dolma.core.counts import merge
from dolma.core.errors import DataError
from dolma.core.files import write_atomic
from dolma.core.log import logger
from dolma.core.manifest import File
from dolma.engines import plan as plans
from dolma.engines import shuffle, worker
from dolma.engines.ledger import Ledger
from dolma.engines.plan import Plan, Record, Unit
from dolma.io import tables

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from dolma.engines.spark import Spark

log = logger(__name__)
PART = "_part"
ROUNDS = 100  # a chain of n takes about log2(n) rounds: 40 are enough for any graph that fits a cluster


def run(engine: "Spark", path: Path, attempt: str) -> Record:
    """The record of the one unit of a reduce pass whose step is `distributed="components"`.

    Raises:
        DataError: the rounds did not come to an end, or rows were lost on the way.
    """
    plan, compiled = plans.load(str(path))
    (unit,) = next(one for one in plan.passes if one.kind == "reduce").units
    rounds = Path(plan.folder) / ".work" / f"components-{plan.task('reduce', unit)[:16]}"
    ledger = Ledger(unit.name)
    with worker.workplace(plan, f"{attempt}-{os.getpid()}-reduce-{unit.name}") as work:
        labels = _labels(engine, _star(engine, _edges(engine, path, plan, unit, rounds, ledger), rounds))
        files = _write(engine, path, labels, work)
        assert compiled.final is not None
        label = compiled.final.label
        ledger.counts[f"{label}.rows_out"] += sum(file.rows for file in files)
        made = worker.finish(plan, "reduce", compiled, unit, work, ledger, None, None, files=tuple(files))
        done = worker.commit(plan, "reduce", unit, work, made)
    shutil.rmtree(rounds, ignore_errors=True)
    return done


def _edges(engine: "Spark", path: Path, plan: Plan, unit: Unit, rounds: Path, ledger: Ledger) -> "DataFrame":
    """The edges as pairs (u, v) of nodes, u > v, each once; written before anything is computed of them."""
    from pyspark import StorageLevel
    from pyspark.sql import functions as F

    counts = rounds / "counts.json"
    if not counts.is_file():
        shutil.rmtree(rounds, ignore_errors=True)
        numbers = engine.numbers(len(unit.inputs))
        found = engine.map(numbers, _reader(str(path)), "a struct<key: long, origin: long>, b struct<key: long, origin: long>, counts string")
        kept = found.persist(StorageLevel.DISK_ONLY)
        _save(kept.where("a IS NOT NULL").select(F.greatest("a", "b").alias("u"), F.least("a", "b").alias("v")).where("u <> v").distinct(), rounds / "0")
        merged = [json.loads(row.counts) for row in kept.where("counts IS NOT NULL").select("counts").collect()]
        kept.unpersist()
        write_atomic(counts, json.dumps(merge(merged)).encode())
    ledger.counts.update(json.loads(counts.read_bytes()))
    return engine.session.read.parquet(str(rounds / "0"))


def _reader(path: str) -> Any:
    """Tasks that read inputs of the reduce unit by number; after its edges each gives one row with its counts."""
    ends = pa.struct([("key", pa.int64()), ("origin", pa.int64())])
    schema = pa.schema([("a", ends), ("b", ends), ("counts", pa.string())])

    def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        plan, compiled = plans.load(path)
        (unit,) = next(one for one in plan.passes if one.kind == "reduce").units
        assert compiled.final is not None
        for numbers in batches:
            for number in numbers.column(0).to_pylist():
                ledger = Ledger(unit.name)
                taken = f"{compiled.final.label}.rows_in"
                ledger.counts[taken] += 0
                one = unit.model_copy(update={"inputs": (unit.inputs[number],)})
                for batch in worker.run_steps(plan, compiled, one, ledger):
                    ledger.counts[taken] += batch.num_rows
                    pairs = [
                        pa.StructArray.from_arrays([batch.column(f"key_{side}"), batch.column(f"origin_{side}")], fields=list(ends)) for side in ("a", "b")
                    ]
                    yield pa.RecordBatch.from_arrays([*pairs, pa.nulls(batch.num_rows, pa.string())], schema=schema)
                yield pa.RecordBatch.from_pylist([{"counts": json.dumps(ledger.counts)}], schema=schema)

    return read


def _star(engine: "Spark", edges: "DataFrame", rounds: Path) -> "DataFrame":
    """Stars: each node that is not the smallest of its component with that smallest, as (u, v)."""
    done = sorted((int(one.parent.name) for one in rounds.glob("*/_SUCCESS")), reverse=True)
    last = done[0]
    current = engine.session.read.parquet(str(rounds / str(last)))
    state = _state(current)
    for number in range(last + 1, ROUNDS):
        _save(_small(_large(current)), rounds / str(number))
        current = engine.session.read.parquet(str(rounds / str(number)))
        before, state = state, _state(current)
        log.info("  round %d: %s edges", number, f"{state[0]:,}")
        shutil.rmtree(rounds / str(number - 1), ignore_errors=True) if number > 1 else None
        if state == before:
            return current
    raise DataError(str(rounds.parent.parent), "the components did not come to an end", got=f"{ROUNDS} rounds", expected="fewer", mend="report it")


def _large(edges: "DataFrame") -> "DataFrame":
    """Each node's larger neighbours joined to its smallest neighbour, or to itself if that is smaller."""
    from pyspark.sql import functions as F

    both = edges.select("u", "v").unionAll(edges.select(F.col("v").alias("u"), F.col("u").alias("v")))
    least = both.groupBy("u").agg(F.least(F.min("v"), F.col("u")).alias("m"))
    return both.join(least, "u").where("v > u").select(F.col("v").alias("u"), F.col("m").alias("v")).distinct()


def _small(edges: "DataFrame") -> "DataFrame":
    """Each node's smaller neighbours, and the node itself, joined to the smallest of them."""
    from pyspark.sql import functions as F

    least = edges.groupBy("u").agg(F.min("v").alias("m"))
    others = edges.join(least, "u").where("v <> m").select(F.col("v").alias("u"), F.col("m").alias("v"))
    return others.unionAll(least.select("u", F.col("m").alias("v"))).distinct()


def _state(edges: "DataFrame") -> tuple[int, int]:
    """How many edges, and a hash of which: equal states are equal edges, but for a chance of 2^-64."""
    from pyspark.sql import functions as F

    row = edges.agg(F.count("*").alias("n"), F.expr("bit_xor(xxhash64(u.key, u.origin, v.key, v.origin))").alias("h")).collect()[0]
    return int(row.n), int(row.h or 0)


def _save(frame: "DataFrame", folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    frame.write.parquet(str(folder))


def _labels(engine: "Spark", stars: "DataFrame") -> "DataFrame":
    """Rows of `cluster_edges`: the leaves of each star, and its centre."""
    from pyspark.sql import functions as F

    sizes = stars.groupBy("v").agg((F.count("*") + 1).alias("size"))
    nodes = stars.select("u", "v").unionAll(sizes.select(F.col("v").alias("u"), "v")).join(sizes, "v")
    return nodes.select(F.expr("u.origin AS origin"), F.expr("u.key AS key"), F.expr("v.key AS cluster"), F.expr("int(size) AS cluster_size"))


def _write(engine: "Spark", path: Path, labels: "DataFrame", work: Path) -> list[File]:
    """The shards of the labels in `work`, each sorted by origin and written by one task."""
    from pyspark.sql import functions as F

    plan, compiled = plans.load(str(path))
    assert compiled.final is not None
    size = compiled.final.arguments()["shards_per_part"]
    part = (F.shiftright("origin", 32) / size).cast("int")
    rows = labels.withColumn(PART, part).repartition(engine.slices(len(plan.passes[-1].units[0].inputs)), PART).sortWithinPartitions(PART, "origin", "key")
    found = [File.model_validate_json(row.file) for row in engine.map(rows, _writer(str(path), str(work)), "file string").collect()]
    if not found:
        found = worker.write_parts([(0, [])], compiled.schema, work)
    return sorted(found, key=lambda file: file.name)


def _writer(path: str, work: str) -> Any:
    def write(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from pyspark import TaskContext

        _, compiled = plans.load(path)
        context = TaskContext.get()
        assert context is not None
        for number, rows in shuffle.runs(batches, PART):
            name = f"{number:05d}.parquet"
            temporary = Path(work) / f".{name}.{context.taskAttemptId()}"
            schema = compiled.schema
            file = tables.write(
                (pa.RecordBatch.from_arrays([b.column(f.name).cast(f.type) for f in schema], schema=schema) for b in rows), schema, temporary, name
            )
            os.replace(temporary, Path(work) / name)
            yield pa.RecordBatch.from_pydict({"file": [file.model_dump_json()]})

    return write
