"""Documents to sequences of one length, per cell: `pack` is the only step that joins documents.

`chunk` concatenates with an end-of-text token after each document and cuts (pretraining and midtraining); `best_fit` puts each document whole into the
fullest sequence that still has room and pads the rest (long context, SFT), so that a document is cut only where it is longer than a sequence.
"""

import bisect
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dolma.core.errors import DataError
from dolma.core.step import Asset, group_step
from dolma.text import tokenizer as tokenizers

SEQUENCE = {
    "stream": pa.string(),
    "source": pa.string(),
    "topic": pa.string(),
    "vigintile": pa.int32(),
    "tokens": pa.large_list(pa.uint32()),
    "doc_keys": pa.list_(pa.int64()),
    "doc_lens": pa.list_(pa.int32()),
}
MASK = {"loss_mask": pa.large_list(pa.uint8())}

Piece = tuple[int, int, int]  # document, first token, tokens


def _out(params: Any) -> dict[str, pa.DataType]:
    return {**SEQUENCE, **dict.fromkeys(params.by, pa.string()), **(MASK if params.masked else {})}


def _needs(params: Any) -> tuple[str, ...]:
    return ("cell_key", "key", "cell", "source", "topic", "vigintile", "tokens", *params.by, *(MASK if params.masked else ()))


def _facts(*, length: int, **_: Any) -> dict[str, Any]:
    return {"sequence_tokens": length}


@group_step(key=("cell_key",), order=("key",), out=_out, cap=50_000_000, facts=_facts, needs=_needs)
def pack(
    batch: pa.RecordBatch,
    starts: np.ndarray,
    *,
    cont: bool,
    length: int,
    tokenizer: Asset,
    method: Literal["chunk", "best_fit"] = "chunk",
    overlong: Literal["cut", "split"] = "cut",
    masked: bool = False,
    by: tuple[Literal["lang"], ...] = (),
) -> tuple[pa.RecordBatch, dict[str, int]]:
    """Sequences of `length` tokens, one stream a cell, with the keys and lengths of the documents inside each.

    The documents of a cell come by `key`, a hash: that order is already a shuffle. Every token is accounted for: tokens in + end-of-text tokens =
    tokens out + tail (`chunk`: what is left of a cell and less than a sequence) or cut (`best_fit`: what is beyond `length` in one document);
    padding is counted apart.

    Args:
        length: tokens of a sequence.
        tokenizer: the tokenizer.json that made the tokens; its end-of-text and padding ids are used.
        method: `chunk` or `best_fit` (Ding et al. 2024, spec of the long-context stage).
        overlong: under `best_fit`, what is beyond `length` in one document is dropped (`cut`, as published) or goes on in sequences of its own (`split`).
        masked: carry `loss_mask` along (chat data); the end-of-text token of a document then counts as part of it and is not added.
        by: `[lang]` where `tag_cell` separated the cells by language: each stream then says its own.
    Raises:
        DataError: a cell holds several languages.
    """
    special = tokenizers.load(tokenizer)
    counts = {"tokens_in": 0, "eos": 0, "tokens_out": 0, "padding": 0, "dropped.tail_tokens": 0, "dropped.cut_tokens": 0}
    parts = [
        _pack_cell(batch.slice(start, end - start), length, special.eos, special.pad, method, overlong, masked, by, counts)
        for start, end in zip(starts.tolist(), [*starts[1:].tolist(), batch.num_rows], strict=True)
    ]
    return pa.Table.from_batches(parts).combine_chunks().to_batches()[0] if any(p.num_rows for p in parts) else parts[0], counts


def _pack_cell(
    cell: pa.RecordBatch, length: int, eos: int, pad: int, method: str, overlong: str, masked: bool, by: tuple[str, ...], counts: dict[str, int]
) -> pa.RecordBatch:
    for name in by:
        _same(cell, name)
    flat, ends = _with_eos(cell.column("tokens"), eos, add=not masked)
    sizes = np.diff(ends, prepend=0)
    counts["tokens_in"] += int(sizes.sum()) - (0 if masked else cell.num_rows)
    counts["eos"] += 0 if masked else cell.num_rows
    sequences = list(_chunks(sizes, length, counts) if method == "chunk" else _best_fit(sizes, length, overlong == "split", counts))
    begins = ends - sizes
    tokens = np.full((len(sequences), length), pad, np.uint32)
    mask = np.zeros((len(sequences), length), np.uint8)
    flags = cell.column("loss_mask").flatten().to_numpy(zero_copy_only=False) if masked else None
    for row, pieces in enumerate(sequences):
        place = 0
        for doc, first, size in pieces:
            begin = begins[doc] + first
            tokens[row, place : place + size] = flat[begin : begin + size]
            if flags is not None:
                mask[row, place : place + size] = flags[begin : begin + size]
            place += size
        counts["tokens_out"] += place
        counts["padding"] += length - place
    keys = cell.column("key").to_numpy()
    documents = [[int(keys[d]) for d, _, _ in s] for s in sequences], [[n for _, _, n in s] for s in sequences]
    return _table(cell, tokens, mask if masked else None, *documents, by)


