"""Paragraphs that stood before, in the same text or in another: exact marks, as spans of code points. A mark, never a cut."""

from typing import Any, Literal

import numpy as np
import pyarrow as pa

from dolma.core.errors import ConfigError
from dolma.core.schema import TABLES
from dolma.core.step import Sizes, Taken, group_step


def _rows(batch: pa.RecordBatch, *, unit: Literal["line", "paragraph"] = "line", least: int = 1) -> pa.RecordBatch:
    """One row of 40 bytes a paragraph: no text is shuffled."""
    from dolma.kernels.paragraphs import paragraphs
    from dolma.kernels.words import buffers

    if least < 1:
        raise ConfigError("mark_paragraphs: least", "a paragraph has at least one character", got=least, expected="1 or more", mend="mend the recipe")
    row_of, hashes, places = paragraphs(*buffers(batch.column("text")), unit == "paragraph", least)
    rows = pa.array(row_of)
    columns = {
        "high": pa.array(hashes[:, 0]),
        "low": pa.array(hashes[:, 1]),
        "key": batch.column("key").take(rows),
        "origin": batch.column("origin").take(rows),
        "start": pa.array(places[:, 0]),
        "end": pa.array(places[:, 1]),
    }
    return pa.RecordBatch.from_pydict(columns)


def _sizes(params: Any, taken: Taken) -> Sizes:
    return Sizes(taken.rows + taken.text // 65, 40, at_most=True)  # 65 bytes a line: 2.0M in 130 MB of the data kit's pages


# (high, key, start) is a sort key of 23 bytes: DuckDB takes .27 CPU s for 1.9 M rows, and .52 where it is longer than 24. So the rest of the hash and the
# order of documents with one key, which are rare, are seen to below.
@group_step(key=("high",), order=("key", "start"), needs=("key", "text"), rows=_rows, out=TABLES["span"], splittable=True, sizes=_sizes)
def mark_paragraphs(batch: pa.RecordBatch, starts: np.ndarray, *, cont: bool, unit: Literal["line", "paragraph"] = "line", least: int = 1) -> pa.RecordBatch:
    """A span for every paragraph but the first of its equals: that of the smallest document key, and of its paragraphs the one that comes first.

    Paragraphs are equal when their bytes are, by a 128-bit hash, whatever ends their last line (LF, CRLF or the text). A span is `[start, end)` in code
    points and goes up to the next paragraph, so it holds the line end and, with `unit: paragraph`, the blank lines behind it. Blank lines (empty, or white
    space of any script) are no paragraphs.

    Args:
        unit: `line`: what stands between line feeds, as the paragraphs of the Dolma toolkit; `paragraph`: what stands between blank lines, for texts whose
            lines are wrapped.
        least: characters (code points) of the shortest paragraph that is compared, without its last line's end; shorter ones are left alone.
    """
    batch = _ordered(batch, starts, cont)
    later = np.ones(batch.num_rows, bool)
    later[starts] = False  # in a continued chunk row 0 is the group's first again
    later[_others(batch.column("low").to_numpy(), starts)] = False
    return batch.select(list(TABLES["span"])).filter(pa.array(later))


def _ordered(batch: pa.RecordBatch, starts: np.ndarray, cont: bool) -> pa.RecordBatch:
    """The rows with those of documents that have one key in the order of their origins."""
    key, start = batch.column("key").to_numpy(), batch.column("start").to_numpy()
    tied = (key[1:] == key[:-1]) & (start[1:] == start[:-1])
    tied[starts[1:] - 1] = False
    if not tied.any():
        return batch
    place = np.cumsum(np.append(True, ~tied))
    order = np.lexsort((batch.column("origin").to_numpy(), place))
    if cont:  # row 0 is the group's first, whatever comes now
        order = np.append(0, order[order != 0])
    return batch.take(pa.array(order))


def _others(low: np.ndarray, starts: np.ndarray) -> list[int]:
    """The first row of every other paragraph in a group: half of a hash is the same for two in 2^64 (in a group that comes in chunks, of each chunk)."""
    group = np.zeros(len(low), np.int64)
    group[starts[1:]] = 1
    group = np.cumsum(group)
    mixed = np.unique(group[low != low[starts][group]])
    ends = np.append(starts[1:], len(low))
    found = []
    for one in mixed.tolist():
        _, first = np.unique(low[starts[one] : ends[one]], return_index=True)
        found += (first + starts[one]).tolist()
    return found
