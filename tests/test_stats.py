"""The funnel by source adds up and names reasons; lengths and cells are those of the files."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma import sql, stats
from dolma.core import manifest as manifests
from dolma.core.errors import DataError
from dolma.core.manifest import File
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


VALUES = st.lists(st.tuples(st.sampled_from(["a", "b"]), st.none() | st.integers(0, 40), st.none() | st.integers(-5, 2**31 - 1)), min_size=1, max_size=120)


@settings(max_examples=15)
@given(VALUES, st.integers(1, 3))
def test_percentiles_are_those_of_duckdb(values: list[tuple[str, int | None, int | None]], most: int) -> None:
    source, words, size = zip(*values, strict=True)
    rows = pa.table({"source": source, "n_words": pa.array(words, pa.int32()), "n_bytes": pa.array(size, pa.int64())})
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(stats, "MOST_VALUES", most)  # what waits is added up after every batch or two
        dataset(Path(folder), "pool/documents", rows)
        for column, counted in stats.tally(Path(folder), "pool/documents", ["n_words", "n_bytes"]).items():
            picked = ", ".join(f"quantile_disc({column}, {p}::DECIMAL(4, 2) / 100) AS p{p}" for p in stats.PERCENTS)
            text = (
                f"SELECT source, count({column}) AS documents, avg({column}) AS mean, {picked}, max({column}) AS max FROM pool_documents GROUP BY 1 ORDER BY 1"
            )
            for ours, theirs in zip(stats.percentiles(counted).to_pylist(), sql.query(Path(folder), text).to_pylist(), strict=True):
                assert ours == {**theirs, "mean": pytest.approx(theirs["mean"])}


def test_lengths_of_the_pool_are_found_where_they_were_measured(tmp_path: Path) -> None:
    key = pa.array(range(20), pa.int64())
    pool = pa.table({"id": ["x"] * 20, "key": key, "source": ["web"] * 20, "text": ["x"] * 20, "n_bytes": pa.array(range(1, 21), pa.int32())})
    dataset(tmp_path, "pool/documents", pool)
    tokens = pa.table({"key": key, "source": ["web"] * 20, "n_tokens": pa.array(range(101, 121), pa.int32())})
    dataset(tmp_path, "pool/tokens", tokens, kind="rows", recipe={"input": "pool/documents"})
    dataset(tmp_path, "pool/cells", tokens, kind="tokens", recipe={"input": "pool/tokens"})
    found = stats.all_lengths(tmp_path, stats.datasets(tmp_path))
    assert list(found) == [("n_bytes", "pool/documents"), ("n_tokens", "pool/tokens")]
    assert stats.sentences(found) == ["95 % of the 20 web documents have at most 19 bytes, 119 tokens"]


def test_cells_without_a_topic_have_none(tmp_path: Path) -> None:
    extra = {"source": "code", "topic": None, "vigintile": 0}
    files = [File(name="00000/code/all/00/shard.00000.mds", rows=1, tokens=8, bytes=1, sha256="0" * 64, extra=extra)]
    made = dataset(tmp_path, "shard/pool", None, kind="sequence", format="mds", files=files)
    assert [(cell.source, cell.topic, cell.lang) for cell in stats.cells(made)] == [("code", "", "")]


def test_updates_keep_what_only_some_objectives_log(tmp_path: Path) -> None:
    (tmp_path / "train/dpo").mkdir(parents=True)
    (tmp_path / "train/dpo/run.jsonl").write_text('{"step": 1, "tokens": 8, "loss": null, "margin": 0.5}\n[1]\n{"step": 2, "loss": 0.25, "lo')
    assert list(stats.updates(tmp_path)) == [stats.Update("dpo", 1, 8, dict.fromkeys(stats.FIGURES), None, {"margin": 0.5})]


def test_cells_sum_the_shards_of_a_stream(root: Path) -> None:
    found = manifests.load(root / "shard/pool")
    doubled = found.model_copy(update={"files": [*found.files, *found.files]})
    assert [c.tokens for c in stats.cells(doubled)] == [2 * c.tokens for c in stats.cells(found)]
    assert sum(c.tokens for c in stats.cells(found)) == found.tokens


def test_read_rows_names_a_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"rows": [')
    with pytest.raises(DataError, match="not valid JSON"):
        stats.read_rows(tmp_path / "metrics.json")
