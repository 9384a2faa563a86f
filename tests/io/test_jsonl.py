import gzip
import json
from pathlib import Path

import pyarrow as pa
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.core.errors import ConfigError, DataError
from dolma.io.jsonl import blob, jsonl

COLUMNS = {"id": "string", "text": "large_string", "n": "int32", "score": "float32", "flags": "list<string>"}


def rows(path: Path, **params) -> pa.Table:
    made = []
    for batch in jsonl.fn(path, file="raw/x", **{"columns": COLUMNS, **params}):
        if "_error" not in batch.schema.names:
            batch = batch.append_column("_error", pa.nulls(batch.num_rows, pa.string()))
        made.append(batch)
    return pa.Table.from_batches(made)


def write(path: Path, *lines: bytes) -> Path:
    content = b"\n".join(lines)
    if path.suffix == ".gz":
        content = gzip.compress(content)
    elif path.suffix == ".zst":
        content = zstandard.compress(content)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst"])
def test_rows_and_offsets_are_those_of_the_content(tmp_path, name):
    lines = [b'{"id": "a", "text": "x\\ny", "n": 3, "score": 1, "flags": ["f"]}', b"", '{"id": "\u00e4", "extra": 1}\r'.encode()]
    table = rows(write(tmp_path / name, *lines))
    assert table.column("id").to_pylist() == ["a", "\u00e4"]
    assert table.column("offset").to_pylist() == [0, len(lines[0]) + 2]
    assert table.column("text").to_pylist() == ["x\ny", None]
    assert table.column("score").to_pylist() == [1.0, None] and table.column("flags").to_pylist() == [["f"], None]
    assert table.column("file").to_pylist() == ["raw/x"] * 2 and table.column("_error").null_count == 2
    assert table.schema.field("text").type == pa.large_string()


def test_bad_lines_are_error_rows_and_the_others_are_read(tmp_path):
    lines = [
        b'{"id": "a"}',
        b"{oops",
        b'{"id": 7}',
        b"[1]",
        b'{"id": "\xff"}',
        b'{"id": "b", "n": 4000000000}',
        b'{"id": "b", "n": true}',
        b'{"id": "b", "flags": ["x", 1]}',
        b'{"id": "\\ud800"}',
        b'{"id": "b", "score": NaN}',
        b'{"id": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"id": ""}',
        b'{"text": "no id"}',
        b'{"id": "z"}',
    ]
    table = rows(write(tmp_path / "a.jsonl", *lines), required=["id"])
    errors = table.column("_error").to_pylist()
    assert [error is None for error in errors] == [True] + [False] * 12 + [True]
    assert table.column("id").to_pylist()[-1] == "z" and errors[2] == "`id` has the wrong type" and errors[11] == errors[12] == "`id` is missing"
    assert table.column("offset").to_pylist()[-1] == sum(len(line) + 1 for line in lines[:-1])


def test_json_column_keeps_any_value_as_text(tmp_path):
    table = rows(write(tmp_path / "a.jsonl", b'{"id": "a", "turns": [{"role": "user"}]}'), columns={"id": "string", "turns": "json"})
    assert json.loads(table.column("turns")[0].as_py()) == [{"role": "user"}]


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst"])
def test_cut_file_raises_with_its_place_at_any_cut(tmp_path, name):
    path = write(tmp_path / name, *[b'{"id": "%d"}' % n for n in range(3000)])
    whole = path.read_bytes()
    for cut in range(1, len(whole), max(1, len(whole) // 12)):
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError, match="raw/x, byte"):
            rows(path)
    path.write_bytes(whole + whole)
    assert rows(path).num_rows == 5999  # the last line of the first member and the first of the second are one line


def test_long_line_is_skipped_and_the_next_is_read(tmp_path):
    long = b'{"id": "' + b"x" * 3_000_000 + b'"}'
    table = rows(write(tmp_path / "a.jsonl.gz", b'{"id": "a"}', long, b'{"id": "b"}'), max_line_bytes=1_000_000)
    assert table.column("_error").to_pylist() == [None, "line is too long", None]
    assert table.column("id").to_pylist() == ["a", None, "b"] and table.column("offset").to_pylist()[2] == 12 + len(long) + 1


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(st.text(), st.integers(-9, 9)), max_size=20), st.integers(1, 4))
def test_any_content_comes_back_in_order(tmp_path_factory, values, batch_rows):
    path = write(tmp_path_factory.mktemp("x") / "a.jsonl", *[json.dumps({"id": value}).encode() for value in values])
    batches = list(jsonl.fn(path, file="f", columns={"id": "string"}, batch_rows=batch_rows))
    assert all(batch.num_rows <= batch_rows for batch in batches)
    assert [i for batch in batches for i in batch.column("id").to_pylist()] == [value if isinstance(value, str) else None for value in values]


