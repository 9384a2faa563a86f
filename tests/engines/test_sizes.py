"""Sizes said before a run against what the passes then do; what is refused; bounds of what is not there yet."""

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dolma import cli
from dolma.core import counts, manifest
from dolma.core.errors import EnvironmentFault
from dolma.core.files import write_atomic
from dolma.core.recipe import Compiled
from dolma.core.step import Sizes, Taken
from dolma.dedup.clusters import cluster_edges
from dolma.dedup.substrings import mark_substrings
from dolma.engines import fit, sizes, worker
from dolma.engines.groups import CHUNK_ROWS
from dolma.engines.plan import Plan
from dolma.runner import PlanLine, Run
from tests.engines.flow import RECIPES, write_env, write_raw, write_recipes

DEDUP: dict[str, dict[str, Any]] = {
    **RECIPES,
    "dedup/exact": {"input": "source/read", "table": "tag", "buckets": 2, "steps": [{"mark_exact": {}}]},
    "dedup/edges": {"input": "source/read", "table": "edge", "buckets": 3, "steps": [{"mark_minhash": {"bands": 5, "rows": 6, "shingle": 2}}]},
    "dedup/clusters": {"input": "dedup/edges", "table": "tag", "steps": [{"cluster_edges": {}}]},
    "dedup/clustered": {
        "input": "source/read",
        "tags": {"dedup/clusters": ["cluster", "cluster_size"]},
        "table": "tag",
        "steps": [{"keep": {"where": "cluster_size BETWEEN 2 AND 499", "reason": "alone"}}, {"mark_exact": {}}],
    },
}
DONE = ("source/read", "pool/short", "dedup/exact", "dedup/edges", "dedup/clusters", "dedup/clustered", "pool/copies", "pool/first")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_recipes(tmp_path, DEDUP)
    write_raw(tmp_path, files=3, rows=200)
    write_env(tmp_path)
    return tmp_path


def flow(place: Path, env: str = "env") -> Run:
    return Run(place / f"{env}.yaml", place / "pipelines")


def lines(place: Path, *targets: str, env: str = "env") -> dict[str, PlanLine]:
    return {line.dataset: line for line in flow(place, env).plan(targets or ["."])}


def scattered(run: Run, name: str) -> tuple[int, int]:
    """Rows and Arrow bytes that the scatter of `name` really writes; the bytes of an Arrow batch, as it is before compression."""
    _, _, plan = run.state(name)
    assert isinstance(plan, Plan)
    path = Path(plan.folder) / ".work" / "plan.json"
    write_atomic(path, manifest.canonical(plan.model_dump()))
    rows = size = 0
    for kind in ("tags", "scatter"):
        for index in range(sum(len(one.units) for one in plan.passes if one.kind == kind)):
            for file in worker.run_unit(str(path), kind, index, "test").files:
                if kind == "scatter" and file.bytes:
                    with pa.OSFile(str(Path(plan.folder) / file.name)) as source:
                        found = pa.ipc.open_file(source).read_all()
                    rows, size = rows + found.num_rows, size + found.nbytes
    return rows, size


@pytest.mark.parametrize(("name", "times", "low", "high"), [("dedup/exact", 1, 1.0, 1.0), ("dedup/edges", 5, 1.0, 1.0), ("pool/copies", 1, 0.3, 3.0)])
def test_what_is_said_is_what_is_scattered(place: Path, name: str, times: int, low: float, high: float) -> None:
    """Rows exactly; bytes exactly where all columns are numbers, within a factor of 3 where texts of 20 characters are shuffled (INFLATION is of pages)."""
    run = flow(place)
    run.run([DEDUP[name]["input"]])
    size = lines(place, name)[name].size
    assert size is not None and size.sure and size.exact
    documents = manifest.load(run.root / DEDUP[name]["input"]).rows
    rows, real = scattered(run, name)
    assert size.rows == rows == times * documents
    assert size.shuffle is not None and low <= size.shuffle / real <= high
    assert size.memory is not None and size.memory >= sizes.BASE and size.spill == 0


def test_tags_that_a_keep_asks_for_bound_the_rows(place: Path) -> None:
    run = flow(place)
    run.run(["dedup/clusters"])
    size = lines(place, "dedup/clustered")["dedup/clustered"].size
    assert size is not None and size.sure and not size.exact
    tagged, documents = manifest.load(run.root / "dedup/clusters").rows, manifest.load(run.root / "source/read").rows
    assert size.rows == tagged < documents
    assert scattered(run, "dedup/clustered")[0] <= tagged
    assert size.shuffle == tagged * 40 + tagged * (8 + 8 + 8 + 4)  # rows of the group pass, and tags with origin and key


