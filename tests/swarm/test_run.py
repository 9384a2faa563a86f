"""A swarm over hand-made shards, its runs as the trainer leaves them: what is fresh, what is proposed, what is refused."""

import json
import math
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from dolma.core import manifest as manifests
from dolma.core.errors import ConfigError, DataError, Errors, Partial
from dolma.core.manifest import File, Manifest
from dolma.sql import query
from dolma.swarm.mixes import Supply
from dolma.swarm.run import Swarming, block, proposed
from dolma.swarm.train import Job, Trainer
from dolma.verify import verify

SIZES = {("code", "", 0): 400, ("math", "", 0): 60, ("web", "art", 10): 150, ("web", "art", 20): 50, ("web", "law", 20): 300}
SLOPES = {"code": {"code": -1.0, "math": -0.2, "web": 0.1}, "web": {"code": 0.1, "math": 0.0, "web": -0.8}}
STAGE = {
    "stage": "proxy",
    "model": {"dims": {"d": 16, "layers": 1, "heads": 1, "kv_heads": 1, "ffn": 16, "window": 8}, "init": "random"},
    "optim": {"lr": 0.01, "schedule": {"kind": "wsd", "warmup": "0.1dur", "decay": "0.1dur"}},
    "length": {"duration": "9tok", "save_every": "1dur"},
    "evaluate": [],
}
SWARM: dict[str, Any] = {
    "shards": "shard/pool",
    "domains": ["code", "math", "web"],
    "design": {"runs": 10, "strength": [1, 10]},
    "heldout": 3,
    "proxy": {"stage": "swarm/proxy", "tokens": 2_560},
    "proposal": {"tokens": 60_000, "kl": 0.02},
}


def place(folder: Path) -> Path:
    """A project with shards of 64 tokens a sequence, each cell one stream."""
    pipelines = folder / "pipelines"
    (pipelines / "swarm").mkdir(parents=True)
    (pipelines / "shard").mkdir()
    (pipelines / "shard" / "pool.yaml").write_text("read: {jsonl: {files: '*.jsonl', columns: {id: string}}}\ntable: rows\nsteps: []\n")
    (pipelines / "swarm" / "proxy.yaml").write_text(yaml.safe_dump(STAGE))
    (folder / "env.yaml").write_text(yaml.safe_dump({"root": str(folder / "root"), "raw": "raw", "workers": 1}))
    files = []
    for (source, topic, level), rows in SIZES.items():
        name = f"{source}/{topic or 'all'}/{level:02d}/shard.mds"
        path = folder / "root" / "shard" / "pool" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
        extra = {"source": source, "topic": topic or None, "vigintile": level}
        files.append(File(name=name, rows=rows, tokens=rows * 64, bytes=0, sha256="0", extra=extra))
    made = Manifest(dataset="shard/pool", fingerprint="a", table="sequence", format="mds", rows=0, bytes=0, files=files, facts={"sequence_tokens": 64})
    manifests.save(folder / "root" / "shard" / "pool", made)
    return folder


def swarm(folder: Path, name: str = "one", **changes: Any) -> Swarming:
    path = folder / "pipelines" / "swarm" / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**SWARM, **changes}))
    return Swarming(name, folder / "env.yaml", folder / "pipelines")


def loss(task: str, weights: dict[str, float]) -> float:
    return 1 + math.exp(sum(SLOPES[task].get(name, 0.0) * weight for name, weight in weights.items()))


def trained(made: Swarming, job: Job, weights: dict[str, float]) -> None:
    """What `dolma-train many` leaves of a job, with losses that follow the law."""
    folder = made.root / job.name
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"metric": "bits_per_byte", "slice": task, "before": None, "after": loss(task, weights), "n": 3, "chance": None} for task in SLOPES]
    (folder / "metrics.json").write_text(json.dumps({"stage": "proxy", "rows": rows}))
    size = (folder / "metrics.json").stat().st_size
    file = File(name="metrics.json", rows=0, bytes=size, sha256="0")
    more = {"table": "checkpoint", "format": "safetensors", "rows": 0, "bytes": size, "files": [file]}
    manifests.save(folder, Manifest(dataset=job.name, fingerprint=job.fingerprint(made.root), **more))


