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
from dolma.core.graph import training_fingerprint
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
    pack(folder, SIZES)
    return folder


def pack(folder: Path, sizes: dict[tuple[str, str, int], int], changed: str = "", bucket: str = "") -> None:
    """The shards as `pack` leaves them; `changed` is a source with other documents of as many tokens, `bucket` the folder of all streams."""
    files = []
    for (source, topic, level), rows in sizes.items():
        name = f"{bucket}{source}/{topic or 'all'}/{level:02d}/shard.mds"
        path = folder / "root" / "shard" / "pool" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        extra = {"source": source, "topic": topic or None, "vigintile": level}
        files.append(File(name=name, rows=rows, tokens=rows * 64, bytes=0, sha256="1" if source == changed else "0", extra=extra))
    more = {"table": "sequence", "format": "mds", "rows": 0, "bytes": 0, "files": files, "facts": {"sequence_tokens": 64}}
    manifests.save(folder / "root" / "shard" / "pool", Manifest(dataset="shard/pool", fingerprint=f"{sizes}{changed}{bucket}", **more))


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
    facts = {"training": training_fingerprint(job.stage, made.root)}
    manifests.save(folder, Manifest(dataset=job.name, fingerprint=job.fingerprint(made.root), facts=facts, **more))


def numbers(made: Swarming) -> list[int]:
    """The runs that are not fresh."""
    return [number for number, job in enumerate(made.jobs()) if not job.fresh(made.root)]


def train(made: Swarming) -> int:
    """Train what is not fresh; how many that were."""
    made.mixes()
    todo = numbers(made)
    for number in todo:
        trained(made, made.jobs()[number], dict(zip(made.domains, made.served[number].tolist(), strict=True)))
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
    for field, value in ({"sha256": "b"}, None), (None, {"tokenizer": {"sha256": "other"}}), (None, {"sequence_tokens": 64, "tokenizer": {"sha256": "third"}}):
        there = manifests.load(made.root / "shard/pool")
        files = [file.model_copy(update=field or {}) for file in there.files]
        manifests.save(made.root / "shard/pool", there.model_copy(update={"files": files, "facts": value or there.facts}))
        assert train(swarm(tmp_path)) == 13


DRAWN: dict[str, Any] = {
    "domains": ["code", "math", "web"],
    "design": {"runs": 10, "strength": [0.3, 3], "minimum": 0.1, "prior": {"code": 0.4, "math": 0.2, "web": 0.4}},
}


def test_shards_packed_anew_with_another_source_leave_all_runs_and_a_changed_source_those_that_do_not_read_it(tmp_path: Path) -> None:
    made = swarm(place(tmp_path), **DRAWN)
    assert train(made) == 13
    before = {job.name: (made.root / job.name / "manifest.json").read_bytes() for job in made.jobs()}
    mix = manifests.load(made.root / "swarm/one/mixes/003")

    pack(tmp_path, {("art", "", 0): 90, **SIZES, ("wiki", "", 0): 70}, bucket="00002/")
    again = swarm(tmp_path, **DRAWN)
    assert numbers(again) == [] and manifests.load(made.root / "swarm/one/mixes/003") == mix  # known before the mixes are written
    assert train(again) == 0 and {name: (made.root / name / "manifest.json").read_bytes() for name in before} == before
    anew = manifests.load(made.root / "swarm/one/mixes/003")
    assert (
        anew.fingerprint == mix.fingerprint and anew.inputs[0].fingerprint == manifests.load(made.root / "shard/pool").fingerprint != mix.inputs[0].fingerprint
    )
    assert all(row["stream"].startswith("00002/") for row in manifests.read(made.root / "swarm/one/mixes/003").to_pylist())

    pack(tmp_path, SIZES, changed="web")
    last = swarm(tmp_path, **DRAWN)
    reading = [number for number, weights in enumerate(last.served) if weights[2] > 0]
    assert 0 < len(reading) < 13 and numbers(last) == reading == [n for n in range(13) if n in reading]
    assert train(last) == len(reading)


def test_streams_are_known_by_their_cells_where_folders_come_in_another_order(tmp_path: Path) -> None:
    supply = Supply(place(tmp_path) / "root", "shard/pool")
    shares = {"web": 0.9, "code": 0.1}
    first = supply.planned(64 * 101, shares)
    assert first.fingerprint == supply.planned(64 * 101, dict(reversed(shares.items()))).fingerprint != supply.planned(64 * 101, {"web": 1.0}).fingerprint
    files = manifests.load(tmp_path / "root/shard/pool").files
    moved = [file.model_copy(update={"name": f"{9 - place}/{file.name}"}) for place, file in enumerate(files)]
    there = manifests.load(tmp_path / "root/shard/pool")
    manifests.save(tmp_path / "root/shard/pool", there.model_copy(update={"files": sorted(moved, key=lambda file: file.name)}))
    second = Supply(tmp_path / "root", "shard/pool").planned(64 * 101, shares)
    assert second.fingerprint == first.fingerprint and second.rows.drop(["stream"]) == first.rows.drop(["stream"]) and second.rows != first.rows


