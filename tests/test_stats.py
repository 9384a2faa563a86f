"""The funnel by source adds up and names reasons; lengths and cells are those of the files."""

from pathlib import Path

import pyarrow as pa
import pytest

from dolma import stats
from dolma.core import manifest as manifests
from dolma.core.errors import DataError
from tests.built import DROPPED, QUARANTINED, SOURCES, build, dataset


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
