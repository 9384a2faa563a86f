"""Raw files at a URL and large archives in parts: the same shards, whatever the place, the cut, the engine and the number of tasks."""

import errno
import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dolma.core import manifest
from dolma.core.errors import DataError, EnvironmentFault, Partial
from dolma.io import raw
from dolma.runner import Dataset, Run, _engine
from tests.engines.flow import RECIPES, write_env, write_raw, write_recipes
from tests.io.records import RECORDS
from tests.server import Web, serving

pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")
pytest.importorskip("fastwarc")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_recipes(tmp_path)
    write_raw(tmp_path, files=3, rows=40)
    return tmp_path


@pytest.fixture
def web(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setattr(raw, "FIRST_WAIT", 0.01)
    with serving(place / "raw") as running:
        yield running


def made(place: Path, name: str, dataset: str = "source/read") -> manifest.Manifest:
    return manifest.load(place / "build" / name / dataset)


def without_identity(of: manifest.Manifest) -> dict[str, Any]:
    """A manifest but for what its raw files are told by, and what follows from that."""
    value = of.model_dump(exclude={"fingerprint", "facts"})
    value["inputs"] = [{"name": one["name"], "bytes": one["bytes"]} for one in value["inputs"]]
    return value


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_the_same_corpus_by_path_and_by_url_gives_the_same_shards(place: Path, web: Web, workers: int) -> None:
    for name, where in (("path", "raw"), ("web", web.url), ("file", f"file://{place / 'raw'}")):
        run = Run(write_env(place, name, raw=where, workers=workers), place / "pipelines")
        assert run.run(["source/read"]) == 1
        assert run.run(["source/read"]) == 0
        assert not list((place / "build" / name).rglob("raw-*")) and not (place / "build" / name / "source/read/.work").exists()
    assert without_identity(made(place, "web")) == without_identity(made(place, "path")) == without_identity(made(place, "file"))
    assert made(place, "web").rows > 100 and made(place, "web").quarantine


def test_a_changed_file_at_a_url_makes_its_dataset_stale(place: Path, web: Web) -> None:
    run = Run(write_env(place, raw=web.url), place / "pipelines")
    run.run(["source/read"])
    os.utime(place / "raw/part-1.jsonl.gz", (1, 1))
    (line,) = run.plan(["source/read"])
    assert (line.state, line.reason) == ("stale", "part-1.jsonl.gz changed")


def test_a_file_that_changes_between_plan_and_run_fails_its_unit_and_a_rerun_mends_it(place: Path, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(write_env(place, raw=web.url), place / "pipelines")
    find = raw.find

    def then_changed(*args: Any) -> list[raw.Remote]:
        found = find(*args)
        with gzip.open(place / "raw/part-1.jsonl.gz", "ab") as file:
            file.write(b'{"id": "doc1999", "text": "late"}\n')
        return found

    with monkeypatch.context() as patch:
        patch.setattr(raw, "find", then_changed)
        with pytest.raises(DataError, match=r"part-1\.jsonl\.gz: the file changed since the plan"):
            run.run(["source/read"])
    assert not list((place / "build").rglob("raw-*"))
    run.run(["source/read"])
    assert "doc1999" in manifest.read(place / "build/env/source/read")["id"].to_pylist()


def test_refused_in_the_middle_of_a_run_keeps_what_is_done(place: Path, web: Web) -> None:
    run = Run(write_env(place, raw=web.url), place / "pipelines")
    plan = run.state("source/read")[2]
    web.status["/part-1.jsonl.gz"] = 403
    with pytest.raises(Partial, match="renew the credentials") as caught:
        Dataset(plan, run.graph["source/read"], _engine(run.env)).make()  # type: ignore[arg-type]
    assert caught.value.code == 5 and "/part-1.jsonl.gz" in str(caught.value)
    web.status.clear()
    web.asked.clear()
    run.run(["source/read"])
    assert [key for key in web.asked if key.startswith("GET /part")] == ["GET /part-1.jsonl.gz"]


def test_a_disk_that_is_full_is_not_asked_again(place: Path, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def full(*paths: str) -> None:
        asked.append(paths)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(raw._connect(web.url, "test")[0], "get_file", full)
    with pytest.raises(EnvironmentFault, match="cannot write: No space left"):
        Run(write_env(place, raw=web.url, limit=1), place / "pipelines").run(["source/read"])
    assert len(asked) == 1 and not list((place / "build").rglob("raw-*"))


def test_no_file_and_no_server_are_told_before_anything_runs(place: Path, web: Web) -> None:
    write_recipes(place, {"source/read": {**RECIPES["source/read"], "read": {"jsonl": {**RECIPES["source/read"]["read"]["jsonl"], "files": "prt-*.gz"}}}})
    with pytest.raises(DataError, match=r"nearest: part-\d\.jsonl\.gz"):
        Run(write_env(place, raw=web.url), place / "pipelines").run(["source/read"])
    with serving(place) as gone:
        url = gone.url
    with pytest.raises(EnvironmentFault, match="cannot be read"):
        Run(write_env(place, raw=url), place / "pipelines").run(["source/read"])
    assert not (place / "build/env/source").exists()


WARC = {"read": {"warc": {"files": "*.warc.gz"}}, "table": "rows", "quarantine": 1, "steps": [{"keep": {"where": "record <> 'request'", "reason": "request"}}]}


@pytest.fixture
def archives(tmp_path: Path) -> Path:
    """A large archive with a damaged member, between two small ones."""
    (tmp_path / "raw").mkdir()
    members = [gzip.compress(piece, mtime=0) for piece in RECORDS]
    damaged = bytearray(members[2])
    damaged[40] ^= 0xFF
    (tmp_path / "raw/a.warc.gz").write_bytes(members[0])
    (tmp_path / "raw/b.warc.gz").write_bytes(b"".join(members * 4 + [bytes(damaged)] + members * 4))
    (tmp_path / "raw/c.warc.gz").write_bytes(members[6])
    return tmp_path


def rows(place: Path, name: str) -> list[dict[str, Any]]:
    return manifest.read(place / "build" / name / "source/read").to_pylist()


def recipe(place: Path, unit_bytes: int) -> None:
    path = write_recipes(place, {"source/read": {**WARC, "unit_bytes": unit_bytes}}) / "source/read.yaml"
    assert yaml.safe_load(path.read_text())["unit_bytes"] == unit_bytes


@pytest.mark.parametrize("unit_bytes", [10_000_000, 5000, 1000, 333])
def test_an_archive_in_parts_gives_the_rows_of_the_whole(archives: Path, unit_bytes: int) -> None:
    recipe(archives, 0)
    Run(write_env(archives, "whole"), archives / "pipelines").run(["source/read"])
    whole = made(archives, "whole")
    recipe(archives, unit_bytes)
    run = Run(write_env(archives, "parts"), archives / "pipelines")
    run.run(["source/read"])
    parts = made(archives, "parts")
    assert rows(archives, "parts") == rows(archives, "whole")
    assert parts.counts == whole.counts and parts.counts["read:warc.quarantined"] == 1
    assert [(one.name, one.fingerprint) for one in parts.inputs] == [(one.name, one.fingerprint) for one in whole.inputs]
    size = (archives / "raw/b.warc.gz").stat().st_size
    assert len(parts.files) == (1 if unit_bytes > size + 2000 else 2 + -(-size // unit_bytes))
    assert run.run(["source/read"]) == 0


def test_the_cut_is_in_the_fingerprint_and_a_part_has_a_record_of_its_own(archives: Path) -> None:
    plans = []
    for unit_bytes in (0, 1000, 999, 1000):
        recipe(archives, unit_bytes)
        plans.append(Run(write_env(archives), archives / "pipelines").state("source/read")[2])
    assert len({plan.fingerprint for plan in plans}) == 3 and plans[1] == plans[3]  # type: ignore[union-attr]
    tasks = [plans[1].task("map", unit) for unit in plans[1].passes[0].units]  # type: ignore[union-attr]
    assert len(set(tasks)) == len(tasks) > 5


def test_a_lost_part_is_made_again_alone(archives: Path) -> None:
    recipe(archives, 1000)
    run = Run(write_env(archives), archives / "pipelines")
    run.run(["source/read"])
    folder = archives / "build/env/source/read"
    before = {path.name: (path.stat().st_ino, path.read_bytes()) for path in folder.glob("*.parquet")}
    (folder / "00003.parquet").unlink()
    run.run(["source/read"])
    after = {path.name: (path.stat().st_ino, path.read_bytes()) for path in folder.glob("*.parquet")}
    assert {name: content for name, (_, content) in after.items()} == {name: content for name, (_, content) in before.items()}
    assert [name for name in after if after[name][0] != before[name][0]] == ["00003.parquet"]


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"workers": 2}, {"workers": 2, "tasks": 3}])
def test_parts_over_workers_and_from_a_url_give_the_same_shards(archives: Path, settings: dict[str, int], caplog: pytest.LogCaptureFixture) -> None:
    recipe(archives, 1000)
    Run(write_env(archives, "one"), archives / "pipelines").run(["source/read"])
    with serving(archives / "raw") as web:
        Run(write_env(archives, "many", raw=web.url, **settings), archives / "pipelines").run(["source/read"])
    assert without_identity(made(archives, "many")) == without_identity(made(archives, "one"))
    assert caplog.text.count("brings all of its") == 1 and "b.warc.gz" in caplog.text


@pytest.mark.spark
def test_spark_reads_parts_and_urls_alike(archives: Path, spark: object) -> None:
    recipe(archives, 1000)
    Run(write_env(archives, "one"), archives / "pipelines").run(["source/read"])
    with serving(archives / "raw") as web:
        Run(write_env(archives, "spark", raw=web.url, engine="spark"), archives / "pipelines").run(["source/read"])
    assert without_identity(made(archives, "spark")) == without_identity(made(archives, "one"))


def test_a_unit_holds_no_file_of_another_cut(archives: Path) -> None:
    recipe(archives, 1000)
    plan = Run(write_env(archives), archives / "pipelines").state("source/read")[2]
    inputs = [[(one.name, one.bytes) for one in unit.inputs] for unit in plan.passes[0].units]  # type: ignore[union-attr]
    size = (archives / "raw/b.warc.gz").stat().st_size
    assert all(len(unit) == 1 for unit in inputs[:-1]) and [unit[0][0] for unit in inputs[:2]] == ["a.warc.gz", f"b.warc.gz[0:{inputs[1][0][1]}]"]
    assert sum(length for unit in inputs for name, length in unit if name.startswith("b.")) == size
    assert json.dumps(inputs).count(f":{size}]") == 1
