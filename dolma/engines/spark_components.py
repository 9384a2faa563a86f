"""Connected components on Spark: rounds of large-star and small-star, each kept on disk, so that a killed run goes on at the round that it was in.

Neighbours come sorted out of Spark's shuffle, which spills, and are never held together: a document with any number of them takes one batch of memory.
Only the names of files and counts cross to the driver.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dolma.core.files import sha256, write_atomic
from dolma.core.log import logger
from dolma.core.manifest import File, canonical
from dolma.engines import components, records, spark, worker
from dolma.engines import plan as plans
from dolma.engines.plan import Record
from dolma.engines.spark_tasks import RESULT, collect, mapped

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

log = logger(__name__)
FEW = 1 << 20  # edges that one task joins by union-find (96 bytes a document, some 220 MB): the last rounds of long chains become one

ROUND = re.compile(r"\d+(\.json)?")  # a kill in `write_atomic` leaves `.000.json.PID` beside them


class Components:
    """The components of the edges of one plan."""

    def __init__(self, running: "SparkSession", path: Path, slices: int) -> None:
        self.running, self.slices = running, slices
        self.plan, self.compiled = plans.load(str(path))
        self.folder = Path(self.plan.folder)
        self.rounds = self.folder / ".work" / "components"
        unit = next(one for one in self.plan.passes if one.kind == "reduce").units[0]
        self.task = self.plan.task("components", unit)

    def reduce(self, attempt: str) -> Record:
        """The record of the reduce unit: rounds until all edges are stars, then the shards."""
        files, number, left = self._resume()
        while not (number % 2 == 0 and left == 0):
            number += 1
            files, left = self._round(files, number)
            log.info(
                "  %s: round %d, %s-star: %s edges%s", self.plan.dataset, number // 2, _kind(number), f"{sum(f.rows for f in files):,}", _rest(number, left)
            )
            for old in self.rounds.iterdir():
                if ROUND.fullmatch(old.name) and int(old.name.split(".")[0]) < number - 1:
                    _remove(old)
        return worker.reduce_natively(self.plan, self.compiled, attempt, lambda work: self._shards(files, work, attempt))

    def _resume(self) -> tuple[list[File], int, int]:
        """(files, number, what is left) of the last round that is there with all its bytes; the edges themselves are round -1."""
        for stray in list(self.rounds.iterdir()) if self.rounds.is_dir() else []:
            if not ROUND.fullmatch(stray.name):
                _remove(stray)
        for path in sorted(self.rounds.glob("*.json"), reverse=True):
            try:
                found = json.loads(path.read_bytes())
                files = [File.model_validate(one) for one in found["files"]]
            except (ValueError, KeyError):
                continue
            if found.get("task") == self.task and all((self.folder / f.name).is_file() and sha256(self.folder / f.name) == f.sha256 for f in files):
                return files, int(path.stem), int(found["left"])
        shutil.rmtree(self.rounds, ignore_errors=True)
        return components.edge_files(self.plan), -1, 0

    def _round(self, files: list[File], number: int) -> tuple[list[File], int]:
        """One operation over the edges in `files`: (files of its result, what keeps them from being stars)."""
        shutil.rmtree(self.rounds / f"{number:03d}", ignore_errors=True)
        (self.rounds / f"{number:03d}").mkdir(parents=True)
        edges = self._edges(files, large=number % 2 == 0)
        ordered = edges.repartition(self.slices, "uk", "uo").sortWithinPartitions("uk", "uo", "vk", "vo")
        where = str(Path(".work") / "components" / f"{number:03d}")
        done = [json.loads(result) for result in collect(mapped(ordered, _star(str(self.folder), where, _kind(number)), RESULT))]
        made, left = [File.model_validate(file) for file, _ in done], sum(left for _, left in done)
        value = {"task": self.task, "left": left, "files": [file.model_dump() for file in sorted(made, key=lambda f: f.name)]}
        write_atomic(self.rounds / f"{number:03d}.json", canonical(value))
        return made, left

    def _edges(self, files: list[File], large: bool) -> "DataFrame":
        from dolma.kernels import stars

        names = [(file.name, file.sha256) for file in files]
        few = large and sum(file.rows for file in files) <= FEW
        slices = 1 if few else max(1, min(self.slices, len(names)))
        numbers = self.running.createDataFrame([(n,) for n in range(len(names))], "number int").repartition(slices)
        read = _reader(str(self.folder), names, large, FEW)
        return mapped(numbers, read, stars.PAIR)

    def _shards(self, files: list[File], work: Path, attempt: str) -> list[File]:
        """Write the shards of stars: the rows of `cluster_edges`, by origin."""
        assert self.compiled.final is not None
        shards = int(getattr(self.compiled.final.params, "shards"))  # noqa: B009
        from dolma.kernels import stars as kernels

        edges = self._edges(files, large=False)
        stars = edges.repartition(self.slices, "vk", "vo").sortWithinPartitions("vk", "vo", "uk", "uo")
        rows = mapped(stars, _sizes(str(work), shards), kernels.ROW)
        ordered = rows.repartition(self.slices, "shard").sortWithinPartitions("shard", "origin", "key")
        where = str(self.folder / ".work" / "plan.json")
        done = [File.model_validate_json(result) for result in collect(mapped(ordered, _writer(where, str(work)), RESULT))]
        return sorted(done, key=lambda f: f.name) or [components.write_shard([], self.compiled.schema, 0, work)]


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _kind(number: int) -> str:
    return "small" if number % 2 else "large"


def _rest(number: int, left: int) -> str:
    return "" if number % 2 else f", {left:,} not yet at their smallest"


def _reader(folder: str, files: list[tuple[str, str]], large: bool, few: int) -> Callable[..., Any]:
    def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from dolma.kernels import stars

        def edges() -> Iterator[pa.RecordBatch]:
            # Sorted: Spark hands numbers on in the order that it fetched them in, and `contracted` makes other stars of another order. A task that is tried
            # again after some of its rows were taken must give the same rows, or edges between the two kinds of stars are lost.
            for number in sorted(number for batch in batches for number in batch.column(0).to_pylist()):
                name, digest = files[number]
                path = records.whole(Path(folder), File(name=name, rows=0, bytes=0, sha256=digest), "edges")
                yield from components.load(path)

        yield from map(stars.both_ways, stars.contracted(edges(), max(few, 1))) if large else map(stars.downwards, edges())

    return read


def _star(folder: str, where: str, kind: str) -> Callable[..., Any]:
    def star(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from dolma.kernels import stars

        one = stars.Star(kind)
        name, temporary = _place(Path(folder) / where)
        file = components.save(one.run(batches), stars.PAIR, temporary, f"{where}/{name}")
        temporary.replace(Path(folder) / where / name)
        if file.rows:
            yield pa.RecordBatch.from_pydict({"result": [json.dumps([file.model_dump(), one.left])]})

    return star


def _place(folder: Path) -> tuple[str, Path]:
    """The name of a task's file, and where it is written first: Spark may try a task twice at once."""
    from pyspark import TaskContext

    context = TaskContext.get()
    assert context is not None
    name = f"{context.partitionId():05d}.arrow"
    return name, folder / f".{name}.{context.taskAttemptId()}"


def _sizes(work: str, shards: int) -> Callable[..., Any]:
    """Stars, sorted by their centre, to rows with the size of each: they are written down first, since a size is known after the last ray."""

    def sizes(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from dolma.kernels import stars

        _, path = _place(Path(work))
        count = stars.Rays()
        components.save(count.run(batches), stars.PAIR, path, "stars")
        try:
            yield from count.rows(components.load(path), shards)
        finally:
            path.unlink(missing_ok=True)

    return sizes


def _writer(path: str, work: str) -> Callable[..., Any]:
    def write(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        _, compiled = plans.load(path)
        schema = compiled.schema
        for number, rows in spark.runs(batches, "shard"):
            _, temporary = _place(Path(work))
            typed = (pa.RecordBatch.from_arrays([*b.columns[1:4], b.column(4).cast(pa.int32())], schema=schema) for b in rows)
            file = components.write_shard(typed, schema, number, Path(work), temporary.name)
            yield pa.RecordBatch.from_pydict({"result": [file.model_dump_json()]})

    return write
