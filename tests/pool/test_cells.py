"""Names and keys of cells."""

from hashlib import sha256

import pyarrow as pa

from dolma.pool.cells import tag_cell

SCHEMA = pa.schema({"source": pa.string(), "topic": pa.string(), "vigintile": pa.int32()})


def tagged(*rows: tuple[str, str | None, int]) -> list[tuple[str, int]]:
    made = tag_cell(pa.RecordBatch.from_pylist([dict(zip(SCHEMA.names, row, strict=True)) for row in rows], schema=SCHEMA))
    assert made.schema.names == [*SCHEMA.names, "cell", "cell_key"]
    return list(zip(made.column("cell").to_pylist(), made.column("cell_key").to_pylist(), strict=True))


def test_a_cell_is_named_by_source_topic_and_two_digits() -> None:
    names = [name for name, _ in tagged(("web", "art", 7), ("web", "art", 20), ("code", None, 0), ("code", "", 0), ("pdf", "comp.graphics", 1))]
    assert names == ["web/art/07", "web/art/20", "code/all/00", "code/all/00", "pdf/comp.graphics/01"]


def test_the_key_is_that_of_the_name_on_every_machine() -> None:
    cells = tagged(*(("web", topic, vigintile) for topic in ("art", "law", None) for vigintile in range(21)))
    assert [key for _, key in cells] == [int.from_bytes(sha256(name.encode()).digest()[:8], "big") >> 1 for name, _ in cells]
    assert len({key for _, key in cells}) == len({name for name, _ in cells}) == len(cells)


def test_no_rows_give_no_rows() -> None:
    assert tagged() == []


def test_cells_may_be_separated_by_language() -> None:
    rows = [("web", "art", 7, "en"), ("web", "art", 7, "de"), ("code", None, 0, None), ("web", "", 20, "")]
    schema = SCHEMA.append(pa.field("lang", pa.string()))
    batch = pa.RecordBatch.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema=schema)
    names = tag_cell(batch, by=("lang",)).column("cell").to_pylist()
    assert names == ["web/en/art/07", "web/de/art/07", "code/und/all/00", "web/und/all/20"]
    assert tag_cell.needs(tag_cell.params(by=["lang"])) == ("source", "topic", "vigintile", "lang")
    assert tag_cell(batch).column("cell").to_pylist()[:2] == ["web/art/07"] * 2
