"""Which documents are never trained on."""

import numpy as np
import pyarrow as pa

from dolma.core.schema import append
from dolma.core.step import step


@step(needs=("key",), adds={"split": pa.string()})
def tag_split(batch: pa.RecordBatch, *, share: float) -> pa.RecordBatch:
    """`heldout` for a `share` of documents, `train` for the rest: by the document's key, so it never changes and needs no other document."""
    keys = batch.column("key").to_numpy().astype(np.uint64)
    mixed = (keys * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(11)
    held = mixed < np.uint64(int(share * (1 << 53)))
    return append(batch, {"split": pa.array(np.where(held, "heldout", "train"), pa.string())})
