"""Both engines, any number of tasks, any kind of death: the same manifests, byte for byte."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dolma import cli
from dolma.core import manifest
from dolma.core.errors import DataError, DolmaError, EnvironmentFault, Partial
from dolma.runner import Run, lock
from tests.engines.flow import RECIPES, write_env, write_raw, write_recipes
from tests.messages import parts

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flow")
    write_recipes(folder)
    write_raw(folder)
    return folder


def manifests(folder: Path, name: str) -> dict[str, bytes]:
    return {dataset: (folder / "build" / name / dataset / manifest.NAME).read_bytes() for dataset in RECIPES}


@pytest.fixture(scope="module")
def reference(place: Path) -> dict[str, bytes]:
    Run(write_env(place, "one"), place / "pipelines").run(["."])
    return manifests(place, "one")


def test_second_run_makes_nothing(place: Path, reference: dict[str, bytes]) -> None:
    run = Run(place / "one.yaml", place / "pipelines")
    assert run.run(["."]) == 0
    assert {line.state for line in run.plan(["."])} == {"fresh"}
    assert manifests(place, "one") == reference


def test_the_flow_gives_what_its_recipes_say(place: Path, reference: dict[str, bytes]) -> None:
    root = place / "build" / "one"
    read = manifest.load(root / "source/read")
    assert (read.rows, read.counts["read:jsonl.quarantined"], read.counts["1:keep.dropped.empty"]) == (1470, 1, 30)
    first = manifest.read(root / "pool/first").to_pydict()
    short = manifest.read(root / "pool/short").to_pydict()
    smallest: dict[str, int] = {}
    for key, text in zip(short["key"], short["text"], strict=True):
        smallest[text[0]] = min(key, smallest.get(text[0], key))
    assert sorted(first["key"]) == sorted(smallest.values())
    aside = manifest.load(root / "source/read").quarantine
    import pyarrow.parquet as pq

    row = pq.read_table(root / "source/read" / aside[0].name).to_pylist()[0]
    assert row["file"] == "part-1.jsonl.gz" and row["offset"] > 0 and "JSON" in row["reason"]


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"workers": 2}, {"workers": 2, "tasks": 1}, {"workers": 2, "tasks": 2}, {"workers": 2, "tasks": 7}])
def test_pool_gives_the_same_manifests_for_any_number_of_tasks(place: Path, reference: dict[str, bytes], settings: dict[str, int]) -> None:
    name = "pool" + "".join(f"-{key}{value}" for key, value in settings.items())
    Run(write_env(place, name, **settings), place / "pipelines").run(["."])
    assert manifests(place, name) == reference


@pytest.mark.slow
def test_kill_nine_in_the_middle_then_the_same_command_gives_the_same_manifests(place: Path, reference: dict[str, bytes]) -> None:
    env = write_env(place, "killed", workers=2)
    script = f"import sys; from pathlib import Path; from dolma.runner import run; run(['.'], Path({str(env)!r}), pipelines=Path({str(place / 'pipelines')!r}))"
    for seconds in (1.5, 2.5, 3.5):
        process = subprocess.Popen(
            [sys.executable, "-c", script], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True, stderr=subprocess.DEVNULL
        )
        time.sleep(seconds)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    Run(env, place / "pipelines").run(["."])
    assert manifests(place, "killed") == reference
    assert not list((place / "build" / "killed").rglob(".work"))


def test_a_damaged_shard_is_found_and_made_again_alone(place: Path, reference: dict[str, bytes]) -> None:
    env = write_env(place, "damaged")
    Run(env, place / "pipelines").run(["."])
    folder = place / "build" / "damaged" / "pool/short"
    kept, hit = folder / "00001.parquet", folder / "00002.parquet"
    content = bytearray(hit.read_bytes())
    content[len(content) // 2] ^= 1
    hit.write_bytes(content)
    for after in ("pool/copies", "pool/first"):
        (place / "build" / "damaged" / after / manifest.NAME).unlink()
        for record in (place / "build" / "damaged" / after / ".records").rglob("*.json"):
            record.unlink()
    with pytest.raises(DataError) as error:
        Run(env, place / "pipelines").run(["."])
    assert "00002.parquet" in str(error.value) and "mend:" in str(error.value)
    (folder / manifest.NAME).unlink()
    before = kept.stat().st_mtime_ns
    Run(env, place / "pipelines").run(["."])
    assert manifests(place, "damaged") == reference
    assert kept.stat().st_mtime_ns == before


def test_a_worker_that_dies_is_named_and_the_others_finish(place: Path) -> None:
    recipes = {
        "source/read": RECIPES["source/read"],
        "pool/dies": {"uses": ["tests.engines.deadly"], "input": "source/read", "table": "document", "steps": [{"die_test_unit": {"key": 905}}]},
    }
    folder = place / "deadly"
    folder.mkdir()
    write_recipes(folder, recipes)
    write_raw(folder)
    env = write_env(folder, workers=2)
    with pytest.raises(DataError, match="kills its worker"):
        Run(env, folder / "pipelines").run(["."])
    records = list((folder / "build" / "env" / "pool/dies" / ".records" / "map").glob("*.json"))
    assert len(records) == 4


def test_an_exception_in_a_step_names_its_unit_and_keeps_the_rest(place: Path) -> None:
    folder = place / "raises"
    folder.mkdir()
    write_recipes(
        folder,
        {
            "source/read": RECIPES["source/read"],
            "pool/raises": {"uses": ["tests.engines.deadly"], "input": "source/read", "table": "document", "steps": [{"raise_in_test": {"key": 905}}]},
        },
    )
    write_raw(folder)
    with pytest.raises(DolmaError, match=r"pool/raises map 3: ZeroDivisionError") as error:
        Run(write_env(folder), folder / "pipelines").run(["."])
    assert "deadly.py" in str(error.value)
    assert len(list((folder / "build" / "env" / "pool/raises" / ".records" / "map").glob("*.json"))) == 4


def test_a_ledger_that_does_not_balance_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dolma.engines import worker

    folder = place / "ledger"
    folder.mkdir()
    write_recipes(folder)
    write_raw(folder, files=1)
    honest = worker.Ledger.moved
    monkeypatch.setattr(worker.Ledger, "moved", lambda self, label, n, m: honest(self, label, n, m - (label == "0:tag_test_key" and m > 0)))
    with pytest.raises(DataError, match=r"does not balance|rows were lost") as error:
        Run(write_env(folder), folder / "pipelines").run(["source/read"])
    assert error.value.code == 3
    assert not manifest.exists(folder / "build" / "env" / "source/read")


def test_a_map_step_that_drops_rows_is_refused(place: Path) -> None:
    folder = place / "drops"
    folder.mkdir()
    write_recipes(
        folder, {"source/read": {**RECIPES["source/read"], "uses": ["tests.engines.deadly"], "steps": [*RECIPES["source/read"]["steps"], {"drop_in_test": {}}]}}
    )
    write_raw(folder, files=1)
    with pytest.raises(DataError, match="changed the number of rows"):
        Run(write_env(folder), folder / "pipelines").run(["."])


def test_two_runs_on_one_dataset_when_the_second_is_refused(tmp_path: Path) -> None:
    with lock(tmp_path / "one"), pytest.raises(EnvironmentFault, match="another run"), lock(tmp_path / "one"):
        pass


def test_a_group_step_over_tagged_rows_has_buckets_of_its_own(place: Path, reference: dict[str, bytes]) -> None:
    again = {**RECIPES["pool/copies"], "tags": {"pool/copies": ["copies"]}, "steps": [{"keep": {"where": "copies IS NULL", "reason": "copy"}}]}
    again["steps"] += RECIPES["pool/copies"]["steps"]
    write_recipes(place, {"pool/again": {**again, "buckets": 2}, "pool/whole": {name: value for name, value in again.items() if name != "buckets"}})
    try:
        Run(place / "one.yaml", place / "pipelines").run(["pool/again", "pool/whole"])
        root = place / "build" / "one"
        short, copies, two, one = (manifest.load(root / name) for name in ("pool/short", "pool/copies", "pool/again", "pool/whole"))
        assert len(short.files) == 5 and len(two.files) == 2 and len(one.files) == 1
        assert two.counts["0:keep.dropped.copy"] == one.counts["0:keep.dropped.copy"] == copies.rows > 0
        assert two.counts["1:count_test_copies.gathered"] == short.rows - copies.rows
    finally:
        for name in ("again", "whole"):
            (place / "pipelines" / "pool" / f"{name}.yaml").unlink()


def test_limit_makes_another_dataset(place: Path, reference: dict[str, bytes]) -> None:
    Run(write_env(place, "limited", limit=2), place / "pipelines").run(["source/read"])
    limited = manifest.load(place / "build" / "limited" / "source/read")
    assert limited.rows == 588 and limited.fingerprint != json.loads(reference["source/read"])["fingerprint"]


@pytest.mark.slow
def test_slurm_runs_the_same_units_through_a_stand_in_sbatch(place: Path, reference: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.engines.slurm import install

    install(tmp_path, monkeypatch)
    settings = {"scheduler": "slurm", "tasks": 3, "slurm": {"env_command": f"export PYTHONPATH={ROOT} PATH={Path(sys.executable).parent}:$PATH"}}
    run = Run(write_env(place, "slurm", **settings), place / "pipelines")
    for _ in range(20):
        try:
            run.run(["."])
            break
        except Partial as error:
            assert error.code == 5 and "resumes" in str(error)
    assert manifests(place, "slurm") == reference


@pytest.mark.slow
@pytest.mark.spark
@pytest.mark.parametrize("tasks", [None, 1, 2, 7])
def test_spark_gives_the_same_manifests(place: Path, reference: dict[str, bytes], spark: object, tasks: int | None) -> None:
    name = f"spark-{tasks}"
    Run(write_env(place, name, engine="spark", **({"tasks": tasks} if tasks else {})), place / "pipelines").run(["."])
    assert manifests(place, name) == reference


@pytest.mark.spark
def test_a_dataset_is_a_data_frame_and_back(place: Path, reference: dict[str, bytes], spark: object, tmp_path: Path) -> None:
    from dolma.engines.spark import read, write

    frame = read(spark, place / "build" / "one" / "pool/short")  # type: ignore[arg-type]
    assert frame.count() == json.loads(reference["pool/short"])["rows"]
    made = write(frame.where("n_chars < 20").select("id", "text"), tmp_path / "out")
    assert made.rows == frame.where("n_chars < 20").count() > 0
    assert manifest.read(tmp_path / "out").num_rows == made.rows


def test_no_java_says_how_to_get_one(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyspark")
    from pyspark.sql import SparkSession

    monkeypatch.setattr(SparkSession, "getActiveSession", classmethod(lambda cls: None))
    monkeypatch.setenv("JAVA_HOME", "/nowhere")
    env = write_env(place, "nojava", engine="spark")
    assert cli.main(["run", "source/read", "--env", str(env), "--pipelines", str(place / "pipelines")]) == 4
    said = parts(capsys.readouterr().err)
    assert (said["where"], said["got"], said["expected"]) == ("engine spark", "Java none", "17 or newer")
    assert "openjdk-17" in said["mend"] and "engine: datatrove" in said["mend"]
    assert not (place / "build/nojava").exists()
