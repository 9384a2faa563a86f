"""A manifest ties the shards of a dataset to what made them. It is written last: without it the dataset does not exist."""

import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from dolma.core.errors import DataError
from dolma.core.files import safe_join, write_atomic

NAME = "manifest.json"
ONLY_THIS = "delete the dataset's manifest.json and run again: only this shard is recomputed"
RESTORE = "restore the file, or train again"  # of a checkpoint: without its manifest the stage would be trained from its start


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class File(_Model):
    """One file of a dataset; `extra` holds what is constant in it (stream, source, topic, vigintile, lang)."""

    name: str
    rows: int
    tokens: int = 0
    bytes: int
    sha256: str
    extra: dict[str, Any] = {}


class Input(_Model):
    """A dataset or raw file that was read, by its fingerprint."""

    name: str
    fingerprint: str
    bytes: int = 0


class Manifest(_Model):
    """What a dataset is and where each of its numbers comes from. No timings, hosts or attempts: those go to run.jsonl."""

    version: int = 1
    dataset: str
    fingerprint: str
    table: str
    format: str = "parquet"
    rows: int
    tokens: int = 0
    bytes: int
    files: list[File]
    assets: list[File] = []
    quarantine: list[File] = []
    counts: dict[str, int] = {}
    facts: dict[str, Any] = {}
    recipe: dict[str, Any] = {}
    inputs: list[Input] = []
    code: dict[str, Any] = {}


def canonical(value: object) -> bytes:
    """JSON with one spelling: sorted keys, compact, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()


def save(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, atomically and last."""
    text = json.dumps(manifest.model_dump(), indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    write_atomic(folder / NAME, text.encode() + b"\n")


def load(folder: Path) -> Manifest:
    """The manifest of the dataset in `folder`.

    Raises:
        DataError: there is none, or it is not whole.
    """
    path = folder / NAME
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(str(folder), "the dataset does not exist", got="no manifest", expected=NAME, mend="run its recipe with `dolma run`") from error
    except ValidationError as error:
        raise DataError(
            str(path), "damaged manifest", got=str(error.errors()[0]["msg"]), expected="what `dolma run` wrote", mend="delete it and run again"
        ) from error


def at(root: Path, name: str) -> Manifest:
    """The manifest of the dataset that lies at `root / name`, under the name of this place: with `dataset` its shards are found again.

    A copy, such as a mix published below the root, still says in its file what it was copied from. Here that stands as `copy_of` in its recipe.

    Raises what `load` does.
    """
    found, place = load(root / name), Path(name).as_posix()
    return found if found.dataset == place else found.model_copy(update={"dataset": place, "recipe": {**found.recipe, "copy_of": found.dataset}})


def exists(folder: Path) -> bool:
    """Whether `folder` holds a finished dataset."""
    return (folder / NAME).is_file()


def contents(manifest: Manifest) -> dict[str, str]:
    """What each stream of an MDS dataset holds, as a sha256 over the files of its folder: their names there, rows and hashes, in order, and what is constant.

    Equal for the same sequences in the same order, whatever other streams were packed beside them and wherever its folder stands.
    """
    files: dict[str, list[Any]] = {}
    for file in manifest.files:
        stream, _, name = file.name.rpartition("/")
        files.setdefault(stream, []).append([name, file.rows, file.sha256, file.extra])
    return {stream: sha256(canonical(held)).hexdigest() for stream, held in files.items()}


def maker(dataset: str) -> str:
    """The command that makes a dataset."""
    parts = dataset.split("/")
    return f"dolma swarm {parts[1]}" if parts[0] == "swarm" and len(parts) > 2 else f"dolma run {dataset}"


def check_input(reader: Manifest, read: Manifest, mend: str, held: Mapping[str, str] | None = None) -> None:
    """Refuse a dataset that is no longer the one that `reader` was made of.

    Args:
        held: `contents` of the streams that count, as they were; a dataset that was made anew and holds the same in them passes.
    Raises:
        DataError: it was made anew, and holds something else or nobody knows what it held.
    """
    expected = {one.name: one.fingerprint for one in reader.inputs}.get(read.dataset)
    if expected in (None, read.fingerprint):
        return
    what, got = f"{read.dataset} was made anew since", read.fingerprint
    if held:
        there = contents(read)
        odd = [stream for stream, content in held.items() if there.get(stream) != content]
        if not odd:
            return
        more = f" and {len(odd) - 1} more streams" if odd[1:] else ""
        what, got, expected = f"{what}, and does not hold the sequences of {odd[0]}{more} as they were", there.get(odd[0], "no such stream"), held[odd[0]]
    raise DataError(reader.dataset, what, got=got[:16], expected=str(expected)[:16], mend=mend)


def shard(folder: Path, file: File, mend: str = ONLY_THIS) -> Path:
    """The path of a shard, checked for existence and length.

    Raises:
        DataError: the file is missing or has another length than the manifest says.
    """
    path = safe_join(folder, file.name)
    got = path.stat().st_size if path.is_file() else None
    if got != file.bytes:
        raise DataError(
            str(path), "shard differs from its manifest", got="no file" if got is None else f"{got:,} bytes", expected=f"{file.bytes:,} bytes", mend=mend
        )
    return path


def batches(folder: Path, columns: list[str] | None = None, size: int = 4096) -> Iterator[pa.RecordBatch]:
    """All rows of a Parquet dataset in file order, as the manifest lists them (never as the directory does)."""
    for file in load(folder).files:
        yield from pq.ParquetFile(shard(folder, file), pre_buffer=False).iter_batches(batch_size=size, columns=columns, use_threads=False)


def read(folder: Path | str, columns: list[str] | None = None) -> pa.Table:
    """All rows of a small Parquet dataset as one table."""
    folder = Path(folder)
    parts = [pq.read_table(shard(folder, file), columns=columns) for file in load(folder).files]
    return pa.concat_tables(parts)
