"""`dolma verify` finds every kind of damage and names the shard."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dolma.core import manifest as manifests
from dolma.core.errors import DataError
from dolma.core.files import sha256
from dolma.verify import verify
from tests.built import build, dataset


@pytest.fixture
def root(tmp_path: Path) -> Path:
    counts = {"0:keep.in": 5, "0:keep.out": 3, "0:keep.dropped.short": 2}
    dataset(tmp_path, "pool/x", pa.table({"a": [1, 2, 3]}), kind="rows", counts=counts)
    return tmp_path


def test_a_sound_dataset_has_no_errors(root: Path) -> None:
    got = verify(root, "pool/x")
    assert (got.files, got.errors) == (1, ())


def test_a_flipped_bit_is_found_and_the_shard_named(root: Path) -> None:
    path = root / "pool/x/00000.parquet"
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    path.write_bytes(content)
    (error,) = verify(root, "pool/x").errors
    assert error.where == "pool/x/00000.parquet"
    assert error.code == 3
    assert error.got == sha256(path)[:16]


def test_missing_and_longer_shards_are_found(root: Path) -> None:
    path = root / "pool/x/00000.parquet"
    path.write_bytes(path.read_bytes() + b"x")
    assert "length" in verify(root, "pool/x").errors[0].what
    path.unlink()
    assert "missing" in verify(root, "pool/x").errors[0].what


def test_a_ledger_that_does_not_balance_is_found(root: Path) -> None:
    found = manifests.load(root / "pool/x")
    manifests.save(root / "pool/x", found.model_copy(update={"counts": {**found.counts, "0:keep.dropped.short": 1}}))
    (error,) = verify(root, "pool/x").errors
    assert "balance" in error.what


def test_sums_that_do_not_add_up_are_found(root: Path) -> None:
    found = manifests.load(root / "pool/x")
    manifests.save(root / "pool/x", found.model_copy(update={"rows": 4}))
    assert [error.what for error in verify(root, "pool/x").errors] == ["the shards do not add up to the manifest's rows"]


def test_a_shard_swapped_for_a_consistent_one_with_other_rows_is_found(root: Path) -> None:
    path = root / "pool/x/00000.parquet"
    pq.write_table(pa.table({"a": [1]}), path)
    found = manifests.load(root / "pool/x")
    file = found.files[0].model_copy(update={"bytes": path.stat().st_size, "sha256": sha256(path)})
    manifests.save(root / "pool/x", found.model_copy(update={"files": [file], "bytes": file.bytes}))
    (error,) = verify(root, "pool/x").errors
    assert (error.got, error.expected) == (1, 3)


def test_no_manifest_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no manifest"):
        verify(tmp_path, "pool/x")


def test_a_training_stage_counts_tokens_that_no_file_holds(tmp_path: Path) -> None:
    build(tmp_path)
    assert manifests.load(tmp_path / "train/sft").tokens > 0
    assert verify(tmp_path, "train/sft").errors == ()
