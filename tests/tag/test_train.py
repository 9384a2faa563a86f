"""A classifier and its card."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from dolma.core.errors import DataError
from dolma.tag.train import train_classifier
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
    assert error.value.got == "1 classes in 20 rows"


def test_a_class_with_a_blank_in_its_name_keeps_its_score(tmp_path: Path, table: Callable[..., pa.RecordBatch]) -> None:
    rows = table(200)
    names = pa.array([{"food": "Food & Dining"}.get(label, label) for label in rows.column("label").to_pylist()])
    assert trained(tmp_path / "a", rows.set_column(1, "label", names))["f1.Food_&_Dining"] == 1
