"""The card of a classifier: which file it is, what it learnt from and how well. It lies beside the model, and its main figures travel with every score."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from dolma.core import manifest
from dolma.core.errors import DataError
from dolma.core.files import sha256, version, write_atomic
from dolma.text import fasttext

NAME, MODEL = "card.json", "model.bin"
DIGITS = 6  # of metrics


def write(folder: Path, *, text: str, classes: list[str], trained_on: dict[str, Any], settings: dict[str, Any], metrics: dict[str, float]) -> None:
    """The card of the model in `folder`.

    Args:
        text: how a text becomes the line that the model was trained on: `words` or `plain`.
        trained_on: rows, their hash and their classes; or words, for a model that is not made here.
    """
    card = {
        "sha256": sha256(folder / MODEL),
        "text": text,
        "classes": classes,
        "trained_on": trained_on,
        "settings": settings,
        "metrics": {name: round(value, DIGITS) for name, value in metrics.items()},
    }
    write_atomic(folder / NAME, manifest.canonical(card) + b"\n")


def read(model: str) -> dict[str, Any]:
    """The card of the model at `model`; empty where no recipe made it.

    Raises:
        DataError: the card is that of another model than the manifest beside it names.
    """
    folder = Path(model).parent
    return _read(str(folder), *version(folder / NAME), *version(folder / manifest.NAME))


@lru_cache(8)
def _read(folder: str, *version: int) -> dict[str, Any]:
    path = Path(folder) / NAME
    if not path.is_file():
        return {}
    card = json.loads(path.read_bytes())
    if manifest.exists(Path(folder)):
        named = next((file.sha256 for file in manifest.load(Path(folder)).assets if file.name == MODEL), None)
        if named != card["sha256"]:
            mend = "delete the dataset's manifest.json and run again: a model and its card are made together"
            raise DataError(str(path), "the card of another model", got=card["sha256"], expected=str(named), mend=mend)
    return card


def line(model: str) -> Any:
    """The function that makes a text the one line that the model was trained on."""
    return fasttext.LINES[read(model).get("text", "words")]


def facts(model: str) -> dict[str, Any]:
    """What a dataset of scores says of their model: its dataset and hash, what it was trained on and how, its classes, the held-out metrics of all classes
    together; those of each class are the rows of the model's dataset.
    """
    folder, card = Path(model).parent, read(model)
    if not card or not manifest.exists(folder):
        return {"sha256": sha256(Path(model))}
    made = manifest.load(folder)
    whole = {name: value for name, value in card["metrics"].items() if "." not in name or name.endswith(".macro")}
    inputs = [{"name": one.name, "sha256": one.fingerprint} for one in made.inputs]
    return {
        "dataset": made.dataset,
        "fingerprint": made.fingerprint,
        "sha256": card["sha256"],
        "classes": card["classes"],
        "trained_on": {**card["trained_on"], "inputs": inputs},
        "settings": card["settings"],
        "metrics": whole,
    }
