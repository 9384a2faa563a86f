"""Everything the report shows, read from finished datasets: plain values, no HTML. What is missing stays empty and says so."""

import json
import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from dolma import browse, stats
from dolma.core import manifest as manifests
from dolma.core.errors import DataError
from dolma.core.manifest import Manifest
from dolma.costs import Cost, measured
from dolma.mixes import Mix
from dolma.mixes import read as read_mix
from dolma.stats import StageRow, number, read_rows

STAGES = ("pretrain", "midtrain", "longctx", "sft", "dpo", "rlvr")
MIXES = ("pretrain", "midtrain", "longctx")


@dataclass(frozen=True)
class StageFigures:
    """One training stage: its held-out figures, its log and its manifest's facts."""

    name: str
    rows: tuple[StageRow, ...]
    log: tuple[dict[str, Any], ...]
    manifest: Manifest | None

    @property
    def done(self) -> bool:
        """Whether the stage is finished."""
        return self.manifest is not None


@dataclass
class Figures:
    """All figures of one report."""

    known: dict[str, Manifest] = field(default_factory=dict)
    funnels: list[stats.Funnel] = field(default_factory=list)
    quarantine: list[browse.Quarantined] = field(default_factory=list)
    languages: dict[str, Counter[str]] = field(default_factory=dict)
    lengths: dict[str, Counter[int]] = field(default_factory=dict)
    percentiles: pa.Table | None = None
    cells: list[stats.Cell] = field(default_factory=list)
    mixes: list[Mix] = field(default_factory=list)
    stages: list[StageFigures] = field(default_factory=list)
    benchmarks: list[dict[str, Any]] = field(default_factory=list)
    costs: dict[str, Cost] = field(default_factory=dict)


def collect(root: Path, benchmarks: Path | None = None) -> Figures:
    """Read every figure of the report from the datasets below `root`.

    Args:
        root: folder of all datasets.
        benchmarks: `benchmarks/results.json`, when there is one.
    Raises:
        DataError: a dataset is damaged, or nothing is finished below `root`.
    """
    known = stats.datasets(root)
    if not known:
        raise DataError(
            str(root), "there is nothing to report", got="0 finished datasets", expected="at least 1", mend="run `dolma run pipelines --env ENV` first"
        )
    made = Figures(known, stats.funnels(root, known))
    made.quarantine = [row for name in known for row in browse.quarantined(root, known[name])]
    if "pool/documents" in known:
        _documents(root, made)
    if "shard/pool" in known:
        made.cells = stats.cells(known["shard/pool"])
    made.mixes = [read_mix(root, name) for name in _mix_names(known)]
    made.costs = measured(root, known)
    made.stages = [_stage(root, name, known) for name in STAGES]
    if benchmarks is not None and benchmarks.is_file():
        made.benchmarks = _benchmarks(benchmarks)
    return made


def _documents(root: Path, made: Figures) -> None:
    columns = stats.columns(root, made.known["pool/documents"])
    wanted = [name for name in ("source", "lang", "n_bytes") if name in columns]
    rows = manifests.read(root / "pool/documents", wanted)
    sources = rows["source"].to_pylist()
    if "lang" in wanted:
        languages: dict[str, Counter[str]] = defaultdict(Counter)
        for source, lang in zip(sources, rows["lang"].to_pylist(), strict=True):
            languages[source][lang or "unknown"] += 1
        made.languages = dict(sorted(languages.items()))
    if "n_bytes" in wanted:
        lengths: dict[str, Counter[int]] = defaultdict(Counter)
        for source, n in zip(sources, rows["n_bytes"].to_pylist(), strict=True):
            lengths[source][math.floor(2 * math.log2(max(n or 1, 1)))] += 1
        made.lengths = dict(sorted(lengths.items()))
        made.percentiles = stats.lengths(root, "pool/documents", "n_bytes")


def _mix_names(known: dict[str, Manifest]) -> list[str]:
    there = [name for name in known if known[name].table == "mix"]
    order = {f"mix/{name}": i for i, name in enumerate(MIXES)}
    return sorted(there, key=lambda name: (order.get(name, len(order)), name))


def _stage(root: Path, name: str, known: dict[str, Manifest]) -> StageFigures:
    folder = root / "train" / name
    rows = [row for row in stats.stage_rows(root) if row.stage == name]
    log = []
    if (folder / "run.jsonl").is_file():
        for line in (folder / "run.jsonl").read_text(encoding="utf-8").splitlines():
            value = _line(line)
            if "step" in value:
                log.append(value)
    return StageFigures(name, tuple(rows), tuple(log), known.get(f"train/{name}"))


def _line(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except json.JSONDecodeError:  # the last line of a log that was cut by a kill
        return {}
    return value if isinstance(value, dict) else {}


def _benchmarks(path: Path) -> list[dict[str, Any]]:
    rows = read_rows(path)
    return [row for row in rows if isinstance(row, dict) and "name" in row]


def curve(log: tuple[dict[str, Any], ...], key: str) -> list[tuple[float, float]]:
    """Points (tokens or step, value) of one logged figure; tokens when every line has them."""
    rows = [row for row in log if number(row.get(key)) is not None]
    x = "tokens" if rows and all(number(row.get("tokens")) is not None for row in rows) else "step"
    return sorted((float(row[x]), float(row[key])) for row in rows)


def x_name(log: tuple[dict[str, Any], ...], key: str) -> str:
    """What the x axis of `curve` counts."""
    rows = [row for row in log if number(row.get(key)) is not None]
    return "tokens" if rows and all(number(row.get("tokens")) is not None for row in rows) else "step"