def _same(cell: pa.RecordBatch, name: str) -> None:
    values = pc.unique(cell.column(name)).to_pylist()
    if len(values) > 1:
        got, mend = ", ".join(sorted(str(value) for value in values)[:4]), f"`tag_cell: {{by: [{name}]}}`"
        raise DataError(f"pack: cell {cell.column('cell')[0]}", f"holds several values of `{name}`", got=got, expected="one", mend=mend)


def _with_eos(lists: pa.LargeListArray, eos: int, add: bool) -> tuple[np.ndarray, np.ndarray]:
    """The tokens of all documents in one array, each followed by `eos`, and where each ends."""
    flat = lists.flatten().to_numpy(zero_copy_only=False)
    ends = np.cumsum(np.asarray(pc.list_value_length(lists).to_numpy(zero_copy_only=False), np.int64))
    if not add:
        return flat, ends
    return np.insert(flat, ends, np.uint32(eos)), ends + np.arange(1, len(ends) + 1)


def _chunks(sizes: np.ndarray, length: int, counts: dict[str, int]) -> Iterator[list[Piece]]:
    """Consecutive pieces of exactly `length` tokens; the tail of the cell is dropped and counted."""
    pieces: list[Piece] = []
    room = length
    for doc, size in enumerate(sizes.tolist()):
        first = 0
        while size - first >= room:
            pieces.append((doc, first, room))
            yield pieces
            first += room
            pieces, room = [], length
        if size > first:
            pieces.append((doc, first, size - first))
            room -= size - first
    counts["dropped.tail_tokens"] += length - room


def _best_fit(sizes: np.ndarray, length: int, split: bool, counts: dict[str, int]) -> Iterator[list[Piece]]:
    """Each document in the fullest sequence with room for it, longest first; what is beyond `length` in one is split off, or cut and counted."""
    bins: list[list[Piece]] = []
    open_bins: list[tuple[int, int]] = []  # (room, bin), sorted: the tightest that fits is found by bisection
    whole = sizes // length * length if split else np.zeros_like(sizes)
    for doc in np.flatnonzero(whole).tolist():
        bins.extend([(doc, first, length)] for first in range(0, int(whole[doc]), length))
    rest = sizes - whole
    for doc in np.lexsort((np.arange(len(sizes)), -rest)).tolist():
        size = min(int(rest[doc]), length)
        counts["dropped.cut_tokens"] += int(rest[doc]) - size
        if size == 0:
            continue
        found = bisect.bisect_left(open_bins, (size, -1))
        if found < len(open_bins):
            room, place = open_bins.pop(found)
        else:
            room, place = length, len(bins)
            bins.append([])
        bins[place].append((doc, int(whole[doc]), size))
        if room > size:
            bisect.insort(open_bins, (room - size, place))
    yield from bins


def _table(
    cell: pa.RecordBatch, tokens: np.ndarray, mask: np.ndarray | None, keys: list[list[int]], lengths: list[list[int]], by: tuple[str, ...]
) -> pa.RecordBatch:
    rows, length = tokens.shape
    offsets = pa.array(np.arange(rows + 1, dtype=np.int64) * length)

    def constant(name: str) -> pa.Array:
        return pa.array([cell.column(name)[0].as_py()] * rows, cell.schema.field(name).type)

    arrays = [
        constant("cell"),
        constant("source"),
        constant("topic"),
        constant("vigintile"),
        pa.LargeListArray.from_arrays(offsets, pa.array(tokens.ravel())),
        pa.array(keys, pa.list_(pa.int64())),
        pa.array(lengths, pa.list_(pa.int32())),
        *map(constant, by),
    ]
    if mask is not None:
        arrays.append(pa.LargeListArray.from_arrays(offsets, pa.array(mask.ravel())))
    return pa.RecordBatch.from_arrays(arrays, names=[*SEQUENCE, *by, *(MASK if mask is not None else ())])
