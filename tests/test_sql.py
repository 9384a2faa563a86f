"""`dolma sql`: what the views hold, and what SQL may not do."""

from pathlib import Path
from shutil import copytree

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dolma import sql
from dolma.core import manifest as manifests
from dolma.core.errors import ConfigError, DataError
from dolma.core.manifest import File
from tests.built import SOURCES, build, dataset


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


def test_the_documents_of_the_pool_come_with_tokens_and_vigintile(tmp_path: Path) -> None:
    pool = pa.table({"id": ["a", "b", "c"], "key": pa.array([1, 2, 3], pa.int64()), "source": ["web"] * 3, "text": ["x", "y", "z"], "n_bytes": [1, 1, 1]})
    dataset(tmp_path, "pool/documents", pool, recipe={"input": "pool/unique"})
    assert "n_tokens" not in sql.query(tmp_path, "SELECT * FROM documents").column_names
    tokens = pa.table({"key": pa.array([3, 1, 1], pa.int64()), "source": ["web"] * 3, "n_tokens": [30, 10, 10]})
    dataset(tmp_path, "pool/tokens", tokens, kind="rows", recipe={"input": "pool/documents"})
    cells = pa.table({"key": pa.array([1, 2, 3], pa.int64()), "source": ["web"] * 3, "vigintile": pa.array([4, 8, 20], pa.int32())})
    dataset(tmp_path, "pool/cells", cells, kind="tokens", recipe={"input": "pool/tokens"})
    got = sql.query(tmp_path, "SELECT dataset, id, n_tokens, vigintile FROM documents ORDER BY id").to_pylist()
    assert [tuple(row.values()) for row in got] == [("pool/documents", "a", 10, 4), ("pool/documents", "b", None, 8), ("pool/documents", "c", 30, 20)]

    def joins(what: str) -> bool:
        return "JOIN" in sql.query(tmp_path, f"EXPLAIN SELECT {what} FROM documents").to_pylist()[0]["explain_value"].upper()

    assert not joins("avg(n_bytes)") and not joins("count(*)") and joins("avg(n_tokens)") and joins("max(vigintile)")


def test_documents_are_those_of_each_source_while_there_is_no_pool(tmp_path: Path) -> None:
    for source, more in (("web", {"lang": ["en"]}), ("pdf", {"pages": [3]})):
        dataset(tmp_path, f"source/{source}/extract", pa.table({"id": [source], "key": [1], "source": [source], "text": ["x"], **more}))
    dataset(tmp_path, "source/web/filter", pa.table({"id": ["w"], "key": [1], "source": ["web"], "text": ["x"]}), recipe={"input": "source/web/extract"})
    dataset(tmp_path, "source/web/filter_c4", pa.table({"id": ["c4"], "key": [1], "source": ["web"], "text": ["x"]}), recipe={"input": "source/web/extract"})
    got = sql.query(tmp_path, "SELECT dataset, id, pages FROM documents ORDER BY 1").to_pylist()
    assert [tuple(row.values()) for row in got] == [("source/pdf/extract", "pdf", 3), ("source/web/filter", "w", None)]


def test_saved_measures_of_all_datasets_are_one_view(tmp_path: Path) -> None:
    assert sql.query(tmp_path, "SELECT dataset, fails FROM measures").num_rows == 0
    for name, column in (("source/web/filter", "n_words"), ("source/code/filter", "n_lines")):
        dataset(tmp_path, f"measures/{name}", pa.table({"id": ["a"], column: [7]}), kind="rows", recipe={"measures_of": name})
    got = sql.query(tmp_path, "SELECT dataset, n_words, n_lines FROM measures ORDER BY 1").to_pylist()
    assert [tuple(row.values()) for row in got] == [("source/code/filter", None, 7), ("source/web/filter", 7, None)]


def test_a_copy_of_saved_measures_counts_no_row_twice(tmp_path: Path) -> None:
    dataset(tmp_path, "measures/source/web/filter", pa.table({"id": ["a"]}), kind="rows", recipe={"measures_of": "source/web/filter"})
    copytree(tmp_path / "measures/source/web/filter", tmp_path / "kept")
    assert sql.query(tmp_path, "SELECT dataset, id FROM measures").to_pylist() == [{"dataset": "source/web/filter", "id": "a"}]
    assert sql.query(tmp_path, "SELECT id FROM kept").num_rows == 1


def test_cells_sum_their_streams(tmp_path: Path) -> None:
    def file(unit: int, rows: int, **extra: object) -> File:
        return File(name=f"{unit:05d}/{extra['source']}/{rows}/shard.mds", rows=rows, tokens=10 * rows, bytes=1, sha256="0" * 64, extra=extra)

    web = {"source": "web", "topic": "art", "vigintile": 20}
    files = [file(0, 3, **web), file(1, 5, **web), file(0, 4, **web, lang="de"), file(0, 8, source="code", topic=None, vigintile=0)]
    dataset(tmp_path, "shard/pool", None, kind="sequence", format="mds", files=files)
    got = {tuple(row.values()) for row in sql.query(tmp_path, "SELECT * EXCLUDE (dataset) FROM cells").to_pylist()}
    assert got == {("web", "art", 20, None, 2, 8, 80, 0.4), ("web", "art", 20, "de", 1, 4, 40, 0.2), ("code", None, 0, None, 1, 8, 80, 0.4)}


