"""The column, row by row."""

import pyarrow as pa

from dolma.filter.licence import tag_licence


def test_each_row_has_the_kind_of_its_licence() -> None:
    batch = pa.RecordBatch.from_pydict({"licence": pa.array(["MIT", None, "GPL-3.0-only", "MIT AND MPL-2.0", "BUSL-1.1"])})
    made = tag_licence(batch)
    assert made.column("licence_kind").to_pylist() == ["permissive", "unknown", "copyleft", "weak_copyleft", "proprietary"]
    for rows in (made, tag_licence(batch.slice(0, 0))):
        assert rows.schema == tag_licence.adds(tag_licence.params(), batch.schema)
