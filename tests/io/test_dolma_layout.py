import gzip
import json
import random
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.core.errors import ConfigError, DataError
from dolma.io.dolma_layout import KINDS, SPANS, check, dolma, write

DOCUMENTS = [{"id": str(n), "text": f"text {n}", "source": "web", "added": "2024-01-01", "metadata": {"url": f"u{n}", "n": n}} for n in range(5)]
PII = [{"id": str(n), "attributes": {"pii__EMAIL": [[0, 4, 1.0]] * (n % 3), "pii__count": [[0, 6, float(n)]]}} for n in range(5)]
LANG = [{"id": str(n), "attributes": {"en": [[0, 6, 0.25 * n]], "short": [[0, 6, 1.0]] if n else []}} for n in range(5)]
WANTED = {"pii": {"pii__EMAIL": "spans", "pii__count": "int32"}, "lang": {"en": "float32", "short": "bool"}}


def put(path: Path, rows: list) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(b"\n".join(row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows) + b"\n"))


def layout(folder: Path, documents: list = DOCUMENTS, pii: list = PII, lang: list = LANG) -> Path:
    for name, rows in {"documents": documents, "attributes/pii": pii, "attributes/lang": lang}.items():
        put(folder / "v1" / name / "cc" / "0.jsonl.gz", rows)
    return folder / "v1" / "documents" / "cc" / "0.jsonl.gz"


def rows(path: Path, **params) -> list[dict]:
    found = dolma.fn(path, file="v1/documents/cc/0.jsonl.gz", **{"attributes": WANTED, **params})
    return [row for batch in found for row in batch.to_pylist()]


def test_line_n_of_all_files_is_one_row(tmp_path):
    made = rows(layout(tmp_path), metadata={"url": "string"})
    assert made[2] == {
        "id": "2",
        "source": "web",
        "text": "text 2",
        "url": "u2",
        "pii__EMAIL": [{"start": 0, "end": 4, "score": 1.0}] * 2,
        "pii__count": 2,
        "en": 0.5,
        "short": True,
        "file": "v1/documents/cc/0.jsonl.gz",
        "offset": sum(len(json.dumps(row)) + 1 for row in DOCUMENTS[:2]),
    }
    assert [row["short"] for row in made] == [None, True, True, True, True] and made[0]["pii__EMAIL"] == []


def test_attributes_without_keys_are_json(tmp_path):
    made = rows(layout(tmp_path), attributes={"lang": {}})
    assert [json.loads(row["lang"]) for row in made] == [row["attributes"] for row in LANG] and "en" not in made[0]


SWAPPED = [*PII[:2], PII[3], PII[2], PII[4]]


@pytest.mark.parametrize(
    ("pii", "place", "got"),
    [
        (SWAPPED, "attributes/pii/cc/0.jsonl.gz, row 3", "got id '3', expected id '2'"),
        (PII[:3] + PII[4:], "attributes/pii/cc/0.jsonl.gz, row 4", "got id '4', expected id '3'"),
        (PII[:4], "attributes/pii/cc/0.jsonl.gz, row 5", "got no line"),
        ([*PII, PII[0]], "documents/cc/0.jsonl.gz, row 6", "got no line"),
    ],
)
def test_a_row_that_is_missing_swapped_or_over_is_refused_by_its_number(tmp_path, pii, place, got):
    with pytest.raises(DataError, match="do not belong together") as error:
        rows(layout(tmp_path, pii=pii))
    assert str(error.value).startswith(f"v1/{place}") and got in str(error.value)


def test_a_line_that_cannot_be_read_is_an_error_row_in_either_file(tmp_path):
    bad = [b"{", {"id": "1"}, {"id": "2", "attributes": {"en": [[0, 1, "x"]]}}, {"id": "3", "attributes": {"en": [[0, 1, 1], [1, 2, 1]]}}, LANG[4]]
    made = rows(layout(tmp_path, documents=[*DOCUMENTS[:4], {"id": "4", "text": 7}], lang=bad))
    assert [row["_error"].split(":")[0] for row in made] == ["attributes lang"] * 4 + ["`text` has the wrong type"]
    assert "2 spans" in made[3]["_error"] and [row["id"] for row in made] == [None] * 5


def test_values_of_another_type_are_error_rows(tmp_path):
    lang = [{"id": str(n), "attributes": {"short": [[0, 1, score]]}} for n, score in enumerate([1, 0.0, True, 2, 0.5])]
    made = rows(layout(tmp_path, lang=lang), attributes={"lang": {"short": "bool"}})
    assert [row["short"] for row in made] == [True, False, True, None, None] and [row["_error"] is None for row in made] == [True] * 3 + [False] * 2
    made = rows(tmp_path / "v1/documents/cc/0.jsonl.gz", attributes={"lang": {"short": "int32"}})
    assert [row["short"] for row in made] == [1, 0, 1, 2, None]