def train(made: Swarming) -> int:
    """Train what is not fresh; how many that were."""
    made.mixes()
    todo = [(job, row) for job, row in zip(made.jobs(), made.weights, strict=True) if not job.fresh(made.root)]
    for job, row in todo:
        trained(made, job, dict(zip(made.domains, row.tolist(), strict=True)))
    return len(todo)


def test_the_proposal_sums_to_one_keeps_its_caps_and_betters_the_natural_mix(tmp_path: Path) -> None:
    made = swarm(place(tmp_path))
    assert train(made) == 13
    found = made.conclude()
    rows = {row["domain"]: row for row in manifests.read(made.root / "swarm/one/proposal").to_pylist()}
    assert sum(row["weight"] for row in rows.values()) == pytest.approx(1, abs=1e-9)
    assert all(row["weight"] <= row["cap"] + 1e-9 and row["repeats"] <= 4 + 1e-6 for row in rows.values())
    assert rows["math"]["cap"] == pytest.approx(60 * 64 * 4 / 60_000)
    assert found.mean < found.prior_mean
    assert found.losses == pytest.approx([loss(task, {name: row["weight"] for name, row in rows.items()}) for task in SLOPES], abs=2e-3)
    shares = proposed(made.root, "one")
    assert sum(shares.values()) == pytest.approx(1, abs=1e-12)
    assert yaml.safe_load(block(shares)) == {"shares": shares}


def test_every_dataset_of_a_swarm_is_seen_by_sql_and_verify(tmp_path: Path) -> None:
    made = swarm(place(tmp_path))
    train(made)
    made.conclude()
    found = query(made.root, "SELECT count(*) AS n, count(*) FILTER (heldout) AS held, min(losses.code) AS least FROM swarm_one_results").to_pylist()[0]
    assert (found["n"], found["held"]) == (13, 3) and found["least"] < 2
    assert query(made.root, "SELECT spearman FROM swarm_one_heldout WHERE task = 'code'").to_pylist()[0]["spearman"] == pytest.approx(1)
    for name in ("results", "fit", "folds", "heldout", "proposal", "tasks", "shares", "mixes/000"):
        assert not verify(made.root, f"swarm/one/{name}").errors


def test_more_runs_train_only_the_new_ones_and_a_changed_proxy_all(tmp_path: Path) -> None:
    assert train(swarm(place(tmp_path))) == 13
    assert train(swarm(tmp_path)) == 0
    assert train(swarm(tmp_path, design={**SWARM["design"], "runs": 14})) == 4
    assert train(swarm(tmp_path, heldout=1, design={**SWARM["design"], "runs": 14})) == 0
    assert train(swarm(tmp_path, proxy={**SWARM["proxy"], "set": {"optim": {"lr": 0.02}}})) == 13


def test_a_run_that_lost_its_figures_and_a_mix_of_other_shards_are_made_again(tmp_path: Path) -> None:
    made = swarm(place(tmp_path))
    train(made)
    (made.root / made.jobs()[2].name / "metrics.json").write_text("{}")
    assert [not job.fresh(made.root) for job in made.jobs()].count(True) == 1 == train(swarm(tmp_path))
    there = manifests.load(made.root / "shard/pool")
    manifests.save(made.root / "shard/pool", there.model_copy(update={"fingerprint": "b"}))
    assert train(swarm(tmp_path)) == 13


def test_each_mix_serves_the_tokens_of_its_weights(tmp_path: Path) -> None:
    made = swarm(place(tmp_path))
    made.mixes()
    for number, weights in enumerate(made.weights):
        rows = manifests.read(made.root / f"swarm/one/mixes/{number:03d}").to_pylist()
        for name, weight in zip(made.domains, weights, strict=True):
            served = sum(row["tokens"] for row in rows if row["source"] == name)
            assert abs(served - weight * 2_560) <= 64 * 3


