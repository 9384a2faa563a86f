"""Spans of documents: joined, aligned to their rows, cut."""

import json
import random
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.core import manifest
from dolma.core.errors import ConfigError, DataError
from dolma.core.schema import TABLES
from dolma.dedup.spans import SPAN, cut_spans, join_spans
from dolma.engines import groups
from dolma.engines.groups import whole_groups
from dolma.runner import run

SPANS = pa.schema(list(TABLES["span"].items()))
Spans = list[tuple[int, int]]


def joined(rows: list[tuple[int, int, int]], name: str = "spans", size: int = 1 << 20) -> list[dict]:
    """The tags of (document, start, end); a document's key is its number + 100."""
    columns = {"origin": [d for d, _, _ in rows], "key": [d + 100 for d, _, _ in rows], "start": [s for _, s, _ in rows], "end": [e for _, _, e in rows]}
    ordered = pa.Table.from_pydict(columns, schema=SPANS).sort_by([(one, "ascending") for one in ("origin", *join_spans.order)])
    chunks = whole_groups(ordered.to_batches(max_chunksize=size), join_spans.key, join_spans.cap, join_spans.splittable, "join_spans")
    made = [join_spans.fn(batch, starts, cont=cont, name=name) for batch, starts, cont in chunks]
    declared = join_spans.adds(join_spans.params(name=name), SPANS)
    assert all(batch.schema == declared for batch in made)
    return [row for batch in made for row in batch.to_pylist()]


def table(texts: list[str | None], **spans: list[Spans | None]) -> pa.RecordBatch:
    columns = {name: [None if one is None else [{"start": a, "end": b} for a, b in one] for one in column] for name, column in spans.items()}
    fields = {"text": pa.large_string(), **dict.fromkeys(spans, pa.list_(SPAN)), "id": pa.int64()}
    return pa.RecordBatch.from_pydict({"text": texts, **columns, "id": list(range(len(texts)))}, schema=pa.schema(list(fields.items())))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30), st.integers(1, 9)), max_size=25))
def test_joined_spans_are_sorted_apart_and_hold_the_places_of_all(found: list[tuple[int, int, int]]) -> None:
    rows = joined([(document, start, start + size) for document, start, size in found])
    assert [row["origin"] for row in rows] == sorted({document for document, _, _ in found})
    for row in rows:
        spans = [(one["start"], one["end"]) for one in row["spans"]]
        places = {place for document, start, size in found if document == row["origin"] for place in range(start, start + size)}
        assert {place for start, end in spans for place in range(start, end)} == places
        assert all(end < after for (_, end), (after, _) in pairwise(spans))
        assert (row["key"], row["spans_chars"]) == (row["origin"] + 100, len(places))


def test_documents_that_are_cut_into_chunks_keep_all_their_spans(monkeypatch) -> None:
    rows = [(document, 3 * k, 3 * k + 2) for document in range(9) for k in range(40)]
    expected = joined(rows, "lines")
    assert [row["lines_chars"] for row in expected] == [80] * 9
    monkeypatch.setattr(groups, "CHUNK_ROWS", 10)
    assert joined(rows, "lines", size=7) == expected


def test_spans_of_one_row_with_two_keys_are_refused() -> None:
    batch = pa.RecordBatch.from_pydict({"origin": [7, 7], "key": [1, 2], "start": [0, 3], "end": [2, 5]}, schema=SPANS)
    with pytest.raises(DataError, match=r"two keys at origin 7.*\n.*got 2.*expected 1"):
        join_spans(batch, pa.array([0]).to_numpy(), cont=False)


def test_cut_takes_code_points_and_says_what_share_they_were() -> None:
    made = cut_spans(table(["中文 text", "as it is", "", None, "all"], lines=[[(0, 3)], None, None, [], [(0, 3)]]), spans=["lines"])
    assert made.schema.names == ["text", "id", "cut_ratio"]
    assert made.to_pydict() == {"text": ["text", "as it is", "", "", ""], "id": [0, 1, 2, 3, 4], "cut_ratio": [pytest.approx(3 / 7), 0, None, None, 1]}


