"""Clusters are the same on both engines, to the byte, for any number of tasks, after any death and any damage."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from dolma.core import manifest
from dolma.core.errors import DataError, Partial
from dolma.engines import spark_components
from dolma.engines.datatrove import Datatrove, Result
from dolma.runner import Run
from tests.engines import graphs
from tests.engines.flow import write_env

ROOT = Path(__file__).parents[2]
CLUSTERS = "pool/clusters"


def shapes() -> list[np.ndarray]:
    """Chains, stars, cliques, bridges between them, random edges and loops, in five files."""
    made = np.random.default_rng(1)
    chain = np.arange(1000, 1600)
    parts = [
        np.stack([chain[:-1], chain[1:]], axis=1),
        np.stack([np.full(400, 2500), np.arange(2000, 2400)], axis=1),
        np.array([(a, b) for c in (3000, 3100) for a in range(c, c + 25) for b in range(c, a)] + [(3010, 3110)]),
        4000 + made.integers(0, 1500, (900, 2)),
        np.concatenate([[[9, 9], [1, 8]], made.permutation(np.stack([chain[::-1][:-1], chain[::-1][1:]], axis=1))[:100]]),
    ]
    return np.array_split(made.permutation(np.concatenate(parts)), 5)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graphs")
    graphs.write(folder, shapes())
    return folder


def made(place: Path, name: str) -> bytes:
    """The manifest of the clusters, made with the env `name`."""
    return (place / "build" / name / CLUSTERS / manifest.NAME).read_bytes()


def run(place: Path, name: str, **settings: object) -> bytes:
    Run(write_env(place, name, **settings), place / "pipelines").run([CLUSTERS])
    return made(place, name)


@pytest.fixture(scope="module")
def reference(place: Path) -> bytes:
    return run(place, "one")


def test_clusters_are_those_of_a_plain_search_in_several_shards(place: Path, reference: bytes) -> None:
    edges = np.concatenate(shapes())
    edges = edges[edges[:, 0] != 1]  # what the recipe's `keep` drops: the document with key 7
    label = np.arange(edges.max() + 1)
    while (low := np.minimum(label[edges[:, 0]], label[edges[:, 1]])).any():
        before = label.copy()
        np.minimum.at(label, edges[:, 0], low)
        np.minimum.at(label, edges[:, 1], low)
        if (before == label).all():
            break
    nodes = np.unique(edges[edges[:, 0] != edges[:, 1]])
    label = label[nodes]
    found = manifest.read(place / "build" / "one" / CLUSTERS).to_pydict()
    numbers = np.array(found["origin"]) & 0xFFFFFFFF
    assert sorted(numbers.tolist()) == nodes.tolist() and (np.diff(found["origin"]) > 0).all()
    names = dict(zip(numbers.tolist(), zip(found["cluster"], found["cluster_size"], strict=True), strict=True))
    for one in np.unique(label):
        members = nodes[label == one]
        smallest = int((members * 7 % 1_000_003).min())
        assert {names[n] for n in members.tolist()} == {(smallest, len(members))}
    said = json.loads(reference)
    assert [f["name"] for f in said["files"]] == [f"{n:05d}.parquet" for n in range(5)]  # 300 input shards, 64 to one
    assert said["counts"]["0:keep.dropped.seven"] == 1
    assert said["counts"]["1:cluster_edges.rows_in"] == len(np.concatenate(shapes())) - 1
    assert len(nodes) / 2 < said["counts"]["1:cluster_edges.edges"] < len(edges)  # a unit's edges as stars of the same components


@pytest.mark.parametrize("tasks", [1, 2, 7])
def test_the_embedded_engine_gives_the_same_manifest(place: Path, reference: bytes, tasks: int) -> None:
    assert run(place, f"embedded-{tasks}", tasks=tasks) == reference


@pytest.mark.spark
@pytest.mark.parametrize("tasks", [pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow), 7])
def test_spark_gives_the_same_manifest(place: Path, reference: bytes, spark: object, monkeypatch: pytest.MonkeyPatch, tasks: int) -> None:
    if tasks > 1:  # else these edges are few enough for one round
        monkeypatch.setattr(spark_components, "FEW", 100)
    assert run(place, f"spark-{tasks}", engine="spark", tasks=tasks) == reference
    assert not list((place / "build" / f"spark-{tasks}").rglob(".work"))


def killed(place: Path, name: str, reached: str, **settings: object) -> None:
    """Run until something matches the glob `reached` below the folder of the clusters, and kill the whole group there."""
    env = write_env(place, name, **settings)
    code = "from dolma import cli; from dolma.engines import spark_components as c; c.FEW = 100; import sys; sys.exit(cli.main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "run", CLUSTERS, "--env", str(env), "--pipelines", str(place / "pipelines")]
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL)
    while not list((place / "build" / name / CLUSTERS).glob(reached)):
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.slow
@pytest.mark.spark
def test_kill_nine_in_a_middle_round_of_spark_and_run_again_goes_on_there(
    place: Path, reference: bytes, spark: object, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(place, "rounds", ".work/components/001.json", engine="spark", tasks=5)
    work = place / "build" / "rounds" / CLUSTERS / ".work"
    assert sorted(path.name for path in (work / "components").glob("*.json"))[-1] == "001.json"
    (work / "components" / ".002.json.4711").write_text("{")  # what a kill in the middle of `write_atomic` leaves
    monkeypatch.setattr(spark_components, "FEW", 100)
    with caplog.at_level(logging.INFO):
        again = run(place, "rounds", engine="spark", tasks=5)
    assert again == reference
    assert "round 1, large-star" in caplog.text and "round 0" not in caplog.text and "pool/edges" not in caplog.text


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize("damage", [flip, cut])
def test_edges_that_are_damaged_before_they_are_read_are_found_and_made_again_alone(
    place: Path, reference: bytes, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None]
) -> None:
    name = f"damaged-{damage.__name__}"
    files = place / "build" / name / CLUSTERS / ".work" / "edges"
    honest, seen = Datatrove.run, []

    def run_damaged(self: Datatrove, path: Path, kind: str, indices: Sequence[int], attempt: str) -> Iterator[Result]:
        if kind == "reduce":
            seen.append({file.name: file.stat().st_ino for file in files.iterdir()})
            if len(seen) == 1:
                damage(files / "00003.arrow")
        yield from honest(self, path, kind, indices, attempt)

    monkeypatch.setattr(Datatrove, "run", run_damaged)
    with pytest.raises((DataError, Partial)) as caught:
        run(place, name)
    assert "00003.arrow" in str(caught.value) or "edges of unit 00003 are gone" in str(caught.value)
    assert run(place, name) == reference
    assert [file for file in seen[0] if seen[0][file] != seen[1][file]] == ["00003.arrow"]
