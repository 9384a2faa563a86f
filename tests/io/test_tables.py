"""The same rows give the same bytes, however they arrive."""

from pathlib import Path

import pyarrow as pa
import pytest

from dolma.core.errors import DataError
from dolma.io import tables

SCHEMA = pa.schema([("id", pa.string()), ("text", pa.large_string()), ("tokens", pa.large_list(pa.uint32()))])


def rows(count: int = 10_001) -> pa.Table:
    return pa.table(
        [
            pa.array([f"d{n % 97}" for n in range(count)]),
            pa.array(["word " * (n % 50) for n in range(count)], pa.large_string()),
            pa.array([list(range(n % 7)) for n in range(count)], SCHEMA.field("tokens").type),
        ],
        schema=SCHEMA,
    )


def test_bytes_do_not_depend_on_batches(tmp_path: Path) -> None:
    table = rows()
    made = []
    for size in (1000, 3333, 4096, 8192, 20_000):
        made.append(tables.write(table.to_batches(max_chunksize=size), SCHEMA, tmp_path / str(size), "x"))
    assert len({file.sha256 for file in made}) == 1
    assert made[0].rows == 10_001 and made[0].tokens == sum(n % 7 for n in range(10_001))


def test_metadata_of_the_input_does_not_leak(tmp_path: Path) -> None:
    table = rows(10)
    one = tables.write(table.to_batches(), SCHEMA, tmp_path / "a", "x")
    two = tables.write(table.replace_schema_metadata({"run": "7"}).to_batches(), SCHEMA.with_metadata({"a": "b"}), tmp_path / "b", "x")
    assert one.sha256 == two.sha256


def test_no_rows_make_a_readable_file(tmp_path: Path) -> None:
    file = tables.write([], SCHEMA, tmp_path / "a", "a")
    assert file.rows == 0 and list(tables.read(tmp_path / "a", file)) == []


def test_a_changed_byte_is_found_before_a_row_is_given(tmp_path: Path) -> None:
    file = tables.write(rows(100).to_batches(), SCHEMA, tmp_path / "a", "a")
    content = bytearray((tmp_path / "a").read_bytes())
    content[50] ^= 1
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(DataError, match="differs from its manifest") as error:
        next(tables.read(tmp_path / "a", file))
    assert error.value.code == 3 and "mend:" in str(error.value)
