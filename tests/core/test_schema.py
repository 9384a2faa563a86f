"""Edits of batches, and group keys."""

from hashlib import sha256

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from dolma.core import schema

BATCH = pa.RecordBatch.from_arrays([pa.array([1, 2]), pa.array(["a", "b"])], ["n", "s"])


def test_append_adds_at_the_end_and_replaces_in_place() -> None:
    made = schema.append(BATCH, {"n": pa.array(["x", "y"]), "m": pa.array([3, 4])})
    assert made.to_pydict() == {"n": ["x", "y"], "s": ["a", "b"], "m": [3, 4]} and made.schema.names == ["n", "s", "m"]
    assert BATCH.schema.names == ["n", "s"]


def test_without_leaves_the_rest_and_minds_no_absent_name() -> None:
    assert schema.without(BATCH, "n", "gone").to_pydict() == {"s": ["a", "b"]}


@given(st.lists(st.text(st.characters(codec="utf-8")), max_size=10))
def test_keys_are_the_first_63_bits_of_the_hash(ids: list[str]) -> None:
    made = schema.keys(pa.array(ids, pa.string()))
    assert made.type == pa.int64() and made.null_count == 0
    assert made.to_pylist() == [int(sha256(one.encode()).hexdigest(), 16) >> (256 - 63) for one in ids]
