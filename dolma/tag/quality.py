"""How much a document looks like text worth learning from."""

import pyarrow as pa

from dolma.core.schema import append
from dolma.core.step import Asset, step
from dolma.text import fasttext


@step(needs=("text",), adds={"quality": pa.float32()}, packages=fasttext.DISTRIBUTIONS)
def tag_quality(batch: pa.RecordBatch, *, model: Asset, good: str = "1", max_chars: int = 20_000) -> pa.RecordBatch:
    """The probability of class `good` of a fastText model, in [0, 1], from the first `max_chars` characters; NULL where there are no words."""
    scores = fasttext.load(model).score(((text or "")[:max_chars] for text in batch.column("text").to_pylist()), good)
    return append(batch, {"quality": pa.array(list(scores), pa.float32())})
