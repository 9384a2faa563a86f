"""A whole small swarm from documents to a proposal, through the real recipes and the real trainer: killed, resumed, grown, a source added, a source changed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from dolma.core import manifest as manifests
from dolma.swarm.run import Swarming
from dolma.verify import verify

pytestmark = pytest.mark.slow
PROJECT = Path(__file__).parents[2]
WORDS = {
    "web": "the cat sat on a mat and the dog saw it",
    "code": "def f ( x ) : return x + 1 if x else 0",
    "math": "3 plus 4 is 7 so 7 minus 4 is 3",
    "tale": "once a king and a queen had no child",
}
READ = {"jsonl": {"files": "*.jsonl", "columns": {"id": "string", "key": "int64", "source": "string", "text": "large_string"}}}
RECIPES: dict[str, dict[str, Any]] = {
    "pool/documents": {"read": READ, "table": "document", "steps": [{"tag_split": {"share": 0.1}}]},
    "pool/tune": {"input": "pool/documents", "table": "document", "steps": [{"keep": {"where": "split = 'tune'", "reason": "other_side"}}]},
    "pool/tokenizer": {
        "input": "pool/documents",
        "table": "model",
        "steps": [
            {"keep": {"where": "id LIKE '%-documents-%'", "reason": "came_later"}},  # another tokenizer would be other tokens everywhere
            {"train_tokenizer": {"vocab_size": 300, "max_bytes": 100_000}},
        ],
    },
    "shard/pool": {
        "input": "pool/documents",
        "table": "sequence",
        "format": "mds",
        "steps": [
            {"keep": {"where": "split = 'train'", "reason": "other_side"}},
            {"encode": {"tokenizer": "pool/tokenizer/tokenizer.json"}},
            {"set": {"columns": {"topic": "NULL::VARCHAR", "vigintile": "0::INTEGER"}}},
            {"tag_cell": {}},
            {"select": {"columns": ["key", "source", "topic", "vigintile", "cell", "cell_key", "tokens"]}},
            {"pack": {"length": 32, "tokenizer": "pool/tokenizer/tokenizer.json", "method": "chunk"}},
        ],
    },
    "swarm/proxy": {
        "stage": "proxy",
        "data": {"manifest": "mix/none"},
        "model": {"dims": {"d": 16, "layers": 1, "heads": 2, "kv_heads": 1, "ffn": 24, "window": 16}, "init": "random"},
        "objective": {"kind": "lm"},
        "optim": {"lr": 0.02, "schedule": {"kind": "wsd", "warmup": "2ba", "decay": "0.2dur"}},
        "batch": {"sequences": 4},
        "length": {"duration": "9tok", "save_every": "1dur"},
        "precision": "fp32",
        "evaluate_first": False,
        "evaluate": [{"kind": "bits_per_byte", "data": "pool/tune", "length": 32, "document_bytes": 90}],
    },
    "swarm/small": {
        "shards": "shard/pool",
        "domains": ["code", "web"],
        "design": {"runs": 4, "strength": [1, 10], "minimum": 0.25, "prior": {"code": 0.5, "web": 0.5}},  # some runs are of one source alone
        "proxy": {"stage": "swarm/proxy", "tokens": 3_840},
        "proposal": {"tokens": 20_000},
    },
}


def documents(place: Path, name: str, sources: list[str], count: int, seed: int) -> None:
    """Write a raw file of `count` documents, of the sources by turns."""
    drawn = random.Random(seed)
    (place / "raw").mkdir(exist_ok=True)
    with open(place / "raw" / f"{name}.jsonl", "w", encoding="utf-8") as file:
        for number in range(count):
            source = sources[number % len(sources)]
            text = " ".join(drawn.choices(WORDS[source].split(), k=60))
            file.write(json.dumps({"id": f"{source}-{name}-{number}", "key": drawn.getrandbits(63), "source": source, "text": text}) + "\n")


def recipe(place: Path, name: str, value: dict[str, Any]) -> None:
    path = place / "pipelines" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(value, sort_keys=False))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with documents of three sources, nothing made; the tests here go on from one another's runs."""
    place = tmp_path_factory.mktemp("swarm")
    documents(place, "documents", ["web", "code", "math"], 300, seed=5)
    for name, value in RECIPES.items():
        recipe(place, name, value)
    for name in ("whole", "killed"):
        settings = {"root": str(place / name), "raw": str(place / "raw"), "workers": 2 if name == "whole" else 1}
        (place / f"{name}.yaml").write_text(yaml.safe_dump(settings))
    return place


