"""A small corpus and a handful of recipes over it, with a group step and a reduce step of the tests' own."""

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import yaml

from dolma.core.schema import append
from dolma.core.step import group_step, reduce_step, step

TAG = {"origin": pa.int64(), "key": pa.int64(), "copies": pa.int32()}


@step(needs=("id", "text"), adds={"key": pa.int64(), "source": pa.string(), "letter": pa.int64()})
def tag_test_key(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Key = number in the id, once in the high and once in the low bits; letter = first byte of the text; both group keys."""
    ids = [(int(i.removeprefix("doc")) << 52) + int(i.removeprefix("doc")) for i in batch.column("id").to_pylist()]
    letters = [ord((t or "?")[0]) for t in batch.column("text").to_pylist()]
    return append(batch, {"key": pa.array(ids, pa.int64()), "source": pa.array(["test"] * len(ids), pa.string()), "letter": pa.array(letters, pa.int64())})


@group_step(key=("letter",), order=("key",), out=TAG, splittable=True, cap=70_000)
def count_test_copies(batch: pa.RecordBatch, starts: np.ndarray, *, cont: bool) -> pa.RecordBatch:
    """For each row but a group's first: its place in the group when the group arrives whole, 1 in later chunks."""
    ends = np.append(starts[1:], batch.num_rows)
    place = np.concatenate([np.arange(e - s) for s, e in zip(starts, ends, strict=True)]) if batch.num_rows else np.array([], int)
    rows = batch.filter(pa.array(place > 0))
    return pa.RecordBatch.from_arrays(
        [rows.column("origin"), rows.column("key"), pa.array(np.minimum(place[place > 0], 1).astype(np.int32))], schema=pa.schema(TAG)
    )


@group_step(key=("key",), order=("origin",), out=TAG)
def count_test_marks(batch: pa.RecordBatch, starts: np.ndarray, *, cont: bool) -> pa.RecordBatch:
    """The rows of a tag table as they are."""
    return batch.select(list(TAG))


@reduce_step(out={"name": pa.string(), "value": pa.float64()}, needs=("text",), facts=lambda: {"counted": True})
def count_test_rows(batches, *, folder: Path) -> pa.Table:
    """Number of rows and of characters; also as a file."""
    rows = chars = 0
    for batch in batches:
        rows += batch.num_rows
        chars += sum(len(t) for t in batch.column("text").to_pylist())
    (folder / "count.txt").write_text(f"{rows} {chars}\n")
    return pa.table({"name": ["rows", "chars"], "value": pa.array([rows, chars], pa.float64())})


RECIPES = {
    "source/read": {
        "read": {"jsonl": {"files": "*.jsonl.gz", "columns": {"id": "string", "text": "large_string"}}},
        "table": "document",
        "quarantine": 0.2,
        "steps": [{"tag_test_key": {}}, {"keep": {"where": "text <> ''", "reason": "empty"}}],
    },
    "pool/short": {
        "input": "source/read",
        "table": "document",
        "steps": [{"set": {"columns": {"n_chars": "length(text)"}}}, {"keep": {"where": "n_chars < 40", "reason": "long"}}],
    },
    "pool/copies": {"input": "pool/short", "table": "tag", "buckets": 3, "steps": [{"count_test_copies": {}}]},
    "pool/first": {
        "input": "pool/short",
        "tags": {"pool/copies": ["copies"]},
        "table": "document",
        "steps": [{"keep": {"where": "copies IS NULL", "reason": "copy"}}, {"select": {"columns": ["id", "key", "source", "text"]}}],
    },
    "pool/count": {"input": "pool/first", "table": "model", "steps": [{"count_test_rows": {}}]},
}


def write_recipes(folder: Path, recipes: dict | None = None) -> Path:
    """The recipes as files below `folder`/pipelines."""
    for name, recipe in (recipes or RECIPES).items():
        recipe = {"uses": ["tests.engines.flow"], **recipe}
        path = folder / "pipelines" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return folder / "pipelines"


def write_raw(folder: Path, files: int = 5, rows: int = 300) -> Path:
    """Gzipped JSONL files: repeated texts, some empty, some long, one broken line in all."""
    raw = folder / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for number in range(files):
        lines = []
        for row in range(rows):
            key = number * rows + row
            text = "" if key % 50 == 7 else f"{chr(97 + key * 7 % 26)} text number {key % 211}" + (" and much more of it that goes on" if key % 9 == 0 else "")
            lines.append(json.dumps({"id": f"doc{key}", "text": text}))
        if number == 1:
            lines.insert(10, "{not json")
        with open(raw / f"part-{number}.jsonl.gz", "wb") as out, gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as file:
            file.write("\n".join(lines).encode() + b"\n")
    return raw


def write_env(folder: Path, name: str = "env", **settings: object) -> Path:
    """An env file whose root is a folder of its own name."""
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"root": f"build/{name}", "raw": "raw", "workers": 1, **settings}))
    return path
