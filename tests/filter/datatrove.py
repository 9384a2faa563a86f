"""DataTrove's own filters with our words and sentences in the place of their tokenizer, and our steps with DataTrove's limits: what both decide on texts."""

import re
from typing import Any

import numpy as np
import pyarrow as pa

from dolma.filter.fineweb import edit_c4, tag_fineweb, tag_gopher
from dolma.kernels.words import words

LIMITS = {  # DataTrove's defaults, in the order of its filter
    "duplicate_paragraph_ratio": (0.3, "dup_para_frac"),
    "duplicate_paragraph_chars": (0.2, "dup_para_char_frac"),
    "duplicate_line_ratio": (0.3, "dup_line_frac"),
    "duplicate_line_chars": (0.2, "dup_line_char_frac"),
    **{f"top_{n}gram_chars": (limit, f"top_{n}_gram") for n, limit in ((2, 0.2), (3, 0.18), (4, 0.16))},
    **{f"repeated_{n}gram_chars": (limit, f"duplicated_{n}_n_grams") for n, limit in ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.1))},
}
Row = dict[str, Any]


def batch(texts: list[str]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(texts, pa.large_string())], ["text"])


def single(limit: float) -> float:
    """A limit as DuckDB compares a float32 column with it."""
    return float(np.float32(limit))


def repetition(row: Row) -> str:
    return next((reason for name, (limit, reason) in LIMITS.items() if row[name] > single(limit)), "kept")


def quality(row: Row) -> str:
    rules = (
        (row["n_words"] >= 50, "gopher_short_doc"), (row["n_words"] <= 100_000, "gopher_long_doc"),
        ((row["mean_word_chars"] or 0) >= 3, "gopher_below_avg_threshold"), ((row["mean_word_chars"] or 0) <= 10, "gopher_above_avg_threshold"),
        ((row["hash_ratio"] or 0) <= single(0.1), "gopher_too_many_hashes"), ((row["dots_ratio"] or 0) <= single(0.1), "gopher_too_many_ellipsis"),
        ((row["bullet_ratio"] or 0) <= single(0.9), "gopher_too_many_bullets"), ((row["ellipsis_ratio"] or 0) <= single(0.3), "gopher_too_many_end_ellipsis"),
        ((row["no_letter_ratio"] or 0) <= single(0.2), "gopher_below_alpha_threshold"), (row["stop_words"] >= 2, "gopher_enough_stop_words"),
    )  # fmt: skip
    return next((reason for kept, reason in rules if not kept), "kept")


def c4(row: Row) -> str:
    return "dropped" if row["lorem_ipsum"] or row["curly_brackets"] or row["c4_sentences"] < 5 else "kept"


def fineweb(row: Row) -> str:
    if row["line_end_ratio"] is None:
        return "empty"
    rules = (
        (row["line_end_ratio"] >= single(0.12), "line_punct_ratio"), (row["short_line_ratio"] <= single(0.67), "short_line_ratio"),
        (row["duplicate_char_ratio"] <= single(0.01), "char_dup_ratio"), (row["list_ratio"] is not None and row["list_ratio"] <= single(0.3), "list_ratio"),
    )  # fmt: skip
    return next((reason for kept, reason in rules if not kept), "kept")


def ours(name: str, texts: list[str], **settings: Any) -> tuple[list[str], list[str]]:
    """Our verdicts, and the texts as they are then."""
    step, verdict = {
        "GopherRepetitionFilter": (tag_gopher, repetition),
        "GopherQualityFilter": (tag_gopher, quality),
        "C4QualityFilter": (edit_c4, c4),
        "FineWebQualityFilter": (tag_fineweb, fineweb),
    }[name]
    made = step(batch(texts), **settings)
    return [verdict(row) for row in made.to_pylist()], made.column("text").to_pylist()


def theirs(name: str, texts: list[str], **settings: Any) -> tuple[list[str], list[str]]:
    """The verdicts of one of DataTrove's filters, and the texts as they are then; a division by zero is the rule that it happens in."""
    from datatrove.data import Document
    from datatrove.pipeline import filters
    from datatrove.utils.word_tokenizers import WordTokenizer

    class Rule(WordTokenizer):
        """Word rule v1; a sentence stands between runs of `.`, `!`, `?` before white space."""

        def word_tokenize(self, text: str) -> list[str]:
            return words(text)

        def sent_tokenize(self, text: str) -> list[str]:
            return [text[a:b] for a, b in self.span_tokenize(text)]

        def span_tokenize(self, text: str) -> list[tuple[int, int]]:
            ends = [found.end() for found in re.finditer(r"[.!?]+\s+", text) if text[found.end() :].strip()]
            return list(zip([0, *ends], [*ends, len(text)], strict=True))

    made = getattr(filters, name)(language=Rule("en"), **settings)
    verdicts, after = [], []
    for number, text in enumerate(texts):
        document = Document(text=text, id=str(number))
        try:
            found = made.filter(document)
        except ZeroDivisionError:
            found = (False, "list_ratio")
        verdicts.append("kept" if found is True else "dropped" if name == "C4QualityFilter" else found[1])
        after.append(document.text)
    return verdicts, after
