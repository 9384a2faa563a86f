"""CPU seconds by step: nothing is left over, children count, and an attempt that was cut short is not forgotten."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dolma.core import manifest
from dolma.core.errors import DolmaError
from dolma.core.recipe import Compiled
from dolma.engines import cost, worker
from dolma.runner import Run
from tests.engines.flow import RECIPES, write_env, write_raw, write_recipes

BURN = "import time\nwhile time.process_time() < 0.4: pass\nprint('burnt', flush=True)\ninput()"
LABELS = {
    "source/read": {"map": {"read:jsonl", "0:tag_test_key", "1:keep", "write"}},
    "pool/short": {"map": {"read:input", "0:set", "1:keep", "write"}},
    "pool/copies": {"scatter": {"read:input", "0:count_test_copies", "shuffle"}, "gather": {"shuffle", "0:count_test_copies", "write"}},
    "pool/first": {"tags": {"shuffle"}, "map": {"read:input", "0:keep", "1:select", "write"}},
    "pool/count": {"reduce": {"read:input", "0:count_test_rows", "write"}},
}


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_recipes(tmp_path)
    write_raw(tmp_path, files=2, rows=60)
    write_env(tmp_path)
    return tmp_path


def made(place: Path, name: str) -> dict[str, Any]:
    folder = place / "build/env" / name
    found = cost.read(folder, manifest.load(folder).fingerprint)
    assert found is not None
    return found


def test_laps_leave_nothing_over() -> None:
    start = cost.cpu_seconds()
    clock = cost.Clock()
    burn(0.03)
    clock.lap("a")
    clock.lap("b")
    burn(0.02)
    clock.lap("a")
    spent = cost.cpu_seconds() - start
    assert clock.cpu["a"] >= 0.05 and 0 <= clock.cpu["b"] < clock.cpu["a"]
    assert sum(clock.cpu.values()) <= spent + 1e-9
    assert clock.described()["cpu"].keys() == {"a", "b"}


def test_children_count_while_they_live_and_once_they_are_buried() -> None:
    before = cost.cpu_seconds()
    with subprocess.Popen([sys.executable, "-c", BURN], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout and child.stdout.readline() == b"burnt\n"
        alive = cost.cpu_seconds() - before
        child.communicate(b"\n")
    buried = cost.cpu_seconds() - before
    assert alive >= 0.35 or not sys.platform.startswith("linux")
    assert buried >= max(0.4, alive - 0.02)  # a tick of the kernel is 10 ms


def test_every_step_of_every_pass_is_measured_and_no_manifest_has_it(place: Path) -> None:
    Run(place / "env.yaml", place / "pipelines").run(["."])
    for name, passes in LABELS.items():
        found = made(place, name)
        assert len(found["measured"]) == found["units"]
        assert {unit.split("/")[0] for unit in found["measured"]} == set(passes)
        for unit, value in found["measured"].items():
            assert set(value["cpu"]) == passes[unit.split("/")[0]], unit
            assert all(seconds >= 0 for seconds in value["cpu"].values()) and sum(value["cpu"].values()) > 0
        text = (place / "build/env" / name / manifest.NAME).read_text()
        assert '"cpu"' not in text and '"seconds"' not in text


def test_units_of_an_attempt_that_failed_are_in_the_line_of_the_next(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = worker.PASSES["map"]

    def fail(plan: Any, compiled: Any, unit: Any, work: Path) -> Any:
        if unit.name == "00001":
            raise DolmaError("here", "not now", mend="again")
        return honest(plan, compiled, unit, work)

    with monkeypatch.context() as patch:
        patch.setitem(worker.PASSES, "map", fail)
        with pytest.raises(DolmaError, match="not now"):
            Run(place / "env.yaml", place / "pipelines").run(["source/read"])
    assert not (place / "build/env/source/read/run.jsonl").exists()
    Run(place / "env.yaml", place / "pipelines").run(["source/read"])
    assert set(made(place, "source/read")["measured"]) == {"map/00000", "map/00001"}


def test_a_mended_shard_renews_its_own_costs_only(place: Path) -> None:
    Run(place / "env.yaml", place / "pipelines").run(["pool/short"])
    before = made(place, "pool/short")["measured"]
    next((place / "build/env/pool/short").glob("00001.parquet")).unlink()
    Run(place / "env.yaml", place / "pipelines").run(["pool/short"])
    log = place / "build/env/pool/short/run.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [sorted(line["measured"]) for line in lines] == [["map/00000", "map/00001"], ["map/00001"]]
    after = made(place, "pool/short")["measured"]
    assert after["map/00000"] == before["map/00000"] and after["map/00001"] == lines[1]["measured"]["map/00001"]
    with open(log, "a") as file:
        file.write('{"attempt": "cut by a k')
    assert made(place, "pool/short")["measured"] == after
    assert cost.read(log.parent, "another fingerprint") is None


def test_a_rule_belongs_to_the_step_that_made_what_it_looks_at(place: Path) -> None:
    steps = [
        {"keep": {"where": "id <> ''", "reason": "no_id"}},
        {"tag_length": {}},
        {"keep": {"where": "n_chars > 3 AND letter > 0", "reason": "short"}},
        {"tag_heuristics": {}},
        {"keep": {"where": "n_words > 1 OR n_chars > 9", "reason": "few_words"}},
        {"keep": {"where": "copies IS NULL OR length(text) = 0", "reason": "copy"}},
        {"keep": {"where": "true", "reason": "nothing"}},
    ]
    write_recipes(place, {"pool/rules": {**RECIPES["pool/first"], "steps": steps}})
    compiled = Run(place / "env.yaml", place / "pipelines").graph["pool/rules"]
    assert isinstance(compiled, Compiled)
    found = cost.families(compiled)
    assert [found[f"{n}:keep"] for n in (0, 2, 4, 5, 6)] == ["read:input", "1:tag_length", "3:tag_heuristics", "pool/copies", "6:keep"]


@pytest.mark.slow
@pytest.mark.spark
def test_spark_measures_the_same_steps(place: Path, spark: object) -> None:
    Run(write_env(place, engine="spark"), place / "pipelines").run(["."])
    for name, passes in LABELS.items():
        found = made(place, name)
        assert len(found["measured"]) == found["units"]
        for unit, value in found["measured"].items():
            assert set(value["cpu"]) == passes[unit.split("/")[0].removesuffix("-native")], unit


def test_a_shard_is_on_the_disk_before_its_name_and_its_name_before_its_record(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    events: list[tuple[str, str]] = []
    sync, replace = os.fsync, os.replace

    def synced(handle: int) -> None:
        events.append(("sync", Path(os.readlink(f"/proc/self/fd/{handle}")).name))
        sync(handle)

    def renamed(source: Any, target: Any) -> None:
        events.append(("name", Path(target).name))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    Run(place / "env.yaml", place / "pipelines").run(["source/read"])
    for unit in ("00000", "00001"):
        order = [events.index(one) for one in (("sync", f"{unit}.parquet"), ("name", f"{unit}.parquet"), ("name", f"{unit}.json"))]
        assert order == sorted(order)
        assert ("sync", "read") in events[order[1] : order[2]]  # the folder of the dataset