@pytest.mark.parametrize(
    ("where", "of"),
    [
        ("cluster IS NOT NULL", "dedup/clusters"),
        ("cluster_size > 1 AND cluster <> 3", "dedup/clusters"),
        ("cluster IS NULL", None),
        ("coalesce(cluster_size, 1) < 500", None),
        ("cluster_size > 1 OR text = 'a'", None),
        ("true", None),
    ],
)
def test_only_a_condition_that_untagged_rows_fail_bounds_the_rows(place: Path, where: str, of: str | None) -> None:
    recipe = {**DEDUP["dedup/clustered"], "steps": [{"keep": {"where": where, "reason": "x"}}, {"mark_exact": {}}]}
    write_recipes(place, {**DEDUP, "dedup/clustered": recipe})
    compiled = flow(place).graph["dedup/clustered"]
    assert isinstance(compiled, Compiled) and sizes._tag_only(where, compiled) == of


def edges(count: int) -> Iterator[pa.RecordBatch]:
    for start in range(0, count, 4096):
        a = np.arange(start, min(start + 4096, count)) // 2
        yield pa.RecordBatch.from_pydict({"origin_a": a, "key_a": a * 7919, "origin_b": a + count, "key_b": (a + count) * 7919})


def test_clusters_take_the_memory_that_is_said(tmp_path: Path) -> None:
    """numpy reports its arrays to tracemalloc, Arrow does not."""
    count = 100_000
    assert cluster_edges.sizes is not None
    said = cluster_edges.sizes(cluster_edges.params(), Taken(count, 0, count))
    list(cluster_edges.fn(edges(8), folder=tmp_path))  # compiles
    tracemalloc.start()
    made = sum(table.num_rows for _, table in cluster_edges.fn(edges(count), folder=tmp_path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert said.out is not None and made == said.out == count
    assert 0.3 * said.rows * said.width < peak <= 1.5 * said.rows * said.width


def test_nothing_is_known_before_the_raw_files_are_read(place: Path) -> None:
    found = lines(place)
    assert found["source/read"].size is None  # neither shuffles nor reduces
    copies = found["pool/copies"].size
    assert copies is not None and copies.rows is None and not copies.sure and not found["pool/copies"].faults
    assert sizes.cells(copies) == ["-", "-", "-", "-"]


@settings(max_examples=3, deadline=None)
@given(rows=st.integers(2, 120), files=st.integers(2, 3))
@example(rows=2, files=2)  # no tag at all, from three shards of tags
def test_bounds_of_what_is_not_there_yet_hold(rows: int, files: int) -> None:
    with TemporaryDirectory() as folder:
        place = Path(folder)
        write_recipes(place, DEDUP)
        write_raw(place, files=files, rows=rows)
        write_env(place)
        run = flow(place)
        run.run(["source/read"])
        sizing = sizes.Sizing(run.graph, run.env, run.root)
        said = {name: (sizing.of(name, None), sizing.extent(name)) for name in DONE[1:]}
        run.run(list(DONE))
        for name, (size, extent) in said.items():
            made = manifest.load(run.root / name)
            assert extent.rows is None or made.rows <= extent.rows
            shuffled = sum(step.get("scattered", 0) for step in counts.steps(made.counts).values())
            if size is not None and size.rows is not None:
                assert not size.sure and shuffled <= size.rows
        assert said["pool/first"][1].rows is not None and said["dedup/clusters"][1].rows is not None


def tree(place: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in place.rglob("*")}


def call(place: Path, verb: str, *targets: str, env: str) -> int:
    return cli.main([verb, *targets, "--env", str(place / f"{env}.yaml"), "--pipelines", str(place / "pipelines")])


@pytest.mark.parametrize(("setting", "what"), [({"memory": "100 MB"}, "memory"), ({"disk": 1000}, "disk")])
def test_what_cannot_fit_is_refused_before_it_starts(place: Path, setting: dict, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_env(place, "small", **setting)
    assert call(place, "run", "source/read", env="small") == 0  # a map pass is never refused
    before = tree(place)
    assert call(place, "plan", "dedup/edges", env="small") == 4
    out, err = capsys.readouterr()
    assert "dedup/edges  missing  not made yet" in out and f"dedup/edges: does not fit {'into' if what == 'memory' else 'on'} the {what}" in err
    assert call(place, "run", "dedup/edges", env="small") == 4 and tree(place) == before
    write_env(place, "small", memory="2 GB", disk="2 GB")
    assert call(place, "plan", "dedup/edges", env="small") == 0 and call(place, "run", "dedup/edges", env="small") == 0


def test_a_bound_alone_refuses_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_env(place, "small", disk=1000)
    call(place, "run", "source/read", env="small")
    assert call(place, "plan", "dedup/clusters", env="small") == 4
    out, err = capsys.readouterr()
    waiting = next(line for line in out.splitlines() if line.startswith("dedup/clusters"))
    assert "<= " in waiting and "dedup/clusters: does not fit" not in err


@pytest.mark.parametrize("name", ["dedup/clusters", "dedup/clustered"])
def test_a_bound_that_does_not_fit_is_said_and_run(place: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Documents that have an edge are fewer than all, and those that a `keep` leaves than those that come."""
    write_env(place, "small")
    assert call(place, "run", *DEDUP[name].get("tags", ()), "dedup/edges", env="small") == 0
    write_env(place, "small", memory="100 MB")
    for verb in ("plan", "run"):
        capsys.readouterr()
        assert call(place, verb, name, env="small") == 0
        warned = [line for line in capsys.readouterr().err.splitlines() if line.startswith(f"{name}: may not fit into the memory: at most ")]
        assert len(warned) == 1 and "there is 100 MB" in warned[0] and "; if it fails: " in warned[0]


SIZE = sizes.Size(rows=10, shuffle=100, memory=3 << 30, spill=0, disk=5 << 30, workers=2, sure=True, exact=True)


EMPTY = sizes.Size(rows=0, shuffle=0, memory=sizes.BASE, spill=0, disk=0, workers=1, sure=True, exact=True)


def test_what_is_refused_and_why(place: Path) -> None:
    env = flow(place).env.model_copy(update={"workers": 2, "disk": None})
    ample = fit.Room(memory=8 << 30, disk=8 << 30)

    def faults(size: sizes.Size, room: fit.Room) -> list[str]:
        return [error.what for error in fit.faults("pool/near", size, room, env, place / "near")]

    assert faults(SIZE, ample) == []
    assert faults(SIZE, replace(ample, memory=5 << 30)) == ["does not fit into the memory"]  # two workers of 3 GB
    assert faults(replace(SIZE, workers=1), replace(ample, memory=5 << 30)) == []  # a reduce is one process
    assert faults(replace(SIZE, limited=False), replace(ample, memory=1)) == []  # an engine distributes it
    assert faults(SIZE, replace(ample, memory=None)) == []  # a machine that nobody described
    assert faults(SIZE, fit.Room(1, 1)) == ["does not fit into the memory", "does not fit on the disk"]
    assert faults(replace(SIZE, sure=False), fit.Room(1, 1)) == []
    assert faults(replace(SIZE, exact=False), fit.Room(1, 1)) == []
    half = replace(ample, memory=3 << 30, disk=4 << 30)
    assert faults(replace(SIZE, spare=1 << 30, spare_disk=1 << 30), half) == ["does not fit into the memory"]  # 4 of 6 GB and 4 of 5 GB are certain
    unsure = fit.doubts("pool/near", replace(SIZE, spare=2 << 30, spare_disk=1 << 30), half, env, place / "near")
    assert [line.split(": ")[1] for line in unsure] == ["may not fit into the memory", "may not fit on the disk"]
    assert fit.doubts("pool/near", SIZE, fit.Room(1, 1), env, place / "near") == fit.doubts("pool/near", SIZE, ample, env, place / "near") == []
    with pytest.raises(EnvironmentFault):
        fit.refuse(fit.faults("pool/near", SIZE, replace(ample, disk=1), env, place / "near"))


def test_what_an_interrupted_run_left_is_not_asked_for_again(place: Path) -> None:
    left = place / "near" / ".work" / "shuffle"
    left.mkdir(parents=True)
    (left / "00000.arrow").write_bytes(bytes(2000))
    size, room, env = replace(SIZE, memory=0, disk=2500), fit.Room(None, 1000), flow(place).env
    assert fit.faults("near", size, room, env, place / "near") == []
    assert len(fit.faults("near", size, room, env, place / "other")) == 1


def test_large_passes_spill_and_small_ones_do_not(place: Path) -> None:
    run = flow(place)
    run.run(["source/read"])
    compiled, env = run.graph["dedup/exact"], run.env
    assert isinstance(compiled, Compiled)
    for documents, spills in ((1_000, False), (1_000_000_000, True)):
        extent = sizes.Extent(documents, documents * 1000, documents * 300, 10, documents // 10)
        declared = sizes.declare(compiled, extent)
        size = sizes._grouped(EMPTY, declared, extent, 2, env.workers, spark=False)
        assert size.rows == documents and size.shuffle == 40 * documents and bool(size.spill) == spills
        assert size.memory is not None and size.memory >= sizes.BASE + (3 * 40 * documents) // 10  # a scatter holds its shard
        spark = sizes._grouped(EMPTY, declared, extent, 2, env.workers, spark=True)
        assert spark.shuffle == size.shuffle and spark.spill is None and not spark.limited


DECLARED = Sizes(1_000_000, 1000)


@pytest.mark.parametrize(
    ("shards", "buckets", "alone", "processes", "own"),
    [
        (1, 1, False, 1, 3_000_000_000),  # one shard of 1 GB, three times
        (1, 8, False, 8, 250_000_000 + 3 * CHUNK_ROWS * 1000),  # 8 buckets take more together, at a time, than the shard
        (1, 8, True, 1, 3_000_000_000),  # but none as much as that
        (1000, 1, False, 8, 3_000_000),  # and so of 8 small shards and one bucket the bucket
        (100, 4, False, 4, sizes.SORT + 3 * CHUNK_ROWS * 1000),
    ],
)
def test_processes_are_no_more_than_shards_or_buckets(shards: int, buckets: int, alone: bool, processes: int, own: int) -> None:
    taken = sizes.Extent(1_000_000, 0, 10**9, shards, 1_000_000 // shards)
    size = sizes._grouped(EMPTY, DECLARED, taken, buckets, 8, spark=False, alone=alone)
    assert (size.workers, size.memory) == (processes, sizes.BASE + own)


def test_rows_of_a_group_are_in_one_bucket() -> None:
    assert mark_substrings.sizes is not None
    taken = sizes.Extent(10_000_000, 40_000_000_000, 12_000_000_000, 1000, 10_000)

    def grouped(groups: int, buckets: int) -> sizes.Size:
        assert mark_substrings.sizes is not None and taken.rows is not None and taken.text is not None
        declared = mark_substrings.sizes(mark_substrings.params(groups=groups), Taken(taken.rows, taken.text, taken.rows))
        return sizes._grouped(EMPTY, declared, taken, buckets, 4, spark=False)

    one, many = grouped(1, 64), grouped(64, 64)
    assert one.shuffle == many.shuffle and one.shuffle is not None
    assert (one.workers, one.memory) == (1, round(sizes.BASE + sizes.SORT + 3 * one.shuffle)) and one.spill == one.shuffle
    assert (many.workers, many.memory) == (4, round(sizes.BASE + sizes.SORT + 3 * one.shuffle / 64)) and many.spill == round(4 * one.shuffle / 64)
    assert grouped(64, 1).spill == one.spill
    assert "`groups`" in one.mend and "`groups`" in many.mend and "`buckets`" in grouped(64, 1).mend and not one.exact


def test_an_estimate_of_text_refuses_only_what_its_shards_already_exceed() -> None:
    taken = sizes.Extent(1000, 3_500_000_000, 1_000_000_000, 1, 1000)
    size = sizes._grouped(EMPTY, Sizes(1000, 0, 3_500_000_000), taken, 1, 1, spark=False)
    assert size.exact and size.memory == sizes.BASE + 3 * 3_500_000_000 and size.memory - size.spare == sizes.BASE + 3 * 1_000_000_000
    assert size.disk is not None and size.disk - size.spare_disk == 2 * 1_000_000_000


@pytest.mark.parametrize(("text", "expected"), [("1000\n", 1000), ("max\n", None)])
def test_memory_is_what_the_control_group_leaves(tmp_path: Path, text: str, expected: int | None) -> None:
    (tmp_path / "user/mine").mkdir(parents=True)
    (tmp_path / "user" / "memory.max").write_text(text)
    (tmp_path / "self").write_text("0::/user/mine\n")
    whole = fit.memory_here(tmp_path / "none", tmp_path / "nothing")
    assert fit.memory_here(tmp_path, tmp_path / "self") == (expected or whole) and whole > 10_000_000
