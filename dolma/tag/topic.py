"""Which topic a document is about."""

from typing import Any

import pyarrow as pa

from dolma.core.schema import append
from dolma.core.step import Asset, step
from dolma.tag import card
from dolma.text import fasttext


def _facts(*, model: str, **_: Any) -> dict[str, Any]:
    return {"topic_model": card.facts(model)}


@step(needs=("text",), adds={"topic": pa.string(), "topic_score": pa.float32()}, facts=_facts, version=2, packages=fasttext.DISTRIBUTIONS)
def tag_topic(batch: pa.RecordBatch, *, model: Asset, max_chars: int = 20_000) -> pa.RecordBatch:
    """The most likely topic of a fastText model and its probability, from the first `max_chars` characters; NULL where there are no words.

    The card of the model stands in the manifest as `topic_model`, and in those of datasets made from this one.
    """
    found = list(fasttext.load(model).best(((text or "")[:max_chars] for text in batch.column("text").to_pylist()), card.line(model)))
    return append(
        batch,
        {"topic": pa.array([f[0] if f else None for f in found], pa.string()), "topic_score": pa.array([f[1] if f else None for f in found], pa.float32())},
    )
