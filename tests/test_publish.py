"""A published mix serves each sequence floor or ceil of its rate, and the same ones for the same seed."""

import math
from pathlib import Path
from shutil import copytree

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma import sql, stats
from dolma.core import manifest as manifests
from dolma.core.errors import ConfigError, DataError
from dolma.publish import _splitmix, copies, publish
from dolma.verify import verify
from tests.built import dataset


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 300), st.floats(0, 8), st.integers(0, 5))
def test_copies_are_floor_or_ceil_and_add_up(sequences: int, repeats: float, seed: int) -> None:
    got = copies(sequences, repeats, "web/science/18", seed)
    assert set(got.tolist()) <= {math.floor(repeats), math.floor(repeats) + 1}
    assert abs(int(got.sum()) - sequences * repeats) <= 0.5 + 1e-6


def test_copies_depend_on_seed_and_stream_alone() -> None:
    one = copies(200, 1.5, "a", 0)
    assert np.array_equal(one, copies(200, 1.5, "a", 0))
    assert not np.array_equal(one, copies(200, 1.5, "a", 1))
    assert not np.array_equal(one, copies(200, 1.5, "b", 0))


def test_splitmix_gives_the_published_numbers() -> None:
    # the first outputs of SplitMix64 seeded with 1234567, as its reference implementation prints them
    assert _splitmix(1234567, 3).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def _sequences(stream: str, start: int, count: int) -> pa.RecordBatch:
    tokens = pa.array([[start + i] * 4 for i in range(count)], pa.large_list(pa.uint32()))
    keys, lengths = [[start + i] for i in range(count)], [[4]] * count
    columns = {
        "stream": pa.array([stream] * count), "source": pa.array(["web"] * count), "topic": pa.array(["science"] * count),
        "vigintile": pa.array([1] * count, pa.int32()), "tokens": tokens,
        "doc_keys": pa.array(keys, pa.list_(pa.int64())), "doc_lens": pa.array(lengths, pa.list_(pa.int32())),
    }  # fmt: skip
    return pa.RecordBatch.from_pydict(columns)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    mds = pytest.importorskip("dolma.io.mds")
    files = mds.write(iter([_sequences("a", 0, 10), _sequences("b", 100, 4)]), tmp_path / "shard/pool")
    dataset(tmp_path, "shard/pool", None, kind="sequence", format="mds", files=files)
    mix = pa.table({"dataset": ["shard/pool"] * 2, "stream": ["a", "b"], "repeats": [1.5, 0.0], "sequences": [15, 0], "tokens": [60, 0]})
    dataset(tmp_path, "mix/pretrain", mix, kind="mix")
    return tmp_path


def test_publish_writes_what_the_mix_says(root: Path) -> None:
    from dolma.io import mds

    got = publish(root, "mix/pretrain", root / "out")
    assert (got.rows, got.what, got.tokens) == (15, "sequences", 60)
    first = [int(row["tokens"][0]) for row in mds.read(root / "out", "pretrain")]
    assert sorted(set(first)) == list(range(10))
    assert {first.count(value) for value in first} == {1, 2}
    assert verify(root, "out").errors == ()
    assert manifests.load(root / "out").rows == 15


def test_publish_twice_gives_the_same_bytes(root: Path) -> None:
    for name in ("one", "two"):
        publish(root, "mix/pretrain", root / name, seed=3)
    assert manifests.load(root / "one") == manifests.load(root / "two")


def test_publish_refuses_a_folder_that_exists_and_what_is_no_mix(root: Path) -> None:
    with pytest.raises(ConfigError, match="exists"):
        publish(root, "mix/pretrain", root)
    with pytest.raises(ConfigError, match="cannot be published"):
        publish(root, "shard/pool", root / "out")


def test_publish_refuses_a_stream_that_changed(root: Path) -> None:
    mix = pa.table({"dataset": ["shard/pool"], "stream": ["a"], "repeats": [1.0], "sequences": [11], "tokens": [44]})
    dataset(root, "mix/pretrain", mix, kind="mix")
    with pytest.raises(DataError, match="changed since"):
        publish(root, "mix/pretrain", root / "out")
    assert not (root / "out/manifest.json").exists()


def test_a_copy_below_the_root_stands_beside_the_original(root: Path) -> None:
    publish(root, "mix/pretrain", root / "given/away")
    known = stats.datasets(root)
    assert list(known) == ["given/away", "mix/pretrain", "shard/pool"] and known["mix/pretrain"] == manifests.load(root / "mix/pretrain")
    assert (known["given/away"].dataset, known["given/away"].recipe["copy_of"]) == ("given/away", "mix/pretrain")
    rows = sql.query(root, 'SELECT dataset, "table", rows FROM manifests').to_pylist()
    assert [tuple(row.values()) for row in rows] == [("given/away", "sequence", 15), ("mix/pretrain", "mix", 2), ("shard/pool", "sequence", 14)]
    shards = sql.query(root, "SELECT dataset, rows FROM shards WHERE name LIKE '%.mds' OR name LIKE '%.parquet' ORDER BY ALL").to_pylist()
    assert [tuple(row.values()) for row in shards] == [("given/away", 15), ("mix/pretrain", 2), ("shard/pool", 4), ("shard/pool", 10)]
    assert sql.query(root, "SELECT mix, stream, sequences FROM mixes").num_rows == 2
    assert all(not verify(root, name).errors for name in known)

    shard = next((root / "given/away").rglob("*.mds"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    (error,) = verify(root, "given/away").errors
    assert error.where.startswith("given/away/") and "publish mix/pretrain again" in error.mend and not verify(root, "mix/pretrain").errors


def test_what_is_damaged_in_the_original_is_not_hidden_by_a_copy(root: Path) -> None:
    copytree(root / "mix/pretrain", root / "mix/zz_kept")
    shard = root / "mix/pretrain" / manifests.load(root / "mix/pretrain").files[0].name
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    assert [name for name in stats.datasets(root) if verify(root, name).errors] == ["mix/pretrain"]
    assert publish(root, "mix/zz_kept", root / "out").rows == 15  # the copy is read where it lies


def test_published_documents_take_the_place_of_none(tmp_path: Path) -> None:
    pool = pa.table({"id": ["a", "b"], "key": pa.array([1, 2], pa.int64()), "source": ["web"] * 2, "text": ["x", "y"]})
    for name, above in (("pool/unique", "source/web/extract"), ("pool/documents", "pool/unique")):
        dataset(tmp_path, name, pool, counts={"0:keep.in": 2, "0:keep.out": 2}, recipe={"input": above})
    publish(tmp_path, "pool/documents", tmp_path / "source/web/given")
    copytree(tmp_path / "pool/documents", tmp_path / "pool/a_copy")
    known = stats.datasets(tmp_path)
    assert stats.reached(known) == ["pool/documents"] and stats.offspring(known, "pool/unique") == ["pool/documents"] and stats._sources(known) == []
    got = sql.query(tmp_path, "SELECT dataset, count(*) AS n FROM documents GROUP BY 1").to_pylist()
    assert got == [{"dataset": "pool/documents", "n": 2}]
