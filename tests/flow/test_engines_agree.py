"""The real web part and deduplication give the same manifests on both engines, with any number of tasks, and after any death."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dolma.runner import Run
from tests.flow.mini import ENDS, OTHERS, PIPELINES, POOL, WEB, manifests, take_over, write_env

pytestmark = pytest.mark.slow
ROOT = PIPELINES.parent


def run(place: Path, name: str, targets: tuple[str, ...] = ENDS, **settings: object) -> None:
    """The flow up to `targets` with these settings gives the manifests of the first run; the sources beside the web are taken over."""
    take_over(place, name, OTHERS)
    made = WEB + POOL if targets == ENDS else WEB
    assert Run(write_env(place, name, **settings), PIPELINES).run(list(targets)) == len(made)
    assert manifests(place, name, made) == manifests(place, "one", made)


def test_the_corpus_has_what_the_comparison_needs(one: Path) -> None:
    made = manifests(one, "one", WEB + POOL)
    assert len(made["source/web/extract"]["files"]) == 8  # more units than tasks, and not a multiple of 7
    assert made["source/web/filter"]["rows"] > 50
    dropped = made["pool/unique"]["counts"]
    assert dropped["0:keep.dropped.exact_duplicate"] > 0 and dropped["1:keep.dropped.near_duplicate"] > 0


@pytest.mark.parametrize(("workers", "tasks"), [(1, 1), (2, 7)])  # 2 tasks: the test with kills
def test_embedded_engine_gives_the_same_manifests(one: Path, workers: int, tasks: int) -> None:
    run(one, f"embedded-{tasks}", workers=workers, tasks=tasks)


@pytest.mark.spark
@pytest.mark.parametrize(("tasks", "targets"), [(1, WEB[1:]), (2, WEB[1:]), (7, ENDS)])
def test_spark_gives_the_same_manifests(one: Path, spark: object, tasks: int, targets: tuple[str, ...]) -> None:
    run(one, f"spark-{tasks}", targets, engine="spark", workers=2, tasks=tasks)


def test_kill_nine_in_the_middle_and_run_again_gives_the_same_manifests(one: Path) -> None:
    take_over(one, "killed", OTHERS)
    records = one / "killed" / "source/web/extract/.records/map"
    edges = one / "killed" / "pool/edges/.work"
    for workers, reached in ((2, lambda: len(list(records.glob("*.json"))) >= 3), (1, edges.is_dir)):  # inside a map pass, inside a group pass
        env = write_env(one, "killed", workers=workers, tasks=2)
        command = [sys.executable, "-m", "dolma.cli", "run", *ENDS, "--env", str(env), "--pipelines", str(PIPELINES)]
        process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL)
        while not reached():
            assert process.poll() is None, "the run ended before it could be killed"
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    unfinished = [name for name in WEB + POOL if not (one / "killed" / name / "manifest.json").is_file()]
    assert unfinished[0] == "pool/edges"
    Run(env, PIPELINES).run(list(ENDS))
    assert manifests(one, "killed", WEB + POOL) == manifests(one, "one", WEB + POOL)
    assert not list((one / "killed").rglob(".work"))
