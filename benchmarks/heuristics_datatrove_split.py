"""Heuristic measures of pages: ours against DataTrove's four filters with the cheapest words they can have, a split at white space."""

import re
from pathlib import Path
from typing import Any

from benchmarks.heuristics_datatrove import SIZE, flow, ours, prepare
from benchmarks.pair import Pair
from benchmarks.peers import DATATROVE

END = re.compile(r"[.!?]+(?=\s)")


def theirs(inputs: Path, out: Path) -> None:
    """The filters with a tokenizer of our own in place of spaCy's: DataTrove takes one wherever it takes a language."""
    flow(inputs, out, language=_split())


def _split() -> Any:
    from datatrove.utils.word_tokenizers import WordTokenizer

    class Split(WordTokenizer):
        """Words between white space; sentences up to a run of `.`, `!` or `?` before white space."""

        def word_tokenize(self, text: str) -> list[str]:
            return text.split()

        def sent_tokenize(self, text: str) -> list[str]:
            return [text[start:end].strip() for start, end in self.span_tokenize(text)]

        def span_tokenize(self, text: str) -> list[tuple[int, int]]:
            ends = [*(found.end() for found in END.finditer(text)), len(text)]
            return list(zip([0, *ends[:-1]], ends, strict=True))

    return Split()


PAIR = Pair(
    name="heuristics/datatrove-split",
    peer=DATATROVE,
    ours=ours,
    theirs=theirs,
    prepare=prepare,
    size=3 * SIZE,
    note="As heuristics/datatrove, but with a tokenizer object given to all four filters as `language` in place of spaCy's: words are Python's "
    "str.split, sentences (C4QualityFilter counts them) end after a run of . ! or ? before white space. Nothing else of DataTrove was changed.",
)
