"""Text to token ids, the last step before packing, and the tokenizer that the pool trains for it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dolma.core.schema import append, without
from dolma.core.step import Asset, Sizes, Taken, reduce_step, step
from dolma.text import tokenizer as tokenizers

TOKENS = pa.large_list(pa.uint32())
MASK = pa.large_list(pa.uint8())


def _sizes(params: Any, taken: Taken) -> Sizes:
    return Sizes(taken.rows, 0, 3 * min(taken.text, params.max_bytes), out=2)  # the texts as Python's strings, and the words of the trainer


@reduce_step(needs=("text",), out={"name": pa.string(), "value": pa.float64()}, packages=("tokenizers",), sizes=_sizes)
def train_tokenizer(batches: Iterator[pa.RecordBatch], *, folder: Path, vocab_size: int, max_bytes: int) -> pa.Table:
    """A byte-level BPE tokenizer trained on the first `max_bytes` of text, as `tokenizer.json`; rows say its size and how well it compresses.

    Args:
        vocab_size: entries, the 256 bytes and the special tokens included.
        max_bytes: UTF-8 bytes of text to train on; documents come in the order of the dataset.
    """
    texts: list[str] = []
    left = max_bytes
    for batch in batches:
        for text in batch.column("text").drop_null().to_pylist() if left > 0 else ():
            if left <= 0:
                break
            texts.append(text)
            left -= len(text.encode())
    tokenizers.train(texts, vocab_size, folder / "tokenizer.json")
    made = tokenizers.load(str(folder / "tokenizer.json"))
    part = texts[:500]
    tokens = sum(len(ids) for ids in made.encode_batch(part))
    size = sum(len(text.encode()) for text in part)
    return pa.table({"name": ["vocab_size", "bytes_per_token"], "value": pa.array([float(made.vocab_size), size / max(tokens, 1)], pa.float64())})


def _facts(*, tokenizer: str, **_: Any) -> dict[str, Any]:
    return tokenizers.facts(tokenizer)


@step(needs=("text",), adds={"tokens": TOKENS, "n_tokens": pa.int32()}, removes=("text",), facts=_facts, packages=("tokenizers",))
def encode(batch: pa.RecordBatch, *, tokenizer: Asset) -> pa.RecordBatch:
    """Token ids in place of the text, without an end-of-text token (packing adds it); special tokens that stand in a text stay plain text."""
    tokens = tokenizers.load(tokenizer).encode_column(batch.column("text"))
    return append(without(batch, "text"), {"tokens": tokens, "n_tokens": pc.list_value_length(tokens).cast(pa.int32())})


@step(needs=("text",), adds={"tokens": TOKENS, "loss_mask": MASK, "n_tokens": pa.int32()}, removes=("text",), facts=_facts, packages=("tokenizers",))
def encode_marked(batch: pa.RecordBatch, *, tokenizer: Asset, pattern: str) -> pa.RecordBatch:
    """Token ids with an end-of-text token, and a loss mask: 1 on the tokens that lie in the text of `pattern`, 0 on all others.

    Args:
        pattern: a regular expression; its first group where it has one, else all of a match, is what is learnt.
    """
    model, wanted = tokenizers.load(tokenizer), re.compile(pattern)
    ids, masks = [], []
    for text in batch.column("text").to_pylist():
        made, places = model.encode_places(text or "")
        spans = [match.span(min(wanted.groups, 1)) for match in wanted.finditer(text or "")]
        ids.append([*made, model.eos])
        masks.append([*(int(any(a <= first and last <= b for a, b in spans)) for first, last in places), 0])
    tokens = lists(ids, TOKENS)
    columns = {"tokens": tokens, "loss_mask": lists(masks, MASK), "n_tokens": pc.list_value_length(tokens).cast(pa.int32())}
    return append(without(batch, "text"), columns)


def lists(values: list[list[int]], kind: pa.DataType) -> pa.Array:
    """A list column of `kind` from lists of numbers."""
    offsets = np.concatenate([[0], np.cumsum([len(v) for v in values])]).astype(np.int64)
    flat = np.fromiter((x for v in values for x in v), np.int64, int(offsets[-1]))
    return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(flat).cast(kind.value_type))
