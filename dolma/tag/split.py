"""Which documents are never trained on: one side to choose settings by, another for the figures."""

import numpy as np
import pyarrow as pa

from dolma.core.schema import append
from dolma.core.step import step


@step(needs=("key",), adds={"split": pa.string()}, version=2)
def tag_split(batch: pa.RecordBatch, *, share: float) -> pa.RecordBatch:
    """`heldout` for a `share` of documents, `tune` for as many others, `train` for the rest: by the document's key, so it never changes."""
    keys = batch.column("key").to_numpy().astype(np.uint64)
    mixed = (keys * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(11)
    edge = np.uint64(int(share * (1 << 53)))
    held = mixed >= np.uint64(1 << 53) - edge  # from the other end: a larger share holds out the same documents and more
    sides = np.where(held, "heldout", np.where(mixed < edge, "tune", "train"))
    return append(batch, {"split": pa.array(sides, pa.string())})
