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

NAMES = ("ids", "exact", "edges", "components", "verified", "strict", "clusters", "near", "pairs", "unique")
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


def giant() -> list[list[dict[str, str | None]]]:
    """620 texts that each have one word of their own in 200: a component that is too large to compare all pairs; 20 unlike texts; 50 equal ones."""
    rng = random.Random(3)
    words = [f"w{rng.randrange(5000)}" for _ in range(200)]
    rows: list[dict[str, str | None]] = []
    for n in range(620):
        cut = rng.randrange(len(words))
        rows.append({"id": f"g{n}", "date": f"2024-{rng.randrange(1, 12):02d}-01T00:00:00Z", "text": " ".join([*words[:cut], f"new{n}", *words[cut:]])})
    rows[400]["date"] = NEWEST
    rows += [{"id": f"o{n}", "date": None, "text": " ".join(f"w{rng.randrange(5000)}" for _ in range(100))} for n in range(20)]
    rows += [{"id": f"e{n}", "date": None, "text": "exact copy of one page with some more words than five"} for n in range(50)]
    rng.shuffle(rows)
    return [rows[:300], rows[300:500], rows[500:]]


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"tasks": 3}, pytest.param({"engine": "spark", "workers": 2}, marks=pytest.mark.spark)])
def test_a_component_of_more_than_five_hundred_goes_through_stricter_bands(tmp_path: Path, settings: dict[str, object], request) -> None:
    if "engine" in settings:
        request.getfixturevalue("spark")
    root, other = run(tmp_path / "one", giant(), tasks=1), run(tmp_path / "other", giant()[::-1], **settings)
    assert manifest.load(root / "pool/verified").rows == 0 and manifest.load(root / "pool/strict").rows > 10_000
    assert pairs(root) == pairs(other) and survivors(root) == survivors(other)
    left = survivors(root)
    assert left.pop("g400") == 620 and sorted(name[0] for name in left) == ["e", *"o" * 20] and set(left.values()) == {1}
