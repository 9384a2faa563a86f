"""Equal ids: the step alone, and through the flow to the quarantine with both places."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dolma.core import manifest
from dolma.core.errors import DataError
from dolma.core.schema import ERROR, keys
from dolma.dedup.ids import mark_same_id, refuse_same_id
from dolma.runner import Run
from tests.dedup.groups import marks

RECIPES = {
    "documents": "read: {jsonl: {files: 'texts/*.jsonl', columns: {id: string, text: large_string}, required: [id, text]}}\ntable: document\n"
    "steps: [{extract_text: {source: mine}}]",
    "ids": "input: documents\ntable: tag\nsteps: [{mark_same_id: {}}]",
    "unique": "input: documents\ntags: {ids: [same_id]}\ntable: document\nsteps: [{refuse_same_id: {}}]",
}


def rows(ids: list[str], made: pa.Array | None = None) -> pa.RecordBatch:
    """Rows of documents as the step sees them; each is row n of file n % 3."""
    numbers = list(range(len(ids)))
    columns = {"origin": numbers, "id": ids, "file": [f"f{n % 3}" for n in numbers], "offset": numbers}
    return pa.RecordBatch.from_pydict({**columns, "key": keys(pa.array(ids, pa.string())) if made is None else made})


@given(st.lists(st.sampled_from(["a", "b", "ü", "d"]), max_size=12), st.sampled_from([1 << 20, 2]))
def test_all_but_the_first_of_an_id_name_the_first(ids: list[str], cap: int) -> None:
    made = marks(mark_same_id, rows(ids), size=3, cap=cap)
    first = {one: min((n % 3, n) for n, other in enumerate(ids) if other == one)[1] for one in ids}
    expected = {n: f"{one} at f{first[one] % 3}:{first[one]}" for n, one in enumerate(ids) if n != first[one]}
    assert {row["origin"]: row["same_id"] for row in made} == expected


def test_two_ids_of_one_key_are_marked_too() -> None:
    made = marks(mark_same_id, rows(["one", "other"], pa.array([7, 7], pa.int64())))
    assert [(row["key"], row["same_id"]) for row in made] == [(7, "one at f0:0")]


def test_rows_without_a_mark_pass() -> None:
    batch = pa.RecordBatch.from_pydict({"id": ["a", "b"], "same_id": pa.array([None, "a at f0:0"], pa.string())})
    made = refuse_same_id(batch)
    assert made.column(ERROR).to_pylist() == [None, "its id or key is taken by a at f0:0"] and "same_id" not in made.schema.names


@pytest.fixture
def flow(tmp_path: Path) -> Path:
    """Recipes over two files of 150 documents each, unlike texts; the last of the second has the id of the third of the first."""
    for name, text in RECIPES.items():
        (tmp_path / "recipes").mkdir(exist_ok=True)
        (tmp_path / "recipes" / f"{name}.yaml").write_text(text)
    (tmp_path / "raw/texts").mkdir(parents=True)
    for part in "ab":
        lines = [{"id": f"{part}{n}", "text": f"text {n} of {part}"} for n in range(150)]
        (tmp_path / f"raw/texts/{part}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def run(flow: Path, ids: list[str]) -> None:
    """The flow with the last documents of file b called `ids`."""
    path = flow / "raw/texts/b.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line, name in zip(lines[-len(ids) :], ids, strict=True):
        line["id"] = name
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (flow / "env.yaml").write_text(yaml.safe_dump({"root": str(flow / "root"), "raw": str(flow / "raw"), "workers": 1}))
    Run(flow / "env.yaml", flow / "recipes").run(["unique"])


def test_an_id_that_is_there_twice_goes_to_the_quarantine_with_both_places(flow: Path) -> None:
    run(flow, ["a2"])
    made = manifest.load(flow / "root/unique")
    assert made.rows == 299 and made.counts["0:refuse_same_id.quarantined"] == 1
    aside = pa.parquet.read_table(flow / "root/unique" / made.quarantine[0].name).to_pylist()
    assert [(row["id"], row["file"]) for row in aside] == [("a2", "texts/b.jsonl")] and aside[0]["offset"] > 0
    first = manifest.read(flow / "root/documents", ["id", "file", "offset"]).to_pylist()[2]
    assert aside[0]["reason"] == f"its id or key is taken by a2 at texts/a.jsonl:{first['offset']}"


def test_more_than_the_allowed_share_of_them_is_refused(flow: Path) -> None:
    with pytest.raises(DataError, match=r"too many rows cannot be read\n.*4 of 300"):
        run(flow, ["a1", "a2", "a3", "a4"])


def test_of_two_equal_documents_of_one_id_one_is_left_whichever_is_newer(tmp_path: Path) -> None:
    """The one that `pool/exact` would keep as the newest is the one that is quarantined: it must not take the other with it."""
    pool = Path(__file__).parents[2] / "pipelines/pool"
    lines = [{"id": "a", "date": "2020-01-01"}, {"id": "a", "date": "2024-01-01"}, *({"id": f"b{n}", "date": None} for n in range(198))]
    (tmp_path / "raw/texts").mkdir(parents=True)
    text = "the same words of one page that was crawled again and again"
    (tmp_path / "raw/texts/a.jsonl").write_text("".join(json.dumps({"text": text if n < 2 else f"{n}", **one}) + "\n" for n, one in enumerate(lines)))
    (tmp_path / "recipes/pool").mkdir(parents=True)
    read = RECIPES["documents"].replace("id: string,", "id: string, date: string,")
    (tmp_path / "recipes/pool/candidates.yaml").write_text(read)
    for name in ("ids", "exact"):
        (tmp_path / f"recipes/pool/{name}.yaml").write_text((pool / f"{name}.yaml").read_text())
    steps = '[{refuse_same_id: {}}, {keep: {where: "exact_of IS NULL", reason: exact_duplicate}}]'
    unique = f"input: pool/candidates\ntags: {{pool/ids: [same_id], pool/exact: [exact_of]}}\ntable: document\nsteps: {steps}"
    (tmp_path / "recipes/pool/unique.yaml").write_text(unique)
    (tmp_path / "env.yaml").write_text(yaml.safe_dump({"root": str(tmp_path / "root"), "raw": str(tmp_path / "raw"), "workers": 1}))
    Run(tmp_path / "env.yaml", tmp_path / "recipes").run(["pool/unique"])
    assert manifest.load(tmp_path / "root/pool/unique").rows == 199
