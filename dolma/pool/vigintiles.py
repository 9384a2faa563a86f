"""Quality buckets within a topic, cut so that each holds the same share of tokens (spec of the mix: token-weighted vigintiles)."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from dolma.core import manifest
from dolma.core.errors import ConfigError, DataError
from dolma.core.schema import append
from dolma.core.step import Asset, reduce_step, step

CUTS = {"source": pa.string(), "topic": pa.string(), "vigintile": pa.int32(), "edge": pa.float64(), "tokens": pa.int64()}


@reduce_step(needs=("source", "topic", "quality", "n_tokens"), out=CUTS, version=2)
def plan_vigintiles(batches: Iterator[pa.RecordBatch], *, folder: Path, num_buckets: int = 20, split: str | None = "train") -> pa.Table:
    """The lowest quality of each bucket of each (source, topic), and the tokens in it.

    Buckets keep vigintile numbers: with `num_buckets` = 5 they are 4, 8, 12, 16, 20, so that 20 is always the best. Documents of equal quality are in
    one bucket, so ties merge buckets. A row of bucket b says: quality >= edge and below the next bucket's edge.

    Args:
        num_buckets: a divisor of 20; small pools need fewer.
        split: documents of this `split` count; NULL: all.
    Raises:
        DataError: a quality is NaN: it would lie above the best.
    """
    if num_buckets < 1 or 20 % num_buckets:
        raise ConfigError(
            "plan_vigintiles", "buckets must divide the 20 vigintiles", got=num_buckets, expected="1, 2, 4, 5, 10 or 20", mend="choose one of these"
        )
    found: dict[tuple[str, str], list[np.ndarray]] = {}
    for batch in batches:
        for source, topic, rows in _by_topic(batch, split):
            found.setdefault((source, topic), []).append(rows)
    columns: dict[str, list] = {name: [] for name in CUTS}
    for (source, topic), parts in sorted(found.items()):
        for vigintile, edge, tokens in cut(np.concatenate(parts), num_buckets):
            for name, value in zip(CUTS, (source, topic, vigintile, edge, tokens), strict=True):
                columns[name].append(value)
    return pa.table([pa.array(columns[name], kind) for name, kind in CUTS.items()], schema=pa.schema(list(CUTS.items())))


def _by_topic(batch: pa.RecordBatch, split: str | None) -> Iterator[tuple[str, str, np.ndarray]]:
    keep = np.array(batch.column("quality").is_valid())
    quality = batch.column("quality").to_numpy(zero_copy_only=False).astype(np.float64)  # NULL becomes NaN here, and is not kept
    if np.isnan(quality[keep]).any():
        raise DataError("plan_vigintiles: quality", "a measured column holds NaN", got="NaN", expected="a number or NULL", mend="mend the step before")
    if split is not None and "split" in batch.schema.names:
        keep &= np.asarray(batch.column("split").to_pylist(), object) == split
    tokens = batch.column("n_tokens").to_numpy(zero_copy_only=False).astype(np.float64)
    pairs = list(zip(batch.column("source").to_pylist(), (t or "" for t in batch.column("topic").to_pylist()), strict=True))
    places: dict[tuple[str, str], list[int]] = {}
    for row in np.flatnonzero(keep).tolist():
        places.setdefault(pairs[row], []).append(row)
    for (source, topic), rows in places.items():
        yield source, topic, np.stack([quality[rows], tokens[rows]], axis=1)


def cut(rows: np.ndarray, num_buckets: int) -> list[tuple[int, float, int]]:
    """(vigintile, lowest quality, tokens) of each bucket that holds documents, worst first.

    Args:
        rows: float64, shape (documents, 2): quality, tokens.
    """
    order = np.argsort(rows[:, 0], kind="stable")
    quality, tokens = rows[order, 0], np.maximum(rows[order, 1], 0)
    total = tokens.sum()
    if total == 0:
        return []
    values, first = np.unique(quality, return_index=True)
    before = np.concatenate([[0.0], np.cumsum(tokens)])[first]  # tokens of worse documents: equal quality, equal bucket
    bucket = np.minimum((before / total * num_buckets + 1e-9).astype(int), num_buckets - 1)
    weight = np.add.reduceat(tokens, first)
    width = 20 // num_buckets
    return [(int((b + 1) * width), float(values[bucket == b][0]), int(weight[bucket == b].sum())) for b in np.unique(bucket)]


@lru_cache(4)
def _cuts(path: str, fingerprint: str) -> dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]:
    """The edges in `path`, once a process for each `fingerprint`: a process may see the dataset made anew."""
    made: dict[tuple[str, str], list[tuple[float, int]]] = {}
    for row in manifest.read(path).to_pylist():
        made.setdefault((row["source"], row["topic"]), []).append((row["edge"], row["vigintile"]))
    return {name: (np.array([e for e, _ in sorted(rows)]), np.array([v for _, v in sorted(rows)], np.int32)) for name, rows in made.items()}


@step(needs=("source", "topic", "quality"), adds={"vigintile": pa.int32()})
def tag_vigintile(batch: pa.RecordBatch, *, cuts: Asset) -> pa.RecordBatch:
    """The vigintile of each document by the edges of its (source, topic): 1 worst to 20 best, 0 where it has no quality or no edges."""
    edges = _cuts(cuts, manifest.load(Path(cuts)).fingerprint)
    out = np.zeros(batch.num_rows, np.int32)
    values = batch.column("quality").to_numpy(zero_copy_only=False).astype(np.float64)
    pairs = list(zip(batch.column("source").to_pylist(), (t or "" for t in batch.column("topic").to_pylist()), strict=True))
    for n, pair in enumerate(pairs):
        if pair in edges and not np.isnan(values[n]):
            low, numbers = edges[pair]
            out[n] = numbers[max(int(np.searchsorted(low, values[n], side="right")) - 1, 0)]
    return append(batch, {"vigintile": pa.array(out)})