def test_mixes_say_what_the_pool_has(root: Path) -> None:
    got = sql.query(root, "SELECT mix, source, sum(pool_tokens)::BIGINT AS has, sum(tokens)::BIGINT AS served, sum(share) AS share FROM mixes GROUP BY ALL")
    pool = manifests.load(root / "shard/pool")
    for name in ("mix/pretrain", "mix/midtrain", "mix/longctx"):
        rows = [row for row in got.to_pylist() if row["mix"] == name]
        assert sum(row["has"] for row in rows) == pool.tokens and sum(row["share"] for row in rows) == pytest.approx(1)
        total = sum(row["served"] for row in rows)
        assert total > 0 and all(row["share"] == pytest.approx(row["served"] / total) for row in rows)
    code = sum(f.tokens for f in pool.files if f.extra["source"] == "code")
    assert [row["has"] for row in got.to_pylist() if (row["mix"], row["source"]) == ("mix/pretrain", "code")] == [code]


def test_updates_are_the_lines_of_the_logs(root: Path) -> None:
    assert sql.query(root, "SELECT count(*) AS n, max(step) AS s FROM updates WHERE stage = 'sft'").to_pylist() == [{"n": 240, "s": 240}]
    assert sql.query(root, "SELECT stage FROM updates WHERE reward IS NOT NULL GROUP BY 1").to_pylist() == [{"stage": "rlvr"}]


def test_views_lists_every_view_with_its_columns(root: Path) -> None:
    listed = {row["view"]: row for row in sql.query(root, "SELECT * FROM views").to_pylist()}
    assert set(listed) == {row["name"] for row in sql.query(root, "SHOW TABLES").to_pylist()}
    for name in ("documents", "mixes", "pool_documents", "views"):
        assert listed[name]["columns"].split(", ") == [row["column_name"] for row in sql.query(root, f"DESCRIBE {name}").to_pylist()]
    assert listed["pool_documents"]["rows"] == manifests.load(root / "pool/documents").rows


def spoil(path: Path, column: str, group: int = 0) -> None:
    """Overwrite the pages of one column of a row group: who reads them, sees it."""
    place = pq.ParquetFile(path).metadata.row_group(group)
    (chunk,) = [place.column(n) for n in range(place.num_columns) if place.column(n).path_in_schema == column]
    data = bytearray(path.read_bytes())
    start = chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset
    data[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(data)


@pytest.fixture
def spoiled(tmp_path: Path) -> Path:
    """A pool of two row groups of 2,000 documents; the texts of the first cannot be read."""
    count = 4000
    columns = {
        "id": [str(n) for n in range(count)],
        "source": ["web"] * count,
        "quality": [n / count for n in range(count)],
        "n_bytes": range(count),
        "text": ["words " * 9] * count,
    }
    made = dataset(tmp_path, "pool/documents", pa.table({**columns, "key": pa.array(range(count), pa.int64())}))
    path = tmp_path / "pool/documents" / made.files[0].name
    pq.write_table(pq.read_table(path), path, row_group_size=2000)
    spoil(path, "text")
    files = [made.files[0].model_copy(update={"bytes": path.stat().st_size})]
    manifests.save(tmp_path / "pool/documents", made.model_copy(update={"files": files, "bytes": path.stat().st_size}))
    return tmp_path


@pytest.mark.parametrize("view", ["pool_documents", "documents"])
@pytest.mark.parametrize("what", ["count(*)", "avg(quality)", "count(DISTINCT id)", "max(quality) FILTER (source = 'web')"])
def test_texts_are_not_read_unless_asked_for(spoiled: Path, view: str, what: str) -> None:
    assert sql.query(spoiled, f"SELECT {what} AS x FROM {view}").num_rows == 1
    with pytest.raises((ConfigError, OSError)):
        sql.query(spoiled, f"SELECT max(text) FROM {view}")


@pytest.mark.parametrize("view", ["pool_documents", "documents"])
def test_row_groups_that_a_condition_excludes_are_not_read(spoiled: Path, view: str) -> None:
    assert sql.query(spoiled, f"SELECT count(*) AS n, max(text) AS t FROM {view} WHERE n_bytes >= 3000").to_pylist() == [{"n": 1000, "t": "words " * 9}]
    with pytest.raises((ConfigError, OSError)):
        sql.query(spoiled, f"SELECT count(*) AS n, max(text) AS t FROM {view} WHERE n_bytes >= 1000")


def test_a_build_is_asked_more_than_once_over_one_locked_connection(root: Path) -> None:
    with sql.open(root) as build:
        assert build.query("SELECT count(*) AS n FROM pool_documents").to_pylist() == [{"n": manifests.load(root / "pool/documents").rows}]
        assert build.columns("SELECT source FROM documents GROUP BY 1 ORDER BY 1") == {"source": sorted(SOURCES)}
        assert build.table("SELECT 1 AS a, 'x' AS b").splitlines() == ["a  b", "-  -", "1  x"]
        for text in ("SET threads = 1", "SELECT * FROM '/etc/passwd.csv'", "CREATE TABLE t AS SELECT 1"):
            with pytest.raises(ConfigError):
                build.query(text)
    assert build.root == root


def test_a_build_is_found_by_the_name_of_its_env(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pipelines/env").mkdir(parents=True)
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "pipelines/env/mine.yaml").write_text(f"root: {root}\nraw: raw\n")
    (tmp_path / "pipelines/env/new.yaml").write_text("root: build/new\nraw: raw\n")
    monkeypatch.chdir(tmp_path / "notebooks")
    with sql.open("mine") as build:
        assert build.root == root
    with pytest.raises(ConfigError, match="nothing was built yet"):
        sql.open("new")
    with pytest.raises(ConfigError, match="no build at `nowhere`"):
        sql.open("nowhere")


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
