"""Figures over finished datasets: the funnel by source, lengths by source, tokens by cell."""

import json
import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dolma.core import counts as ledger
from dolma.core import manifest as manifests
from dolma.core.errors import DataError
from dolma.core.manifest import Manifest

END = "pool/documents"  # the dataset a document has reached when it is in the pool


@dataclass(frozen=True)
class Loss:
    """Documents that left the flow at one dataset for one reason."""

    dataset: str
    reason: str
    documents: int


@dataclass
class Funnel:
    """What became of the documents of one source; `losses` are in the order in which they happened."""

    source: str
    documents_in: int
    losses: list[Loss] = field(default_factory=list)
    out: int = 0

    @property
    def unaccounted(self) -> int:
        """Documents that neither arrived nor were dropped for a reason; anything but 0 means a broken ledger."""
        return self.documents_in - self.out - sum(loss.documents for loss in self.losses)


@dataclass(frozen=True)
class Cell:
    """One stream of a sharded dataset (its folder): packed tokens of one (source, topic, vigintile). Several streams may hold one cell."""

    stream: str
    source: str
    topic: str
    vigintile: int
    sequences: int
    tokens: int


@dataclass(frozen=True)
class StageRow:
    """A held-out figure before and after a training stage."""

    stage: str
    metric: str
    slice: str
    before: float | None
    after: float | None
    n: int | None
    chance: float | None

    @property
    def lower_is_better(self) -> bool:
        """Whether a fall is an improvement: losses and bits fall, shares and rewards rise."""
        return any(word in self.metric for word in ("bits", "loss", "perplexity", "bpb"))


def datasets(root: Path) -> dict[str, Manifest]:
    """Manifests of all finished datasets below `root`, by name, sorted."""
    return {m.dataset: m for m in (manifests.load(path) for path in sorted(_folders(root)))}


def _folders(root: Path) -> Iterator[Path]:
    for folder, inner, files in os.walk(root):
        if manifests.NAME in files and Path(folder) != root:
            yield Path(folder)
            inner.clear()  # what lies inside a dataset is its own
        inner[:] = [name for name in inner if not name.startswith(("_", "."))]


def entered(manifest: Manifest) -> int:
    """Documents that a dataset's recipe started with."""
    for numbers in ledger.steps(manifest.counts).values():
        if "in" in numbers:
            return numbers["in"]
        if "out" in numbers:
            return sum(numbers.values())
    return manifest.rows


def parents(manifest: Manifest) -> list[str]:
    """Datasets whose rows flow into this one, in order; its tags and assets are not among them."""
    given = manifest.recipe.get("input")
    if given is None:
        return []
    return [given] if isinstance(given, str) else list(given)


def funnels(root: Path, known: dict[str, Manifest], end: str = END) -> list[Funnel]:
    """The way of the documents of each source to `end`, or to the last dataset of the source when the pool is not made yet."""
    pooled: list[str] = []
    name = end
    while name in known and len(parents(known[name])) == 1:
        pooled.insert(0, name)
        name = parents(known[name])[0]
    union = known.get(name)
    if union is None or not pooled:
        last = {n.split("/")[1]: n for n in known if n.startswith("source/") and n.count("/") == 2 and known[n].table == "document"}
        heads = [_last(known, n) for n in last.values() if not n.startswith("source/tasks/")]
    else:
        heads = parents(union)
        pooled.insert(0, name)
    found = [_source_funnel(known, head) for head in heads if head in known]
    for dataset in pooled:
        _pool_losses(root, known, dataset, found)
    return found


def _last(known: dict[str, Manifest], name: str) -> str:
    while children := [n for n, m in known.items() if parents(m) == [name] and n.split("/")[:2] == name.split("/")[:2]]:
        name = children[0]
    return name


def _source_funnel(known: dict[str, Manifest], head: str) -> Funnel:
    chain = [known[head]]
    while (before := parents(chain[0])) and before[0] in known:
        chain.insert(0, known[before[0]])
    parts = head.split("/")
    funnel = Funnel(parts[1] if len(parts) > 1 else head, entered(chain[0]), out=chain[-1].rows)
    for manifest in chain:
        funnel.losses += [Loss(manifest.dataset, reason, n) for reason, n in ledger.dropped(manifest.counts).items()]
    return funnel


def by_source(root: Path, dataset: str) -> Counter[str]:
    """Rows of a dataset by its column `source`."""
    column = manifests.read(root / dataset, ["source"])["source"]
    return Counter({item["values"].as_py(): item["counts"].as_py() for item in pc.value_counts(column)})


