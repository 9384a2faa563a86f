"""Datasets of edges, read from NumPy files, and the recipe that joins them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import yaml

from dolma.core.schema import TABLES
from dolma.core.step import reader

EDGE = pa.schema(list(TABLES["edge"].items()))


@reader(out=TABLES["edge"])
def test_edges(path: str, *, file: str) -> Iterator[pa.RecordBatch]:
    """Edges between numbers: the key of a document is its number, its origin lies in shard number % 300."""
    ends = np.load(path, mmap_mode="r")
    for start in range(0, len(ends), 4096):
        a, b = np.array(ends[start : start + 4096]).T
        columns = [(a % 300 << 32) + a, a * 7 % 1_000_003, (b % 300 << 32) + b, b * 7 % 1_000_003]
        yield pa.RecordBatch.from_arrays([pa.array(column) for column in columns], schema=EDGE)


test_edges.fn.__test__ = False  # type: ignore[attr-defined]


def write(folder: Path, parts: list[np.ndarray]) -> Path:
    """The files and the recipes; int64 arrays of shape (edges, 2)."""
    recipes = {
        "pool/edges": {"read": {"test_edges": {"files": "*.npy"}}, "table": "edge", "unit_bytes": 1, "steps": []},
        "pool/clusters": {"input": "pool/edges", "table": "tag", "steps": [{"keep": {"where": "key_a <> 7", "reason": "seven"}}, {"cluster_edges": {}}]},
    }
    (folder / "raw").mkdir(parents=True)
    for number, part in enumerate(parts):
        np.save(folder / "raw" / f"{number:03d}.npy", part.astype(np.int64))
    for name, recipe in recipes.items():
        path = folder / "pipelines" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump({"uses": ["tests.engines.graphs"], **recipe}, sort_keys=False))
    return folder / "pipelines"
