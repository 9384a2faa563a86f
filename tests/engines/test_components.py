"""Clusters are the same on both engines, to the byte, for any number of tasks, after any death and any damage."""

import json
from pathlib import Path

import numpy as np
import pytest

from dolma.core import manifest
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
    return [made.permutation(part) for part in parts]


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
    assert said["counts"]["1:cluster_edges.rows_in"] == said["counts"]["1:cluster_edges.edges"] + sum((part[:, 0] == part[:, 1]).sum() for part in shapes())


@pytest.mark.parametrize("tasks", [1, 2, 7])
def test_the_embedded_engine_gives_the_same_manifest(place: Path, reference: bytes, tasks: int) -> None:
    assert run(place, f"embedded-{tasks}", tasks=tasks) == reference


@pytest.mark.spark
@pytest.mark.parametrize("tasks", [1, 2, 7])
def test_spark_gives_the_same_manifest(place: Path, reference: bytes, spark: object, tasks: int) -> None:
    assert run(place, f"spark-{tasks}", engine="spark", tasks=tasks) == reference
    assert not list((place / "build" / f"spark-{tasks}").rglob(".work"))
