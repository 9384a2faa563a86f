"""Sentences that read like no prose: lists of names, and patterns of junk."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dolma.core.errors import ConfigError
from dolma.core.schema import Columns, append
from dolma.core.step import step

COUNTS = ("sentences", "list_case_sentences", "cursed_sentences")


def _adds(params: Any) -> Columns:
    for pattern in params.patterns:
        try:
            pc.match_substring_regex(pa.array([""]), pattern)
        except pa.ArrowInvalid as error:
            raise ConfigError("tag_sentences", f"`patterns`: {error}", got=pattern, expected="a regular expression of RE2", mend="mend it") from error
    return {**dict.fromkeys(COUNTS, pa.int32()), "questionable_ratio": pa.float32()}


@step(needs=("text",), adds=_adds, version=2)
def tag_sentences(batch: pa.RecordBatch, *, list_words: int, list_share: float, patterns: tuple[str, ...]) -> pa.RecordBatch:
    """Count sentences, and those that two of MADLAD-400's rules question.

    A sentence ends with a run of `.`, `!` and `?` that white space follows, or with the text; it may go over lines. Columns: sentences; list_case_sentences;
    cursed_sentences; questionable_ratio, the share of sentences that either rule questions, NULL where there is no sentence.

    Args:
        list_words: a sentence of at least this many words (word rule v1) is in list case
        list_share: where more than this share of them begin with an upper-case letter.
        patterns: regular expressions (RE2); a sentence in which one of them is found, the marks at its end included, is cursed.
    Source: rules 2 and 5 of MADLAD-400, arXiv:2309.04662 section 2.3, with the units of the Olmo 3 all-dressed configuration. That program takes the marks
    away as it splits, so that a pattern with a full stop, such as `Vol.`, finds nothing before a blank there; here it is looked for as the paper lists it.
    """
    from dolma.kernels.sentences import sentences
    from dolma.kernels.words import buffers, column

    data, borders, listed, places = sentences(*buffers(batch.column("text")), list_words, list_share)
    cursed = np.zeros(len(listed), bool)
    if patterns:
        found = pc.match_substring_regex(column(data, borders), "|".join(f"(?:{pattern})" for pattern in patterns))
        cursed = found.to_numpy(zero_copy_only=False)
    total, *counts = (np.diff(places), *(_per_text(mask, places) for mask in (listed, cursed, listed | cursed)))
    ratio = np.divide(counts.pop(), total, out=np.full(len(total), np.nan), where=total > 0)
    columns = {name: pa.array(values.astype(np.int32)) for name, values in zip(COUNTS, (total, *counts), strict=True)}
    return append(batch, {**columns, "questionable_ratio": pa.array(ratio.astype(np.float32), pa.float32(), from_pandas=True)})


def _per_text(mask: np.ndarray, places: np.ndarray) -> np.ndarray:
    """How many sentences of each text are in `mask`."""
    before = np.concatenate([[0], np.cumsum(mask)])
    return before[places[1:]] - before[places[:-1]]
