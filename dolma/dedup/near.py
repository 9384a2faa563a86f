"""Which document of a cluster of near duplicates is kept, how alike each other one is to it, and in which band the two met."""

from typing import Any

import numpy as np
import pyarrow as pa

from dolma.core.errors import ConfigError
from dolma.core.step import Sizes, Taken, group_step
from dolma.dedup.exact import preference
from dolma.dedup.verify import parts

TAG = {
    "origin": pa.int64(),
    "key": pa.int64(),
    "cluster": pa.int64(),
    "cluster_size": pa.int32(),
    "near_of": pa.int64(),
    "jaccard": pa.float32(),
    "band": pa.int32(),
}


def _rows(batch: pa.RecordBatch, *, prefer: str | None = None) -> pa.RecordBatch:
    columns = {name: batch.column(name) for name in ("cluster", "cluster_size", "key", "origin", "text")}
    return pa.RecordBatch.from_pydict({**columns, "prefer": preference(batch, prefer, "mark_near")})


def _needs(params: object) -> tuple[str, ...]:
    prefer = getattr(params, "prefer", None)
    return ("cluster", "cluster_size", "key", "text", *([prefer] if prefer else []))


def _sizes(params: Any, taken: Taken) -> Sizes:
    return Sizes(taken.rows, 44, taken.text, out=taken.rows)  # cluster and its size, key, origin, prefer, place of the text


@group_step(key=("cluster",), order=("prefer", "key", "origin"), needs=_needs, rows=_rows, out=TAG, splittable=True, cap=20_000, sizes=_sizes)
def mark_near(
    batch: pa.RecordBatch,
    starts: np.ndarray,
    *,
    cont: bool,
    prefer: str | None = None,
    compare: int = 3,
    shingle: int = 5,
    bands: int = 26,
    rows: int = 11,
    seed: int = 1,
) -> pa.RecordBatch:
    """For every document of a cluster: `near_of`, the key of the one that is kept (NULL: itself), with `jaccard` and `band` between the two.

    `jaccard` is the true similarity of the two texts; it may lie under the threshold of `verify_pairs`, for a cluster is a chain. `band` is the first,
    counted from 0, in which their signatures agree; NULL: in none, they came together through others. Both are NULL for the document that is kept.

    Args:
        prefer: an int64 column: the document with its smallest value is kept, then the one with the smallest key; NULL comes last.
        compare: words of a shingle of the true similarity, as in `verify_pairs`.
        shingle, bands, rows, seed: of the signatures, as `mark_minhash` was given them.
    """
    for name, value in (("compare", compare), ("shingle", shingle), ("bands", bands), ("rows", rows)):
        if value < 1:  # the kernels check no borders
            raise ConfigError(f"mark_near: {name}", "a shingle or a signature needs at least one", got=value, expected="1 or more", mend="mend the recipe")
    sizes = np.diff(np.append(starts, batch.num_rows))
    lead = np.repeat(starts, sizes)
    place = np.arange(batch.num_rows)
    later = place != lead
    jaccard, band = np.zeros(batch.num_rows, np.float32), np.full(batch.num_rows, -1, np.int32)
    for begin, end in parts(batch.column("text"), place):
        rows_here = np.flatnonzero(later[begin:end]) + begin
        if len(rows_here):
            jaccard[rows_here], band[rows_here] = _against(batch.column("text"), lead[rows_here], rows_here, compare, shingle, bands, rows, seed)
    key = batch.column("key")
    emitted = pa.array(place[1:] if cont else place)
    near = pa.array(key.to_numpy()[lead], mask=~later)
    made = [*(batch.column(name) for name in ("origin", "key", "cluster", "cluster_size")), near, pa.array(jaccard, mask=~later), pa.array(band, mask=band < 0)]
    return pa.RecordBatch.from_arrays([column.take(emitted) for column in made], schema=pa.schema(list(TAG.items())))


def _against(
    texts: pa.Array, lead: np.ndarray, place: np.ndarray, compare: int, shingle: int, bands: int, height: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Similarity of the texts at `place` to those at `lead`, and the first band that they share (-1: none), both of shape (pairs,)."""
    from dolma.kernels.jaccard import jaccards
    from dolma.kernels.minhash import band_keys

    needed, where = np.unique(np.concatenate([lead, place]), return_inverse=True)
    some = texts.take(pa.array(needed))
    left, right = where[: len(lead)], where[len(lead) :]
    keys, counts = band_keys(some, shingle=shingle, bands=bands, rows=height, seed=seed)
    same = (keys[left] == keys[right]) & ((counts[left] > 0) & (counts[right] > 0))[:, None]
    return jaccards(some, left, right, shingle=compare), np.where(same.any(axis=1), same.argmax(axis=1), -1).astype(np.int32)