def test_a_frozen_mix_stands_as_one_domain_and_is_taken_apart_in_the_shares(tmp_path: Path) -> None:
    first = swarm(place(tmp_path), domains=["web/*", "math"], design={"runs": 8, "strength": [1, 10]})
    assert first.domains == ["web/art", "web/law", "math"]
    train(first)
    first.conclude()
    old = proposed(first.root, "one")
    made = swarm(tmp_path, "two", domains=["old", "code"], rounds=[{"name": "old", "swarm": "one"}], design={"runs": 5, "strength": [1, 10]}, heldout=0)
    assert made.prior == pytest.approx([560 / 960, 400 / 960])
    train(made)
    made.conclude()
    rows = {row["domain"]: row for row in manifests.read(made.root / "swarm/two/shares").to_pylist()}
    assert set(rows) == {*old, "code"} and sum(row["share"] for row in rows.values()) == pytest.approx(1)
    assert rows["web/art"]["share"] / rows["web/law"]["share"] == pytest.approx(old["web/art"] / old["web/law"], rel=2e-3)
    assert all(row["repeats"] <= 4 + 1e-6 for row in rows.values())
    assert [row["name"] for row in manifests.read(made.root / "swarm/two/rounds").to_pylist()] == ["old"] * len(old)
    written = yaml.safe_load(block(proposed(made.root, "two")))
    assert sum(written["shares"].values()) == pytest.approx(1, abs=1e-12) and sum(written["topics"]["web"].values()) == pytest.approx(1, abs=1e-12)


def test_a_bad_file_is_refused_with_all_its_errors(tmp_path: Path) -> None:
    bad = {"domain": ["code"], "proxy": {"stage": "swarm/proxy", "tokens": 0}, "design": {"runs": 3, "strenght": [1, 2]}, "law": "cubic"}
    with pytest.raises(Errors) as refused:
        swarm(place(tmp_path), **bad)
    said = str(refused.value)
    assert len(refused.value.errors) == 4 and all(word in said for word in ("did you mean `domains`", "proxy.tokens", "strenght", "law"))
    with pytest.raises(ConfigError, match="absent"):
        swarm(tmp_path, proxy={"stage": "swarm/absent", "tokens": 9})


def test_domains_that_are_not_there_or_overlap_are_refused_at_once(tmp_path: Path) -> None:
    made = swarm(place(tmp_path), domains=["code", "books", "web", "web/law"])
    with pytest.raises(Errors) as refused:
        _ = made.domains
    assert "books" in str(refused.value) and "part of `web`" in str(refused.value)


def test_runs_with_other_tasks_are_refused(tmp_path: Path) -> None:
    made = swarm(place(tmp_path))
    train(made)
    path = made.root / made.jobs()[4].name / "metrics.json"
    value = json.loads(path.read_text())
    path.write_text(json.dumps({**value, "rows": value["rows"][:1]}))
    with pytest.raises(DataError, match="one loss of each task"):
        made.conclude()


def test_quality_is_chosen_within_a_domain(tmp_path: Path) -> None:
    supply = Supply(place(tmp_path) / "root", "shard/pool")
    rows = supply.plan(6_400, {"web/art": 0.5, "code": 0.5}, best={"web": 20}).to_pylist()
    assert {row["stream"]: row["tokens"] for row in rows} == {"web/art/20": 3_200, "code/all/00": 3_200}


def test_what_a_design_holds_stays_in_the_proposal(tmp_path: Path) -> None:
    made = swarm(place(tmp_path), design={"runs": 10, "strength": [1, 10], "held": {"web": 0.6}})
    train(made)
    assert {row["domain"]: row["weight"] for row in made.conclude().as_table().to_pylist()}["web"] == pytest.approx(0.6, abs=1e-9)


def test_a_swarm_that_is_not_finished_names_the_command_that_makes_it(tmp_path: Path) -> None:
    made = swarm(place(tmp_path))
    with pytest.raises(DataError, match=r"(?s)not finished.*`dolma swarm one`"):
        proposed(made.root, "swarm/one")
    with pytest.raises(DataError, match=r"(?s)not finished.*`dolma swarm one`"):
        _ = swarm(tmp_path, "two", rounds=[{"name": "before", "swarm": "swarm/one"}], domains=["before", "math"]).rounds


class Dead(Trainer):
    """A trainer whose process is gone before it is asked for a run."""

    def _start(self) -> subprocess.Popen[str]:
        process = super()._start()
        process.wait()
        return process


def test_a_trainer_that_dies_between_two_runs_is_named(tmp_path: Path) -> None:
    made = swarm(place(tmp_path))
    made.mixes()
    python = tmp_path / "python"
    python.write_text("#!/bin/bash\nexit 137\n")
    python.chmod(0o755)
    with pytest.raises(Partial, match=r"(?s)the run did not finish.*exit 137"):
        Dead(made.root, tmp_path, python=str(python), workers=1).train("one", made.jobs(), lambda job, seconds: None)
