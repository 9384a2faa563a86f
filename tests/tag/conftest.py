"""A labelled table that can be told apart, and a classifier of it."""

import random
from collections.abc import Callable

import pyarrow as pa
import pytest

from dolma.text import fasttext

WORDS = {"science": "atom cell orbit enzyme proof theory".split(), "food": "bread onion pan oven salt butter".split()}


def labelled(count: int, seed: int = 1) -> pa.RecordBatch:
    rng = random.Random(seed)
    rows = [(label, " ".join(rng.choices([*words, "the", "of"], k=12))) for _ in range(count // 2) for label, words in WORDS.items()]
    columns = [pa.array([text for _, text in rows], pa.large_string()), pa.array([label for label, _ in rows])]
    return pa.RecordBatch.from_arrays(columns, ["text", "label"])


@pytest.fixture(scope="session")
def table() -> Callable[..., pa.RecordBatch]:
    """`table(count, seed)`: texts about science and food in turn, with their label."""
    return labelled


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of a classifier of science and food."""
    path = tmp_path_factory.mktemp("classifier") / "model.bin"
    rows = labelled(120)
    fasttext.train(rows.column("text").to_pylist(), rows.column("label").to_pylist(), path, lr=0.5, epochs=20, word_ngrams=1, dim=8, buckets=0, seed=1)
    return str(path)
