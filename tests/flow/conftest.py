"""A small corpus gathered from this machine, and the web part and the deduplication over it, made once a session."""

import os
from pathlib import Path

import pytest

from dolma import cli
from tests.flow.mini import ENDS, PIPELINES, write_env


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the corpus in raw/; runs get roots beside it."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    folder = tmp_path_factory.mktemp("mini")
    assert cli.main(["gather", str(folder / "raw"), "--size", "mini"]) == 0
    return folder


@pytest.fixture(scope="session")
def one(place: Path) -> Path:
    """The same folder after the run that the others are compared with: the embedded engine, one process, one task a unit; its root is one/."""
    assert cli.main(["run", *ENDS, "--env", str(write_env(place, "one")), "--pipelines", str(PIPELINES)]) == 0
    return place