def start(place: Path, env: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "dolma.cli", "swarm", "small", "--env", str(place / f"{env}.yaml"), "--pipelines", str(place / "pipelines")]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    return subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def finished(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


def made(root: Path, name: str = "manifest.json") -> dict[str, int]:
    return {path.relative_to(root / "swarm/small/runs").parts[0]: path.stat().st_mtime_ns for path in (root / "swarm/small/runs").glob(f"*/{name}")}


def files(root: Path, name: str) -> list[tuple[str, str]]:
    return [(file.name, file.sha256) for file in manifests.load(root / "swarm/small" / name).files]


def test_a_swarm_killed_among_its_runs_ends_as_one_that_was_not_and_grows(place: Path) -> None:
    whole, killed = place / "whole", place / "killed"
    first, second = start(place, "whole"), start(place, "killed")
    while second.poll() is None and not made(killed):
        time.sleep(0.01)
    os.killpg(second.pid, signal.SIGKILL)
    second.communicate()
    done = made(killed)
    assert done and len(done) < 4 and not manifests.exists(killed / "swarm/small/proposal")
    out = finished(first)
    assert yaml.safe_load(out[out.index("shares:") :])["shares"].keys() <= set(WORDS)

    path = place / "pipelines/swarm/small.yaml"
    path.write_text(yaml.safe_dump({**RECIPES["swarm/small"], "heldout": 1}))
    finished(start(place, "killed"))
    after = made(killed)
    assert len(after) == 5 and {name: after[name] for name in done} == done
    for name in ("runs/000", "runs/001", "runs/002", "runs/003", "fit", "proposal"):
        assert files(whole, name) == files(killed, name), name
    rows = manifests.read(killed / "swarm/small/proposal").to_pylist()
    assert sum(row["weight"] for row in rows) == pytest.approx(1) and all(row["weight"] <= row["cap"] + 1e-9 for row in rows)
    assert all(verify(killed, f"swarm/small/{name}").errors == () for name in ("results", "heldout", "shares", "runs/004"))

    grown = Swarming("small", place / "killed.yaml", place / "pipelines")
    assert grown.outlook().todo == 0 and grown.run().mean > 0 and made(killed) == after


def test_an_added_source_trains_its_own_round_only_and_a_changed_one_the_runs_that_read_it(place: Path) -> None:
    killed, env, pipelines = place / "killed", place / "killed.yaml", place / "pipelines"
    small = Swarming("small", env, pipelines)
    small.run()  # of the test before, or made here
    reading = {f"{number:03d}" for number, shares in enumerate(small.served) if shares[0] > 0}
    assert 0 < len(reading) < len(small.served)
    weights, figures = made(killed, "checkpoints/*/model.safetensors"), measured(killed)
    runs = {path: path.read_bytes() for path in (killed / "swarm/small/runs").rglob("*.json")}

    documents(place, "tales", ["tale"], 100, seed=6)
    recipe(place, "shard/pool", {**RECIPES["shard/pool"], "buckets": 3})  # as many more documents would have it: streams move to other folders
    design = {"runs": 3, "strength": [1, 10]}
    rounds = [{"name": "before", "swarm": "small"}]
    recipe(place, "swarm/wider", {**RECIPES["swarm/small"], "design": design, "rounds": rounds, "domains": ["before", "tale"]})
    before = small.supply.contents
    wider = Swarming("wider", env, pipelines)
    wider.run()
    assert wider.outlook().todo == 0 and len(list((killed / "swarm/wider/runs").glob("*/manifest.json"))) == 3
    assert {path: path.read_bytes() for path in runs} == runs
    assert before.items() - wider.supply.contents.items() and set(before.values()) < set(wider.supply.contents.values())  # other folders, the same in them
    look = Swarming("small", env, pipelines).outlook()
    assert (look.todo, look.measured) == (0, len(small.served))  # `pool/tune` has tales now
    assert "`dolma swarm small`" in str(verify(killed, "swarm/small/runs/000").errors[0])  # its mix names folders that are gone

    documents(place, "programs", ["code"], 30, seed=7)
    again = Swarming("small", env, pipelines)
    again.run()
    after = made(killed, "checkpoints/*/model.safetensors")
    assert {name for name in weights if after[name] != weights[name]} == reading
    assert {len(one) for one in measured(killed).values()} == {4}  # tasks
    for name in weights.keys() - reading:
        old, new = figures[name], measured(killed)[name]
        assert new["web"] == old["web"] and new["code"] != old["code"]  # from the same weights, to the bit; code has other texts
    assert again.outlook().todo == again.outlook().measured == 0
    assert all(verify(killed, f"swarm/small/{name}").errors == () for name in ("results", *(f"runs/{name}" for name in weights)))


def measured(root: Path) -> dict[str, dict[str, float]]:
    """Bits per byte of each run in each task."""
    found = {path.parent.name: json.loads(path.read_bytes())["rows"] for path in (root / "swarm/small/runs").glob("*/metrics.json")}
    return {name: {row["slice"]: row["after"] for row in rows} for name, rows in found.items()}
