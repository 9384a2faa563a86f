"""`dolma publish`: a mix as MosaicML shards, or documents in the layout of the Dolma toolkit. For somebody else: a trainer reads a mix in place."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dolma.core import manifest as manifests
from dolma.core.errors import ConfigError, DataError
from dolma.core.manifest import Input, Manifest

BATCH_ROWS = 1024


@dataclass(frozen=True)
class Published:
    """What was written."""

    rows: int
    tokens: int
    what: str = "sequences"


def publish(root: Path, dataset: str, out: Path, *, seed: int = 0) -> Published:
    """Write a dataset into `out` as others read it, with a manifest: a mix as MosaicML shards, documents in the layout of the Dolma toolkit.

    Args:
        root: folder of all datasets.
        dataset: one of table `mix` or `document`.
        out: a folder that does not exist yet.
        seed: see `sequences`; documents need none.
    Raises:
        ConfigError: `out` exists, or the dataset is of another table.
        DataError: the dataset is not what its manifest says.
    """
    found = manifests.at(root, dataset)
    if found.table not in ("mix", "document"):
        raise ConfigError(dataset, "cannot be published", got=found.table, expected="mix or document", mend="name a dataset of one of these tables")
    if out.exists():
        raise ConfigError(str(out), "the folder exists", got="a folder", expected="none", mend="name a new folder; nothing was written")
    return sequences(root, found, out, seed) if found.table == "mix" else documents(root, found, out)


def documents(root: Path, found: Manifest, out: Path) -> Published:
    """Write documents as `documents/*.jsonl.gz` and their measures as `attributes/measures/*.jsonl.gz`, a pair of files for each shard."""
    from dolma.io import dolma_layout, tables

    files = []
    for file in found.files:
        path = manifests.shard(root / found.dataset, file)
        dolma_layout.check(manifests.pq.read_schema(path), found.dataset)
        batches = tables.read(path, file)
        files += dolma_layout.write(batches, out, "measures", Path(file.name).stem)
    rows = sum(file.rows for file in files) // 2
    if rows != found.rows:
        raise DataError(str(out), "rows were lost in writing", got=rows, expected=found.rows, mend="publish again, into a new folder")
    made = Manifest(
        dataset=found.dataset, fingerprint=found.fingerprint, table="document", format="dolma", rows=rows, tokens=found.tokens,
        bytes=sum(file.bytes for file in files), files=files, recipe={"publish": {"dataset": found.dataset}},
        inputs=[Input(name=found.dataset, fingerprint=found.fingerprint)],
    )  # fmt: skip
    manifests.save(out, made)
    return Published(rows, found.tokens, "documents")


def sequences(root: Path, found: Manifest, out: Path, seed: int) -> Published:
    """Write the sequences of a mix, each as often as its repeats say, into `out` as one stream.

    A sequence is written floor(repeats) or ceil(repeats) times; which ones get the copy more depends on the seed alone. Cells follow one another:
    read the folder with `shuffle=True`.

    Args:
        root: folder of all datasets.
        found: the manifest of the mix.
        out: a folder that does not exist yet.
        seed: decides which sequences get one copy more.
    Raises:
        DataError: a stream has another number of sequences than the mix was planned for.
    """
    from dolma.io import mds

    mix = found.dataset
    name = mix.rpartition("/")[2]
    rows = manifests.read(root / mix).to_pylist()
    files = mds.write(_batches(root, rows, name, seed), out)
    fingerprint = sha256(manifests.canonical({"mix": found.fingerprint, "seed": seed})).hexdigest()
    made = Manifest(
        dataset=mix, fingerprint=fingerprint, table="sequence", format="mds", rows=sum(f.rows for f in files), tokens=sum(f.tokens for f in files),
        bytes=sum(f.bytes for f in files), files=files, facts=found.facts, recipe={"publish": {"mix": mix, "seed": seed}},
        inputs=[Input(name=mix, fingerprint=found.fingerprint)],
    )  # fmt: skip
    manifests.save(out, made)
    return Published(made.rows, made.tokens)


def _batches(root: Path, rows: list[dict[str, Any]], name: str, seed: int) -> Iterator[pa.RecordBatch]:
    from dolma.io import mds

    there = {name: {one["stream"]: one["sequences"] for one in mds.streams(root / name).to_pylist()} for name in {row["dataset"] for row in rows}}
    for row in rows:
        where = f"{row['dataset']}/{row['stream']}"
        count = there[row["dataset"]].get(row["stream"], 0)
        if int(count * row["repeats"]) != row["sequences"]:  # a mix counts the sequences that it serves
            raise _changed(where, int(count * row["repeats"]), row["sequences"])
        times = copies(count, row["repeats"], where, seed)
        if not times.any():
            continue
        seen, held = 0, list[dict[str, Any]]()
        for sequence in mds.read(root / row["dataset"], row["stream"]):
            held += [sequence] * (int(times[seen]) if seen < len(times) else 0)
            seen += 1
            if len(held) >= BATCH_ROWS:
                yield _batch(held, name)
                held = []
        if held:
            yield _batch(held, name)
        if seen != count:
            raise _changed(where, seen, count)


def _changed(where: str, got: int, expected: int) -> DataError:
    return DataError(where, "the stream has changed since the mix was planned", got=got, expected=expected, mend="run the mix again")


def _batch(rows: list[dict[str, Any]], name: str) -> pa.RecordBatch:
    arrays = {"stream": pa.array([name] * len(rows), pa.string())}
    for column, first in rows[0].items():
        values = [row[column] for row in rows]
        arrays[column] = pa.array(values, pa.large_list(pa.from_numpy_dtype(first.dtype)) if isinstance(first, np.ndarray) else None)
    return pa.RecordBatch.from_pydict(arrays)


def copies(sequences: int, repeats: float, stream: str, seed: int) -> np.ndarray:
    """How often each sequence of a stream is served: floor or ceil of `repeats`, in total the nearest whole number to sequences x repeats.

    Args:
        sequences: number of sequences in the stream.
        repeats: asked rate, 0 or more.
        stream: name of the stream; with the seed it decides who gets the copy more.
        seed: see `stream`.
    """
    whole = int(np.floor(repeats))
    times = np.full(sequences, whole, np.int64)
    more = round(sequences * (repeats - whole))
    start = int.from_bytes(sha256(json.dumps([seed, stream]).encode()).digest()[:8], "big")
    times[np.argsort(_splitmix(start, sequences), kind="stable")[:more]] += 1
    return times


def _splitmix(start: int, count: int) -> np.ndarray:
    """`count` pseudo-random uint64 (SplitMix64, Steele, Lea and Flood 2014): the same on every version of every library."""
    with np.errstate(over="ignore"):
        z = np.uint64(start) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))
