"""Figures over finished datasets: the funnel by source, lengths by source, tokens by cell."""

import json
import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dolma.core import counts as ledger
from dolma.core import manifest as manifests
from dolma.core.errors import DataError
from dolma.core.manifest import Manifest

END = "pool/documents"  # the dataset a document has reached when it is in the pool
WAY = (END, "pool/unique", "pool/candidates")  # where the documents of all sources are together, the furthest first
UNITS = {"n_bytes": "bytes", "n_chars": "characters", "n_words": "words", "n_tokens": "tokens"}  # of the columns that hold a length of the text
PERCENTS = (10, 50, 90, 95, 99)


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
    lang: str = ""


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
    """Manifests of all finished datasets below `root`, by name, sorted. A dataset is named by where it lies: a copy does not take the original's place."""
    names = [path.relative_to(root).as_posix() for path in sorted(_folders(root))]
    return {name: manifests.at(root, name) for name in names}


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
    """Datasets whose rows flow into this one, in order; its tags and assets are not among them. A copy stands beside the flow: it has none."""
    given = manifest.recipe.get("input")
    if given is None or "copy_of" in manifest.recipe:
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
        heads = _sources(known)
    else:
        heads = parents(union)
        pooled.insert(0, name)
    found = [_source_funnel(known, head) for head in heads if head in known]
    for dataset in pooled:
        _pool_losses(root, known, dataset, found)
    return found


def _sources(known: dict[str, Manifest]) -> list[str]:
    """The last dataset of each source, of several made from one dataset the first by name; tasks are not sources of documents."""
    made = [
        name
        for name, m in known.items()
        if name.startswith("source/") and name.count("/") == 2 and m.table == "document" and not name.startswith("source/tasks/") and "copy_of" not in m.recipe
    ]
    first = {n.split("/")[1]: n for n in reversed(made) if not any(p.split("/")[:2] == n.split("/")[:2] for p in parents(known[n]))}
    return sorted(_last(known, name) for name in first.values())


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


def reached(known: dict[str, Manifest]) -> list[str]:
    """The datasets that hold the documents as far as they have come: one of the pool, or the last of each source while there is no pool."""
    for name in WAY:
        if name in known and known[name].table == "document":
            return [name]
    return _sources(known)


def offspring(known: dict[str, Manifest], name: str) -> list[str]:
    """The Parquet datasets that were made from the rows of one, nearest first; each row keeps its `key` on the way."""
    found, waiting = [], [name]
    while waiting:
        children = [n for n, m in known.items() if waiting[0] in parents(m) and m.format == "parquet" and n not in found]
        waiting = [*waiting[1:], *children]
        found += children
    return found


def measured(root: Path, known: dict[str, Manifest], names: Iterable[str] = tuple(UNITS)) -> dict[str, str]:
    """Where the columns `names` of the documents of the pool are first found: a column (lengths by default) to a dataset that also has `source`."""
    heads = reached(known)
    if len(heads) != 1:
        return {}
    there = {name: columns(root, known[name]) for name in (heads[0], *offspring(known, heads[0]))}
    fits = {column: [name for name, has in there.items() if {column, "source"} <= set(has) and known[name].rows] for column in names}
    return {column: found[0] for column, found in fits.items() if found}


def tally(root: Path, dataset: str, names: list[str]) -> dict[str, pa.Table]:
    """How many rows of each source have which value of integer columns: for each column a table of source, value, n, sorted by both.

    One pass, only these columns are read. What is held grows with the number of different values, not of rows: 2,000,000 at most before they are added up.
    """
    parts: dict[str, list[pa.Table]] = {name: [] for name in names}
    for batch in manifests.batches(root / dataset, ["source", *names], size=1 << 16):
        for name, held in parts.items():
            rows = pa.table({"source": batch.column("source").cast(pa.string()), "value": batch.column(name).cast(pa.int64()), "n": _ones(batch.num_rows)})
            held.append(_added(rows))
            if sum(part.num_rows for part in held) > MOST_VALUES:
                held[:] = [_added(pa.concat_tables(held))]
    empty = pa.schema({"source": pa.string(), "value": pa.int64(), "n": pa.int64()}).empty_table()
    return {name: _added(pa.concat_tables([empty, *held])).sort_by([("source", "ascending"), ("value", "ascending")]) for name, held in parts.items()}


MOST_VALUES = 2_000_000  # rows of (source, value, n) that wait to be added up: 60 MB or so


def _ones(count: int) -> pa.Array:
    return pa.array(np.ones(count, np.int64))


def _added(rows: pa.Table) -> pa.Table:
    return rows.group_by(["source", "value"]).aggregate([("n", "sum")]).rename_columns(["source", "value", "n"])


