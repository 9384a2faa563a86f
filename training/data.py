"""What a stage reads: sequences of a mix or of an MDS dataset, checked against their manifests. The training's door to `streaming`."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from dolma.core import manifest as manifests
from dolma.core.errors import DataError, EnvironmentFault
from dolma.core.files import sha256
from dolma.core.manifest import Manifest
from training.tokens import Tokenizer

CARDS = ("topic_model", "quality_model")  # facts of which classifiers scored the documents, from their cards


@dataclass(frozen=True)
class Part:
    """One stream of shards and how often each of its sequences is served."""

    folder: Path
    rows: int
    repeats: float
    dataset: str
    stream: str
    content: str = ""

    @property
    def served(self) -> int:
        """Rows served in one epoch, as Streaming counts them: the floor of rows times repeats."""
        return int(self.rows * self.repeats)


@dataclass(frozen=True)
class Source:
    """The data of a stage, found and checked, not yet opened."""

    name: str
    fingerprint: str
    parts: list[Part]
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows served in one epoch."""
        return sum(part.served for part in self.parts)

    @property
    def opened(self) -> list[Part]:
        """The streams of which anything is served, in the order in which Streaming numbers their rows."""
        return [part for part in self.parts if part.served]

    @property
    def sequence_tokens(self) -> int:
        """Tokens of one sequence."""
        try:
            return int(self.facts["sequence_tokens"])
        except KeyError as error:
            raise DataError(
                self.name,
                "the manifest does not say how long a sequence is",
                got=sorted(self.facts),
                expected="fact sequence_tokens",
                mend="pack the dataset with step `pack`",
            ) from error


def find(root: Path, name: str, *, hashes: bool = True) -> Source:
    """The streams behind a mix or MDS dataset `name` below `root`; those of a mix in the order of its rows.

    A mix that says what its streams hold is served from shards that were packed anew, as long as they hold the same.

    Args:
        hashes: read every shard and compare its sha256; without it sizes only.

    Raises:
        DataError: a manifest is missing, a shard differs from its manifest, or the datasets of a mix do not fit together.
    """
    manifest = manifests.at(root, name)
    if manifest.format == "mds":
        parts = _streams(root / name, manifest, None, hashes)
        return Source(name, manifest.fingerprint, parts, manifest.facts)
    if manifest.table != "mix":
        raise DataError(name, "cannot train on this dataset", got=f"table {manifest.table}", expected="a mix, or MDS shards", mend="name another dataset")
    rates: dict[str, dict[str, float]] = {}
    held: dict[str, dict[str, str]] = {}
    for row in manifests.read(root / name).to_pylist():
        rates.setdefault(row["dataset"], {})[row["stream"]] = row["repeats"]
        if row["repeats"] > 0 and row.get("content"):
            held.setdefault(row["dataset"], {})[row["stream"]] = row["content"]
    parts, facts = [], {name: manifest.facts[name] for name in CARDS if name in manifest.facts}
    for dataset, repeats in rates.items():
        inner = manifests.at(root, dataset)
        mend = f"`{manifests.maker(name)}` plans it over what is there now"
        manifests.check_input(manifest, inner, mend, held.get(dataset))
        parts += _streams(root / dataset, inner, repeats, hashes)
        for key in ("sequence_tokens", "tokenizer"):
            if key in facts and facts[key] != inner.facts.get(key):
                raise DataError(dataset, f"the datasets of {name} differ in `{key}`", got=inner.facts.get(key), expected=facts[key], mend="mix equal datasets")
            facts[key] = inner.facts.get(key)
    return Source(name, manifest.fingerprint, parts, facts)


def _streams(folder: Path, manifest: Manifest, repeats: dict[str, float] | None, hashes: bool) -> list[Part]:
    rows: dict[str, int] = {}
    for file in manifest.files:
        stream = file.name.rpartition("/")[0]
        if repeats is None or repeats.get(stream, 0) > 0:
            path = manifests.shard(folder, file)
            if hashes and (got := sha256(path)) != file.sha256:
                raise DataError(
                    str(path),
                    "the bytes of a shard changed",
                    got=f"sha256 {got[:16]}",
                    expected=file.sha256[:16],
                    mend="delete the dataset's manifest.json and run its recipe again",
                )
            rows[stream] = rows.get(stream, 0) + (file.rows if file.name.endswith((".mds", ".mds.zstd")) else 0)
    missing = sorted(s for s, rate in (repeats or {}).items() if rate > 0 and s not in rows)
    if missing:
        raise DataError(str(folder), "streams of the mix are missing", got=f"{len(missing)}: {missing[:3]}", expected="all", mend="plan the mix again")
    held = manifests.contents(manifest)
    names = rows if repeats is None else [stream for stream in repeats if stream in rows]
    return [Part(folder / stream, rows[stream], 1.0 if repeats is None else repeats[stream], manifest.dataset, stream, held[stream]) for stream in names]


