"""Errors inside tasks of Spark arrive whole, once each, leave nothing half done, and the same command mends what they name."""

import json
import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dolma.core import manifest
from dolma.core.errors import DataError, EnvironmentFault
from dolma.core.files import sha256
from dolma.engines import components, spark_components, spark_tasks
from dolma.kernels import stars
from dolma.runner import Run
from tests.engines import graphs
from tests.engines.flow import RECIPES, write_env, write_raw, write_recipes

CLUSTERS = "pool/clusters"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graphs")
    made = np.random.default_rng(2)
    graphs.write(folder, np.array_split(made.integers(0, 1500, (1200, 2)), 3))
    return folder


def run(place: Path, name: str, **settings: object) -> bytes:
    Run(write_env(place, name, **settings), place / "pipelines").run([CLUSTERS])
    return (place / "build" / name / CLUSTERS / manifest.NAME).read_bytes()


@pytest.fixture(scope="module")
def reference(place: Path) -> bytes:
    return run(place, "one")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.spark
@pytest.mark.parametrize(("when", "damage"), [("_edges", flip), ("_edges", cut), ("_shards", flip)])
def test_a_file_damaged_before_a_task_reads_it_is_named_with_its_mend_and_made_again(
    place: Path, reference: bytes, spark: object, monkeypatch: pytest.MonkeyPatch, when: str, damage: Callable[[Path], None]
) -> None:
    honest, damaged = getattr(spark_components.Components, when), list[Path]()

    def after_damage(self: spark_components.Components, files: list[manifest.File], *rest: object, **named: object) -> object:
        if not damaged:
            damaged.append(self.folder / files[-1].name)
            damage(damaged[0])
        return honest(self, files, *rest, **named)

    monkeypatch.setattr(spark_components.Components, when, after_damage)
    name = f"{when}-{damage.__name__}"
    with pytest.raises(DataError) as caught:
        run(place, name, engine="spark", tasks=2)
    error = caught.value
    assert (error.where, error.what) == (str(damaged[0]), "an intermediate file differs from its record")
    assert error.got == sha256(damaged[0])[:16] != error.expected and error.mend.startswith("run the same command again")
    assert not (place / "build" / name / CLUSTERS / manifest.NAME).exists()
    assert run(place, name, engine="spark", tasks=2) == reference


@pytest.mark.spark
@pytest.mark.parametrize("rows", [10_000, 7])  # of a batch: the error comes in the first one, or after a gather has begun
def test_an_error_of_a_step_in_a_scatter_is_told_once_and_no_bucket_without_its_rows_is_kept(
    tmp_path: Path, spark: object, request: pytest.FixtureRequest, rows: int
) -> None:
    size = "spark.sql.execution.arrow.maxRecordsPerBatch"
    spark.conf.set(size, rows)  # type: ignore[attr-defined]
    request.addfinalizer(lambda: spark.conf.unset(size))  # type: ignore[attr-defined]
    write_raw(tmp_path)
    uses = ["tests.engines.flow", "tests.engines.deadly"]
    group = {"uses": uses, "input": "source/read", "table": "tag", "buckets": 3}
    recipes = {"source/read": RECIPES["source/read"], "pool/copies": {**group, "steps": [{"say_in_test": {"key": 905}}, {"count_test_copies": {}}]}}
    folder = write_recipes(tmp_path, recipes)
    with pytest.raises(DataError) as caught:
        Run(write_env(tmp_path, engine="spark"), folder).run(["."])
    error = caught.value
    assert (error.where, error.what, error.got, error.expected, error.mend) == ("pool/copies/00003: doc905", "no place for it", "905", "another", "wait")
    copies = tmp_path / "build" / "env" / "pool/copies"
    assert not list((copies / ".records").glob("gather/*.json")) and not list(copies.glob("*.parquet"))
    recipes["pool/copies"]["steps"][0]["say_in_test"]["key"] = -1
    write_recipes(tmp_path, recipes)
    for engine in ("spark", "datatrove"):
        Run(write_env(tmp_path, engine, engine=engine), folder).run(["."])
    one, other = (manifest.load(tmp_path / "build" / engine / "pool/copies") for engine in ("spark", "datatrove"))
    assert one.files == other.files and one.rows > 0


@pytest.mark.spark
def test_what_a_task_raises_besides_is_said_before_the_session_ends(spark: object) -> None:
    def divide(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield pa.RecordBatch.from_pydict({"result": [str(1 // (batch.num_rows - 1))]})

    frame = spark.createDataFrame([(1,)], "number int").repartition(1)  # type: ignore[attr-defined]
    with pytest.raises(EnvironmentFault) as caught:
        spark_tasks.collect(spark_tasks.mapped(frame, divide, spark_tasks.RESULT))
    assert caught.value.got.startswith("ZeroDivisionError")


def test_an_error_keeps_its_fields_as_text() -> None:
    error = spark_tasks.from_json(spark_tasks.as_json(EnvironmentFault("a\nb", "ü", got=3, mend="x")))
    assert type(error) is EnvironmentFault
    assert (error.where, error.what, error.got, error.expected, error.mend) == ("a\nb", "ü", "3", None, "x")


def test_a_task_gives_the_same_stars_in_whatever_order_the_numbers_of_its_files_come(tmp_path: Path) -> None:
    made, files = np.random.default_rng(4), []
    for number in range(6):
        ends = [pa.array(column) for column in made.integers(0, 300, (4, 100))]
        file = components.save([pa.RecordBatch.from_arrays(ends, schema=stars.PAIR)], stars.PAIR, tmp_path / f"{number}.arrow", f"{number}.arrow")
        files.append((file.name, file.sha256))
    read = spark_components._reader(str(tmp_path), files, True, 250)

    def rows(*numbers: list[int]) -> list[dict[str, int]]:
        batches = [pa.RecordBatch.from_pydict({"number": pa.array(some, pa.int32())}) for some in numbers]
        return [row for batch in read(iter(batches)) for row in batch.to_pylist()]

    sorted_once = rows([0, 1, 2, 3, 4, 5])
    assert len(sorted_once) > 500
    for seed in range(5):
        order = random.Random(seed).sample(range(6), 6)
        assert rows(order) == rows(order[:2], order[2:]) == sorted_once, json.dumps(order)
