"""`dolma sql`: what the views hold, and what SQL may not do."""

from pathlib import Path

import pyarrow as pa
import pytest

from dolma import sql
from dolma.core import manifest as manifests
from dolma.core.errors import ConfigError, DataError
from tests.built import build, dataset


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("built"))


def test_every_parquet_dataset_is_a_view(root: Path) -> None:
    got = sql.query(root, "SELECT count(*) AS n FROM pool_documents").to_pylist()
    assert got == [{"n": manifests.load(root / "pool/documents").rows}]
    names = {row["name"] for row in sql.query(root, "SHOW TABLES").to_pylist()}
    assert {"pool_candidates", "source_web_extract", "mix_pretrain", *sql.RESERVED} <= names


def test_views_of_manifests_agree_with_them(root: Path) -> None:
    rows = sql.query(root, "SELECT m.dataset, m.rows, sum(s.rows)::BIGINT AS s FROM manifests m JOIN shards s USING (dataset) GROUP BY ALL").to_pylist()
    assert rows and all(row["rows"] == row["s"] for row in rows)
    lost = sql.query(root, "SELECT sum(rows)::BIGINT AS n FROM counts WHERE dataset = 'pool/unique' AND kind = 'dropped'").to_pylist()
    assert lost == [{"n": 370}]


def test_views_of_mixes_stages_and_quarantine(root: Path) -> None:
    assert sql.query(root, "SELECT max(repeats) <= 7 AS ok FROM mixes WHERE mix = 'mix/pretrain'").to_pylist() == [{"ok": True}]
    assert sql.query(root, "SELECT before, after FROM stages WHERE stage = 'sft' AND metric = 'in_template'").to_pylist() == [{"before": 0.0, "after": 1.0}]
    assert sql.query(root, "SELECT count(*) AS n FROM quarantine WHERE file LIKE 'pdf/%' AND reason <> ''").to_pylist() == [{"n": 7}]


def test_an_empty_root_still_answers(tmp_path: Path) -> None:
    assert sql.query(tmp_path, "SELECT count(*) AS n FROM manifests").to_pylist() == [{"n": 0}]


FORBIDDEN = (
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM '/etc/passwd.csv'",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM read_text('/etc/hostname')",
    "COPY (SELECT 1) TO 'x.csv'",
    "COPY pool_documents TO 'out.parquet'",
    "ATTACH 'x.db'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET threads = 1",
    "SET enable_external_access = true",
    "CREATE TABLE x AS SELECT 1",
    "EXPORT DATABASE 'x'",
    "SELECT 1; SELECT 2",
    "SELECT * FROM root",
    "",
)


@pytest.mark.parametrize("text", FORBIDDEN)
def test_sql_reads_no_file_writes_nothing_and_keeps_its_locks(root: Path, text: str) -> None:
    before = sorted(root.rglob("*"))
    with pytest.raises(ConfigError):
        sql.query(root, text)
    assert sorted(root.rglob("*")) == before


def test_a_wrong_column_is_a_config_error_that_lists_the_views(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"nope(.|\n)*pool_documents"):
        sql.query(root, "SELECT nope FROM pool_documents")


def test_two_datasets_with_one_view_are_refused(tmp_path: Path) -> None:
    rows = pa.table({"a": [1]})
    dataset(tmp_path, "pool/a_b", rows, kind="rows")
    dataset(tmp_path, "pool/a/b", rows, kind="rows")
    with pytest.raises(ConfigError, match="pool_a_b"):
        sql.query(tmp_path, "SELECT 1")


def test_a_shard_that_was_cut_is_named(root: Path, tmp_path: Path) -> None:
    dataset(tmp_path, "pool/x", pa.table({"a": [1, 2]}), kind="rows")
    path = tmp_path / "pool/x/00000.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"00000\.parquet"):
        sql.query(tmp_path, "SELECT 1")
