"""Whole groups from any batches."""

import resource
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EMFILE
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma import table
from dolma.core.errors import DataError
from dolma.engines import groups, shuffle


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 60), max_size=30), st.integers(1, 40), st.integers(5, 50), st.integers(20, 80))
def test_every_row_is_given_once_and_no_group_is_split_unseen(sizes: list[int], step: int, chunk: int, cap: int) -> None:
    key = np.repeat(np.arange(len(sizes)), sizes)
    whole = pa.record_batch({"k": pa.array(key, pa.int64()), "row": pa.array(np.arange(len(key)), pa.int64())})
    parts = [whole.slice(i, step) for i in range(0, len(key), step)]
    with limits(chunk, 1 << 20):
        chunks = list(groups.whole_groups(parts, ("k",), cap, True, "x"))
    rows, open_key, chunked = [], None, groups.Chunked()
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


@contextmanager
def limits(rows: int, size: int) -> Iterator[None]:
    old = groups.CHUNK_ROWS, groups.CHUNK_BYTES
    groups.CHUNK_ROWS, groups.CHUNK_BYTES = rows, size
    try:
        yield
    finally:
        groups.CHUNK_ROWS, groups.CHUNK_BYTES = old


@st.composite
def texts(draw: st.DrawFn) -> pa.RecordBatch:
    """Sorted groups with strings and lists, some NULL, at an offset in their buffers."""
    sizes = draw(st.lists(st.integers(1, 25), max_size=12))
    key = np.repeat(np.arange(len(sizes)), sizes)
    long = [draw(st.one_of(st.none(), st.integers(0, 60).map("é".__mul__))) for _ in key]
    lists = [draw(st.one_of(st.none(), st.lists(st.integers(0, 9), max_size=9))) for _ in key]
    kinds = {"k": pa.int64(), "row": pa.int64(), "text": pa.large_string(), "list": pa.list_(pa.int32())}
    columns = [[-1, *key.tolist()], [-1, *range(len(key))], ["before", *long], [[1, 2, 3], *lists]]
    return pa.RecordBatch.from_pydict(dict(zip(kinds, columns, strict=True)), schema=pa.schema(list(kinds.items()))).slice(1)


