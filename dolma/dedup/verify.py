"""Candidates are confirmed by their true Jaccard: within each component of what met in bands, all pairs are measured on their shingle sets."""

import numpy as np
import pyarrow as pa

from dolma.core.errors import ConfigError
from dolma.core.schema import TABLES
from dolma.core.step import group_step


def _rows(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch.select(["cluster", "key", "origin", "text"])


@group_step(key=("cluster",), order=("key", "origin"), needs=("cluster", "key", "text"), rows=_rows, out=TABLES["edge"], cap=50_000)
def verify_pairs(batch: pa.RecordBatch, starts: np.ndarray, *, cont: bool, shingle: int = 3, threshold: float = 0.8) -> pa.RecordBatch:
    """Edges between the documents of a cluster whose Jaccard similarity is at least `threshold`: as many as join all that such pairs join, n - 1 at most.

    A cluster of n documents costs up to n^2 / 2 comparisons; spec/01 s.4 compares components under 500 so, and gives larger ones a stricter banding.

    Args:
        shingle: words of a shingle (word rule v1); spec/01 s.4 verifies with 3 what 5 found.
        threshold: least similarity of two shingle sets.
    """
    from dolma.kernels.jaccard import forest, shingle_sets

    if shingle < 1 or not 0 < threshold <= 1:
        got = f"shingle {shingle}, threshold {threshold}"
        raise ConfigError("verify_pairs", "what is similar", got=got, expected="shingle of 1 or more, threshold above 0 and at most 1", mend="mend the recipe")
    sets, borders = shingle_sets(batch.column("text"), shingle)
    left, right = forest(sets, borders, np.append(starts, batch.num_rows).astype(np.int64), threshold)
    ends = [batch.take(pa.array(side)) for side in (left, right)]
    columns = [end.column(name) for end in ends for name in ("origin", "key")]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(list(TABLES["edge"].items())))