def test_a_run_that_is_measured_on_other_texts_is_not_trained_again(tmp_path: Path) -> None:
    made = swarm(place(tmp_path))
    train(made)
    stage = {**STAGE, "evaluate": [{"kind": "bits_per_byte", "data": "pool/tune", "length": 8}]}
    (tmp_path / "pipelines/swarm/proxy.yaml").write_text(yaml.safe_dump(stage))
    other = swarm(tmp_path)
    assert numbers(other) == list(range(13)) and all(job.trained(made.root) for job in other.jobs())
    (made.root / other.jobs()[4].name / "metrics.json").unlink()
    assert [job.trained(made.root) for job in other.jobs()].count(False) == 1
    assert not any(job.trained(made.root) for job in swarm(tmp_path, proxy={"stage": "swarm/proxy", "tokens": 1_280}).jobs())


def test_laws_are_fitted_to_what_is_served_where_a_weight_is_less_than_half_a_sequence(tmp_path: Path) -> None:
    low: dict[str, Any] = {"design": {"runs": 10, "strength": [1, 10], "minimum": 0.001}, "proxy": {"stage": "swarm/proxy", "tokens": 1_280}}
    made = swarm(place(tmp_path), **low)
    few = (made.weights > 0) & (made.weights * 1_280 < 32)
    assert few.any() and (made.served[few] == 0).all()
    train(made)
    made.conclude()
    rows = manifests.read(made.root / "swarm/one/results").to_pylist()
    for row, mix in zip(rows, range(13), strict=True):
        cells = manifests.read(made.root / f"swarm/one/mixes/{mix:03d}").to_pylist()
        total = sum(cell["tokens"] for cell in cells)
        for name, weight in row["weights"].items():
            assert weight == pytest.approx(sum(cell["tokens"] for cell in cells if cell["source"] == name) / total, abs=1e-12)


def test_a_proxy_that_cannot_be_served_is_named_with_its_domain(tmp_path: Path) -> None:
    made = swarm(place(tmp_path), design={"runs": 6, "strength": [1, 10]}, proxy={"stage": "swarm/proxy", "tokens": 200_000})
    with pytest.raises(ConfigError, match=r"(?s)one\.yaml: run \d{3}: `(code|math|web)` cannot give what this mix asks.*`proxy\.tokens` of at most") as caught:
        made.mixes()
    most = int(str(caught.value).partition("of at most ")[2].split(", more")[0].split("`")[-1].replace(",", ""))
    assert not (made.root / "swarm/one").exists()
    smaller = swarm(tmp_path, design={"runs": 6, "strength": [1, 10]}, proxy={"stage": "swarm/proxy", "tokens": most})
    smaller.mixes()
    with pytest.raises(ConfigError, match="run"):
        swarm(tmp_path, design={"runs": 6, "strength": [1, 10]}, proxy={"stage": "swarm/proxy", "tokens": most + 10}).mixes()


def test_a_mix_of_less_than_half_a_sequence_and_a_domain_that_is_never_served_are_refused(tmp_path: Path) -> None:
    root = place(tmp_path) / "root"
    with pytest.raises(ConfigError, match=r"(?s)it would be empty.*30 tokens over 2 domains.*64 tokens"):
        Supply(root, "shard/pool").write("mixes/none", 30, {"web": 0.5, "code": 0.5})
    assert not (root / "mixes/none").exists()
    with pytest.raises(ConfigError, match=r"(?s)run 000.*it would be empty.*proxy\.tokens"):
        swarm(tmp_path, proxy={"stage": "swarm/proxy", "tokens": 20}).mixes()
    prior = {"code": 0.4995, "math": 0.001, "web": 0.4995}
    with pytest.raises(ConfigError, match=r"(?s)no run is served a sequence of `math`.*half a sequence of 64 tokens"):
        swarm(tmp_path, design={"runs": 3, "strength": [10, 20], "prior": prior}).jobs()


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
    assert {row["stream"]: row["tokens"] for row in rows} == {"code/all/00": 3_200, "web/art/20": 3_200}


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
