"""Which document of a cluster of near duplicates is kept, and how near the others are to it."""

import numpy as np
import pyarrow as pa

from dolma.core.schema import TABLES
from dolma.core.step import group_step
from dolma.dedup.minhash import Preset, signature_shape
from dolma.dedup.preference import preference

TAG = {**TABLES["tag"], "cluster": pa.int64(), "cluster_size": pa.int32(), "near_of": pa.int64(), "jaccard": pa.float32(), "band": pa.int32()}


def _rows(batch: pa.RecordBatch, *, prefer: str | None = None) -> pa.RecordBatch:
    columns = {name: batch.column(name) for name in ("cluster", "cluster_size", "key", "origin", "text")}
    return pa.RecordBatch.from_pydict({**columns, "prefer": preference(batch, prefer)})


@group_step(
    key=("cluster",),
    order=("prefer", "key", "origin"),
    needs=lambda p: ("cluster", "cluster_size", "key", "text", *([p.prefer] if p.prefer else [])),
    rows=_rows,
    out=TAG,
    splittable=True,
)
def mark_near(
    batch: pa.RecordBatch,
    starts: np.ndarray,
    *,
    cont: bool,
    prefer: str | None = None,
    shingle: int = 5,
    preset: Preset | None = None,
    bands: int | None = None,
    rows: int | None = None,
    seed: int = 1,
) -> pa.RecordBatch:
    """One row for each document of a cluster: `near_of` is the key of the one that is kept (NULL on that one), `jaccard` the similarity of the two.

    `band` is the first band of their signatures that both share; NULL: they met through others.

    Args:
        prefer: an int64 column; the document with its smallest value is kept, NULL comes last, equal values go by the smallest key.
        shingle, preset, bands, rows, seed: as `mark_minhash` had them.
    """
    from dolma.kernels.jaccard import jaccards
    from dolma.kernels.minhash import band_keys

    number = np.arange(batch.num_rows)
    kept = np.repeat(starts, np.diff(np.append(starts, batch.num_rows)))
    later = number != kept
    shape = signature_shape("mark_near", preset, bands, rows)
    keys, counts = band_keys(batch.column("text"), shingle=shingle, bands=shape[0], rows=shape[1], seed=seed)
    shared = (keys == keys[kept]) & (counts > 0)[:, None]
    similar = jaccards(batch.column("text"), number, kept, shingle=shingle)
    columns = {
        **{name: batch.column(name) for name in ("origin", "key", "cluster", "cluster_size")},
        "near_of": pa.array(batch.column("key").to_numpy()[kept], mask=~later),
        "jaccard": pa.array(similar, mask=~later),
        "band": pa.array(shared.argmax(axis=1).astype(np.int32), mask=~later | ~shared.any(axis=1)),
    }
    made = pa.RecordBatch.from_arrays([columns[name] for name in TAG], schema=pa.schema(list(TAG.items())))
    return made.slice(int(cont))
