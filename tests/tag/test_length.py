"""Bytes and characters."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from dolma.tag.length import tag_length


@given(st.lists(st.text(st.characters(codec="utf-8")) | st.none(), max_size=10))
def test_lengths_are_those_of_python(texts: list[str | None]) -> None:
    made = tag_length(pa.RecordBatch.from_arrays([pa.array(texts, pa.large_string())], ["text"]))
    assert made.column("n_bytes").to_pylist() == [len((text or "").encode()) for text in texts]
    assert made.column("n_chars").to_pylist() == [len(text or "") for text in texts]
    assert made.schema.field("n_bytes").type == made.schema.field("n_chars").type == pa.int32()
