"""MosaicML shards: one folder a stream, written from sorted rows and listed by the manifest. The corpus package's door to `streaming`."""

import itertools
import json
import warnings
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dolma.core import manifest
from dolma.core.errors import DataError, EnvironmentFault
from dolma.core.files import disk_errors, safe_join, sha256
from dolma.core.manifest import File
from dolma.core.recipe import STREAMS

CONSTANTS = ("source", "topic", "vigintile", "lang")  # what is the same in all rows of a stream: told once, in File.extra
SHARD_BYTES = 1 << 26  # bytes of a shard before the next is begun: Streaming's own default
NUMBERS = {pa.uint32(): "uint32", pa.uint8(): "uint8", pa.int32(): "int32", pa.int64(): "int64"}


@lru_cache(1)
def _writer() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from streaming import MDSWriter
    except ImportError as error:
        raise EnvironmentFault("format mds", "package `mosaicml-streaming` is missing", mend="pip install 'dolma-flow[shards]'") from error
    return MDSWriter


def encoding(kind: pa.DataType) -> str:
    """The MDS encoding of an Arrow column; never a pickle.

    Raises:
        DataError: shards cannot hold this type.
    """
    if (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and kind.value_type in NUMBERS:
        return f"ndarray:{NUMBERS[kind.value_type]}"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "str"
    if pa.types.is_integer(kind):
        return "int"
    raise DataError(
        "format mds",
        "a column has a type that shards do not hold",
        got=str(kind),
        expected="lists of integers, strings, integers",
        mend="`select` other columns",
    )


def write(batches: Iterable[pa.RecordBatch], folder: Path) -> list[File]:
    """Write rows as one folder of MDS shards a stream; the files with names relative to `folder`.

    Rows of one stream stand together. Column `stream` names its folder; `source`, `topic`, `vigintile` and `lang` are the same in all its rows.

    Raises:
        DataError: a stream comes twice, leaves the folder, holds a column that shards cannot, or has two sources, topics, vigintiles or languages.
    """
    files: list[File] = []
    seen: set[str] = set()
    for stream, rows in _by_stream(batches):
        if stream in seen:
            raise DataError(f"stream {stream}", "its rows do not stand together", got="two runs", expected="one", mend="sort by the cell before packing")
        seen.add(stream)
        files += _write_stream(stream, rows, folder)
    return files


def _by_stream(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[str, Iterator[pa.RecordBatch]]]:
    """Runs of rows with the same stream, across batches."""
    parts = (part for batch in batches if batch.num_rows for part in _runs(batch))
    held = next(parts, None)
    while held is not None:
        name = held.column("stream")[0].as_py()

        def same(first: pa.RecordBatch = held, name: str = name) -> Iterator[pa.RecordBatch]:
            nonlocal held
            yield first
            held = next(parts, None)
            while held is not None and held.column("stream")[0].as_py() == name:
                yield held
                held = next(parts, None)

        yield name, same()


def _runs(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    names = np.asarray(batch.column("stream").to_pylist(), dtype=object)
    cuts = [0, *(np.flatnonzero(names[1:] != names[:-1]) + 1).tolist(), len(names)]
    for start, end in itertools.pairwise(cuts):
        yield batch.slice(start, end - start)


def _write_stream(stream: str, parts: Iterator[pa.RecordBatch], folder: Path) -> list[File]:
    where = safe_join(folder, stream)
    first = next(parts)
    constants = {name: first.column(name)[0].as_py() for name in CONSTANTS if name in first.schema.names}
    columns = {field.name: encoding(field.type) for field in first.schema if field.name != "stream" and field.name not in constants}
    counted: list[tuple[int, int]] = []  # rows and tokens in the order of writing
    with disk_errors(where), _writer()(columns=columns, out=str(where), size_limit=SHARD_BYTES) as writer:
        for batch in itertools.chain((first,), parts):
            _check_constants(stream, batch, constants)
            for row in _rows(batch, columns):
                try:
                    writer.write(row)
                except ValueError as error:  # an empty list, above all
                    mend = "drop such rows with `keep`"
                    raise DataError(f"stream {stream}", "a row cannot be written", got=str(error), expected="no empty list", mend=mend) from error
                counted.append((1, len(row["tokens"]) if "tokens" in row else 0))
    return list(_describe(where, folder, counted, constants))


def _check_constants(stream: str, batch: pa.RecordBatch, constants: dict[str, Any]) -> None:
    for name, value in constants.items():
        if other := [found for found in pc.unique(batch.column(name)).to_pylist() if found != value]:
            mend = f"drop or rename the column (`select`, `set`), or make a stream of each `{name}`"
            raise DataError(f"stream {stream}", f"its rows differ in `{name}`, which is told once", got=other[0], expected=value, mend=mend)


def _rows(batch: pa.RecordBatch, columns: dict[str, str]) -> Iterator[dict[str, Any]]:
    values: dict[str, Any] = {}
    for name, kind in columns.items():
        column = batch.column(name)
        if kind.startswith("ndarray"):
            flat, offsets = column.values.to_numpy(zero_copy_only=False), column.offsets.to_numpy()
            values[name] = [flat[a:b] for a, b in itertools.pairwise(offsets)]
        else:
            values[name] = column.to_pylist()
    for n in range(batch.num_rows):
        yield {name: column[n] for name, column in values.items()}


def _describe(where: Path, folder: Path, counted: list[tuple[int, int]], constants: dict[str, Any]) -> Iterator[File]:
    start = 0
    for shard in json.loads((where / "index.json").read_bytes())["shards"]:
        path = where / shard["raw_data"]["basename"]
        part = counted[start : start + shard["samples"]]
        start += shard["samples"]
        size = path.stat().st_size
        name = str(path.relative_to(folder))
        yield File(name=name, rows=len(part), tokens=sum(t for _, t in part), bytes=size, sha256=sha256(path), extra=constants)
    index = where / "index.json"
    yield File(name=str(index.relative_to(folder)), rows=0, bytes=index.stat().st_size, sha256=sha256(index), extra=constants)


def streams(folder: Path, dataset: str | None = None) -> pa.Table:
    """One row a stream of an MDS dataset: dataset (by default as its manifest says), stream (its folder), source, topic, vigintile, lang
    (NULL where cells are not separated by it), sequences, tokens; in the manifest's order."""
    found = manifest.load(folder)
    rows: dict[str, dict[str, Any]] = {}
    for file in found.files:
        stream = file.name.rsplit("/", 1)[0]
        safe_join(folder, file.name)
        row = rows.setdefault(
            stream, {"dataset": dataset or found.dataset, "stream": stream, **{name: file.extra.get(name) for name in CONSTANTS}, "sequences": 0, "tokens": 0}
        )
        row["sequences"] += file.rows
        row["tokens"] += file.tokens
    return pa.Table.from_pylist(list(rows.values()), schema=STREAMS)


def read(folder: Path, stream: str) -> Iterator[dict[str, Any]]:
    """The rows of one stream as dictionaries of numpy arrays, strings and integers, in the order of the shards.

    Raises:
        DataError: the stream is not in the manifest, or its index names what it may not.
    """
    _writer()
    from streaming.base.format.mds.reader import MDSReader

    index = safe_join(folder, f"{stream}/index.json")
    if not index.is_file():
        known = sorted({f.name.rsplit("/", 1)[0] for f in manifest.load(folder).files})
        raise DataError(str(folder), f"no stream `{stream}`", got=stream, expected=", ".join(known[:5]), mend="`dolma sql` on view `shards` lists the streams")
    for shard in _index(index):
        reader = MDSReader.from_json(str(index.parent), None, shard)
        for n in range(len(reader)):
            yield reader[n]


def version() -> str:
    """The version of Streaming that is installed."""
    from importlib.metadata import version as installed

    return installed("mosaicml-streaming")


def order(shards: list[list[int]], chosen: list[int], *, update: int, seed: int, epoch: int) -> np.ndarray:
    """The rows of each whole update of an epoch, as StreamingDataset itself orders them: no shard is opened.

    Args:
        shards: for each stream, the rows of its shards.
        chosen: rows that an epoch serves of each stream, at least 1.
        update: rows of one update over all processes.
        seed: of the order.
        epoch: from 0.
    Returns:
        Row numbers over all streams, shape (updates, update).
    """
    _writer()
    from types import SimpleNamespace

    from streaming import StreamingDataset
    from streaming.base.batching import generate_work
    from streaming.base.world import World

    class Order(StreamingDataset):
        """What decides an epoch's order, without the files; the settings are those of training/data.py."""

        def __init__(self) -> None:
            sizes, counts = [np.array(one, np.int64) for one in shards], np.array([len(one) for one in shards])
            self.samples_per_shard = np.concatenate(sizes)
            self.sample_offset_per_shard = self.samples_per_shard.cumsum() - self.samples_per_shard
            self.shards_per_stream, self.shard_offset_per_stream = counts, counts.cumsum() - counts
            self.streams = [SimpleNamespace(choose=count) for count in chosen]
            self.num_streams, self.epoch_size = len(shards), sum(chosen)
            self.shuffle, self.shuffle_seed, self.shuffle_algo, self.shuffle_block_size = True, seed, "py1e", 4_000_000
            self.sampling_method, self.sampling_granularity, self.epoch_seed_change = "balanced", 1, True
            self.partition_algo, self.num_canonical_nodes, self.initial_physical_nodes = "relaxed", 1, None
            self.batch_size = update

    rows = generate_work("random", Order(), World(1, 1, 1, 0), epoch, 0).reshape(-1, update)
    return rows[: sum(chosen) // update]


def _index(path: Path) -> list[dict[str, Any]]:
    """The shards of an index, whose every field that decides what is opened and how it is decoded was checked: it may come from somebody else."""
    place = f"{path}: shards"
    try:
        shards = json.loads(path.read_bytes())["shards"]
        for number, shard in enumerate(shards):
            place = f"{path}: shards[{number}]"
            raw = shard["raw_data"]
            file = (path.parent / raw["basename"]).resolve()
            if file.parent != path.parent.resolve() or not file.is_file():
                raise _refused(f"{place}.raw_data.basename", raw["basename"], "a file beside the index")
            if raw["bytes"] != file.stat().st_size:
                raise _refused(f"{place}.raw_data.bytes", raw["bytes"], file.stat().st_size)
            odd = [kind for kind in shard["column_encodings"] if kind not in ("str", "int") and kind.removeprefix("ndarray:") not in NUMBERS.values()]
            if odd:
                raise _refused(f"{place}.column_encodings", odd[0], "strings, integers, arrays of integers; never a pickle")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _refused(place, f"{type(error).__name__}: {error}", "an index of MDS shards") from error
    return shards


def _refused(field: str, got: object, expected: object) -> DataError:
    return DataError(field, "the index cannot be trusted", got=got, expected=expected, mend="do not use this dataset, or make it again")
