"""A small corpus gathered from this machine, and the web part and the deduplication over it, made once a session and shared by its workers."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dolma import cli
from tests.flow.mini import ENDS, PIPELINES, write_env


def _once(folder: Path, name: str, make: Callable[[], int]) -> None:
    """Make what no other worker of this session has made; one that comes meanwhile waits for it."""
    done = folder / f".{name}"
    with (folder / f".{name}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not done.exists():
            assert make() == 0
            done.touch()


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the corpus in raw/, for reading; runs get roots beside it, each file of tests its own."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    session = tmp_path_factory.getbasetemp()
    folder = (session.parent if "PYTEST_XDIST_WORKER" in os.environ else session) / "mini"
    folder.mkdir(exist_ok=True)
    _once(folder, "raw", lambda: cli.main(["gather", str(folder / "raw"), "--size", "mini"]))
    return folder


@pytest.fixture(scope="session")
def one(place: Path) -> Path:
    """The same folder after the run that the others are compared with: the embedded engine, one process, one task a unit; its root is one/."""
    _once(place, "one", lambda: cli.main(["run", *ENDS, "--env", str(write_env(place, "one")), "--pipelines", str(PIPELINES)]))
    return place