def tokenizer(root: Path, path: str, source: Source) -> Tokenizer:
    """The tokenizer, after its hash was compared with the one that made the data.

    Raises:
        DataError: the data was tokenised with another one.
    """
    loaded = Tokenizer.load(root / path)
    expected = (source.facts.get("tokenizer") or {}).get("sha256")
    if loaded.sha256 != expected:
        raise DataError(
            str(root / path),
            f"not the tokenizer that made {source.name}",
            got=f"sha256 {loaded.sha256[:16]}",
            expected=str(expected)[:16],
            mend="run the recipes again: `dolma run` finds what is stale",
        )
    return loaded


def open_rows(source: Source, *, batch: int, seed: int, shuffle: bool = True, update: int = 1) -> Any:
    """A StreamingDataset over the source; its rows carry their number as `index`.

    Args:
        batch: rows of one batch of one process.
        seed: order of the rows and choice of those that a fractional repeat serves once more.
        update: rows of one update over all processes. An epoch ends with its last whole update: Streaming would fill up with rows that were served.

    Raises:
        EnvironmentFault: `streaming` is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from streaming import Stream, StreamingDataset
    except ImportError as error:
        raise EnvironmentFault("training.data", "package `mosaicml-streaming` is missing", mend="pip install 'dolma-flow[train]'") from error

    class Rows(StreamingDataset):
        def __getitem__(self, at: Any) -> Any:
            row = super().__getitem__(at)
            row["index"] = at
            return row

    streams = [Stream(local=str(part.folder), repeat=part.repeats) for part in source.opened]
    with _own_prefix():
        # no cache_limit: on shards without a remote it deletes them (streaming issue 988); one canonical node: any number of processes sees the same batches
        rows = Rows(streams=streams, batch_size=batch, shuffle=shuffle, shuffle_seed=seed, num_canonical_nodes=1, predownload=8 * batch)
    rows.epoch_size -= rows.epoch_size % update
    rows.length = -(-rows.epoch_size // rows._parallel_rank_world.num_ranks)
    return rows


def version() -> str:
    """The version of Streaming, which decides the order of the rows."""
    from importlib.metadata import version as installed

    return installed("mosaicml-streaming")


@contextmanager
def _own_prefix() -> Iterator[None]:
    """Let Streaming look for its shared-memory names from a number of this run's own: two runs that start together could take the same one otherwise."""
    from streaming.base.shared import prefix

    original = prefix._each_prefix_int
    launched = int(os.environ.get("WORLD_SIZE", "1")) > 1  # the processes of a launcher share its id
    first = 1000 * (os.getppid() if launched else os.getpid())
    prefix._each_prefix_int = lambda: count(first)
    try:
        yield
    finally:
        prefix._each_prefix_int = original


def shared_memory(rows: Any) -> str:
    """The prefix of the shared-memory names that an open dataset holds."""
    return f"{rows._shm_prefix_int:06}_"


def forget(prefix: str) -> None:
    """Remove the shared memory and lock files of a run that was killed, found by its own prefix; others are left alone."""
    from tempfile import gettempdir

    if len(prefix) < 5 or not prefix.endswith("_") or not prefix[:-1].isdigit():
        return
    for folder in (Path("/dev/shm"), Path(gettempdir())):
        for path in folder.glob(f"{prefix}*") if folder.is_dir() else ():
            path.unlink(missing_ok=True)


def documents(tokens: np.ndarray, lengths: np.ndarray | None, eos: int) -> np.ndarray:
    """Document ids of a packed sequence: by document lengths (what is left over is padding, id -1), or else counted at end-of-text tokens."""
    if lengths is None:
        ends = tokens == eos
        return np.cumsum(ends) - ends
    docs = np.repeat(np.arange(len(lengths)), lengths)[: len(tokens)]
    return np.concatenate([docs, np.full(len(tokens) - len(docs), -1, docs.dtype)])
