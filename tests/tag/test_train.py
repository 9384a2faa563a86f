"""A classifier and its card."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma.core.errors import DataError
from dolma.core.files import sha256
from dolma.tag.train import metrics, train_classifier
from dolma.text import fasttext

SETTINGS = {"epochs": 20, "dim": 8, "buckets": 1000}


def trained(folder: Path, *batches: pa.RecordBatch, **params) -> dict[str, float]:
    folder.mkdir()
    card = train_classifier(iter(batches), folder=folder, **{"label": "label", **SETTINGS, **params})
    assert card.schema == train_classifier.adds(train_classifier.params(label="label"), pa.schema([]))
    return dict(zip(card["name"].to_pylist(), card["value"].to_pylist(), strict=True))


def test_what_can_be_told_apart_is_learnt_and_the_card_says_so(tmp_path: Path, table: Callable[..., pa.RecordBatch]) -> None:
    card = trained(tmp_path / "a", table(200))
    assert card["n_train"] + card["n_heldout"] == 200 and 20 < card["n_heldout"] < 60
    assert card["accuracy"] == card["f1.macro"] == card["f1.food"] == card["f1.science"] == 1
    assert fasttext.load(str(tmp_path / "a" / "model.bin")).labels == ["food", "science"]


def test_the_model_does_not_depend_on_batches(tmp_path: Path, table: Callable[..., pa.RecordBatch]) -> None:
    rows = table(200)
    cards = [trained(tmp_path / "a", rows), trained(tmp_path / "b", rows.slice(0, 70), rows.slice(70))]
    assert cards[0] == cards[1] and (tmp_path / "a/model.bin").read_bytes() == (tmp_path / "b/model.bin").read_bytes()


def test_the_card_is_of_rows_that_were_not_trained_on(tmp_path: Path, table: Callable[..., pa.RecordBatch]) -> None:
    rows = table(200)
    noise = pa.array([("food", "science")[n * n % 7 % 2] for n in range(200)])  # labels that nothing in the text tells
    card = trained(tmp_path / "a", rows.set_column(1, "label", noise), epochs=60, lr=1.0)
    assert card["accuracy"] < 0.8


def test_rows_of_one_group_stay_on_one_side(tmp_path: Path, table: Callable[..., pa.RecordBatch]) -> None:
    rows = table(200).append_column("page", pa.array([f"p{n // 100}" for n in range(200)]))
    assert {trained(tmp_path / "a", rows, group="page", heldout=0.6)["n_train"]} <= {100.0}
    assert train_classifier.needs(train_classifier.params(label="label", group="page")) == ("text", "label", "page")


def test_f1_is_that_of_the_formula(tmp_path: Path, table: Callable[..., pa.RecordBatch]) -> None:
    rows = table(200)
    flipped = pa.array([("food" if n % 10 == 0 else label) for n, label in enumerate(rows.column("label").to_pylist())])
    card = trained(tmp_path / "a", rows.set_column(1, "label", flipped))
    assert 0.5 < card["accuracy"] < 1
    assert card["f1.macro"] == pytest.approx((card["f1.food"] + card["f1.science"]) / 2)


@pytest.mark.parametrize(("count", "heldout"), [(0, 0.2), (40, 1.0)])
def test_nothing_to_learn_is_an_error(tmp_path: Path, table: Callable[..., pa.RecordBatch], count: int, heldout: float) -> None:
    with pytest.raises(DataError, match="nothing to learn"):
        trained(tmp_path / "a", table(count), heldout=heldout)


def test_one_class_is_an_error(tmp_path: Path, table: Callable[..., pa.RecordBatch]) -> None:
    rows = table(20)
    with pytest.raises(DataError, match="nothing to learn") as error:
        trained(tmp_path / "a", rows.set_column(1, "label", pa.array(["food"] * 20)))
    assert error.value.got == "1 classes in 14 rows to train on, 1 in all 20"


def test_classes_that_are_all_held_out_but_one_are_nothing_to_learn(tmp_path: Path, table: Callable[..., pa.RecordBatch]) -> None:
    rows = table(100).append_column("page", pa.array(["p"] * 99 + ["q0"]))  # by hash: all of p on one side
    with pytest.raises(DataError, match="nothing to learn") as error:
        trained(tmp_path / "a", rows, group="page", heldout=0.9)
    assert error.value.got.startswith(("0 classes in 0", "1 classes in 1 ")) and error.value.got.endswith("2 in all 100")


@pytest.mark.parametrize("blank", [None, "", " \t"])
def test_rows_without_a_class_are_refused_and_not_a_class_of_their_own(tmp_path: Path, table: Callable[..., pa.RecordBatch], blank: str | None) -> None:
    rows = table(40)
    labels = pa.array([blank if n in (3, 7) else label for n, label in enumerate(rows.column("label").to_pylist())], pa.string())
    with pytest.raises(DataError, match="rows without a class") as error:
        trained(tmp_path / "a", rows.set_column(1, "label", labels))
    assert error.value.got == "2 of 40 rows NULL or blank"


def test_classes_that_fasttext_would_take_for_one_are_refused(tmp_path: Path, table: Callable[..., pa.RecordBatch]) -> None:
    rows = table(40)
    labels = pa.array([("art design", "art_design")[n % 2] if n < 20 else label for n, label in enumerate(rows.column("label").to_pylist())])
    with pytest.raises(DataError, match="two classes become one") as error:
        trained(tmp_path / "a", rows.set_column(1, "label", labels))
    assert error.value.got == "`art design` and `art_design`"


NAMES = st.sampled_from(["a", "b", "c", ""])


@given(st.lists(st.tuples(st.sampled_from("abc"), NAMES), min_size=1, max_size=40))
def test_metrics_are_those_of_the_formulas(rows: list[tuple[str, str]]) -> None:
    found = metrics([truth for truth, _ in rows], [guess for _, guess in rows])
    classes = sorted({truth for truth, _ in rows})
    for name in classes:
        right = sum(truth == guess == name for truth, guess in rows)
        wrong, missed = sum(guess == name != truth for truth, guess in rows), sum(truth == name != guess for truth, guess in rows)
        precision, recall = right / (right + wrong) if right + wrong else 0.0, right / (right + missed)
        assert found[f"precision.{name}"] == precision and found[f"recall.{name}"] == recall and found[f"support.{name}"] == right + missed
        assert found[f"f1.{name}"] == pytest.approx(2 * precision * recall / (precision + recall) if right else 0.0)
    assert found["accuracy"] == sum(truth == guess for truth, guess in rows) / len(rows)
    assert found["f1.macro"] == pytest.approx(sum(found[f"f1.{name}"] for name in classes) / len(classes))


def test_the_card_names_the_model_what_it_learnt_from_and_how(tmp_path: Path, table: Callable[..., pa.RecordBatch]) -> None:
    rows = trained(tmp_path / "a", table(200))
    card = json.loads((tmp_path / "a" / "card.json").read_bytes())
    assert card["sha256"] == sha256(tmp_path / "a" / "model.bin") and card["classes"] == ["food", "science"] and card["text"] == "words"
    assert card["settings"] == {"lr": 0.5, "word_ngrams": 1, "seed": 1, "heldout": 0.2, "group": None, **SETTINGS}
    assert card["metrics"] == pytest.approx(rows, abs=1e-6) and rows["support.food"] + rows["support.science"] == rows["n_heldout"]
    assert card["trained_on"]["rows"] == 200 and sum(card["trained_on"]["classes"].values()) == rows["n_train"]
    trained(tmp_path / "b", table(200, 2))
    other = json.loads((tmp_path / "b" / "card.json").read_bytes())
    assert other["trained_on"]["sha256"] != card["trained_on"]["sha256"]


def test_a_class_with_a_blank_in_its_name_keeps_its_score(tmp_path: Path, table: Callable[..., pa.RecordBatch]) -> None:
    rows = table(200)
    names = pa.array([{"food": "Food & Dining"}.get(label, label) for label in rows.column("label").to_pylist()])
    assert trained(tmp_path / "a", rows.set_column(1, "label", names))["f1.Food_&_Dining"] == 1
