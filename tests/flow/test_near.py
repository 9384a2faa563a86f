"""The pool's deduplication over files in another order: the same pairs, byte for byte, and the same survivors; the newest copy is kept."""

import gzip
import json
import random
import shutil
from pathlib import Path

import pytest
import yaml

from dolma.core import manifest
from dolma.runner import Run
from tests.flow.mini import ENDS, PIPELINES, write_env

NAMES = ("exact", "edges", "components", "verified", "strict", "clusters", "near", "pairs", "unique")
READ = {"jsonl": {"files": "*.jsonl.gz", "columns": {"id": "string", "date": "string", "text": "large_string"}, "required": ["id", "text"]}}
COLUMNS = ["id", "key", "source", "url", "date", "text", "file", "offset", "lang", "lang_score"]
NEWEST = "2024-12-31T00:00:00Z"


def documents() -> list[list[dict[str, str | None]]]:
    """Three files of documents: 40 texts, most with a few copies that are equal or have a word more, crawled at different times or at none."""
    rng = random.Random(7)
    rows: list[dict[str, str | None]] = []
    for number in range(40):
        words = [f"w{rng.randrange(5000)}" for _ in range(120)]
        for copy in range(rng.randrange(1, 7)):
            cut = rng.randrange(len(words))
            text = " ".join(words if copy % 3 == 0 else [*words[:cut], "new", *words[cut:]])
            date = None if copy == 1 else f"2024-{rng.randrange(1, 12):02d}-01T00:00:00Z"
            rows.append({"id": f"{number}-{copy}", "date": date, "text": text})
        rows[-1]["date"] = NEWEST
    rng.shuffle(rows)
    return [rows[:50], rows[50:90], rows[90:]]


def place(folder: Path, files: list[list[dict[str, str | None]]]) -> Path:
    """Recipes of the pool over these files, in the order in which they stand."""
    (folder / "raw").mkdir(parents=True)
    for number, rows in enumerate(files):
        (folder / "raw" / f"{number}.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode(), mtime=0))
    pool = folder / "pipelines" / "pool"
    pool.mkdir(parents=True)
    for name in NAMES:
        shutil.copy(PIPELINES / "pool" / f"{name}.yaml", pool)
    steps = [
        {"extract_text": {"source": "web"}},
        {"set": {"columns": {"url": "NULL::VARCHAR", "lang": "'en'", "lang_score": "1.0::FLOAT"}}},
        {"select": {"columns": COLUMNS}},
    ]
    (pool / "candidates.yaml").write_text(yaml.safe_dump({"read": READ, "table": "document", "steps": steps}))
    return folder


def run(folder: Path, files: list[list[dict[str, str | None]]], **settings: object) -> Path:
    env = write_env(place(folder, files), "env", **settings)
    Run(env, folder / "pipelines").run(list(ENDS))
    return folder / "env"


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("near") / "one", documents())


def pairs(root: Path) -> list[tuple[str, int, str]]:
    return [(file.name, file.rows, file.sha256) for file in manifest.load(root / "pool/pairs").files]


def survivors(root: Path) -> dict[str, int]:
    return {row["id"]: row["cluster_size"] for row in manifest.read(root / "pool/unique").to_pylist()}


@pytest.mark.parametrize(("order", "tasks"), [((2, 0, 1), 1), ((1, 2, 0), 2), ((0, 1, 2), 7)])
def test_pairs_are_the_same_bytes_and_survivors_the_same_in_any_order_of_files_and_tasks(
    reference: Path, tmp_path: Path, order: tuple[int, ...], tasks: int
) -> None:
    files = documents()
    root = run(tmp_path / "other", [files[k] for k in order], tasks=tasks)
    assert pairs(root) == pairs(reference) and sum(rows for _, rows, _ in pairs(root)) > 20
    assert survivors(root) == survivors(reference)


@pytest.mark.spark
@pytest.mark.slow
@pytest.mark.parametrize("tasks", [1, 2, 7])
def test_spark_gives_the_same_pairs(reference: Path, spark: object, tmp_path: Path, tasks: int) -> None:
    root = run(tmp_path / "spark", documents()[::-1], engine="spark", workers=2, tasks=tasks)
    assert pairs(root) == pairs(reference) and survivors(root) == survivors(reference)


def test_of_each_text_one_copy_is_kept_and_it_is_the_newest(reference: Path) -> None:
    rows = [row for file in documents() for row in file]
    newest = {str(row["id"]) for row in rows if row["date"] == NEWEST}
    assert set(survivors(reference)) == newest and len(newest) == 40
    kept = {row["kept"] for row in manifest.read(reference / "pool/pairs").to_pylist()}
    keys = {row["key"] for row in manifest.read(reference / "pool/unique").to_pylist()}
    assert kept <= keys and all(0.8 <= row["jaccard"] <= 1 for row in manifest.read(reference / "pool/pairs").to_pylist())
