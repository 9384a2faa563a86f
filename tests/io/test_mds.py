"""MosaicML shards: what is written is read back by Streaming, and an index from somebody else is not believed."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.core import manifest as manifests
from dolma.core.errors import DataError
from dolma.core.manifest import Manifest
from dolma.io import mds
from dolma.verify import verify

SCHEMA = pa.schema(
    [
        ("stream", pa.string()),
        ("source", pa.string()),
        ("topic", pa.string()),
        ("vigintile", pa.int32()),
        ("tokens", pa.large_list(pa.uint32())),
        ("doc_keys", pa.list_(pa.int64())),
        ("loss_mask", pa.large_list(pa.uint8())),
        ("id", pa.large_string()),
        ("n", pa.int32()),
    ]
)


def rows(stream: str, count: int, first: int = 0) -> list[dict[str, Any]]:
    source, topic, vigintile = stream.split("/")
    return [
        {
            "stream": stream, "source": source, "topic": topic, "vigintile": int(vigintile), "tokens": ([n, 2**32 - 1] * 6)[: n % 11 + 1],
            "doc_keys": [n, -(2**63)], "loss_mask": [1, 0], "id": f"d\u00e9{n}", "n": n,
        }
        for n in range(first, first + count)
    ]  # fmt: skip


def write(root: Path, *streams: list[dict[str, Any]], size: int = 7) -> Path:
    """A dataset `shard/x` of these streams below `root`; its folder."""
    table = pa.Table.from_pylist([row for stream in streams for row in stream], schema=SCHEMA)
    folder = root / "shard/x"
    files = mds.write(table.to_batches(max_chunksize=size), folder)
    sums = {name: sum(getattr(file, name) for file in files) for name in ("rows", "tokens", "bytes")}
    manifests.save(folder, Manifest(dataset="shard/x", fingerprint="f", table="sequence", format="mds", files=files, **sums))
    return folder


@pytest.fixture
def opened() -> Iterator[Callable[..., Any]]:
    """`opened({folder: repeat})`: a StreamingDataset; the shared memory that it holds is given back."""
    streaming = pytest.importorskip("streaming")
    from streaming.base.util import clean_stale_shared_memory

    def one(parts: dict[Path, float], **options: Any) -> Any:
        streams = [streaming.Stream(local=str(folder), repeat=repeat) for folder, repeat in parts.items()]
        return streaming.StreamingDataset(streams=streams, batch_size=1, num_canonical_nodes=1, **options)

    yield one
    clean_stale_shared_memory()


def plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in row.items()}


def inside(stream: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows without what is told once a stream."""
    return [{name: value for name, value in row.items() if name not in ("stream", *mds.CONSTANTS)} for row in stream]


def test_what_is_written_is_read_back_by_streaming(tmp_path: Path, opened: Callable[..., Any]) -> None:
    stream = rows("web/a/3", 20)
    folder = write(tmp_path, stream)
    dataset = opened({folder / "web/a/3": 1}, shuffle=False)
    assert [plain(dataset[n]) for n in range(len(dataset))] == inside(stream)
    assert dataset[2]["tokens"].dtype == np.uint32 and dataset[2]["loss_mask"].dtype == np.uint8


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(1, 12))
def test_streams_are_told_apart_however_the_rows_arrive(tmp_path_factory: pytest.TempPathFactory, counts: list[int], size: int) -> None:
    streams = {f"web/t{n}/{n}": rows(f"web/t{n}/{n}", count, 100 * n) for n, count in enumerate(counts)}
    folder = write(tmp_path_factory.mktemp(uuid4().hex), *streams.values(), size=size)
    for name, stream in streams.items():
        assert [plain(row) for row in mds.read(folder, name)] == inside(stream)
    told = mds.streams(folder).to_pylist()
    assert [row["stream"] for row in told] == list(streams)
    for row, (name, stream) in zip(told, streams.items(), strict=True):
        assert (row["source"], row["topic"], row["vigintile"]) == (stream[0]["source"], stream[0]["topic"], stream[0]["vigintile"]), name
        assert (row["sequences"], row["tokens"]) == (len(stream), sum(len(one["tokens"]) for one in stream))


def test_bytes_do_not_depend_on_batches_nor_on_shard_borders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mds, "SHARD_BYTES", 1500)
    stream = rows("web/a/3", 60)
    made = [manifests.load(write(tmp_path / str(size), stream, size=size)).files for size in (1, 13, 60)]
    assert made[0] == made[1] == made[2] and len(made[0]) > 3
    assert [file.rows for file in made[0]][-1] == 0 and sum(file.rows for file in made[0]) == 60  # the index comes last and holds no row
    assert [plain(row) for row in mds.read(tmp_path / "13/shard/x", "web/a/3")] == inside(stream)
    left = iter(len(row["tokens"]) for row in stream)
    assert [file.tokens for file in made[0]] == [sum(next(left) for _ in range(file.rows)) for file in made[0]]


def test_rows_of_a_stream_that_do_not_stand_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="do not stand together"):
        write(tmp_path, rows("web/a/1", 2), rows("web/b/1", 2), rows("web/a/1", 2))


