"""Language tags: labels and scores are those of py3langid's own classifier, on labelled paragraphs, on pages and on any text."""

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma.core.errors import ConfigError
from dolma.tag.language import tag_language

ENGLISH = "The quick brown fox jumps over the lazy dog, and then it goes home to sleep in the warm house by the river."
GERMAN = "Der schnelle braune Fuchs springt \u00fcber den faulen Hund und geht dann nach Hause, um im warmen Haus am Fluss zu schlafen."


def tagged(*texts: str | None, max_chars: int = 1_000, languages: tuple[str, ...] = ()) -> list[tuple[str, float]]:
    batch = pa.RecordBatch.from_arrays([pa.array(texts, pa.large_string())], ["text"])
    made = tag_language(batch, max_chars=max_chars, languages=languages)
    assert made.schema.field("lang").type == pa.string() and made.schema.field("lang_score").type == pa.float32()
    return list(zip(made.column("lang").to_pylist(), made.column("lang_score").to_pylist(), strict=True))


@cache
def reference() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def agree(texts: list[str]) -> None:
    for text, (lang, score) in zip(texts, tagged(*texts), strict=True):
        head = text.lstrip()[:1_000]
        if any(map(str.isalpha, head)):
            label, probability = reference().classify(head)
            assert (lang, score) == ("und", 0) or (lang == label and score == pytest.approx(probability, abs=2e-4)), text


def rows(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def test_language_of_clear_texts() -> None:
    (english, score), (german, other) = tagged(ENGLISH, GERMAN)
    assert (english, german) == ("en", "de")
    assert 0.65 <= score <= 1 and 0.65 <= other <= 1


def test_text_without_a_letter_is_undetermined() -> None:
    assert tagged("", "12 - 13", None, " \n\u00a0", "\u3002\U0001f600") == [("und", 0.0)] * 5


def test_only_the_beginning_is_looked_at() -> None:
    assert tagged("\n\n" + ENGLISH + GERMAN * 20, max_chars=len(ENGLISH))[0] == tagged(ENGLISH)[0]
    assert tagged(ENGLISH + GERMAN * 20, max_chars=10_000)[0][0] == "de"


def test_no_rows_give_no_rows() -> None:
    assert tagged() == []


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    texts = [(ENGLISH + GERMAN)[7 * n % 50 : 7 * n % 50 + n * n % 97] for n in range(40)] + ["", GERMAN, ""]
    assert tagged(*texts) == [tagged(text)[0] for text in texts]
    cut = pa.RecordBatch.from_arrays([pa.array([GERMAN, ENGLISH, None, GERMAN])], ["text"]).slice(1)
    assert tag_language(cut).column("lang").to_pylist() == ["en", "und", "de"]


def test_composed_and_decomposed_letters_are_the_same() -> None:
    assert tagged(GERMAN)[0] == tagged(GERMAN.replace("\u00fc", "u\u0308"))[0]


def test_the_choice_can_be_cut_to_the_languages_of_a_source() -> None:
    text = "Tak seorang pun boleh ditangkap, ditahan atau dibuang dengan sewenang-wenang."
    assert tagged(text)[0][0] == "ms" and tagged(text, languages=("en", "id", "de"))[0][0] == "id"
    (label, score), (serbian, _) = tagged(ENGLISH, "Свако има право на живот, слободу и безбедност личности.", languages=("en", "sr"))
    assert (label, serbian) == ("en", "sr") and score > 0.9


def test_a_language_that_the_model_does_not_know_is_refused() -> None:
    with pytest.raises(ConfigError, match="the model does not know tlh") as error:
        tagged(ENGLISH, languages=("en", "tlh"))
    assert "one of ace, af, am" in str(error.value)


def test_the_package_that_brings_the_model_stands_in_the_fingerprint() -> None:
    assert tag_language.packages(tag_language.params()) == ("py3langid",)


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=60), max_size=4))
def test_any_text_is_labelled_as_the_package_does(texts: list[str]) -> None:
    agree([text for text in texts if not {"\x1c", "\x1d", "\x1e", "\x1f"} & set(text)])  # Python strips these as white space, Unicode does not


@given(st.lists(st.sampled_from([*ENGLISH.split(), *GERMAN.split(), "PRAVO", "ИМА", "право", "人人生而自由", "e\u0301", "\u1100\u1161"]), min_size=1))
def test_mixed_words_are_labelled_as_the_package_does(words: list[str]) -> None:
    agree([" ".join(words), " ".join(words).upper()])


@pytest.mark.kit
def test_labelled_paragraphs_are_right_and_as_the_package_says(kit: Path) -> None:
    paragraphs = rows(kit / "langid" / "udhr_paragraphs.jsonl.gz")
    texts, truth = [row["text"] for row in paragraphs], [row["lang"] for row in paragraphs]
    agree(texts)
    got = tagged(*texts)
    assert len(set(truth)) == 52 and sum(lang == right for (lang, _), right in zip(got, truth, strict=True)) / len(truth) >= 0.98
    english = [lang == "en" and score >= 0.65 for lang, score in got]
    assert english == [right == "en" for right in truth]  # precision and recall 1 at the recipe's limit
    known = tagged(*texts, languages=tuple(sorted(set(truth))))
    assert sum(lang == right for (lang, _), right in zip(known, truth, strict=True)) / len(truth) >= 0.995


@pytest.mark.kit
def test_pages_are_labelled_as_the_package_does(kit: Path) -> None:
    agree([row["gold_text"] for row in rows(kit / "web" / "pages_gold.jsonl.gz") if row["gold_text"]])