def percentiles(counted: pa.Table) -> pa.Table:
    """Count, mean, percentiles and largest value by source of what `tally` counted; NULL values are left out.

    Percentiles are exact and are values that occur (nearest rank, as DuckDB's `quantile_disc`): at least p per cent of the rows have this or less.
    """
    lines: list[dict[str, Any]] = []
    for source in pc.unique(counted["source"]).to_pylist():
        mine = counted.filter(pc.and_(pc.equal(counted["source"], source), pc.is_valid(counted["value"])))
        values, n = (mine[name].to_numpy() for name in ("value", "n"))
        ends = n.cumsum()
        total = int(ends[-1]) if len(ends) else 0
        ranks = {f"p{p}": int(values[ends.searchsorted(-(-p * total // 100))]) if total else None for p in PERCENTS}
        mean = sum(int(v) * int(k) for v, k in zip(values, n, strict=True)) / total if total else None
        lines.append({"source": source, "documents": total, "mean": mean, **ranks, "max": int(values[-1]) if total else None})
    kinds = {"source": pa.string(), "documents": pa.int64(), "mean": pa.float64(), **{f"p{p}": pa.int64() for p in PERCENTS}, "max": pa.int64()}
    return pa.Table.from_pylist(lines, schema=pa.schema(kinds))


def lengths(root: Path, dataset: str, column: str) -> pa.Table:
    """Count, mean, percentiles (10, 50, 90, 95, 99) and largest value of an integer column by source, in the unit of the column."""
    return percentiles(tally(root, dataset, [column])[column])


def all_lengths(root: Path, known: dict[str, Manifest]) -> dict[tuple[str, str], pa.Table]:
    """`lengths` of all lengths of the pool's documents by (column, dataset), each dataset read once."""
    places = measured(root, known)
    counted = {dataset: tally(root, dataset, [c for c, d in places.items() if d == dataset]) for dataset in dict.fromkeys(places.values())}
    return {(column, dataset): percentiles(counted[dataset][column]) for column, dataset in places.items()}


def sentences(found: dict[tuple[str, str], pa.Table], percent: int = 95) -> list[str]:
    """What a percentile says of each source, in words."""
    said: dict[tuple[str, int], list[str]] = {}
    for (column, _), rows in found.items():
        for row in rows.to_pylist():
            if row["documents"]:
                said.setdefault((row["source"], row["documents"]), []).append(f"{row[f'p{percent}']:,} {UNITS[column]}")
    return [f"{percent} % of the {n:,} {source} documents have at most {', '.join(parts)}" for (source, n), parts in sorted(said.items())]


def cells(manifest: Manifest) -> list[Cell]:
    """Sequences and tokens of each stream of a sharded dataset."""
    rows: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    facts: dict[str, dict[str, Any]] = {}
    for file in manifest.files:
        stream = file.name.rpartition("/")[0]
        rows[stream][0] += file.rows
        rows[stream][1] += file.tokens
        facts[stream] = {**facts.get(stream, {}), **file.extra}
    found = []
    for stream, (sequences, tokens) in sorted(rows.items()):
        source, topic, lang = (str(facts[stream].get(name) or "") for name in ("source", "topic", "lang"))
        found.append(Cell(stream, source, topic, int(facts[stream].get("vigintile") or 0), sequences, tokens, lang))
    return found


def stage_rows(root: Path) -> Iterator[StageRow]:
    """The held-out figures of all stages below `root`, stage by stage, as their metrics.json has them."""
    for path in sorted((root / "train").glob("*/metrics.json")):
        for row in read_rows(path):
            before, after, chance = (number(row.get(key)) for key in ("before", "after", "chance"))
            n = row.get("n")
            yield StageRow(path.parent.name, str(row.get("metric", "")), str(row.get("slice", "")), before, after, n if isinstance(n, int) else None, chance)


@dataclass(frozen=True)
class Update:
    """A line of a stage's log: the figures of one update; `more` are those that only some objectives have."""

    stage: str
    step: int
    tokens: int | None
    figures: dict[str, float | None]
    batch: str | None
    more: dict[str, Any]


FIGURES = ("loss", "lr", "grad_norm", "reward", "tokens_per_second")


def updates(root: Path) -> Iterator[Update]:
    """The log of each stage below `root`, also of one that still runs; a last line that was cut by a kill is left out."""
    for path in sorted((root / "train").glob("*/run.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(row, dict) and isinstance(row.get("step"), int):
                tokens, batch = row.get("tokens"), row.get("batch")
                more = {k: v for k, v in row.items() if k not in ("step", "tokens", "batch", *FIGURES)}
                figures = {name: number(row.get(name)) for name in FIGURES}
                yield Update(path.parent.name, row["step"], tokens if isinstance(tokens, int) else None, figures, batch, more)


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
