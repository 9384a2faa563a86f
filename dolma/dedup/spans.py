"""Spans of code points: gathered into one tag a document, and cut out of its text."""

from typing import Any

import numpy as np
import pyarrow as pa

from dolma.core.errors import ConfigError, DataError
from dolma.core.schema import Columns, append, without
from dolma.core.step import group_step, step

SPAN = pa.struct({"start": pa.int32(), "end": pa.int32()})


def _tag(params: Any) -> Columns:
    return {"origin": pa.int64(), "key": pa.int64(), params.name: pa.list_(SPAN), f"{params.name}_chars": pa.int32()}


# a document's spans must arrive whole: 16M of them are 400 MB, and a text of more than that many lines is none
@group_step(key=("origin",), order=("start", "end"), needs=("origin", "key", "start", "end"), out=_tag, cap=16_000_000)
def join_spans(batch: pa.RecordBatch, starts: np.ndarray, *, cont: bool, name: str = "spans") -> pa.RecordBatch:
    """One row a document that has spans: `spans`, sorted, those that overlap or touch merged, and `spans_chars`, the code points in them.

    The result is a tag of the rows that the spans were computed on: name it in `tags:` of a recipe that reads these.

    Args:
        name: of the column, and of the other one with `_chars` behind it: a recipe that takes spans of two datasets needs two names.
    Raises:
        DataError: the spans of one document give two keys.
    """
    key, start, end = (batch.column(one).to_numpy() for one in ("key", "start", "end"))
    document = np.zeros(len(key), np.int64)
    document[starts[1:]] = 1
    document = np.cumsum(document)
    wrong = np.flatnonzero(key != key[starts][document])
    if len(wrong):
        row = batch.slice(int(wrong[0]), 1).to_pylist()[0]
        raise DataError(
            "join_spans", f"two keys at origin {row['origin']}", got=row["key"], expected=int(key[starts][document][wrong[0]]), mend="make the spans again"
        )
    # the largest end so far within a document; ends are below 2^31, so a document's number above them keeps documents apart
    reach = (np.maximum.accumulate((document << 32) | end) & 0xFFFFFFFF).astype(np.int32)
    opens = np.ones(len(key), bool)
    opens[1:] = (document[1:] != document[:-1]) | (start[1:] > reach[:-1])
    first = np.flatnonzero(opens)
    last = np.append(first[1:], len(key)) - 1
    joined = pa.StructArray.from_arrays([pa.array(start[first]), pa.array(reach[last])], fields=list(SPAN))
    borders = np.append(np.searchsorted(first, starts), len(first)).astype(np.int32)
    lengths = np.zeros(len(first) + 1, np.int64)
    np.cumsum(reach[last] - start[first], out=lengths[1:])
    columns = [
        batch.column("origin").take(pa.array(starts)),
        batch.column("key").take(pa.array(starts)),
        pa.ListArray.from_arrays(pa.array(borders), joined, type=pa.list_(SPAN)),
        pa.array(np.diff(lengths[borders]).astype(np.int32)),
    ]
    return pa.RecordBatch.from_arrays(columns, names=["origin", "key", name, f"{name}_chars"])


def _needs_cut(params: Any) -> tuple[str, ...]:
    return ("text", *params.spans)


def _shape_cut(params: Any, schema: pa.Schema) -> pa.Schema:
    for name in params.spans:
        if name in schema.names and schema.field(name).type != pa.list_(SPAN):
            raise ConfigError(
                "cut_spans", f"`{name}` holds no spans", got=schema.field(name).type, expected=pa.list_(SPAN), mend="name a column that `join_spans` made"
            )
    fields = {f.name: f.type for f in schema if f.name not in params.spans}
    return pa.schema(list({**fields, "text": pa.large_string(), "cut_ratio": pa.float32()}.items()))


@step(needs=_needs_cut, shape=_shape_cut)
def cut_spans(batch: pa.RecordBatch, *, spans: list[str]) -> pa.RecordBatch:
    """The text without its spans, and cut_ratio: the share of its code points that was cut, 0 where there are none, NULL for an empty text.

    The columns of spans are gone afterwards: their places are those of the text as it was. Nothing is dropped; decide by cut_ratio.

    Args:
        spans: columns that `join_spans` made, as `[paragraphs]`; what any of them holds is cut.
    Raises:
        DataError: a span is not within its text: it belongs to another one.
    """
    from dolma.kernels.paragraphs import cut
    from dolma.kernels.words import buffers, column

    row_of, start, end = _flat(batch, spans)
    data, offsets = buffers(batch.column("text"))
    content, borders, made, wrong = cut(data, offsets, row_of, start, end)
    if wrong >= 0:
        row = int(row_of[wrong])
        raise DataError(
            f"cut_spans: row {row} of its batch",
            "a span is not within the text",
            got=f"[{start[wrong]}, {end[wrong]})",
            expected=f"a text of {len(batch.column('text')[row].as_py() or '')} characters",
            mend="cut before any step that edits the text; or make the spans again",
        )
    gone, before = made[:, 0], made[:, 1]
    ratio = np.divide(gone, before, out=np.zeros(len(gone)), where=before > 0).astype(np.float32)
    ratios = pa.array(ratio, mask=np.diff(offsets) == 0)
    return append(without(batch, *spans), {"text": column(content, borders), "cut_ratio": ratios})


def _flat(batch: pa.RecordBatch, names: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, start and end of all spans of a batch, sorted."""
    parts = []
    for name in names:
        lists: Any = batch.column(name)
        inner = lists.flatten()
        row_of = np.repeat(np.arange(len(lists)), lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False))
        parts.append((row_of, *(inner.field(field).to_numpy(zero_copy_only=False) for field in ("start", "end"))))
    row_of, start, end = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.lexsort((end, start, row_of))
    return row_of[order], start[order].astype(np.int64), end[order].astype(np.int64)
