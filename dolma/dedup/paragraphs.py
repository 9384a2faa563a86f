"""Paragraphs that stood before, in the same text or in another: exact marks, as spans of code points. A mark, never a cut."""

from typing import Literal

import numpy as np
import pyarrow as pa

from dolma.core.errors import ConfigError
from dolma.core.schema import TABLES
from dolma.core.step import group_step


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


@group_step(key=("high", "low"), order=("key", "origin", "start"), needs=("key", "text"), rows=_rows, out=TABLES["span"], splittable=True)
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
    later = np.ones(batch.num_rows, bool)
    later[starts] = False  # in a continued chunk row 0 is the group's first again
    return batch.select(list(TABLES["span"])).filter(pa.array(later))