@settings(max_examples=150, deadline=None)
@given(texts(), st.lists(st.integers(0, 30), max_size=40), st.integers(1, 20), st.integers(1, 40), st.integers(1, 300), st.booleans())
def test_chunks_do_not_depend_on_batches_and_stay_in_their_bounds(
    whole: pa.RecordBatch, cuts: list[int], cap: int, rows: int, size: int, splittable: bool
) -> None:
    borders = sorted({0, whole.num_rows, *(cut * whole.num_rows // 30 for cut in cuts)})
    parts = [whole.slice(start, end - start) for start, end in pairwise(borders)]
    copied = [part.take(pa.array(range(part.num_rows))) for part in parts]
    of = [len((row["text"] or "").encode()) + 4 * len(row["list"] or []) for row in whole.to_pylist()]
    cap, of_group = cap if splittable else 25, Counter(whole.column("k").to_pylist())
    with limits(rows, size):
        made = [list(groups.whole_groups(batches, ("k",), cap, splittable, "x")) for batches in ([whole], parts, copied, [whole.slice(0, 0), *parts])]
    seen = [[(batch.to_pylist(), starts.tolist(), cont) for batch, starts, cont in chunks] for chunks in made]
    assert all(one == seen[0] for one in seen)
    assert [row["row"] for batch, _, cont in seen[0] for row in batch[int(cont) :]] == list(range(whole.num_rows))
    for batch, starts, cont in seen[0]:
        new = [of[row["row"]] for row in batch[int(cont) :]]
        if len(starts) == 1 and splittable:  # a group, or a piece of one
            assert len(new) > 1 or cont or cap == 1 or of_group[batch[0]["k"]] == 1
            assert len(new) <= max(cap, rows) and (len(new) == 2 or sum(new[:-1]) < size)
        elif len(starts) > 1:  # with the rest of a group before them
            assert len(new) <= rows and sum(new) <= size


@settings(max_examples=60, deadline=None)
@given(texts())
def test_bytes_of_rows_are_those_of_their_values(whole: pa.RecordBatch) -> None:
    expected = [len((row["text"] or "").encode()) + 4 * len(row["list"] or []) for row in whole.to_pylist()]
    nested = pa.record_batch({"n": pa.array([[{"a": "xy", "b": 1}, {"a": None, "b": 2}], None, []], pa.list_(pa.struct({"a": pa.string(), "b": pa.int32()})))})
    assert table.long_bytes(whole).tolist() == expected and table.long_bytes(nested.slice(0, 3)).tolist() == [10, 0, 0]


def test_a_group_of_long_texts_is_given_in_pieces_before_it_fills_the_memory() -> None:
    line = pa.array(["x" * 10_000] * 100, pa.large_string())
    batch = pa.record_batch({"k": pa.array(np.zeros(100, np.int64)), "text": line})
    with limits(65_536, 3_000_000):
        taken, read = [], 0

        def batches() -> Iterator[pa.RecordBatch]:
            nonlocal read
            for _ in range(20):
                read += 1
                yield batch

        for chunk, _, cont in groups.whole_groups(batches(), ("k",), 20_000, True, "x"):
            taken.append((chunk.num_rows - int(cont), read))
    assert taken == [(300, n) for n in (4, 7, 10, 13, 16, 19)] + [(200, 20)]


def test_a_group_that_may_not_be_split_is_refused_while_it_grows() -> None:
    batch, read = pa.record_batch({"k": pa.array([7] * 10, pa.int64()), "text": ["x" * 100] * 10}), 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal read
        for _ in range(1000):
            read += 1
            yield batch

    with pytest.raises(DataError, match="more bytes than this step can take\n  got over 2,500, expected at most 2,500 bytes\n  mend: raise `groups`"):
        list(groups.whole_groups(batches(), ("k",), 10_000, False, "x", cap_bytes=2500, mend="raise `groups`"))
    assert read == 3


def test_a_growing_group_is_not_copied_again_with_each_batch() -> None:
    whole = pa.record_batch({"k": pa.array(np.zeros(400_000, np.int64)), "text": pa.array(["x" * 100] * 400_000)})
    parts = [whole.slice(start, 1000) for start in range(0, 400_000, 1000)]
    before = pa.total_allocated_bytes()
    given, most = 0, 0
    for batch, _, _ in groups.whole_groups(parts, ("k",), 1_000_000, False, "x"):
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
        list(groups.whole_groups([batch, batch], ("k",), 1000, False, "x"))


def test_buckets_do_not_depend_on_batches_and_spread() -> None:
    keys = pa.record_batch({"k": pa.array(np.arange(10_000), pa.int64())})
    whole = shuffle.bucket(keys, ("k",), 16)
    parts = np.concatenate([shuffle.bucket(keys.slice(i, 777), ("k",), 16) for i in range(0, 10_000, 777)])
    assert (whole == parts).all() and np.bincount(whole, minlength=16).min() > 500


def test_buckets_are_splitmix64_of_the_key_columns_beyond_the_rows_that_are_mixed_at_once() -> None:
    rows, mask = 2 * shuffle.MIXED + 5, (1 << 64) - 1
    keys = pa.record_batch({"k": pa.array(np.arange(rows) - 7), "n": pa.array(np.arange(rows) * 3)})
    found = shuffle.bucket(keys, ("k", "n"), 1000)
    for row in (0, shuffle.MIXED - 1, shuffle.MIXED, 2 * shuffle.MIXED, rows - 1):
        state = 0
        for value in (row - 7, row * 3):
            state = (state + value + 0x9E3779B97F4A7C15) & mask
            state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & mask
            state = (state ^ (state >> 27)) * 0x94D049BB133111EB & mask
            state ^= state >> 31
        assert found[row] == state % 1000


def test_a_null_key_is_refused() -> None:
    with pytest.raises(DataError, match="non-null int64"):
        shuffle.bucket(pa.record_batch({"k": pa.array([1, None], pa.int64())}), ("k",), 4)
