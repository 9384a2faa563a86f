"""The sort that spills, against numpy and at a limit that does not hold its rows."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.io.spill import sort


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(-(2**62), 2**62), st.integers(0, 5)), max_size=200), st.integers(1, 60))
def test_sort_equals_numpy_for_any_batches(rows: list[tuple[int, int]], size: int) -> None:
    schema = pa.schema([("k", pa.int64()), ("n", pa.int64())])
    keys, minor = [r[0] for r in rows], [r[1] for r in rows]
    whole = pa.record_batch([pa.array(keys, pa.int64()), pa.array(minor, pa.int64())], schema=schema)
    parts = [whole.slice(i, size) for i in range(0, len(rows), size)]
    out = list(sort(pa.RecordBatchReader.from_batches(schema, parts), ["n", "k"], ""))
    got = [(a, b) for batch in out for a, b in zip(batch.column("n").to_pylist(), batch.column("k").to_pylist(), strict=True)]
    assert got == sorted(zip(minor, keys, strict=True))


@pytest.mark.slow
def test_sort_spills_to_its_folder(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    schema = pa.schema([("k", pa.int64()), ("v", pa.large_string())])
    batches = (pa.record_batch([pa.array(rng.integers(0, 2**60, 20_000)), pa.array(["x" * 400] * 20_000, pa.large_string())], schema=schema) for _ in range(30))
    last, rows = -1, 0
    for batch in sort(pa.RecordBatchReader.from_batches(schema, batches), ["k"], str(tmp_path), memory="96MB"):
        column = batch.column("k").to_numpy()
        assert column[0] >= last and (np.diff(column) >= 0).all()
        last, rows = column[-1], rows + len(column)
    assert rows == 600_000
