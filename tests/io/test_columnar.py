import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.core.errors import ConfigError, DataError
from dolma.io.columnar import arrow, parquet

COLUMNS = {"id": "string", "text": "large_string", "n": "int32", "score": "float32", "ok": "bool", "tags": "list<string>", "turns": "json"}
TABLE = pa.table(
    {
        "id": ["a", "b", "c"],
        "text": ["x\ny", "ä", None],
        "n": pa.array([1, None, 3], pa.int64()),
        "score": pa.array([0.5, float("nan"), None], pa.float64()),
        "ok": [True, False, None],
        "tags": pa.array([["p", "q"], [], None], pa.large_list(pa.string())),
        "turns": [[{"role": "user", "n": 1}], [], None],
        "left": [1, 2, 3],
    }
)


def write_arrow(path: Path, table: pa.Table, rows: int = 2, form: str = "stream") -> Path:
    with open(path, "wb") as out, (pa.ipc.new_stream if form == "stream" else pa.ipc.new_file)(out, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)
    return path


def write_parquet(path: Path, table: pa.Table, rows: int = 2) -> Path:
    pq.write_table(table, path, row_group_size=rows, write_page_checksum=True)
    return path


WRITERS = {"parquet": (parquet, write_parquet), "arrow": (arrow, write_arrow)}
BOTH = pytest.mark.parametrize("form", WRITERS)


def rows(reader, path: Path, **params) -> pa.Table:
    made = []
    for batch in reader.fn(path, file="raw/x", **{"columns": COLUMNS, **params}):
        if "_error" not in batch.schema.names:
            batch = batch.append_column("_error", pa.nulls(batch.num_rows, pa.string()))
        made.append(batch)
    return pa.Table.from_batches(made)


def read(form: str, path: Path, table: pa.Table, **params) -> pa.Table:
    reader, write = WRITERS[form]
    return rows(reader, write(path, table), **params)


@BOTH
def test_columns_have_the_declared_types_and_their_place(form, tmp_path):
    made = read(form, tmp_path / "x", TABLE)
    assert made.column("id").to_pylist() == ["a", "b", "c"] and made.column("text").to_pylist() == ["x\ny", "ä", None]
    assert made.column("n").to_pylist() == [1, None, 3] and made.column("score").to_pylist() == [0.5, None, None]
    assert made.column("ok").to_pylist() == [True, False, None] and made.column("tags").to_pylist() == [["p", "q"], [], None]
    assert made.column("turns").to_pylist() == ['[{"role":"user","n":1}]', "[]", None]
    assert made.column("offset").to_pylist() == [0, 1, 2] and made.column("file").to_pylist() == ["raw/x"] * 3
    declared = WRITERS[form][0].adds(WRITERS[form][0].params(columns=COLUMNS), pa.schema([]))
    assert made.schema.names == [*declared.names, "_error"] and all(made.schema.field(f.name).type == f.type for f in declared)


