"""A published mix serves each sequence floor or ceil of its rate, and the same ones for the same seed."""

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
