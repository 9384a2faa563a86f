"""Which of several equal documents is kept: the one with the smallest value of an int64 column of the recipe's choice, NULL last, then the smallest key."""

import numpy as np
import pyarrow as pa


def preference(batch: pa.RecordBatch, prefer: str | None) -> pa.Array:
    """The column `prefer`; zeros without one, so that the key alone decides."""
    return batch.column(prefer) if prefer else pa.array(np.zeros(batch.num_rows, np.int64))
