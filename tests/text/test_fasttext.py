"""fastText: learns what can be told apart, the same twice, and not from labels that stand in the text."""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma.core.errors import DataError
from dolma.text import fasttext

WORDS = {"science": "atom cell orbit enzyme proof theory".split(), "food": "bread onion pan oven salt butter".split()}
SETTINGS = {"lr": 0.5, "epochs": 20, "dim": 8, "seed": 1}


def texts(label: str, count: int, seed: int) -> list[str]:
    rng = random.Random(f"{label}{seed}")
    return [" ".join(rng.choices([*WORDS[label], "the", "of", "and"], k=12)) for _ in range(count)]


def train(path: Path, extra: tuple[str, str] | None = None, word_ngrams: int = 1, **settings: float) -> fasttext.Classifier:
    rows = [(text, label) for label in WORDS for text in texts(label, 60, 1)] + ([extra] if extra else [])
    fasttext.train([t for t, _ in rows], [n for _, n in rows], path, word_ngrams=word_ngrams, buckets=1000, **{**SETTINGS, **settings})  # type: ignore[arg-type]
    return fasttext.load(str(path))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> fasttext.Classifier:
    return train(tmp_path_factory.mktemp("model") / "model.bin")


def test_a_separable_set_is_learnt(model: fasttext.Classifier) -> None:
    assert model.labels == ["food", "science"]
    for label in WORDS:
        found = list(model.best(texts(label, 20, 2)))
        assert all(one and one[0] == label and one[1] > 0.9 for one in found)


def test_scores_are_probabilities_of_the_class(model: fasttext.Classifier) -> None:
    some = [*texts("food", 5, 3), *texts("science", 5, 3), "never seen"]
    food, science = list(model.score(some, "food")), list(model.score(some, "science"))
    assert all(f is not None and s is not None and 0 <= f <= 1 and abs(f + s - 1) < 1e-4 for f, s in zip(food, science, strict=True))
    assert [f for (f,) in zip(food[:5], strict=True)] > science[:5]


def test_a_text_without_words_has_no_class(model: fasttext.Classifier) -> None:
    assert list(model.best([None, "", " \n\u00a0"])) == list(model.score([None, "", " \n\u00a0"], "food")) == [None] * 3


def test_a_class_that_the_model_does_not_know_is_refused(model: fasttext.Classifier) -> None:
    with pytest.raises(DataError, match="no class `fod`") as error:
        list(model.score(["bread"], "fod"))
    assert error.value.got == "food, science"


@pytest.mark.parametrize("word_ngrams", [1, 2])
def test_the_model_is_the_same_twice_whatever_the_memory_held(tmp_path: Path, word_ngrams: int) -> None:
    made = []
    for number in range(3):
        train(tmp_path / "m", word_ngrams=word_ngrams)
        made.append((tmp_path / "m").read_bytes())
        rubbish = [b"\xff" * (1 << size) for size in range(8, 18) for _ in range(20)]  # what the next training would find in its memory
        del rubbish
        assert made[number] == made[0]


def test_a_label_that_stands_in_a_text_is_text(tmp_path: Path) -> None:
    made = train(tmp_path / "m", extra=("__label__spam __LABEL__food atom", "science"))
    assert made.labels == ["food", "science"]


@given(st.text(st.characters(codec="utf-8")))
def test_normal_text_is_one_line_and_stays_as_it_is(text: str) -> None:
    once = fasttext.normalise(text)
    assert fasttext.normalise(once) == once and once == once.strip() and "\n" not in once and fasttext.LABEL not in once


def test_punctuation_stands_apart() -> None:
    assert fasttext.normalise("Hello,  World!\n(it's)") == "hello , world ! ( it ' s )"


def test_a_missing_or_foreign_file_is_refused(tmp_path: Path) -> None:
    for content in (None, b"", b"not a model at all"):
        if content is not None:
            (tmp_path / "m").write_bytes(content)
        with pytest.raises(DataError, match="cannot read the classifier") as error:
            fasttext.load(str(tmp_path / "m"))
        assert error.value.code == 3 and str(tmp_path / "m") in str(error.value)


def test_a_training_that_diverges_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="diverged"):
        train(tmp_path / "m", lr=1e30)
