"""Families of rules: every document that was removed and every second is in one of them."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from dolma import costs, sql, stats
from dolma.core import manifest as manifests
from dolma.runner import Run
from tests.built import DROPPED, build, dataset
from tests.engines.flow import write_env, write_raw, write_recipes


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a flow that was run, so that its costs are there."""
    folder = tmp_path_factory.mktemp("flow")
    write_recipes(folder)
    write_raw(folder, files=2, rows=100)
    Run(write_env(folder), folder / "pipelines").run(["pool/first"])
    return folder / "build/env"


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("source/read", ["read:jsonl", "tag_test_key", "write"]),
        ("pool/short", ["read:input", "set", "write"]),
        ("pool/first", ["read:input", "pool/copies", "select", "shuffle", "write"]),
    ],
)
def test_families_hold_every_document_that_was_removed_and_every_second(flow: Path, name: str, names: list[str]) -> None:
    manifest = manifests.load(flow / name)
    found = costs.families(flow, manifest)
    assert [family.name for family in found] == names
    documents = stats.entered(manifest)
    assert sum(family.removed for family in found) == documents - manifest.rows > 0
    assert sum(family.of_pool for family in found) == pytest.approx(100 * (documents - manifest.rows) / documents)
    cpu = sql.query(flow, f"SELECT family, sum(cpu) AS cpu FROM costs WHERE dataset = '{name}' GROUP BY 1 ORDER BY 1").to_pylist()
    assert sorted((round(f.cpu or 0, 6), f.of_cpu and f.of_cpu > 0) for f in found) == sorted((round(row["cpu"], 6), row["cpu"] > 0) for row in cpu)
    assert sum(family.of_cpu or 0 for family in found) == pytest.approx(100)
    text = costs.text(flow, manifest)
    assert "% of pool" in text and "documents a CPU second" in text and all(one in text for one in names)


def test_costs_are_of_datasets_that_were_measured(flow: Path, root: Path) -> None:
    known = stats.datasets(flow)
    rows = costs.by_dataset(known, costs.measured(flow, known))
    assert [row[0] for row in rows] == ["pool/copies", "pool/first", "pool/short", "source/read"]
    for row in rows:
        cpu = sum(family.cpu or 0 for family in costs.families(flow, known[str(row[0])]))
        assert row[1:4] == [stats.entered(known[str(row[0])]), cpu, stats.entered(known[str(row[0])]) / cpu]
    assert costs.measured(root, stats.datasets(root)) == {}


def test_a_rate_is_of_the_units_that_were_measured(flow: Path, tmp_path: Path) -> None:
    name = "source/read"
    shutil.copytree(flow / name, tmp_path / name)
    known = {name: manifests.load(tmp_path / name)}
    whole = costs.by_dataset(known, costs.measured(tmp_path, known))[0]
    log = tmp_path / name / "run.jsonl"
    line = json.loads(log.read_text())
    assert whole[6] == "2 of 2" and "units" not in costs.text(tmp_path, known[name])
    cpu = sum(line["measured"].pop("map/00001")["cpu"].values())
    log.write_text(json.dumps(line) + "\n")
    part = costs.by_dataset(known, costs.measured(tmp_path, known))[0]
    assert part[1] == whole[1] and part[2] == pytest.approx(whole[2] - cpu) and part[6] == "1 of 2"
    assert part[3] == pytest.approx(stats.entered(known[name]) / 2 / part[2])
    assert f"in the 1 of 2 units that were measured, {part[3]:,.0f} documents a CPU second" in costs.text(tmp_path, known[name])


def test_families_without_a_log_say_that_nothing_was_measured(root: Path) -> None:
    found = costs.families(root, manifests.load(root / "source/web/extract"))
    assert {family.cpu for family in found} == {None} and sum(family.removed for family in found) == sum(DROPPED["web"].values())
    assert "CPU second" not in costs.text(root, manifests.load(root / "source/web/extract"))


def test_two_steps_of_one_name_keep_their_places(tmp_path: Path) -> None:
    counts = {"0:keep.in": 3, "0:keep.out": 2, "0:keep.dropped.a": 1, "1:keep.in": 2, "1:keep.out": 1, "1:keep.dropped.b": 1}
    made = dataset(tmp_path, "pool/two", pa.table({"id": ["a"]}), counts=counts)
    assert [(family.name, family.removed) for family in costs.families(tmp_path, made)] == [("0:keep", 1), ("1:keep", 1)]
