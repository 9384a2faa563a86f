"""Gopher's repetition measures as columns: shares of a page that its own lines, paragraphs and n-grams repeat."""

import numpy as np
import pyarrow as pa

from dolma.core.schema import append
from dolma.core.step import step

COLUMNS = (
    *(f"duplicate_{unit}_{share}" for unit in ("line", "paragraph") for share in ("ratio", "chars")),
    *(f"top_{n}gram_chars" for n in (2, 3, 4)),
    *(f"repeated_{n}gram_chars" for n in (5, 6, 7, 8, 9, 10)),
)


@step(needs=("text",), adds=dict.fromkeys(COLUMNS, pa.float32()), version=1)
def tag_repetition(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Measure repetition; every column is a share in [0, 1].

    duplicate_line_ratio, duplicate_paragraph_ratio: lines (paragraphs) that equal an earlier one, by count; `_chars` by characters.
    top_2gram_chars .. top_4gram_chars: characters in all occurrences of the most frequent n-gram of words; of several the longest.
    repeated_5gram_chars .. repeated_10gram_chars: characters in the union of all n-grams that occur at least twice, their first occurrence included.
    Special cases: no n-gram at all, or just one, is 0.

    Source: Gopher, arXiv:2112.11446 table A1; union counting and special cases as in the Olmo 3 all-dressed configuration.
    """
    from dolma.kernels import repetition
    from dolma.kernels.words import buffers

    made = repetition.repetition(*buffers(batch.column("text"))).astype(np.float32)
    return append(batch, {name: pa.array(made[:, k], pa.float32()) for k, name in enumerate(repetition.REPETITION)})