def test_columns_are_checked_before_anything_is_read():
    with pytest.raises(ConfigError, match="unknown column type"):
        jsonl.adds(jsonl.params(columns={"id": "text"}), pa.schema([]))
    with pytest.raises(ConfigError, match="made by the reader"):
        jsonl.adds(jsonl.params(columns={"file": "string"}), pa.schema([]))
    with pytest.raises(ConfigError, match="no column"):
        jsonl.adds(jsonl.params(columns={"id": "string"}, required=["ids"]), pa.schema([]))
    assert jsonl.adds(jsonl.params(columns={"id": "string"}), pa.schema([])).names == ["id", "file", "offset"]


def test_blob_gives_the_bytes_or_an_error_over_the_cap(tmp_path):
    (tmp_path / "x.pdf").write_bytes(b"12345")
    (whole,) = blob.fn(tmp_path / "x.pdf", file="pdf/x.pdf", source="pdf", max_bytes=5)
    assert whole.to_pylist() == [{"id": "pdf/x.pdf", "source": "pdf", "file": "pdf/x.pdf", "offset": 0, "content": b"12345"}]
    (over,) = blob.fn(tmp_path / "x.pdf", file="pdf/x.pdf", source="pdf", max_bytes=4)
    assert over.column("content").to_pylist() == [None] and "4 bytes" in over.column("_error")[0].as_py()
    assert whole.schema == blob.adds(blob.params(source="pdf", max_bytes=4), pa.schema([]))


@pytest.mark.kit
def test_kit_code_is_read_whole(kit):
    columns = {"id": "string", "language": "string", "text": "large_string", "flags": "list<string>"}
    table = rows(kit / "code" / "source_files.jsonl.gz", columns=columns, required=["id", "text"])
    assert table.num_rows == 824 and table.column("_error").null_count == 824


EDGES = [
    b'{"id": "a", "score": 123456789012345678901234567890}',
    b'{"id": "a", "n": -2147483648, "score": 18446744073709551615}',
    b'{"id": "a", "score": 1e400}',
    b'{"id": "a", "flags": [null, "x"]}',
    b'{"id": "\\u0000", "text": "\\ud83d\\ude00"}',
    b"[" * 2000,
    b"\r",
    b" ",
    b"null",
]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"")), st.sampled_from(EDGES)), max_size=12), st.booleans())
def test_every_line_is_a_row_or_an_error_row(tmp_path_factory, lines, ends):
    path = write(tmp_path_factory.mktemp("x") / "a.jsonl.gz", *lines, *([b""] if ends else []))
    table = rows(path) if any(map(bytes.strip, lines)) else None
    assert (table.num_rows if table else 0) == sum(bool(line.strip()) for line in lines)
    if table:
        whole = gzip.decompress(path.read_bytes())
        assert all(whole[at:].lstrip(b"\r\n") and (at == 0 or whole[at - 1 : at] == b"\n") for at in table.column("offset").to_pylist())
        table.validate(full=True)


def test_whole_numbers_are_numbers_of_any_size(tmp_path):
    table = rows(write(tmp_path / "a.jsonl", b'{"score": 16777217}', b'{"score": 18446744073709551615}', b'{"score": 1e300}'))
    assert table.column("score").to_pylist() == [16777216.0, 18446744073709551616.0, float("inf")] and table.column("_error").null_count == 3
