"""Quality: the probability of the good class."""

from collections.abc import Callable

import pyarrow as pa
import pytest

from dolma.core.errors import DataError
from dolma.tag.quality import tag_quality


def tagged(model: str, *texts: str | None, good: str = "science", max_chars: int = 20_000) -> list[float | None]:
    made = tag_quality(pa.RecordBatch.from_arrays([pa.array(texts, pa.large_string())], ["text"]), model=model, good=good, max_chars=max_chars)
    assert made.schema.field("quality").type == pa.float32()
    return made.column("quality").to_pylist()


def test_the_good_class_scores_high_and_the_other_low(model: str, table: Callable[..., pa.RecordBatch]) -> None:
    rows = table(20, 2)
    for label, score in zip(rows.column("label").to_pylist(), tagged(model, *rows.column("text").to_pylist()), strict=True):
        assert score is not None and 0 <= score <= 1 and (score > 0.5) == (label == "science")


def test_a_text_without_words_has_no_quality(model: str) -> None:
    assert tagged(model, None, "", " ") == [None] * 3


def test_only_the_beginning_is_looked_at(model: str) -> None:
    text = "atom " * 6 + "bread onion salt " * 100
    assert tagged(model, text, max_chars=30) == tagged(model, "atom " * 6)
    assert tagged(model, text) < tagged(model, text, max_chars=30)  # type: ignore[operator]


def test_a_class_that_the_model_does_not_know_is_refused_and_not_0(model: str) -> None:
    with pytest.raises(DataError, match="no class `1`"):
        tagged(model, "atom", good="1")


def test_no_rows_give_no_rows(model: str) -> None:
    assert tagged(model) == []