@BOTH
def test_what_does_not_fit_is_an_error_row_and_the_others_are_read(form, tmp_path):
    torn = pa.array([b"ok", b"a\xffb", b"", None, b"z"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 5, torn.buffers(), torn.null_count)
    table = pa.table({"id": ["a", "b", "c", "d", "e"], "text": text, "n": pa.array([1, 2, 3, 4, 1 << 40], pa.int64())})
    made = read(form, tmp_path / "x", table, columns={"id": "string", "text": "large_string", "n": "int32"}, required=["id", "text"])
    missing = "`text` is missing"
    assert made.column("_error").to_pylist() == [None, "`text` has the wrong type", missing, missing, "`n` has the wrong type"]
    assert made.column("id").to_pylist() == ["a", None, None, None, None] and made.column("offset").to_pylist() == [0, 1, 2, 3, 4]


@BOTH
@pytest.mark.parametrize(
    ("columns", "what"),
    [({"ids": "string"}, "no column `ids`"), ({"id": "int32"}, "another kind"), ({"n": "string"}, "another kind"), ({"turns": "list<string>"}, "another kind")],
)
def test_a_column_that_is_absent_or_of_another_kind_names_the_file(form, tmp_path, columns, what):
    with pytest.raises(DataError, match=f"raw/x.*{what}"):
        read(form, tmp_path / "x", TABLE, columns=columns)


@BOTH
def test_a_file_without_rows_has_none(form, tmp_path):
    reader, write = WRITERS[form]
    assert list(reader.fn(write(tmp_path / "x", TABLE.slice(0, 0)), file="raw/x", columns=COLUMNS)) == []


@BOTH
def test_encoded_columns_are_read_as_what_they_hold(form, tmp_path):
    table = pa.table(
        {"id": pa.array(["a", "b", "a"]).dictionary_encode(), "text": pa.array(["x", None, "z"], pa.string_view()), "n": pa.array([1, 2, 255], pa.uint8())}
    )
    made = read(form, tmp_path / "x", table, columns={"id": "string", "text": "large_string", "n": "int64"})
    assert made.drop_columns(["file", "offset", "_error"]).to_pydict() == {"id": ["a", "b", "a"], "text": ["x", None, "z"], "n": [1, 2, 255]}


def test_arrow_reads_the_file_format_too(tmp_path):
    path = write_arrow(tmp_path / "x.arrow", TABLE, form="file")
    assert rows(arrow, path).column("id").to_pylist() == ["a", "b", "c"]


@pytest.mark.parametrize("form", ["stream", "file"])
def test_arrow_cut_anywhere_is_refused(tmp_path, form):
    path = write_arrow(tmp_path / "x.arrow", TABLE, rows=1, form=form)
    whole = path.read_bytes()
    for cut in range(0, len(whole), 8):  # messages end at multiples of 8: there a cut stream reads like a whole one
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError, match=r"raw/x.*cut short"):
            rows(arrow, path)


def test_parquet_cut_or_with_a_flipped_byte_in_a_page_is_refused(tmp_path):
    path = write_parquet(tmp_path / "x.parquet", pa.table({"id": [str(n) * 5 for n in range(5000)]}), rows=1000)
    whole = path.read_bytes()
    for cut in range(0, len(whole), len(whole) // 9):
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError, match="raw/x, the footer"):
            rows(parquet, path, columns={"id": "string"})
    path.write_bytes(whole)
    at = pq.read_metadata(path).row_group(2).column(0).data_page_offset + 200  # behind the header of the page
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with pytest.raises(DataError, match="raw/x, row group 2, row 2000"):
        rows(parquet, path, columns={"id": "string"})


@BOTH
def test_batches_keep_their_bounds(form, tmp_path):
    reader, write = WRITERS[form]
    table = pa.table({"id": ["x" * 100_000] * 600})  # 60 MB of text in one row group, or batch
    batches = list(reader.fn(write(tmp_path / "x", table, rows=600), file="f", columns={"id": "string"}))
    assert sum(batch.num_rows for batch in batches) == 600
    if form == "arrow":  # a Parquet dictionary makes the text one value: its size is not known before it is read
        assert max(batch.nbytes for batch in batches) < 20e6
    assert max(batch.num_rows for batch in reader.fn(tmp_path / "x", file="f", columns={"id": "string"}, batch_rows=7)) == 7


@BOTH
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_damage_is_rows_or_a_data_error(form, tmp_path_factory, data):
    reader, write = WRITERS[form]
    path = write(tmp_path_factory.mktemp("x") / "x", TABLE.select(["id", "text", "n", "tags", "turns"]))
    whole = bytearray(path.read_bytes())
    chance = random.Random(data.draw(st.integers(0, 1 << 32)))
    for _ in range(chance.choice([1, 2, 8])):
        whole[chance.randrange(len(whole))] = chance.choice([0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)])
    path.write_bytes(whole)
    columns = {"id": "string", "text": "large_string", "n": "int32", "tags": "list<string>", "turns": "json"}
    try:
        for batch in reader.fn(path, file="raw/x", columns=columns):
            batch.validate(full=True)
    except DataError as error:
        assert "raw/x" in str(error)


@pytest.mark.parametrize("reader", [parquet, arrow], ids=["parquet", "arrow"])
def test_columns_are_checked_before_anything_is_read(reader):
    with pytest.raises(ConfigError, match="unknown column type"):
        reader.adds(reader.params(columns={"id": "text"}), pa.schema([]))
    with pytest.raises(ConfigError, match="no column"):
        reader.adds(reader.params(columns={"id": "string"}, required=["ids"]), pa.schema([]))