def test_spans_of_several_columns_are_cut_at_once() -> None:
    batch = table(["0123456789", "abcdef"], lines=[[(0, 3), (8, 9)], None], repeats=[[(2, 5)], [(1, 2)]])
    made = cut_spans(batch, spans=["lines", "repeats"])
    assert (made["text"].to_pylist(), made["cut_ratio"].to_pylist()) == (["5679", "acdef"], [pytest.approx(0.6), pytest.approx(1 / 6)])


@pytest.mark.parametrize("span", [(2, 5), (5, 6), (-1, 2), (3, 2)])
def test_a_span_outside_its_text_is_refused_by_its_row(span: tuple[int, int]) -> None:
    with pytest.raises(DataError, match=r"row 1 of its batch.*\n.*got \[" + f"{span[0]}, {span[1]}" + r"\).*4 characters"):
        cut_spans(table(["long enough", "中文字é"], lines=[[(2, 5)], [span]]), spans=["lines"])


def test_columns_that_hold_no_spans_are_refused_before_a_run() -> None:
    with pytest.raises(ConfigError, match="`text` holds no spans"):
        cut_spans.adds(cut_spans.params(spans=["text"]), table([]).schema)
    assert cut_spans.needs(cut_spans.params(spans=["lines"])) == ("text", "lines")


RECIPES = {
    "read": {
        "read": {"jsonl": {"files": "*.jsonl", "columns": {"id": "string", "text": "large_string"}, "required": ["id"]}},
        "table": "rows",
        "steps": [{"set": {"columns": {"key": "(hash(id) >> 1)::BIGINT"}}}],
    },
    "spans": {"input": "read", "table": "span", "buckets": 3, "steps": [{"mark_paragraphs": {"least": 2}}]},
    "joined": {"input": "spans", "table": "tag", "buckets": 2, "steps": [{"join_spans": {"name": "lines"}}]},
    "cut": {"input": "read", "tags": {"joined": ["lines", "lines_chars"]}, "table": "rows", "steps": [{"cut_spans": {"spans": ["lines"]}}]},
    "again": {"input": "cut", "table": "span", "steps": [{"mark_paragraphs": {"least": 2}}]},
}


def test_spans_find_their_rows_again_through_files(tmp_path: Path) -> None:
    chosen = random.Random(3)
    lines = [f"line {k} {'é中'[k % 2]}" for k in range(60)]
    for number in range(3):
        rows = [{"id": f"{number}-{k}", "text": "\n".join(chosen.sample(lines, chosen.randint(0, 4)))} for k in range(50)]
        (tmp_path / f"{number}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "recipes").mkdir()
    for name, recipe in RECIPES.items():
        (tmp_path / "recipes" / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
    env = tmp_path / "env.yaml"
    env.write_text(yaml.safe_dump({"root": str(tmp_path / "root"), "raw": str(tmp_path), "workers": 1}))
    assert run(["."], env, pipelines=tmp_path / "recipes") == len(RECIPES)
    root = tmp_path / "root"
    facts = [manifest.load(root / name).facts.get("origin") for name in ("spans", "joined", "cut")]
    assert facts[0] == facts[1] and facts[0] and facts[2] is None
    before, after = (manifest.read(root / name) for name in ("read", "cut"))
    kept = [line for text in after["text"].to_pylist() for line in text.split("\n") if line]
    assert sorted(kept) == sorted(set(lines) & {line for text in before["text"].to_pylist() for line in text.split("\n")})
    gone = pc.sum(pc.utf8_length(before["text"])).as_py() - pc.sum(pc.utf8_length(after["text"])).as_py()
    assert gone == pc.sum(after["lines_chars"]).as_py() > 0
    assert manifest.load(root / "again").rows == 0
