"""A stage in a process of its own, and one that kills itself at a place that is named: no waiting, no chance in when it dies."""

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
KILLED = """
import os, signal, sys
from training import callbacks
from training.cli import main

place, number, seen = sys.argv[1], int(sys.argv[2]), 0
original = callbacks.Watch.batch_end if place == "update" else os.symlink

def dies(*given):
    global seen
    seen = given[1].timestamp.batch.value if place == "update" else seen + 1
    if place == "link" and seen == number:
        os.kill(os.getpid(), signal.SIGKILL)
    original(*given)
    if place == "update" and seen == number:
        os.kill(os.getpid(), signal.SIGKILL)

if place == "update":
    callbacks.Watch.batch_end = dies
else:
    os.symlink = dies
sys.exit(main(sys.argv[3:]))
"""


def environment(cache: Path) -> dict[str, str]:
    """Of a child: one thread, so that sums have one order; compiled modules in `cache` where none may be written beside the sources."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    if env.pop("PYTHONDONTWRITEBYTECODE", ""):
        env["PYTHONPYCACHEPREFIX"] = str(cache)
    return env


def finish(arguments: list[str], env: dict[str, str]) -> str:
    """Run `dolma-train` to its end; returns what it said. No time limit: how long it takes is the machine's business."""
    done = subprocess.run([sys.executable, "-m", "training.cli", *arguments], env=env, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def kill(place: str, number: int, arguments: list[str], env: dict[str, str]) -> str:
    """Run `dolma-train`, and kill it: at `update` number N, when it is logged; or where it sets its N-th `link`, the old one being removed."""
    done = subprocess.run([sys.executable, "-c", KILLED, place, str(number), *arguments], env=env, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return done.stderr
