"""Verification of candidates: inside a cluster that bands of MinHash made, only texts whose true Jaccard similarity is high enough stay joined.

As the published pool does for clusters of under 500 documents: all pairs, by shingles of 3 words (spec/01 s.4). Larger ones take a stricter banding.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dolma.core.errors import ConfigError, DataError
from dolma.core.schema import TABLES
from dolma.core.step import Sizes, Taken, group_step

MOST = 499  # documents of one group: all its pairs are compared
PART_BYTES = 16 << 20  # whole groups are compared in parts of about this much text, which bounds their shingles

SMALLER = "put `keep: {where: cluster_size < 500, reason: large_cluster}` before it; larger clusters take `mark_minhash: {preset: olmo3_strict}`"


def _rows(batch: pa.RecordBatch, *, shingle: int = 3, threshold: float = 0.8) -> pa.RecordBatch:
    if shingle < 1:
        raise ConfigError("verify_pairs: shingle", "a shingle has at least one word", got=shingle, expected="1 or more", mend="mend the recipe")
    if not 0 < threshold <= 1:
        raise ConfigError("verify_pairs: threshold", "a Jaccard similarity is a share", got=threshold, expected="above 0, at most 1", mend="mend the recipe")
    return batch.select(["cluster", "key", "origin", "text"])


def parts(texts: pa.Array, starts: np.ndarray) -> list[tuple[int, int]]:
    """First and last (exclusive) group of consecutive parts of about `PART_BYTES` of text; a larger group is a part of its own.

    Args:
        starts: the first row of each group, from 0.
    """
    if not len(starts):
        return []
    sizes = pc.fill_null(pc.binary_length(texts), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    ends = np.cumsum(np.add.reduceat(sizes, starts))
    found, first = [], 0
    while first < len(starts):
        before = ends[first - 1] if first else 0
        last = max(int(np.searchsorted(ends, before + PART_BYTES, "right")), first + 1)
        found.append((first, last))
        first = last
    return found


def _sizes(params: Any, taken: Taken) -> Sizes:
    return Sizes(taken.rows, 32, taken.text, out=taken.rows)  # cluster, key, origin, place of the text


@group_step(
    key=("cluster",), order=("key", "origin"), needs=("cluster", "key", "text"), rows=_rows, out=TABLES["edge"], cap=MOST + 1, cap_mend=SMALLER, sizes=_sizes
)
def verify_pairs(batch: pa.RecordBatch, starts: np.ndarray, *, cont: bool, shingle: int = 3, threshold: float = 0.8) -> pa.RecordBatch:
    """Edges between the texts of a group whose true Jaccard similarity is at least `threshold`, as few as connect what all such pairs connect.

    Each edge is a pair that was compared, at most one fewer of them than the group has documents (not its 125,000 pairs), so the output never grows
    beyond the input; the components of these edges are those of all the right pairs. A pair that earlier ones connect is not compared.

    Args:
        shingle: words of a shingle (word rule v1); a text of fewer words is one shingle. 3 as published.
        threshold: 0.8 is what the published bands aim at.
    Raises:
        DataError: a group has 500 documents or more.
    """
    from dolma.kernels.jaccard import joins

    bounds = np.append(starts, batch.num_rows)
    largest = int(np.argmax(np.diff(bounds))) if len(starts) else 0
    if len(starts) and bounds[largest + 1] - bounds[largest] > MOST:
        raise DataError(
            f"verify_pairs: cluster {batch.column('cluster')[int(starts[largest])].as_py()}",
            "all pairs of so many documents are too many to compare",
            got=f"{bounds[largest + 1] - bounds[largest]:,} documents",
            expected=f"at most {MOST}",
            mend=SMALLER,
        )
    texts, left, right = batch.column("text"), [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for first, last in parts(texts, starts):
        begin, end = int(bounds[first]), int(bounds[last])
        one, other = joins(texts.slice(begin, end - begin), starts[first:last] - begin, shingle=shingle, threshold=threshold)
        left.append(one + begin)
        right.append(other + begin)
    sides = [batch.select(["origin", "key"]).take(pa.array(np.concatenate(side))) for side in (left, right)]
    return pa.RecordBatch.from_arrays([column for side in sides for column in side.columns], schema=pa.schema(list(TABLES["edge"].items())))
