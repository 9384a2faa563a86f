"""Language tags on labelled paragraphs."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pytest

from dolma.tag.language import tag_language

ENGLISH = "The quick brown fox jumps over the lazy dog, and then it goes home to sleep in the warm house by the river."
GERMAN = "Der schnelle braune Fuchs springt \u00fcber den faulen Hund und geht dann nach Hause, um im warmen Haus am Fluss zu schlafen."


def tagged(*texts: str | None, max_chars: int = 1_000) -> list[tuple[str, float]]:
    made = tag_language(pa.RecordBatch.from_arrays([pa.array(texts, pa.large_string())], ["text"]), max_chars=max_chars)
    return list(zip(made.column("lang").to_pylist(), made.column("lang_score").to_pylist(), strict=True))


def test_language_of_clear_texts() -> None:
    (english, score), (german, other) = tagged(ENGLISH, GERMAN)
    assert (english, german) == ("en", "de")
    assert 0.65 <= score <= 1 and 0.65 <= other <= 1


def test_text_without_a_letter_is_undetermined() -> None:
    assert tagged("", "12 - 13", None) == [("und", 0.0)] * 3


def test_only_the_beginning_is_looked_at() -> None:
    assert tagged("\n\n" + ENGLISH + GERMAN * 20, max_chars=len(ENGLISH))[0] == tagged(ENGLISH)[0]
    assert tagged(ENGLISH + GERMAN * 20, max_chars=10_000)[0][0] == "de"


def test_no_rows_give_no_rows() -> None:
    assert tagged() == []


@pytest.mark.kit
def test_most_labelled_paragraphs_are_right(kit: Path) -> None:
    with gzip.open(kit / "langid" / "udhr_paragraphs.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines][::2]
    got = tagged(*(row["text"] for row in rows))
    right = sum(lang == row["lang"] for (lang, _), row in zip(got, rows, strict=True))
    assert right / len(rows) > 0.90
    english = [lang for (lang, _), row in zip(got, rows, strict=True) if row["lang"] == "en"]
    assert english and english.count("en") / len(english) > 0.95
