"""Gopher's page statistics as columns: measured in one pass, nothing decided."""

import numpy as np
import pyarrow as pa

from dolma.core.schema import append
from dolma.core.step import step

COUNTS = ("n_chars", "n_words", "n_lines", "n_sentences", "n_braces", "stop_words")
RATIOS = ("mean_word_length", "symbol_ratio", "bullet_ratio", "ellipsis_ratio", "no_letter_ratio", "end_mark_ratio", "short_line_ratio", "newline_ratio")


@step(needs=("text",), adds={**dict.fromkeys(COUNTS, pa.int32()), **dict.fromkeys(RATIOS, pa.float32())}, version=1)
def tag_heuristics(
    batch: pa.RecordBatch, *, stop_words: tuple[str, ...] = ("the", "be", "to", "of", "and", "that", "have", "with"), short_line: int = 30
) -> pa.RecordBatch:
    """Measure the page statistics that the heuristic filters decide on.

    Counts: n_chars (code points), n_words (word rule v1: punctuation is none), n_lines (that are not empty), n_sentences (runs of characters that end
    in `.`, `!` or `?`), n_braces, stop_words (occurrences). Ratios, NULL where there is nothing to divide by: mean_word_length (bytes of a
    white-space separated run), symbol_ratio (`#`, `...`, `. . .` and the ellipsis character over words), bullet_ratio and ellipsis_ratio (lines that
    begin or end so), no_letter_ratio (runs without a letter), end_mark_ratio (lines that end in `.`, `!`, `?` or a quote), short_line_ratio,
    newline_ratio (line feeds over words).

    Args:
        stop_words: the words that `stop_words` counts, in any case.
        short_line: code points up to which a line is short.
    Source: Gopher, arXiv:2112.11446 A.1.1, with the units of the Olmo 3 all-dressed configuration; C4, arXiv:1910.10683 2.2; FineWeb, arXiv:2406.17557 3.6.
    """
    from dolma.kernels import measures
    from dolma.kernels.words import buffers, hash_word

    wanted = np.array([hash_word(word) for word in stop_words], np.uint64)
    data, offsets = buffers(batch.column("text"))
    made = measures.quality(data, offsets, wanted, short_line)
    columns = {}
    for k, name in enumerate(measures.QUALITY):
        kind = pa.int32() if k < measures.QUALITY_COUNTS else pa.float32()
        columns[name] = pa.array(made[:, k].astype(kind.to_pandas_dtype()), kind, from_pandas=True)
    return append(batch, columns)
