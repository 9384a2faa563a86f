"""Many runs in one process: each is what it is alone, and figures may wait until the end."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dolma.core import manifest as manifests

pytestmark = pytest.mark.slow
STAGE: dict[str, Any] = {
    "stage": "proxy",
    "data": {"manifest": "mix/pretrain"},
    "model": {"dims": {"d": 16, "layers": 1, "heads": 2, "kv_heads": 1, "ffn": 24, "window": 16}, "init": "random"},
    "objective": {"kind": "lm"},
    "optim": {"lr": 0.01, "schedule": {"kind": "constant"}},
    "batch": {"sequences": 4},
    "length": {"duration": "6ba", "save_every": "1dur"},
    "precision": "fp32",
    "evaluate_first": False,
    "evaluate": [{"kind": "bits_per_byte", "data": "pool/tune", "length": 16, "document_bytes": 20}],
}


def many(root: Path, *asked: dict[str, Any] | str) -> tuple[list[dict[str, Any]], subprocess.CompletedProcess[str]]:
    text = "".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in asked)
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-m", "training.cli", "many", "--root", str(root)], input=text, env=env, capture_output=True, text=True, check=False)
    return [json.loads(line) for line in done.stdout.splitlines()], done


def test_a_run_after_another_is_the_same_as_alone(own_root: Path, table: Callable[..., None]) -> None:
    texts = [{"key": i, "source": "web", "text": "the cat sat on the mat, " * (i + 1)} for i in range(3)]
    table(own_root, "pool/tune", "document", texts)
    other = {**STAGE, "seed": 5}
    asked = [{"stage": other, "out": "runs/a"}, {"stage": STAGE, "out": "runs/b"}, {"stage": other, "out": "runs/c"}, "", {"stage": other, "out": "runs/a"}]
    short = {**other, "evaluate_first": True, "evaluate": [{**STAGE["evaluate"][0], "length": 8}]}
    said, done = many(own_root, *asked, {"stage": short, "out": "runs/d"}, {"stage": short, "out": "runs/c"})
    assert done.returncode == 0, done.stderr
    assert [one["run"].removeprefix("runs/") for one in said] == [*"abcadc"] and said[0]["tokens"] == 6 * 4 * 64
    assert said[2]["seconds"] > 0 == said[3]["seconds"]
    weights = [[(file.name, file.sha256) for file in manifests.load(own_root / "runs" / name).files if file.name != "metrics.json"] for name in "abc"]
    assert weights[0] == weights[2] != weights[1]
    measured, trained = (manifests.load(own_root / "runs" / name) for name in "cd")  # on other texts than c was trained with: no weight is made again
    assert measured == trained.model_copy(update={"dataset": "runs/c"})
    times = [(own_root / "runs" / name / "checkpoints/ba000006/model.safetensors").stat().st_mtime_ns for name in "cd"]
    assert times[0] < times[1] and said[-1]["seconds"] > 0
    assert (own_root / "runs/c/metrics.json").read_bytes() == (own_root / "runs/d/metrics.json").read_bytes() != (own_root / "runs/a/metrics.json").read_bytes()
    rows = json.loads((own_root / "runs/a/metrics.json").read_text())["rows"]
    assert [(row["slice"], row["before"], row["n"]) for row in rows] == [("web", None, 3)] and rows[0]["after"] > 0


def test_a_wrong_line_ends_it_with_the_code_of_the_error_and_keeps_what_is_done(own_root: Path) -> None:
    plain = {**STAGE, "evaluate": []}
    said, done = many(
        own_root, {"stage": plain, "out": "runs/a"}, {"stage": {**plain, "optim": {"rate": 1}}, "out": "runs/b"}, {"stage": plain, "out": "runs/c"}
    )
    assert done.returncode == 2 and "runs/b: unknown key `optim.rate`" in done.stderr
    assert [one["run"] for one in said] == ["runs/a"] and manifests.exists(own_root / "runs/a") and not manifests.exists(own_root / "runs/c")