@pytest.mark.parametrize(("name", "value"), [("lang", "de"), ("source", "pdf"), ("vigintile", 2)])
def test_what_is_told_once_a_stream_is_the_same_in_all_its_rows(tmp_path: Path, name: str, value: object) -> None:
    schema = SCHEMA.append(pa.field("lang", pa.string()))
    stream = [{**row, "lang": "en"} for row in rows("web/a/1", 9)]
    files = mds.write(pa.Table.from_pylist(stream, schema=schema).to_batches(max_chunksize=4), tmp_path / "one")
    assert all(file.extra == {"source": "web", "topic": "a", "vigintile": 1, "lang": "en"} for file in files)
    stream[7][name] = value
    with pytest.raises(DataError, match=f"its rows differ in `{name}`"):
        mds.write(pa.Table.from_pylist(stream, schema=schema).to_batches(max_chunksize=4), tmp_path / "two")


def test_an_empty_list_is_refused_with_its_stream(tmp_path: Path) -> None:
    (row,) = rows("web/a/1", 1)
    with pytest.raises(DataError, match="stream web/a/1: a row cannot be written"):
        write(tmp_path, [row | {"doc_keys": []}])


@pytest.mark.parametrize("name", ["../out/1", "/out/1", "a/../../out"])
def test_a_stream_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    table = pa.table({"stream": [name], "n": [1]})
    with pytest.raises(DataError, match="leaves its folder"):
        mds.write(table.to_batches(), tmp_path / "x")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [pa.float32(), pa.large_list(pa.float32()), pa.binary(), pa.bool_(), pa.struct([("a", pa.int64())])])
def test_columns_that_would_need_a_pickle_are_refused(kind: pa.DataType) -> None:
    with pytest.raises(DataError, match="type that shards do not hold") as error:
        mds.encoding(kind)
    assert error.value.got == str(kind)


def test_each_sequence_of_a_mix_is_served_floor_or_ceil_of_its_rate(tmp_path: Path, opened: Callable[..., Any]) -> None:
    rates = {"web/a/1": 0.4, "web/a/2": 1.0, "web/b/1": 2.3, "code/a/0": 6.5}
    folder = write(tmp_path, *(rows(name, 20, 100 * n) for n, name in enumerate(rates)))
    dataset = opened({folder / name: rate for name, rate in rates.items()}, shuffle=True, shuffle_seed=3)
    served = Counter(row["n"] for row in dataset)
    for n, rate in enumerate(rates.values()):
        mine = [served[100 * n + row] for row in range(20)]
        assert set(mine) <= {int(np.floor(rate)), int(np.ceil(rate))} and sum(mine) == int(20 * rate)
    assert sum(served.values()) == sum(int(20 * rate) for rate in rates.values())


def edited(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "web/a/3/index.json"
    index = json.loads(path.read_bytes())
    change(index["shards"][0])
    path.write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda shard: shard["raw_data"].update(basename="../../../secret.mds"), "shards[0].raw_data.basename"),
        (lambda shard: shard["raw_data"].update(basename=".."), "shards[0].raw_data.basename"),
        (lambda shard: shard["raw_data"].update(basename="/dev/null"), "shards[0].raw_data.basename"),
        (lambda shard: shard["raw_data"].update(basename="link.mds"), "shards[0].raw_data.basename"),
        (lambda shard: shard["raw_data"].update(basename="gone.mds"), "shards[0].raw_data.basename"),
        (lambda shard: shard["raw_data"].update(bytes=shard["raw_data"]["bytes"] + 1), "shards[0].raw_data.bytes"),
        (lambda shard: shard.update(column_encodings=["pkl", *shard["column_encodings"][1:]]), "shards[0].column_encodings"),
        (lambda shard: shard.update(raw_data=None), "shards[0]"),
        (lambda shard: shard.pop("column_encodings"), "shards[0]"),
    ],
)
def test_an_index_that_cannot_be_trusted_is_refused_with_its_field(tmp_path: Path, change: Callable[[dict[str, Any]], Any], field: str) -> None:
    folder = write(tmp_path, rows("web/a/3", 5))
    (tmp_path / "secret.mds").write_bytes((folder / "web/a/3/shard.00000.mds").read_bytes())
    (folder / "web/a/3/link.mds").symlink_to(tmp_path / "secret.mds")
    edited(folder, change)
    with pytest.raises(DataError) as error:
        next(mds.read(folder, "web/a/3"))
    assert error.value.where.endswith(f"index.json: {field}") and error.value.code == 3


def test_an_index_that_is_no_json_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, rows("web/a/3", 5))
    for content in ("{", "[]", "{}", "\x00"):
        (folder / "web/a/3/index.json").write_text(content)
        with pytest.raises(DataError, match="cannot be trusted"):
            next(mds.read(folder, "web/a/3"))


def test_an_unknown_stream_names_those_that_exist(tmp_path: Path) -> None:
    folder = write(tmp_path, rows("web/a/3", 5))
    with pytest.raises(DataError, match="web/a/3"):
        next(mds.read(folder, "web/a/4"))
    (tmp_path / "shard/y").mkdir()
    (tmp_path / "shard/y/index.json").write_text("{}")
    with pytest.raises(DataError, match="leaves its folder"):
        next(mds.read(folder, "../y"))


@pytest.mark.parametrize("name", ["shard.00000.mds", "index.json"])
def test_a_flipped_bit_of_a_shard_or_index_is_found_by_verify(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path, rows("web/a/3", 5), rows("web/b/1", 5))
    assert verify(tmp_path, "shard/x").errors == ()
    path = folder / "web/b/1" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    (error,) = verify(tmp_path, "shard/x").errors
    assert error.where == f"shard/x/web/b/1/{name}" and "bytes were changed" in error.what
