"""A manifest is whole or it is refused; without it there is no dataset."""

import math
import os
from pathlib import Path
from shutil import copytree
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma.core import manifest
from dolma.core.errors import DataError
from dolma.core.manifest import File, Manifest
from tests.built import dataset

JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(st.characters(codec="utf-8")),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3), max_leaves=8)  # fmt: skip


def made(**more: Any) -> Manifest:
    files = [File(name="00000.parquet", rows=3, bytes=5, sha256="0" * 64, extra={"topic": None})]
    return Manifest(**{"dataset": "a/b", "fingerprint": "f", "table": "rows", "rows": 3, "bytes": 5, "files": files, **more})


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), JSON, max_size=4))
def test_a_manifest_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, facts: dict[str, Any]) -> None:
    folder = tmp_path_factory.mktemp("m")
    manifest.save(folder, made(facts=facts))
    assert manifest.load(folder) == made(facts=facts)
    assert os.listdir(folder) == [manifest.NAME]


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=5))
def test_canonical_json_has_one_spelling(value: dict[str, Any]) -> None:
    assert manifest.canonical(value) == manifest.canonical(dict(reversed(list(value.items()))))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_nan_is_refused_and_the_old_manifest_stays(tmp_path: Path, number: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        manifest.canonical({"a": [number]})
    manifest.save(tmp_path, made())
    with pytest.raises(ValueError, match="JSON compliant"):
        manifest.save(tmp_path, made(facts={"loss": number}))
    assert manifest.load(tmp_path) == made()


def test_a_dataset_without_a_manifest_does_not_exist(tmp_path: Path) -> None:
    dataset(tmp_path, "a/b", pa.table({"x": [1]}), kind="rows")
    assert manifest.exists(tmp_path / "a/b")
    (tmp_path / "a/b" / manifest.NAME).unlink()
    assert not manifest.exists(tmp_path / "a/b")
    with pytest.raises(DataError, match="no manifest") as error:
        manifest.read(tmp_path / "a/b")
    assert error.value.where == str(tmp_path / "a/b") and "dolma run" in error.value.mend


def test_a_dataset_has_the_name_of_its_place(tmp_path: Path) -> None:
    dataset(tmp_path, "a/b", pa.table({"x": [1]}), kind="rows", recipe={"input": "a/c"})
    assert manifest.at(tmp_path, "a/b") == manifest.at(tmp_path, "./a/b/") == manifest.load(tmp_path / "a/b")
    copytree(tmp_path / "a/b", tmp_path / "d")
    copy = manifest.at(tmp_path, "d")
    assert (copy.dataset, copy.recipe) == ("d", {"input": "a/c", "copy_of": "a/b"}) and copy.files == manifest.load(tmp_path / "a/b").files


def test_a_manifest_damaged_anywhere_is_refused(tmp_path: Path) -> None:
    manifest.save(tmp_path, made())
    whole = (tmp_path / manifest.NAME).read_bytes().rstrip()
    for broken in (*(whole[:cut] for cut in range(0, len(whole), 40)), whole.replace(b'"rows": 3', b'"rows": "x"'), b"\xff" + whole, b"[]"):
        (tmp_path / manifest.NAME).write_bytes(broken)
        with pytest.raises(DataError, match="damaged manifest") as error:
            manifest.load(tmp_path)
        assert error.value.where == str(tmp_path / manifest.NAME)


def test_a_key_that_no_manifest_has_is_refused(tmp_path: Path) -> None:
    manifest.save(tmp_path, made())
    text = (tmp_path / manifest.NAME).read_text()
    (tmp_path / manifest.NAME).write_text(text.replace("{", '{"seconds": 3,', 1))
    with pytest.raises(DataError, match="damaged manifest"):
        manifest.load(tmp_path)


def test_a_shard_that_is_missing_longer_or_outside_is_refused(tmp_path: Path) -> None:
    file = made().files[0]
    with pytest.raises(DataError, match="no file"):
        manifest.shard(tmp_path, file)
    (tmp_path / file.name).write_bytes(b"12345")
    assert manifest.shard(tmp_path, file) == tmp_path / file.name
    (tmp_path / file.name).write_bytes(b"123456")
    with pytest.raises(DataError, match="6 bytes"):
        manifest.shard(tmp_path, file)
    (tmp_path / "in").mkdir()
    with pytest.raises(DataError, match="leaves its folder"):
        manifest.shard(tmp_path / "in", file.model_copy(update={"name": "../00000.parquet"}))


def test_rows_come_in_the_order_of_the_manifest_and_not_of_the_folder(tmp_path: Path) -> None:
    parts = [dataset(tmp_path, name, pa.table({"x": [n]}), kind="rows").files[0] for n, name in enumerate(("p", "q", "r"))]
    files = []
    for name, part in zip("cab", parts, strict=True):
        os.replace(tmp_path / "pqr"[len(files)] / part.name, tmp_path / name)
        files.append(part.model_copy(update={"name": name}))
    (tmp_path / "stray.parquet").write_bytes(b"not of this dataset")
    manifest.save(tmp_path, made(files=files))
    assert manifest.read(tmp_path).column("x").to_pylist() == [0, 1, 2]
    assert [row for batch in manifest.batches(tmp_path, ["x"]) for row in batch.column("x").to_pylist()] == [0, 1, 2]
