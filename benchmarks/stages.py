"""The stage table: for each stage the figure that it exists to move, before and after, on held-out data, over several seeds, with its controls as rows.

Each seed is a chain of its own, from new weights to verified rewards, below `stages/seed-N` in the env's root. Runs are ordinary stages: what is fresh is not
trained again, and a killed table goes on where it was.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from benchmarks.table import rewrite
from dolma.core.config import Env, read_yaml

HERE = Path(__file__).parents[1]
STAGES = ("pretrain", "midtrain", "longctx", "sft", "dpo", "rlvr")
CONTROLS = {  # name: (stage, what is changed)
    "midtrain-web-only": ("midtrain", "data.manifest=mix/midtrain_web_only"),
    "midtrain-no-carry-over": ("midtrain", "data.manifest=mix/midtrain_no_carry_over"),
    "rlvr-random": ("rlvr", "objective.reward=random"),
}


@dataclass(frozen=True)
class Row:
    """One figure over all seeds: means and sample standard deviations (None with one seed)."""

    run: str
    metric: str
    slice: str
    before: float
    after: float
    before_spread: float | None
    after_spread: float | None
    n: int
    chance: float | None
    seeds: int


def main(arguments: list[str] | None = None) -> int:
    """Train what is stale, print the table, write `benchmarks/stages.json` and the table in the README."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", default="tiny")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--jobs", type=int, default=2, help="chains at once; each takes one core")
    options = parser.parse_args(arguments)
    env = HERE / "pipelines" / "env" / f"{options.env}.yaml"
    root = (HERE / read_yaml(env, Env).root).resolve()
    _call([sys.executable, "-m", "dolma.cli", "run", "source", "pool", "shard", "mix", "--env", options.env])
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(lambda seed: _chain(root, seed), options.seeds))
    rows = table(root, options.seeds)
    (HERE / "benchmarks" / "stages.json").write_text(json.dumps([row.__dict__ for row in rows], indent=1) + "\n")
    text = markdown(rows)
    print(text)
    rewrite(HERE / "README.md", "stages", text)
    return 0


def _chain(root: Path, seed: int) -> None:
    before: dict[str, str] = {}
    for i, stage in enumerate(STAGES):
        before[stage] = f"stages/seed-{seed}/{STAGES[i - 1]}"
        _train(root, seed, stage, stage, before[stage] if i else None)
    for name, (stage, change) in CONTROLS.items():
        _train(root, seed, name, stage, before[stage], change)


def _train(root: Path, seed: int, name: str, stage: str, parent: str | None, *changes: str) -> None:
    changed = [*changes, *([f"model.init.run={parent}"] if parent else [])]
    command = [sys.executable, "-m", "training.cli", "run", f"pipelines/train/{stage}.yaml", "--root", str(root), "--seed", str(seed)]
    _call([*command, "--out", f"stages/seed-{seed}/{name}", *(word for change in changed for word in ("--set", change))])


def _call(command: list[str]) -> None:
    subprocess.run(command, cwd=HERE, check=True, env={**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"})


def table(root: Path, seeds: Iterable[int]) -> list[Row]:
    """The figures of all stages and controls, in order."""
    rows = []
    for name in (*STAGES, *CONTROLS):
        runs = [json.loads((root / f"stages/seed-{seed}" / name / "metrics.json").read_bytes())["rows"] for seed in seeds]
        for figures in zip(*runs, strict=True):
            first = figures[0]
            before, after = ([figure[when] for figure in figures] for when in ("before", "after"))
            spread = [stdev(values) if len(values) > 1 else None for values in (before, after)]
            rows.append(Row(name, first["metric"], first["slice"], fmean(before), fmean(after), *spread, first["n"], first["chance"], len(figures)))
    return rows


def markdown(rows: list[Row]) -> str:
    """The table as it stands in the README: mean, plus or minus the standard deviation over the seeds."""
    lines = ["| run | figure | before | after | change | n | chance |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        lower = row.metric == "bits_per_byte"
        change = f"{100 * (row.after / row.before - 1):+.1f} %" if lower else f"{row.after - row.before:+.3f}"
        figure = f"{row.metric.replace('_', ' ')}, {row.slice}"
        values = [_value(row.before, row.before_spread), _value(row.after, row.after_spread)]
        lines.append(f"| {row.run} | {figure} | {values[0]} | {values[1]} | {change} | {row.n} | {'' if row.chance is None else row.chance} |")
    return "\n".join(lines)


def _value(mean: float, spread: float | None) -> str:
    return f"{mean:.3f}" + (f" ± {spread:.3f}" if spread is not None else "")


if __name__ == "__main__":
    sys.exit(main())
