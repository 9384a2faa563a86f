"""The funnel by source adds up and names reasons; lengths and cells are those of the files."""

from pathlib import Path

import pyarrow as pa
import pytest

from dolma import sql, stats
from dolma.core import manifest as manifests
from dolma.core.errors import DataError
from dolma.runner import Run
from tests.built import DROPPED, QUARANTINED, SOURCES, build, dataset
from tests.engines.flow import write_env, write_raw, write_recipes


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("built"))


def test_funnels_account_for_every_document(root: Path) -> None:
    found = {f.source: f for f in stats.funnels(root, stats.datasets(root))}
    assert set(found) == set(SOURCES)
    for source, funnel in found.items():
        assert funnel.documents_in == SOURCES[source][0]
        assert funnel.unaccounted == 0
        assert funnel.out == stats.by_source(root, "pool/documents")[source]
        here = {loss.reason: loss.documents for loss in funnel.losses if loss.dataset.startswith("source/")}
        assert here == {**DROPPED[source], **({"quarantined": QUARANTINED[source]} if source in QUARANTINED else {})}


def test_funnels_split_two_reasons_of_the_pool_by_the_tags(root: Path) -> None:
    losses = [loss for f in stats.funnels(root, stats.datasets(root)) for loss in f.losses if loss.dataset == "pool/unique"]
    assert sum(loss.documents for loss in losses if loss.reason == "exact_duplicate") == 160
    assert sum(loss.documents for loss in losses if loss.reason == "near_duplicate") == 210


def test_funnels_say_when_documents_are_unaccounted_for(tmp_path: Path) -> None:
    rows = pa.table({"id": ["a", "b"], "source": ["web", "web"], "text": ["x", "y"]})
    dataset(tmp_path, "source/web/extract", rows, counts={"read:warc.in": 5, "read:warc.out": 5, "0:keep.in": 5, "0:keep.out": 2, "0:keep.dropped.short": 2})
    (funnel,) = stats.funnels(tmp_path, stats.datasets(tmp_path))
    assert (funnel.documents_in, funnel.out, funnel.unaccounted) == (5, 2, 1)


def test_funnels_end_where_a_source_has_got_to(tmp_path: Path) -> None:
    rows = pa.table({"id": ["a", "b", "c"], "source": ["web"] * 3, "text": ["x", "y", "z"]})
    dataset(tmp_path, "source/web/extract", rows, counts={"read:warc.in": 4, "read:warc.out": 3, "read:warc.quarantined": 1})
    counts = {"0:keep.in": 3, "0:keep.out": 1, "0:keep.dropped.short": 2}
    dataset(tmp_path, "source/web/filter", rows.slice(0, 1), counts=counts, recipe={"input": "source/web/extract"})
    (funnel,) = stats.funnels(tmp_path, stats.datasets(tmp_path))
    assert [(loss.reason, loss.documents) for loss in funnel.losses] == [("quarantined", 1), ("short", 2)]
    assert (funnel.out, funnel.unaccounted) == (1, 0)


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a flow that was run, so that its costs are there."""
    folder = tmp_path_factory.mktemp("flow")
    write_recipes(folder)
    write_raw(folder, files=2, rows=100)
    Run(write_env(folder), folder / "pipelines").run(["pool/first"])
    return folder / "build/env"


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("source/read", ["read:jsonl", "tag_test_key", "write"]),
        ("pool/short", ["read:input", "set", "write"]),
        ("pool/first", ["read:input", "pool/copies", "select", "shuffle", "write"]),
    ],
)
def test_families_hold_every_document_that_was_removed_and_every_second(flow: Path, name: str, names: list[str]) -> None:
    manifest = manifests.load(flow / name)
    found = stats.families(flow, manifest)
    assert [family.name for family in found] == names
    documents = stats.entered(manifest)
    assert sum(family.removed for family in found) == documents - manifest.rows > 0
    assert sum(family.of_pool for family in found) == pytest.approx(100 * (documents - manifest.rows) / documents)
    cpu = sql.query(flow, f"SELECT family, sum(cpu) AS cpu FROM costs WHERE dataset = '{name}' GROUP BY 1 ORDER BY 1").to_pylist()
    assert sorted((round(f.cpu or 0, 6), f.of_cpu and f.of_cpu > 0) for f in found) == sorted((round(row["cpu"], 6), row["cpu"] > 0) for row in cpu)
    assert sum(family.of_cpu or 0 for family in found) == pytest.approx(100)
    text = stats.dataset_text(flow, manifest)
    assert "% of pool" in text and "documents a CPU second" in text and all(one in text for one in names)


def test_costs_are_of_datasets_that_were_measured(flow: Path, root: Path) -> None:
    known = stats.datasets(flow)
    rows = stats.cost_rows(known, stats.costs(flow, known))
    assert [row[0] for row in rows] == ["pool/copies", "pool/first", "pool/short", "source/read"]
    for row in rows:
        cpu = sum(family.cpu or 0 for family in stats.families(flow, known[str(row[0])]))
        assert row[1:4] == [stats.entered(known[str(row[0])]), cpu, stats.entered(known[str(row[0])]) / cpu]
    assert stats.costs(root, stats.datasets(root)) == {}


def test_families_without_a_log_say_that_nothing_was_measured(root: Path) -> None:
    found = stats.families(root, manifests.load(root / "source/web/extract"))
    assert {family.cpu for family in found} == {None} and sum(family.removed for family in found) == sum(DROPPED["web"].values())
    assert "CPU second" not in stats.dataset_text(root, manifests.load(root / "source/web/extract"))


def test_two_steps_of_one_name_keep_their_places(tmp_path: Path) -> None:
    counts = {"0:keep.in": 3, "0:keep.out": 2, "0:keep.dropped.a": 1, "1:keep.in": 2, "1:keep.out": 1, "1:keep.dropped.b": 1}
    made = dataset(tmp_path, "pool/two", pa.table({"id": ["a"]}), counts=counts)
    assert [(family.name, family.removed) for family in stats.families(tmp_path, made)] == [("0:keep", 1), ("1:keep", 1)]


def test_datasets_without_a_manifest_do_not_exist(root: Path, tmp_path: Path) -> None:
    (tmp_path / "pool/half").mkdir(parents=True)
    (tmp_path / "pool/half/00000.parquet").write_bytes(b"")
    assert stats.datasets(tmp_path) == {}
    assert "pool/documents" in stats.datasets(root)


def test_lengths_are_percentiles_of_one_source(tmp_path: Path) -> None:
    dataset(tmp_path, "pool/documents", pa.table({"source": ["a"] * 101 + ["b"], "n_bytes": pa.array([*range(101), 7], pa.int32())}))
    rows = stats.lengths(tmp_path, "pool/documents", "n_bytes").to_pylist()
    assert [(row["source"], row["documents"], row["p10"], row["p50"], row["p90"]) for row in rows] == [("a", 101, 10, 50, 90), ("b", 1, 7, 7, 7)]


def test_cells_sum_the_shards_of_a_stream(root: Path) -> None:
    found = manifests.load(root / "shard/pool")
    doubled = found.model_copy(update={"files": [*found.files, *found.files]})
    assert [c.tokens for c in stats.cells(doubled)] == [2 * c.tokens for c in stats.cells(found)]
    assert sum(c.tokens for c in stats.cells(found)) == found.tokens


def test_read_rows_names_a_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"rows": [')
    with pytest.raises(DataError, match="not valid JSON"):
        stats.read_rows(tmp_path / "metrics.json")
