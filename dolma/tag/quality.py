"""How much a document looks like text worth learning from."""

from typing import Any

import pyarrow as pa

from dolma.core.schema import append
from dolma.core.step import Asset, step
from dolma.tag import card
from dolma.text import fasttext


def _facts(*, model: str, good: str, **_: Any) -> dict[str, Any]:
    return {"quality_model": {**card.facts(model), "good": good}}


@step(needs=("text",), adds={"quality": pa.float32()}, facts=_facts, version=2, packages=fasttext.DISTRIBUTIONS)
def tag_quality(batch: pa.RecordBatch, *, model: Asset, good: str = "1", max_chars: int = 20_000) -> pa.RecordBatch:
    """The probability of class `good` of a fastText model, in [0, 1], from the first `max_chars` characters; NULL where there are no words.

    The card of the model stands in the manifest as `quality_model`, and in those of datasets made from this one.
    """
    scores = fasttext.load(model).score(((text or "")[:max_chars] for text in batch.column("text").to_pylist()), good, card.line(model))
    return append(batch, {"quality": pa.array(list(scores), pa.float32())})
