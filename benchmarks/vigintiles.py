"""Vigintiles and cells of many documents: exact cuts, cuts of a histogram, and tags, as recipes through the command line; the histogram also on Spark.

    python -m benchmarks.vigintiles [--rows 10000000] [--no-spark] [--out build/vigintiles.json]

Prints for each dataset seconds of wall and of CPU and the peak memory of its largest process, start included; then how far the buckets of the histogram
are from the exact ones, in shares of a topic's tokens: the largest over all cells, and the largest that the cuts themselves allow.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from benchmarks.clock import Usage, usage
from dolma.core import manifest
from dolma.core.step import reader

ROOT = Path(__file__).parents[1]
FILES, TOPICS = 8, 24
SCORES = {"source": pa.string(), "topic": pa.string(), "quality": pa.float32(), "n_tokens": pa.int32(), "split": pa.string()}
RECIPES = {
    "pool/tokens": {"read": {"made_scores": {"files": "scores-*.parquet"}}},
    "pool/exact": {"input": "pool/tokens", "table": "cut", "steps": [{"plan_vigintiles": {}}]},
    "pool/bins": {"input": "pool/tokens", "buckets": 2, "steps": [{"bin_quality": {}}]},
    "pool/cuts": {"input": "pool/bins", "table": "cut", "steps": [{"plan_vigintiles": {}}]},
    "pool/tagged": {"input": "pool/tokens", "steps": [{"tag_vigintile": {"cuts": "pool/exact"}}]},
    "pool/cells": {"input": "pool/tagged", "steps": [{"tag_cell": {}}]},
}


@reader(out=SCORES)
def made_scores(path: str, *, file: str) -> Iterator[pa.RecordBatch]:
    """The rows of a Parquet file as they are."""
    yield from pq.ParquetFile(path).iter_batches(batch_size=1 << 16)


def write(folder: Path, rows: int) -> Path:
    """Documents of 24 topics whose sizes fall as 1/n: lognormal tokens; three of ten scores rounded to 3 digits, the others skewed to 0 as classifiers do."""
    (folder / "raw").mkdir()
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, TOPICS + 1)
    for number in range(FILES):
        count = rows * (number + 1) // FILES - rows * number // FILES
        topic = rng.choice(TOPICS, count, p=share / share.sum())
        quality = rng.beta(0.4 + topic / 20, 3, count)
        quality = np.where(rng.random(count) < 0.3, np.round(quality, 3), quality).astype(np.float32)
        names = pa.DictionaryArray.from_arrays(pa.array(topic), pa.array([f"topic_{n:02d}" for n in range(TOPICS)])).cast(pa.string())
        split = pa.array(rng.random(count) < 0.05).cast(pa.int8())
        columns = [
            pa.array(["web"] * count),
            names,
            pa.array(quality, mask=rng.random(count) < 0.01),
            pa.array(np.minimum(rng.lognormal(6.3, 1.1, count), 1e6).astype(np.int32)),
            pa.DictionaryArray.from_arrays(split, pa.array(["train", "tune"])).cast(pa.string()),
        ]
        pq.write_table(pa.table(columns, names=list(SCORES)), folder / "raw" / f"scores-{number}.parquet")
    for name, recipe in RECIPES.items():
        path = folder / "pipelines" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump({"uses": ["benchmarks.vigintiles"], "table": "rows", **recipe}, sort_keys=False))
    return folder / "pipelines"


def run(folder: Path, engine: str, target: str) -> Usage:
    """What making one dataset took."""
    env = folder / f"{engine}.yaml"
    env.write_text(yaml.safe_dump({"root": str(folder / "out"), "raw": str(folder / "raw"), "workers": 2, "engine": engine}))
    command = [sys.executable, "-m", "dolma.cli", "run", target, "--env", str(env), "--pipelines", str(folder / "pipelines")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return usage(command, where=target, log=folder / "log", env=environment, cwd=ROOT)


def errors(folder: Path) -> dict[str, float]:
    """The largest share of a topic's tokens by which a cell of the histogram differs from the exact one, and the largest that `off` allows."""
    exact, rough = ({(r["topic"], r["vigintile"]): r for r in manifest.read(folder / "out" / name).to_pylist()} for name in ("pool/exact", "pool/cuts"))
    whole: dict[str, int] = {}
    for (topic, _), row in exact.items():
        whole[topic] = whole.get(topic, 0) + row["tokens"]

    def tokens(rows: dict, cell: tuple[str, int]) -> int:
        return rows[cell]["tokens"] if cell in rows else 0

    real = max(abs(tokens(exact, cell) - tokens(rough, cell)) / whole[cell[0]] for cell in exact.keys() | rough.keys())
    return {"cells": len(exact), "error": real, "bound": max(row["off"] / whole[topic] for (topic, _), row in rough.items())}


def hashes(folder: Path, name: str) -> list[str]:
    """The hashes of a dataset's shards."""
    return [file.sha256 for file in manifest.load(folder / "out" / name).files]


def measure(folder: Path, rows: int, spark: bool) -> dict:
    """All figures; one line of each is printed."""
    write(folder, rows)
    found: dict = {"rows": rows, "datasets": {}}

    def one(engine: str, name: str) -> None:
        took = run(folder, engine, name)
        found["datasets"][f"{engine} {name}"] = asdict(took)
        print(f"{engine:10} {name:12} {took.wall:7.1f} s {took.cpu:7.1f} CPU-s {took.peak / 1e6:7.0f} MB", flush=True)

    for name in RECIPES:
        one("datatrove", name)
    found |= errors(folder)
    if spark:
        before = {name: hashes(folder, name) for name in ("pool/bins", "pool/cuts")}
        for name in before:
            (folder / "out" / name / manifest.NAME).unlink()
            for record in (folder / "out" / name / ".records").rglob("*.json"):
                record.unlink()
        for name in before:
            one("spark", name)
        found["same_on_spark"] = all(hashes(folder, name) == old for name, old in before.items())
    return found


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--no-spark", action="store_true")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "vigintiles.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = measure(Path(name), arguments.rows, not arguments.no_spark)
    print(f"{found['cells']} cells; of a topic's tokens at most {found['error']:.1e} off, {found['bound']:.1e} allowed")
    if "same_on_spark" in found:
        print(f"Spark: {'the same' if found['same_on_spark'] else 'OTHER'} bytes")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
