"""What runs served, as the views show it: streams that moved, runs that are damaged, names that collide."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dolma import sql
from dolma.core import manifest as manifests
from dolma.core.files import sha256
from dolma.core.manifest import File, Input, Manifest
from dolma.served import check
from dolma.verify import verify
from tests.built import dataset

HELD = {"web": 4, "code": 2, "math": 3}  # sequences of each source


def pack(root: Path, folders: dict[str, str]) -> Manifest:
    """Shards of one stream a source, each in the folder that is named; those of a source hold the same wherever they stand."""
    files = [
        File(name=f"{folder}/shard.00000.mds", rows=HELD[source], tokens=HELD[source], bytes=1, sha256=f"{source:0>64}", extra={"source": source})
        for source, folder in folders.items()
    ]
    return dataset(root, "shard/pool", None, kind="sequence", format="mds", files=files)


def mix(root: Path, folders: dict[str, str]) -> Manifest:
    rows = [{"dataset": "shard/pool", "stream": folder, "repeats": 1.0, "sequences": HELD[source], "tokens": 0} for source, folder in folders.items()]
    return dataset(root, "mix/one", pa.Table.from_pylist(rows), kind="mix")


def train(root: Path, name: str, pool: Manifest, folders: dict[str, str], *, content: bool = True) -> Manifest:
    """The manifest and the record of a run of one epoch; each update is a sequence."""
    streams = [
        {"number": n, "dataset": "shard/pool", "stream": folder, "rows": HELD[source], "repeats": 1.0, "content": manifests.contents(pool)[folder]}
        for n, (source, folder) in enumerate(folders.items())
    ]
    served = [(n, row) for n, one in enumerate(streams) for row in range(one["rows"])]
    rows = {"update": range(1, len(served) + 1), "stream": [n for n, _ in served], "row": [row for _, row in served]}
    tables = {"rows": pa.table({key: pa.array(column, pa.int32()) for key, column in rows.items()}), "streams": pa.Table.from_pylist(streams)}
    (root / name / "served").mkdir(parents=True)
    files = []
    for key, made in tables.items():
        path = root / name / f"served/{key}.parquet"
        pq.write_table(made if content or key == "rows" else made.drop(["content"]), path)
        files.append(File(name=f"served/{key}.parquet", rows=len(made), bytes=path.stat().st_size, sha256=sha256(path)))
    recipe = {"data": {"manifest": "mix/one", "seed": 0}, "objective": {"kind": "lm"}, "batch": {"sequences": 1}}
    inputs = [Input(name="mix/one", fingerprint=manifests.load(root / "mix/one").fingerprint)]
    more = {"kind": "checkpoint", "format": "safetensors", "recipe": recipe, "counts": {"updates": len(served)}, "inputs": inputs}
    return dataset(root, name, None, files=files, **more)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A run over three streams."""
    folders = {"web": "0/x", "code": "1/x", "math": "2/x"}
    pool = pack(tmp_path, folders)
    mix(tmp_path, folders)
    train(tmp_path, "train/pre", pool, folders)
    return tmp_path


def joined(root: Path) -> list[tuple[str, str, int | None]]:
    text = "SELECT s.source, stream, s.served FROM served s JOIN mixes m USING (mix, dataset, stream) WHERE m.source = s.source ORDER BY 1"
    return [tuple(row.values()) for row in sql.query(root, text).to_pylist()]


def test_streams_that_moved_are_joined_to_the_mix_by_what_they_hold(root: Path) -> None:
    assert joined(root) == [("code", "1/x", 2), ("math", "2/x", 3), ("web", "0/x", 4)]
    moved = {"math": "0/x", "web": "1/x", "code": "9/x"}
    pack(root, moved)
    mix(root, moved)
    assert joined(root) == [("code", "9/x", 2), ("math", "0/x", 3), ("web", "1/x", 4)]


def test_a_stream_that_is_gone_is_joined_to_none_that_took_its_folder(root: Path) -> None:
    pack(root, {"math": "0/x", "code": "1/x"})
    got = sql.query(root, "SELECT number, stream, source FROM served_streams ORDER BY 1").to_pylist()
    assert [tuple(row.values()) for row in got] == [(0, None, None), (1, "1/x", "code"), (2, "0/x", "math")]
    assert sql.query(root, "SELECT served FROM served ORDER BY 1").to_pylist() == [{"served": 2}, {"served": 3}, {"served": 4}]


def test_a_record_that_does_not_say_what_its_streams_held_is_known_by_their_names(root: Path) -> None:
    folders = {"web": "0/x", "code": "1/x"}
    train(root, "train/old", manifests.load(root / "shard/pool"), folders, content=False)
    pack(root, {"web": "0/x", "code": "7/x"})
    got = sql.query(root, "SELECT stream, source FROM served_streams WHERE stage = 'old' ORDER BY number").to_pylist()
    assert [tuple(row.values()) for row in got] == [("0/x", "web"), ("1/x", None)]


@pytest.mark.parametrize("name", ["streams", "rows"])
@pytest.mark.parametrize("damage", ["gone", "cut", "changed"])
def test_a_damaged_run_is_left_out_and_the_others_answer(root: Path, caplog: pytest.LogCaptureFixture, name: str, damage: str) -> None:
    train(root, "train/whole", manifests.load(root / "shard/pool"), {"web": "0/x"})
    path = root / f"train/pre/served/{name}.parquet"
    content = path.read_bytes()
    path.unlink()
    if damage != "gone":
        path.write_bytes(content[:-1] if damage == "cut" else b"\xff" * len(content))
    assert sql.query(root, "SELECT stage, served FROM served").to_pylist() == [{"stage": "whole", "served": 4}]
    assert sql.query(root, "SELECT DISTINCT stage FROM served_rows").to_pylist() == [{"stage": "whole"}]
    assert "train/pre" in caplog.text and manifests.RESTORE in caplog.text and "manifest.json" not in caplog.text
    (error,) = verify(root, "train/pre").errors
    assert error.mend == manifests.RESTORE


def test_two_runs_of_one_short_name_are_two_stages(root: Path) -> None:
    train(root, "pre", manifests.load(root / "shard/pool"), {"web": "0/x"})
    got = sql.query(root, "SELECT stage, sum(served)::BIGINT AS n FROM served GROUP BY 1 ORDER BY 1").to_pylist()
    assert got == [{"stage": "pre", "n": 4}, {"stage": "train/pre", "n": 9}]


def test_a_run_that_does_not_name_its_mix_is_refused(root: Path) -> None:
    found = manifests.load(root / "train/pre")
    _, errors = check(root, found) or ([], [])
    assert not any("trained on" in error.what for error in errors)
    _, errors = check(root, found.model_copy(update={"inputs": []})) or ([], [])
    assert [error.what for error in errors] == ["its manifest does not say what it was trained on"] and "mix/one" in str(errors[0])
