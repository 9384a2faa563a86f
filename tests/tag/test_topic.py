"""Topics: the likeliest class and its probability, from the beginning of the text."""

from collections.abc import Callable

import pyarrow as pa

from dolma.tag.topic import tag_topic


def tagged(model: str, *texts: str | None, max_chars: int = 20_000) -> list[tuple[str | None, float | None]]:
    made = tag_topic(pa.RecordBatch.from_arrays([pa.array(texts, pa.large_string())], ["text"]), model=model, max_chars=max_chars)
    assert made.select(["topic", "topic_score"]).schema == pa.schema([("topic", pa.string()), ("topic_score", pa.float32())])
    return list(zip(made.column("topic").to_pylist(), made.column("topic_score").to_pylist(), strict=True))


def test_topics_are_those_of_the_labels(model: str, table: Callable[..., pa.RecordBatch]) -> None:
    rows = table(40, 2)
    found = tagged(model, *rows.column("text").to_pylist())
    assert [topic for topic, _ in found] == rows.column("label").to_pylist()
    assert all(score is not None and 0.5 < score <= 1 for _, score in found)


def test_a_text_without_words_has_no_topic(model: str) -> None:
    assert tagged(model, None, "", " \n ") == [(None, None)] * 3


def test_only_the_beginning_is_looked_at(model: str) -> None:
    text = "bread " * 5 + "atom orbit enzyme " * 100
    assert tagged(model, text, max_chars=30) == tagged(model, "bread " * 5)
    assert tagged(model, text)[0][0] == "science"


def test_no_rows_give_no_rows(model: str) -> None:
    assert tagged(model) == []
