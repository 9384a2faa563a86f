"""Edits of lines: what is no prose is dropped or cut, and how many words went with it is measured."""

import pyarrow as pa

from dolma.core.schema import append
from dolma.core.step import step


@step(needs=("text",), adds={"text": pa.large_string()}, version=1)
def collapse_newlines(batch: pa.RecordBatch, *, most: int) -> pa.RecordBatch:
    """The text with every run of line feeds cut down to `most`. Lines of white space alone end a run: they are lines."""
    from dolma.kernels import lines
    from dolma.kernels.words import buffers, column

    return append(batch, {"text": column(*lines.collapse(*buffers(batch.column("text")), most))})


@step(
    needs=("text",), adds={"text": pa.large_string(), "words_before": pa.int32(), "lines_removed": pa.int32(), "words_removed_ratio": pa.float32()}, version=1
)
def edit_lines(
    batch: pa.RecordBatch,
    *,
    upper_share: float,
    digit_share: float,
    counters: tuple[str, ...],
    min_words: int,
    cut: tuple[str, ...] = (),
    cut_end: tuple[str, ...] = (),
    cut_start: tuple[str, ...] = (),
    cut_max_words: int = 0,
) -> pa.RecordBatch:
    """The text without lines that are no prose, and what was taken: words_before (word rule v1), lines_removed, words_removed_ratio.

    Line by line, between line feeds; empty lines stay. words_removed_ratio is the share of words in dropped lines and cuts; NULL where there was no word.

    Args:
        upper_share: a line with more than this share of its bytes in upper-case letters is dropped.
        digit_share: the same for the digits 0 to 9.
        counters: units, in lower case; a line that is but a number and one of them is dropped, whatever marks stand around (`* 1.2K Likes!`).
        min_words: a line with fewer words is dropped.
        cut: phrases cut anywhere, a space left in their place; `cut_end` at the end of a line, `cut_start` at its beginning; each with one white space beside
            it. They are plain text in one case, no patterns. A line of which only white space is left is dropped.
        cut_max_words: words up to which a line is cut; 0: every line is.
    Source: the Olmo 3 all-dressed configuration. There `Read more...` is a pattern whose dots stand for any character, so that `Read more now` is cut too; and
    its key `max_length: 10` is not the one that its program reads, so that lines of any length are cut, as with `cut_max_words: 0`.
    """
    from dolma.kernels import lines
    from dolma.kernels.words import buffers, column

    inner, tail, head, units = (buffers(pa.array(phrases, pa.large_string())) for phrases in (cut, cut_end, cut_start, counters))
    data, offsets, made = lines.edit(*buffers(batch.column("text")), upper_share, digit_share, units, min_words, inner, tail, head, cut_max_words)
    before, removed = made[:, 0], made[:, 1]
    ratio = [gone / words if words else None for gone, words in zip(removed.tolist(), before.tolist(), strict=True)]
    columns = {"words_before": pa.array(before), "lines_removed": pa.array(made[:, 2]), "words_removed_ratio": pa.array(ratio, pa.float32())}
    return append(batch, {"text": column(data, offsets), **columns})
