"""Whole groups from any batches."""

import resource
from errno import EMFILE
from pathlib import Path

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
    rows, open_key, chunked = [], None, shuffle.Chunked()
    for batch, starts, cont in chunks:
        chunked.see(batch.num_rows, starts, cont)
        keys = batch.column("k").to_numpy()
        assert starts[0] == 0 and (keys[starts[1:]] != keys[starts[1:] - 1]).all()
        assert cont == (open_key is not None and keys[0] == open_key)
        if cont:
            assert batch.column("row")[0].as_py() == int(np.searchsorted(key, keys[0]))
        rows += batch.column("row").to_pylist()[int(cont) :]
        open_key = keys[-1]
    assert rows == list(range(len(key)))
    for n, size in enumerate(sizes):
        assert sum(n in batch.column("k").to_pylist() for batch, _, _ in chunks) == -(-size // cap)
    large = [size for size in sizes if size > cap]
    assert (chunked.groups, chunked.rows) == (len(large), sum(large))


def test_a_growing_group_is_not_copied_again_with_each_batch() -> None:
    whole = pa.record_batch({"k": pa.array(np.zeros(400_000, np.int64)), "text": pa.array(["x" * 100] * 400_000)})
    parts = [whole.slice(start, 1000) for start in range(0, 400_000, 1000)]
    before = pa.total_allocated_bytes()
    given, most = 0, 0
    for batch, _, _ in shuffle.whole_groups(parts, ("k",), 1_000_000, False, "x"):
        given, most = given + batch.num_rows, max(most, pa.total_allocated_bytes() - before)
        del batch
    assert given == 400_000 and most < 1.1 * whole.nbytes


def damaged(data: bytes) -> dict[str, bytes]:
    """Cuts of every kind and a flipped bit in places all over a file."""
    cuts = {f"cut by {n}": data[:-n] for n in (1, 8, 30, 67)}
    places = np.linspace(0, len(data) - 1, 60).astype(int)
    return {**cuts, **{f"bit in {n}": data[:n] + bytes([data[n] ^ 0x10]) + data[n + 1 :] for n in places}}


def test_a_damaged_part_is_found_before_it_is_used(tmp_path: Path) -> None:
    made = np.random.default_rng(3)
    schema = pa.schema([("k", pa.int64()), ("text", pa.large_string()), ("maybe", pa.float32())])
    columns = [made.integers(0, 1 << 60, 900), [f"text {n} " * 5 for n in made.integers(0, 99, 900)], [None if n % 3 else n / 2 for n in range(900)]]
    table = pa.table([pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema)
    path = tmp_path / "a.arrow"
    shuffle._write(table, made.integers(0, 4, 900), 5, path, "a")
    whole = [shuffle.part(path, n, schema) for n in range(5)]
    assert sorted(row["k"] for batch in whole for row in batch.to_pylist()) == sorted(table["k"].to_pylist()) and whole[4].num_rows == 0
    data, found = path.read_bytes(), 0
    for what, changed in damaged(data).items():
        path.write_bytes(changed)
        for n in range(5):
            try:
                assert shuffle.part(path, n, schema).equals(whole[n]), what  # the damage lies in another part, or where nothing is read
            except DataError as error:
                assert error.where == str(path) and "made anew" in (error.mend or "")
                found += 1
    assert found > 4 * 5 + 40  # all cuts, and most bits: not those of padding
    path.unlink()
    with pytest.raises(DataError, match="No such file"):
        shuffle.part(path, 0, schema)


def test_a_machine_that_cannot_read_is_not_called_damage(tmp_path: Path) -> None:
    path, table = tmp_path / "a.arrow", pa.table({"k": pa.array([1, 2], pa.int64())})
    shuffle._write(table, np.zeros(2, np.int64), 1, path, "a")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))  # the next file cannot be opened
    try:
        with pytest.raises(OSError) as caught:
            shuffle.part(path, 0, table.schema)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert caught.value.errno == EMFILE
    assert shuffle.part(path, 0, table.schema).num_rows == 2


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
