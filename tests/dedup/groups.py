"""A group pass in memory: what the shuffle does around a step, for tests that need no files."""

from typing import Any

import pyarrow as pa

from dolma.core.step import Step
from dolma.engines.groups import whole_groups
from dolma.engines.shuffle import wanted


def documents(texts: list[str | None], keys: list[int] | None = None) -> pa.RecordBatch:
    """Rows as the shuffle gives them to a step: text, key (the row's number if not given) and origin (the row's number)."""
    numbers = list(range(len(texts)))
    kinds = {"origin": pa.int64(), "key": pa.int64(), "text": pa.large_string()}
    return pa.RecordBatch.from_pydict({"origin": numbers, "key": keys or numbers, "text": texts}, schema=pa.schema(list(kinds.items())))


def marks(step: Step, batch: pa.RecordBatch, *, size: int = 1 << 20, cap: int = 1 << 20, **params: Any) -> list[dict[str, int]]:
    """What `step` emits for the rows of `batch`, sorted, in batches of `size` rows."""
    assert step.rows is not None
    rows = pa.Table.from_batches([step.rows(batch, **wanted(step.rows, params))])
    ordered = rows.sort_by([(name, "ascending") for name in (*step.key, *step.order)])
    out = []
    most = params.get(step.cap_bytes)
    batches = ordered.to_batches(max_chunksize=size)
    for chunk, starts, cont in whole_groups(batches, step.key, cap, step.splittable, step.name, cap_bytes=most, mend=step.cap_mend):
        out += step.fn(chunk, starts, cont=cont, **wanted(step.fn, params)).to_pylist()
    return out