def _pool_losses(root: Path, known: dict[str, Manifest], dataset: str, found: list[Funnel]) -> None:
    lost = ledger.dropped(known[dataset].counts)
    after = by_source(root, dataset)
    short = {f.source: f.out - after[f.source] for f in found}
    for reason, split in _split(root, known[dataset], lost, short).items():
        for funnel in found:
            if split[funnel.source]:
                funnel.losses.append(Loss(dataset, reason, split[funnel.source]))
    for funnel in found:
        funnel.out = after[funnel.source]


def _split(root: Path, manifest: Manifest, lost: dict[str, int], short: dict[str, int]) -> dict[str, Counter[str]]:
    """Losses of a dataset by reason and source.

    A ledger does not know sources. One reason takes all that is missing; of several, a reason whose total equals the rows that a tag dataset
    marks is split by those rows, and one left over takes the rest. What cannot be told apart is one line with all its reasons.
    """
    open_reasons, left, split = dict(lost), Counter(short), dict[str, Counter[str]]()
    if len(lost) > 1:
        marks = [mark for tag, columns in dict(manifest.recipe.get("tags") or {}).items() for mark in _marks(root, manifest, tag, columns)]
        for reason, total in lost.items():
            match = next((mark for mark in marks if sum(mark.values()) == total and all(mark[s] <= left[s] for s in mark)), None)
            if match is not None and len(open_reasons) > 1:
                split[reason] = match
                left -= match
                del open_reasons[reason]
    if open_reasons:
        split[" + ".join(open_reasons)] = Counter({s: n for s, n in left.items() if n > 0})
    return split


def _marks(root: Path, manifest: Manifest, tag: str, columns: Any) -> Iterator[Counter[str]]:
    above = parents(manifest)
    if len(above) != 1 or not manifests.exists(root / tag):
        return
    sources = [manifests.pq.read_table(manifests.shard(root / above[0], f), columns=["source"])["source"] for f in manifests.load(root / above[0]).files]
    for column in columns:
        rows = manifests.read(root / tag, ["origin", column])
        rows = rows.filter(pc.is_valid(rows[column]))
        count: Counter[str] = Counter()
        for origin in rows["origin"].to_pylist():
            count[sources[origin >> 32][origin & 0xFFFFFFFF].as_py()] += 1
        yield count


def columns(root: Path, manifest: Manifest) -> list[str]:
    """Names of the columns of a Parquet dataset."""
    return manifests.pq.read_schema(manifests.shard(root / manifest.dataset, manifest.files[0])).names if manifest.files else []


def lengths(root: Path, dataset: str, column: str) -> pa.Table:
    """Count, mean and percentiles (10, 50, 90, 99) of an integer column by source, in the unit of the column."""
    rows = manifests.read(root / dataset, ["source", column])
    lines: list[dict[str, Any]] = []
    for source in sorted(set(rows["source"].to_pylist())):
        values = pc.drop_null(rows.filter(pc.equal(rows["source"], source))[column])
        quantiles = pc.quantile(values, q=[0.1, 0.5, 0.9, 0.99], interpolation="lower").to_pylist()
        names = ("p10", "p50", "p90", "p99")
        lines.append({"source": source, "documents": len(values), "mean": pc.mean(values).as_py(), **dict(zip(names, quantiles, strict=True))})
    return pa.Table.from_pylist(lines)


def cells(manifest: Manifest) -> list[Cell]:
    """Sequences and tokens of each stream of a sharded dataset."""
    rows: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    facts: dict[str, dict[str, Any]] = {}
    for file in manifest.files:
        stream = file.name.rpartition("/")[0]
        rows[stream][0] += file.rows
        rows[stream][1] += file.tokens
        facts[stream] = {**facts.get(stream, {}), **file.extra}
    return [
        Cell(s, str(facts[s].get("source", "")), str(facts[s].get("topic", "")), int(facts[s].get("vigintile") or 0), n, tokens)
        for s, (n, tokens) in sorted(rows.items())
    ]


def stage_rows(root: Path) -> Iterator[StageRow]:
    """The held-out figures of all stages below `root`, stage by stage, as their metrics.json has them."""
    for path in sorted((root / "train").glob("*/metrics.json")):
        for row in read_rows(path):
            before, after, chance = (number(row.get(key)) for key in ("before", "after", "chance"))
            n = row.get("n")
            yield StageRow(path.parent.name, str(row.get("metric", "")), str(row.get("slice", "")), before, after, n if isinstance(n, int) else None, chance)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON file of the form {"rows": [...]} or [...].

    Raises:
        DataError: it is not JSON.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(str(path), "not valid JSON", got=error.msg, expected="rows", mend="make it again with the command that wrote it") from error
    rows = value.get("rows", []) if isinstance(value, dict) else value
    return [row for row in rows if isinstance(row, dict)]


def number(value: object) -> float | None:
    """A finite number, or None for anything else."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
