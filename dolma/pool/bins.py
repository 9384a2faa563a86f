"""A histogram of scores whose bins are known in advance: histograms of parts of a pool add up to that of the whole, in any order."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dolma.core.errors import ConfigError, DataError
from dolma.core.schema import keys
from dolma.core.step import Sizes, Taken, group_step

BINS = {
    "source": pa.string(),
    "topic": pa.string(),
    "bin": pa.int64(),
    "quality": pa.float64(),
    "quality_max": pa.float64(),
    "n_documents": pa.int64(),
    "n_tokens": pa.int64(),
}
SHUFFLED = pa.schema([("topic_key", pa.int64()), ("origin", pa.int64()), *BINS.items()])


def measured(batch: pa.RecordBatch, split: str | None, where: str) -> pa.RecordBatch:
    """The rows that count: of this `split` where there is one, with a quality and a number of tokens; no negative zero.

    Raises:
        DataError: a quality is NaN, which would lie above the best, or tokens are negative.
    """
    keep = pc.and_(batch.column("quality").is_valid(), batch.column("n_tokens").is_valid())
    if split is not None and "split" in batch.schema.names:
        keep = pc.and_(keep, pc.fill_null(pc.equal(batch.column("split"), split), False))
    kept = batch.filter(keep)
    quality, tokens = kept.column("quality").cast(pa.float64()), kept.column("n_tokens").cast(pa.int64())
    if pc.any(pc.is_nan(quality)).as_py():
        raise DataError(f"{where}: quality", "a measured column holds NaN", got="NaN", expected="a number or NULL", mend="mend the step before")
    if (least := pc.min(tokens).as_py()) is not None and least < 0:
        raise DataError(f"{where}: n_tokens", "a document has fewer than no tokens", got=least, expected="0 or more", mend="mend the step before")
    arrays = [kept.column("source"), kept.column("topic"), pc.add(quality, 0.0), tokens]
    names = ["source", "topic", "quality", "n_tokens"]
    for name in ("bin", "quality_max", "n_documents", "origin"):
        if name in kept.schema.names:
            arrays.append(kept.column(name))
            names.append(name)
    return pa.RecordBatch.from_arrays(arrays, names)


def topics(batch: pa.RecordBatch) -> tuple[list[tuple[str, str]], np.ndarray]:
    """The (source, topic) pairs of a batch, "" for NULL, and the number of its pair for each row, int64 of shape (rows,)."""
    sources, names = (pc.fill_null(batch.column(name), "").dictionary_encode() for name in ("source", "topic"))
    width = max(len(names.dictionary), 1)
    codes = sources.indices.to_numpy(zero_copy_only=False).astype(np.int64) * width + names.indices.to_numpy(zero_copy_only=False)
    there, places = np.unique(codes, return_inverse=True)
    pairs = [(sources.dictionary[int(code) // width].as_py(), names.dictionary[int(code) % width].as_py()) for code in there]
    return pairs, places


BINNED = 65_536  # 24 topics of these were at most 8.6e-4 of a topic's tokens off over 10M documents


def _rows(batch: pa.RecordBatch, *, bins: int = BINNED, low: float = 0.0, high: float = 1.0, split: str | None = "train") -> pa.RecordBatch:
    if bins < 1 or not low < high:
        raise ConfigError("bin_quality", "no bins", got=f"{bins} bins from {low} to {high}", expected="1 or more, low below high", mend="mend them")
    part = measured(batch, split, "bin_quality")
    pairs, places = topics(part)
    of = keys(pa.array([f"{source}/{topic}" for source, topic in pairs], pa.string())).to_numpy(zero_copy_only=False)
    quality = part.column("quality").to_numpy(zero_copy_only=False)
    bin = np.clip(np.floor((quality - low) / (high - low) * bins), 0, bins - 1).astype(np.int64)  # IEEE steps alone: the same on any machine
    made = {
        "topic_key": pa.array(of[places] if len(pairs) else np.zeros(0, np.int64), pa.int64()),
        "origin": part.column("origin"),
        "source": pc.fill_null(part.column("source"), ""),
        "topic": pc.fill_null(part.column("topic"), ""),
        "bin": pa.array(bin),
        "quality": part.column("quality"),
        "quality_max": part.column("quality"),
        "n_documents": pa.array(np.ones(part.num_rows, np.int64)),
        "n_tokens": part.column("n_tokens"),
    }
    return merge(pa.RecordBatch.from_arrays([made[f.name] for f in SHUFFLED], schema=SHUFFLED))


def merge(batch: pa.RecordBatch) -> pa.RecordBatch:
    """One row a (topic, bin), sorted by these: tokens and documents added, the lowest and highest quality, the first origin."""
    columns = {name: batch.column(name).to_numpy(zero_copy_only=False) for name in ("topic_key", "bin")}
    order = np.lexsort((columns["bin"], columns["topic_key"]))
    new = np.ones(batch.num_rows, bool)
    new[1:] = np.logical_or.reduce([np.diff(column[order]) != 0 for column in columns.values()])
    return _merged(batch.take(pa.array(order)), np.flatnonzero(new))


MERGES = {"n_tokens": np.add, "n_documents": np.add, "quality": np.minimum, "quality_max": np.maximum, "origin": np.minimum}


def _merged(batch: pa.RecordBatch, starts: np.ndarray) -> pa.RecordBatch:
    first = batch.take(pa.array(starts, pa.int64()))
    columns = [
        pa.array(MERGES[f.name].reduceat(batch.column(f.name).to_numpy(zero_copy_only=False), starts))
        if f.name in MERGES and len(starts)
        else first.column(f.name)
        for f in batch.schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _sizes(params: Any, taken: Taken) -> Sizes:
    return Sizes(taken.rows, 128, out=taken.rows, at_most=True)  # a row a (topic, bin) of a shard: far fewer than documents where bins are


def _facts(*, bins: int, low: float, high: float, **_: Any) -> dict[str, Any]:
    return {"quality_bins": {"bins": bins, "low": low, "high": high}}  # histograms that are added have the same


NEEDS = ("source", "topic", "quality", "n_tokens")


@group_step(key=("topic_key", "bin"), order=("origin",), needs=NEEDS, rows=_rows, combine=merge, out=BINS, facts=_facts, sizes=_sizes)
def bin_quality(
    batch: pa.RecordBatch, starts: np.ndarray, *, cont: bool, bins: int = BINNED, low: float = 0.0, high: float = 1.0, split: str | None = "train"
) -> pa.RecordBatch:
    """Documents and tokens of each (source, topic) by equal bins of quality: the histogram that `plan_vigintiles` can read in place of the documents.

    Its bins are fixed, so each input shard makes its own and they are added: the same bytes on any engine, for any number of shards or tasks. A row has
    the lowest and the highest quality in its bin, `quality` and `quality_max`; a score outside of [low, high] is in the first or the last bin.

    Args:
        bins: of equal width between `low` and `high`, for each topic.
        split: documents of this `split` count; NULL: all.
    Raises:
        DataError: a quality is NaN, or tokens are negative.
    """
    return _merged(batch, starts).select(list(BINS))