def test_attributes_that_are_not_there_and_documents_elsewhere_are_refused(tmp_path):
    path = layout(tmp_path)
    with pytest.raises(DataError, match=r"has no attributes `toxic`[\s\S]*attributes/toxic/cc/0.jsonl.gz"):
        rows(path, attributes={"toxic": {}})
    with pytest.raises(DataError, match="not in the Dolma layout"):
        list(dolma.fn(path, file="cc/0.jsonl.gz", attributes=WANTED))
    assert list(dolma.fn(tmp_path / "v1/attributes/pii/cc/0.jsonl.gz", file="v1/attributes/pii/cc/0.jsonl.gz", attributes=WANTED)) == []
    whole = (tmp_path / "v1/attributes/lang/cc/0.jsonl.gz").read_bytes()
    (tmp_path / "v1/attributes/lang/cc/0.jsonl.gz").write_bytes(whole[:-9])
    with pytest.raises(DataError, match=r"attributes/lang/cc/0\.jsonl\.gz, byte"):
        rows(path)


@pytest.mark.parametrize(
    "params",
    [
        {"attributes": {"a": {"id": "int32"}}},
        {"attributes": {"a": {"x": "int32"}, "b": {"x": "bool"}}},
        {"attributes": {"a": {"x": "string"}}},
        {"attributes": {"a": {"x": "json"}}},
        {"attributes": {"../a": {}}},
        {"metadata": {"id": "string"}},
        {"metadata": {"file": "string"}},
    ],
)
def test_columns_are_checked_before_anything_is_read(params):
    with pytest.raises(ConfigError):
        dolma.adds(dolma.params(**params), pa.schema([]))


def test_a_table_with_bytes_is_refused():
    with pytest.raises(ConfigError, match="`content` holds bytes"):
        check(pa.schema([("id", pa.string()), ("content", pa.large_binary())]), "source/x")


COLUMNS = {
    "id": pa.string(),
    "key": pa.int64(),
    "source": pa.string(),
    "text": pa.large_string(),
    "url": pa.string(),
    "n_words": pa.int32(),
    "score": pa.float32(),
    "exact": pa.float64(),
    "good": pa.bool_(),
    "names": SPANS,
    "pii": KINDS,
}
SPAN = st.fixed_dictionaries({"start": st.integers(0, 9), "end": st.integers(0, 9), "score": st.one_of(st.none(), st.floats(-1, 1))})
PLACE = st.tuples(st.integers(0, 9), st.integers(0, 9), st.sampled_from(["email", "phone__number"]))
PLACES = st.lists(PLACE, max_size=3).map(lambda found: [{"kind": kind, "start": start, "end": end} for start, end, kind in sorted(found)])
ROW = st.fixed_dictionaries(
    {
        "id": st.text(min_size=1, max_size=8),
        "key": st.integers(-(1 << 63), (1 << 63) - 1),
        "source": st.sampled_from(["web", "ä"]),
        "text": st.text(min_size=1),
        "url": st.one_of(st.none(), st.text()),
        "n_words": st.one_of(st.none(), st.integers(-(1 << 31), (1 << 31) - 1)),
        "score": st.one_of(st.none(), st.floats(width=32, allow_nan=False, allow_infinity=False)),
        "exact": st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)),
        "good": st.one_of(st.none(), st.booleans()),
        "names": st.lists(SPAN, max_size=2),
        "pii": PLACES,
    }
)


@settings(max_examples=60, deadline=None)
@given(st.lists(ROW, max_size=6))
def test_what_is_written_is_read_back(tmp_path_factory, given_rows):
    folder = tmp_path_factory.mktemp("x")
    table = pa.Table.from_pylist(given_rows, schema=pa.schema(list(COLUMNS.items())))
    files = write(table.to_batches(max_chunksize=2), folder, "measures", "00000")
    assert [file.rows for file in files] == [len(given_rows)] * 2
    keys = {"n_words": "int32", "score": "float32", "exact": "float64", "good": "bool", "names": "spans", "pii": "kinds"}
    params = {"attributes": {"measures": keys}, "metadata": {"key": "int64", "url": "string"}}
    found = list(dolma.fn(folder / files[0].name, file=files[0].name, **params))
    assert [{name: row[name] for name in COLUMNS} for batch in found for row in batch.to_pylist()] == given_rows
    for batch in found:
        assert "_error" not in batch.schema.names and all(batch.schema.field(name).type == kind for name, kind in COLUMNS.items())


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 1 << 32))
def test_any_damage_is_rows_or_a_data_error(tmp_path_factory, seed):
    chance = random.Random(seed)
    lines = {name: [bytearray(json.dumps(row).encode()) for row in rows] for name, rows in {"documents": DOCUMENTS, "pii": PII, "lang": LANG}.items()}
    for _ in range(chance.choice([1, 2, 4])):
        line = chance.choice(chance.choice(list(lines.values())))
        line[chance.randrange(len(line))] = chance.choice([0x22, 0x5B, 0x7D, 0x30, 0x2E, 0xFF, chance.randrange(11, 256)])
    path = layout(tmp_path_factory.mktemp("x"), **{name: [bytes(line) for line in rows] for name, rows in lines.items()})
    try:
        made = rows(path)
    except DataError as error:
        assert "do not belong together" in str(error)
    else:
        assert len(made) == 5
