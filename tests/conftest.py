"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("same", derandomize=True, deadline=None)  # the same examples in every run: what lands does not hang on chance
settings.register_profile("search", deadline=None, max_examples=1000)  # pytest --hypothesis-profile=search looks for new ones
settings.load_profile("same")

LONG = """
    flow/test_whole_flow training/test_run swarm/test_train engines/test_components engines/test_engines flow/test_engines_agree contracts/test_layers
    notebooks/test_notebooks flow/test_near training/test_many training/test_served flow/test_ledger flow/test_people flow/test_faults
"""  # files of more than 15 s on a quiet core, the longest first: one of minutes that begins last leaves a worker with nothing to do
FIRST = [Path(__file__).parent / f"{name}.py" for name in LONG.split()]

KIT = Path(os.environ.get("DOLMA_DATA", Path(__file__).parents[2] / "shared" / "data"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files in the order of `FIRST`, then the others as they come; pytest-xdist keeps it with --no-loadscope-reorder."""
    if missing := [path.name for path in FIRST if not path.is_file()]:
        raise pytest.UsageError(f"no such files: {', '.join(missing)}; mend LONG in {__file__}")
    place = {path: number for number, path in enumerate(FIRST)}
    items.sort(key=lambda item: place.get(item.path, len(FIRST)))


@pytest.fixture(scope="session")
def kit() -> Path:
    """The data kit; a test that needs it is skipped, with this reason, where it is absent."""
    if not (KIT / "MANIFEST.csv").is_file():
        pytest.skip(f"no data kit at {KIT}: set DOLMA_DATA to its folder")
    return KIT


@pytest.fixture(scope="session")
def spec(kit: Path) -> Path:
    """The published tables of the flow, beside the kit; a test that needs them is skipped where they are absent."""
    folder = kit.parent / "spec" / "data"
    if not folder.is_dir():
        pytest.skip(f"no spec at {folder}")
    return folder


@pytest.fixture(scope="session")
def spark():
    """A local Spark session; its JVM is gone when the tests are."""
    pytest.importorskip("pyspark")
    from dolma.engines import spark as engine

    if (engine.java_version() or 0) < engine.JAVA:
        pytest.skip(f"no Java {engine.JAVA} or newer: Spark cannot start")
    # these sessions live for minutes: the second compiler and parallel collection cost more than they save (59 CPU s of test_components become 33)
    os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
    running = engine.session(2)
    yield running
    engine.stop(running)


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of a small tokenizer."""
    pytest.importorskip("tokenizers")
    from dolma.text import tokenizer as tokenizers

    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizers.train(["the cat sat on the mat", "What is 3 + 4? The answer is 7.", "user assistant think"] * 20, 320, path)
    return str(path)
