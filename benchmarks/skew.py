"""Giant groups on both engines, with the memory of each process.

    python -m benchmarks.skew [--rows 1000000] [--engine datatrove|spark]

Cases: a star of a million edges tied to a chain of a million (`pool/clusters`); a band with 30 % of two million rows (`pool/bands`); a million copies of a
text among as many others, from texts to the one that is kept (`copies/near`: bands, components, strict bands within the component, clusters, true Jaccard).

Prints one line a case: rows of the result, seconds, and the largest resident set in MB of the driver, of the JVM and of any worker (read from /proc each
50 ms, Linux only).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import yaml

from dolma.core import manifest

ROOT = Path(__file__).parents[1]
TARGETS = "pool/clusters", "pool/bands", "copies/near"
COPIED = "All rights are reserved by their holders and no part of this page may be shown elsewhere without a word of theirs in writing"
RECIPES = {
    "pool/edges": {"read": {"test_edges": {"files": "edges-*.npy"}}, "table": "edge", "unit_bytes": 1, "steps": []},
    "pool/clusters": {"input": "pool/edges", "table": "tag", "steps": [{"cluster_edges": {}}]},
    "pool/bands": {"input": "pool/edges", "table": "edge", "buckets": 4, "steps": [{"skewed_band": {}}]},
    "copies/read": {
        "read": {"jsonl": {"files": "texts-*.jsonl", "columns": {"id": "string", "text": "large_string"}, "required": ["id", "text"]}},
        "table": "rows",
        "unit_bytes": 1,
        "steps": [{"set": {"columns": {"key": "(hash(id) >> 1)::BIGINT"}}}],
    },
    "copies/edges": {"input": "copies/read", "table": "edge", "buckets": 4, "steps": [{"mark_minhash": {"bands": 4, "rows": 11}}]},
    "copies/components": {"input": "copies/edges", "table": "tag", "steps": [{"cluster_edges": {}}]},
    "copies/strict": {
        "input": "copies/read",
        "tags": {"copies/components": ["cluster", "cluster_size"]},
        "table": "edge",
        "buckets": 4,
        "steps": [{"keep": {"where": "cluster_size >= 500", "reason": "small"}}, {"mark_minhash": {"bands": 2, "rows": 31, "within": "cluster"}}],
    },
    "copies/clusters": {"input": "copies/strict", "table": "tag", "steps": [{"cluster_edges": {}}]},
    "copies/near": {
        "input": "copies/read",
        "tags": {"copies/clusters": ["cluster", "cluster_size"]},
        "table": "tag",
        "buckets": 4,
        "steps": [{"keep": {"where": "cluster IS NOT NULL", "reason": "alone"}}, {"mark_near": {"bands": 4, "rows": 11}}],
    },
}


def memory(process: int) -> dict[str, int]:
    """Resident MB of the processes of a group, the largest by kind: driver, java, worker."""
    found: defaultdict[str, int] = defaultdict(int)
    for folder in Path("/proc").iterdir():
        try:
            if not folder.name.isdigit():
                continue
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(stat[3]) != process:  # session: the group of the JVM's Python workers is another
                continue
            size = next(int(line.split()[1]) for line in (folder / "status").read_text().splitlines() if line.startswith("VmRSS")) // 1024
            kind = "driver" if int(folder.name) == process else "java" if "java" in os.readlink(folder / "exe") else "worker"
            found[kind] = max(found[kind], size)
        except (OSError, StopIteration):
            continue
    return found


def write(folder: Path, rows: int) -> Path:
    """A star of `rows` documents with a chain of as many tied to it, `rows` copies of a text among as many others, in eight files each, and the recipes."""
    numbers = np.arange(1, rows + 1)
    star = np.stack([np.zeros(rows, np.int64), numbers], axis=1)
    chain = np.stack([rows + numbers - 1, rows + numbers], axis=1)
    edges = np.random.default_rng(0).permutation(np.concatenate([star, chain]))
    (folder / "raw").mkdir()
    for number, part in enumerate(np.array_split(edges, 8)):
        np.save(folder / "raw" / f"edges-{number}.npy", part)
    for number in range(8):
        with (folder / "raw" / f"texts-{number}.jsonl").open("w") as lines:
            for row in range(2 * rows * number // 8, 2 * rows * (number + 1) // 8):
                text = COPIED if row % 2 else " ".join(f"{word}{row}" for word in COPIED.split())
                lines.write(json.dumps({"id": str(row), "text": text}) + "\n")
    for name, recipe in RECIPES.items():
        path = folder / "pipelines" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump({"uses": ["tests.engines.graphs"], **recipe}, sort_keys=False))
    return folder / "pipelines"


def measured(folder: Path, engine: str, target: str, least: int) -> bool:
    """Run one target and print what it took; whether it made so many rows or more."""
    env = folder / f"{engine}.yaml"
    env.write_text(yaml.safe_dump({"root": str(folder / engine), "raw": str(folder / "raw"), "workers": 2, "engine": engine}))
    command = [sys.executable, "-m", "dolma.cli", "run", target, "--env", str(env), "--pipelines", str(folder / "pipelines")]
    start, most = time.monotonic(), defaultdict[str, int](int)
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    while process.poll() is None:
        for kind, size in memory(process.pid).items():
            most[kind] = max(most[kind], size)
        time.sleep(0.05)
    sizes = ", ".join(f"{kind} {most[kind]:,} MB" for kind in ("driver", "java", "worker") if most[kind])
    took = time.monotonic() - start
    rows = manifest.load(folder / engine / target).rows if process.returncode == 0 else -1
    print(f"{engine:10} {target:14} {f'{rows:,} rows' if rows >= least else 'FAILED'}  {took:6.1f} s  {sizes}", flush=True)
    return rows >= least


def kept(root: Path) -> int:
    """How many of the copies are kept."""
    return sum(batch.column("near_of").null_count for batch in manifest.batches(root / "copies/near", ["near_of"]))


def hashes(root: Path) -> list[str]:
    """Of all shards of the targets."""
    return [file.sha256 for target in TARGETS for file in manifest.load(root / target).files]


def main() -> int:
    """All cases on one engine or both; 0 where each made what it should."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="500 or more: smaller components are not for the strict bands")
    parser.add_argument("--engine", choices=["datatrove", "spark"], action="append", help="one of them (default: both, and whether their shards are the same)")
    arguments = parser.parse_args()
    if arguments.rows < 500:
        parser.error(f"--rows: got {arguments.rows}, expected 500 or more")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, arguments.rows)
        engines = list(dict.fromkeys(arguments.engine or ["datatrove", "spark"]))
        if not all([measured(folder, engine, target, arguments.rows // 2) for engine in engines for target in TARGETS]):
            return 1
        single = [kept(folder / engine) for engine in engines]
        same = all(hashes(folder / engine) == hashes(folder / engines[0]) for engine in engines[1:])
        print(f"copies kept: {', '.join(map(str, single))}{'' if len(engines) == 1 else '; the same shards on both engines' if same else '; OTHER SHARDS'}")
        return 0 if same and set(single) == {1} else 1


if __name__ == "__main__":
    sys.exit(main())
