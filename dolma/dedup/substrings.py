"""Repeated substrings: strings of 500 bytes or more that stood in the group before, as spans of each text. A mark, never a cut.

The third stage of Olmo 3's deduplication, by a suffix array there: strings seen twice, one copy kept, blocks that are mostly repeats marked whole.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dolma.core.errors import ConfigError
from dolma.core.schema import TABLES
from dolma.core.step import Sizes, Taken, group_step

ROW_CAP = 4_000_000  # rows of a group; `most_bytes` is reached first where texts have 500 bytes on average


def _rows(batch: pa.RecordBatch, *, least: int = 500, merge_share: float | None = 0.8, groups: int = 1) -> pa.RecordBatch:
    from dolma.kernels.windows import SMALLEST, scattered

    for name, value, lowest in (("least", least, SMALLEST), ("groups", groups, 1)):
        if value < lowest:
            raise ConfigError(f"mark_substrings: {name}", "it is too small", got=value, expected=f"{lowest} or more", mend="mend the recipe")
    if merge_share is not None and not 0 < merge_share <= 1:
        raise ConfigError("mark_substrings: merge_share", "it is no share", got=merge_share, expected="above 0, at most 1, or null", mend="mend the recipe")
    batch = batch.filter(pc.greater_equal(pc.binary_length(batch.column("text")), least))  # shorter texts repeat nothing and nobody repeats them
    columns = {
        "group": pa.array((scattered(batch.column("key").to_numpy().view(np.uint64)) % np.uint64(groups)).astype(np.int64)),
        "key": batch.column("key"),
        "origin": batch.column("origin"),
        "text": batch.column("text"),
    }
    return pa.RecordBatch.from_pydict(columns)


def _sizes(params: Any, taken: Taken) -> Sizes:
    return Sizes(taken.rows, 32, taken.text, groups=params.groups, at_most=True)  # group, key, origin, place of the text; short texts are not shuffled


@group_step(
    key=("group",),
    order=("key", "origin"),
    needs=("key", "text"),
    rows=_rows,
    out=TABLES["span"],
    cap=ROW_CAP,
    cap_bytes="most_bytes",
    cap_mend="raise `groups` of mark_substrings",
    sizes=_sizes,
)
def mark_substrings(
    batch: pa.RecordBatch,
    starts: np.ndarray,
    *,
    cont: bool,
    least: int = 500,
    merge_share: float | None = 0.8,
    groups: int = 1,
    most_bytes: int = 2_000_000_000,
) -> pa.RecordBatch:
    """Spans of each text that repeat what stands before them in their group; the first copy, that of the smallest key, has none.

    A repeat is a string of `least` bytes that stands as a whole in an earlier text of the group (by key, then origin), or earlier in its own text without
    a common byte. Spans are joined, drawn in to whole code points, and sorted by text and begin. Every byte of a repeat was compared. Missed are
    repeats that hold strings of .94 `least` that stand at many places, or that are only seen inside of a string of a period under 64 bytes: .03 to .2 %
    of what a suffix array finds in 20 to 300 MB of pages and code (see `dolma.kernels.windows`).
    A group is held in memory: its texts, once more while they are joined, and a quarter of a byte for each byte of them.

    Args:
        least: bytes of the shortest repeat (Olmo 3: 500).
        merge_share: mark a block between two spans whole where spans cover at least this share of its bytes: .8 by Olmo 3's report (s.3.4.1), .95 by its
            config; null for none.
        groups: parts in which repeats are looked for, by a hash of the key (Olmo 3: 56). More take less memory each and find less.
        most_bytes: of the texts of one group; the shuffle refuses a group as soon as it has more.
    """
    from dolma.kernels.windows import repeated_spans

    rows, begins, ends = [np.zeros(0, np.int64)], [np.zeros(0, np.int32)], [np.zeros(0, np.int32)]
    for start, end in zip(starts, np.append(starts[1:], batch.num_rows), strict=True):
        texts = batch.column("text").slice(start, end - start)
        row, begin, stop = repeated_spans(texts, least=least, share=merge_share)
        rows.append(row + start)
        begins.append(begin)
        ends.append(stop)
    place = pa.array(np.concatenate(rows).astype(np.int64))
    columns = [batch.column("origin").take(place), batch.column("key").take(place), pa.array(np.concatenate(begins)), pa.array(np.concatenate(ends))]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(list(TABLES["span"].items())))
