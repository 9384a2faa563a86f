"""Gopher's, C4's and FineWeb's rules as DataTrove defines them: measures and edits for a recipe that decides as FineWeb did."""

import numpy as np
import pyarrow as pa

from dolma.core.schema import append
from dolma.core.step import step
from dolma.filter.repetition import COLUMNS as REPETITION

COUNTS = ("n_words", "stop_words")
RATIOS = ("mean_word_chars", "hash_ratio", "dots_ratio", "bullet_ratio", "ellipsis_ratio", "no_letter_ratio")
C4 = ("lines_removed", "c4_sentences", "lorem_ipsum", "curly_brackets")
FINEWEB = ("line_end_ratio", "short_line_ratio", "duplicate_char_ratio", "list_ratio")


@step(needs=("text",), adds={**dict.fromkeys(COUNTS, pa.int32()), **dict.fromkeys((*RATIOS, *REPETITION), pa.float32())}, version=1)
def tag_gopher(batch: pa.RecordBatch, *, stop_words: tuple[str, ...] = ("the", "be", "to", "of", "and", "that", "have", "with")) -> pa.RecordBatch:
    """Measure what DataTrove's Gopher filters decide on, with words of word rule v1.

    Counts: n_words; stop_words (how many of them occur, in lower case). Ratios, NULL where there is nothing to divide by: mean_word_chars; hash_ratio (`#` over
    words); dots_ratio (`...` and the ellipsis character over words); bullet_ratio and ellipsis_ratio (lines that begin with a bullet or hyphen, or end in an
    ellipsis, over all lines, empty ones too); no_letter_ratio (words without a letter).

    Repetition, in [0, 1] but for the n-grams of very short texts: the columns of `tag_repetition`, in shares of all characters of the text. Lines stand between
    runs of line feeds, paragraphs between runs of two and more; both are compared as they stand. `top_Ngram_chars`: of several n-grams the first, with a space
    between words. `repeated_Ngram_chars`: n-grams seen before, from left to right, after one the next n words on. Words are compared with their case.

    Source: DataTrove 0.9, GopherQualityFilter and GopherRepetitionFilter.
    """
    from dolma.kernels import gopher
    from dolma.kernels.words import buffers, hash_word

    wanted = np.array([hash_word(word) for word in stop_words], np.uint64)
    made = gopher.gopher(*buffers(batch.column("text")), wanted)
    columns = {name: pa.array(made[:, k].astype(np.int32)) for k, name in enumerate(COUNTS)}
    ratios = {name: pa.array(made[:, k].astype(np.float32), from_pandas=True) for k, name in enumerate((*RATIOS, *REPETITION), len(COUNTS))}
    return append(batch, {**columns, **ratios})


@step(needs=("text",), adds={"text": pa.large_string(), **dict.fromkeys(C4, pa.int32())}, version=1)
def edit_c4(
    batch: pa.RecordBatch,
    *,
    end_marks: str = ".?!\"'",
    min_words: int = 3,
    max_word_chars: int = 1_000,
    filler: tuple[str, ...] = ("lorem ipsum",),
    scripts: tuple[str, ...] = ("javascript",),
    policies: tuple[str, ...] = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies"),
) -> pa.RecordBatch:
    """The text in C4's lines: trimmed, without citations such as `[1]`; and what C4 drops pages for. Phrases are in lower case and found in any case of ASCII.

    A line goes, in this order: with a run of more than `max_word_chars` characters that are not white space; with no end mark, or with `...`, at its end; with
    fewer than `min_words` runs; with one of `scripts`; with one of `policies`. Columns: lines_removed (empty ones too); c4_sentences of the lines that stay
    (parts between runs of `.`, `!`, `?` before white space); lorem_ipsum (lines with a `filler`) and curly_brackets (`{`), both in the lines that came as far.

    Args:
        end_marks: ASCII characters; "": a line needs none (FineWeb).
    Source: C4, arXiv:1910.10683 2.2, in the order of DataTrove 0.9's C4QualityFilter.
    """
    from dolma.kernels import c4
    from dolma.kernels.words import buffers, column

    phrases = [buffers(pa.array(words, pa.large_string())) for words in (filler, scripts, policies)]
    marks = np.frombuffer(end_marks.encode("ascii"), np.uint8)
    data, offsets, made = c4.c4(*buffers(batch.column("text")), marks, min_words, max_word_chars, *phrases)
    return append(batch, {"text": column(data, offsets), **{name: pa.array(made[:, k]) for k, name in enumerate(C4)}})


@step(needs=("text",), adds=dict.fromkeys(FINEWEB, pa.float32()), version=1)
def tag_fineweb(batch: pa.RecordBatch, *, end_marks: str = "", short_line: int = 30) -> pa.RecordBatch:
    """Measure what FineWeb's own filter decides on; NULL where there is nothing to divide by.

    Over lines that are more than white space, as they stand: line_end_ratio (that end in an end mark), short_line_ratio (of at most `short_line` characters),
    duplicate_char_ratio (characters of lines that equal an earlier one, over all characters but line feeds); list_ratio (line feeds over words).

    Args:
        end_marks: characters that may end a line; "": those that end sentences in any script (Unicode's Sentence_Terminal).
    Source: FineWeb, arXiv:2406.17557 3.6, as in DataTrove 0.9's FineWebQualityFilter.
    """
    from dolma.kernels import gopher
    from dolma.kernels.words import buffers

    marks = np.array(sorted(map(ord, end_marks)), np.int32) if end_marks else gopher.SENTENCE_TERMINAL
    made = gopher.fineweb(*buffers(batch.column("text")), marks, short_line).astype(np.float32)
    return append(batch, {name: pa.array(made[:, k], from_pandas=True) for k, name in enumerate(FINEWEB)})
