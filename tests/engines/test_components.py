"""Components on Spark: the same shards, bytes and counts as the union-find of one machine, for graphs of every shape and after a kill in any round."""

import json
import random
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from dolma.core import manifest
from dolma.runner import Run

ENDS = ["origin_a", "key_a", "origin_b", "key_b"]
RECIPES = {
    "edges": f"read: {{jsonl: {{files: '*.jsonl', columns: {{{', '.join(f'{end}: int64' for end in ENDS)}}}, required: [{', '.join(ENDS)}]}}}}\n"
    f"table: edge\nsteps: [{{select: {{columns: [{', '.join(ENDS)}]}}}}]",
    "clusters": "input: edges\ntable: tag\nsteps: [{cluster_edges: {shards_per_part: 2}}]",
}


def graph(seed: int) -> list[tuple[int, int]]:
    """Chains, stars, cliques, loops and bridges between them, over nodes with gaps."""
    rng = random.Random(seed)
    edges: list[tuple[int, int]] = []
    at = 0
    for kind in ["chain", "star", "clique", "pair", "chain", "star"] * 3:
        size = rng.randint(2, 60 if kind == "chain" else 12)
        nodes = rng.sample(range(at, at + size), size)
        at += size + 3
        if kind == "chain":
            edges += list(pairwise(nodes))
        elif kind == "clique":
            edges += [(a, b) for a in nodes for b in nodes if a != b]
        else:
            edges += [(nodes[0], node) for node in nodes[1:]]
    edges += [rng.choice(edges) for _ in range(20)] + [(rng.choice(edges)[0], rng.choice(edges)[1]) for _ in range(3)]
    rng.shuffle(edges)
    return edges


def lay(folder: Path, edges: Iterable[tuple[int, int]], files: int = 3) -> None:
    """Edges between numbered documents, 50 a shard, as JSON lines beside the recipes that cluster them; documents 0 and 1 have one key."""
    keys = random.Random(0).sample(range(1 << 62), 5000)
    keys[1] = keys[0]
    lines = [dict(zip(ENDS, ((a // 50 << 32) | a % 50, keys[a], (b // 50 << 32) | b % 50, keys[b]), strict=True)) for a, b in edges]
    for name in ("recipes", "raw"):
        (folder / name).mkdir(parents=True)
    for name, text in RECIPES.items():
        (folder / "recipes" / f"{name}.yaml").write_text(text)
    for n in range(files):
        (folder / f"raw/{n}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines[n::files]))


def clusters(folder: Path, root: str, **settings: object) -> bytes:
    """The manifest of the clusters made with these settings."""
    env = folder / f"{root}.yaml"
    env.write_text(yaml.safe_dump({"root": str(folder / root), "raw": str(folder / "raw"), "workers": 1, **settings}))
    Run(env, folder / "recipes").run(["clusters"])
    made = json.loads((folder / root / "clusters" / manifest.NAME).read_bytes())
    del made["code"]["commit"]
    return manifest.canonical(made)


@pytest.mark.slow
@pytest.mark.spark
def test_spark_writes_the_shards_of_one_machine(tmp_path: Path, spark: object) -> None:
    for seed, tasks in ((1, 1), (2, 2), (3, 7)):
        folder = tmp_path / str(seed)
        lay(folder, graph(seed))
        one = clusters(folder, "one")
        assert len(json.loads(one)["files"]) > 2
        assert clusters(folder, "spark", engine="spark", workers=2, tasks=tasks) == one
        assert not (folder / "spark/clusters/.work").exists()


@pytest.mark.spark
def test_no_edges_give_one_empty_shard(tmp_path: Path, spark: object) -> None:
    lay(tmp_path, [], files=1)
    (tmp_path / "recipes/edges.yaml").write_text(RECIPES["edges"].replace("steps: [", "steps: [{keep: {where: 'key_a < 0', reason: none}}, "))
    (tmp_path / "raw/0.jsonl").write_text(json.dumps(dict.fromkeys(ENDS, 5)) + "\n")
    assert clusters(tmp_path, "spark", engine="spark", workers=2) == clusters(tmp_path, "one")


@pytest.mark.slow
@pytest.mark.spark
def test_a_run_that_died_in_a_round_goes_on_from_the_round_before(tmp_path: Path, spark: object, monkeypatch) -> None:
    from dolma.engines import components

    lay(tmp_path, graph(4))
    plain, saved = components._save, []

    def dies(frame, folder: Path) -> None:
        if folder.name == "2":
            folder.mkdir()
            (folder / "part-half.parquet").write_bytes(b"half")
            raise KeyboardInterrupt
        saved.append(folder.name)
        plain(frame, folder)

    monkeypatch.setattr(components, "_save", dies)
    with pytest.raises(KeyboardInterrupt):
        clusters(tmp_path, "spark", engine="spark", workers=2)
    monkeypatch.setattr(components, "_save", lambda frame, folder: saved.append(folder.name) or plain(frame, folder))
    assert clusters(tmp_path, "spark", engine="spark", workers=2) == clusters(tmp_path, "one")
    assert saved[:3] == ["0", "1", "2"] and len(saved) == len(set(saved))
