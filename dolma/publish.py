"""`dolma publish`: a mix as files. A trainer reads a mix in place and needs none of this; it is for handing a mix to somebody else."""

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

    sequences: int
    tokens: int


def publish(root: Path, mix: str, out: Path, *, seed: int = 0) -> Published:
    """Write the sequences of a mix, each as often as its repeats say, into `out` as one stream with a manifest.

    A sequence is written floor(repeats) or ceil(repeats) times; which ones get the copy more depends on the seed alone. Cells follow one another:
    read the folder with `shuffle=True`.

    Args:
        root: folder of all datasets.
        mix: a dataset of table `mix`.
        out: a folder that does not exist yet.
        seed: decides which sequences get one copy more.
    Raises:
        ConfigError: `out` exists, or the dataset is no mix.
        DataError: a stream has another number of sequences than the mix was planned for.
    """
    from dolma.io import mds

    found = manifests.load(root / mix)
    if found.table != "mix":
        raise ConfigError(mix, "is not a mix", got=found.table, expected="mix", mend="name a dataset of table `mix`")
    if out.exists():
        raise ConfigError(str(out), "the folder exists", got="a folder", expected="none", mend="name a new folder; nothing was written")
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
