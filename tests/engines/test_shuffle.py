"""Whole groups from any batches."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.core.errors import DataError
from dolma.engines import shuffle


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 60), max_size=30), st.integers(1, 40), st.integers(5, 50), st.integers(20, 80))
def test_every_row_is_given_once_and_no_group_is_split_unseen(sizes: list[int], step: int, chunk: int, cap: int) -> None:
    key = np.repeat(np.arange(len(sizes)), sizes)
    whole = pa.record_batch({"k": pa.array(key, pa.int64()), "row": pa.array(np.arange(len(key)), pa.int64())})
    parts = [whole.slice(i, step) for i in range(0, len(key), step)]
    old, shuffle.CHUNK_ROWS = shuffle.CHUNK_ROWS, chunk
    try:
        chunks = list(shuffle.whole_groups(parts, ("k",), cap, True, "x"))
    finally:
        shuffle.CHUNK_ROWS = old
    rows, open_key = [], None
    for batch, starts, cont in chunks:
        keys = batch.column("k").to_numpy()
        assert starts[0] == 0 and (keys[starts[1:]] != keys[starts[1:] - 1]).all()
        assert cont == (open_key is not None and keys[0] == open_key)
        if cont:
            assert batch.column("row")[0].as_py() == int(np.searchsorted(key, keys[0]))
        rows += batch.column("row").to_pylist()[int(cont) :]
        open_key = keys[-1]
    assert rows == list(range(len(key)))
    for n in {k for k, size in enumerate(sizes) if size < min(cap, chunk)}:
        assert sum(n in batch.column("k").to_pylist() for batch, _, _ in chunks) == 1


def test_a_giant_group_is_refused_by_a_step_that_cannot_split_it() -> None:
    batch = pa.record_batch({"k": pa.array([1] * 70_000, pa.int64())})
    with pytest.raises(DataError, match="more rows than this step can take"):
        list(shuffle.whole_groups([batch, batch], ("k",), 1000, False, "x"))


def test_buckets_do_not_depend_on_batches_and_spread() -> None:
    keys = pa.record_batch({"k": pa.array(np.arange(10_000), pa.int64())})
    whole = shuffle.bucket(keys, ("k",), 16)
    parts = np.concatenate([shuffle.bucket(keys.slice(i, 777), ("k",), 16) for i in range(0, 10_000, 777)])
    assert (whole == parts).all() and np.bincount(whole, minlength=16).min() > 500


def test_a_null_key_is_refused() -> None:
    with pytest.raises(DataError, match="non-null int64"):
        shuffle.bucket(pa.record_batch({"k": pa.array([1, None], pa.int64())}), ("k",), 4)
