"""`dolma near`: which documents of a dataset are near a text, by the true Jaccard similarity of their word shingles.

Candidates come from one of three places. The first call on a dataset writes a MinHash signature of each document beside the datasets; one text is then
compared with every signature (a million documents are 0.5 GB, mapped and not read by Python). Many texts at once can be looked up in a datasketch LSH
index of these signatures. A dataset too large for either is looked up in its band index (`index_bands`), of which a lookup reads a few row groups.
"""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dolma.core import manifest as manifests
from dolma.core.errors import ConfigError, DataError, EnvironmentFault
from dolma.core.files import disk_errors
from dolma.core.log import logger
from dolma.core.manifest import Manifest

if TYPE_CHECKING:
    from datasketch import LeanMinHash, MinHashLSH

log = logger(__name__)
FOLDER = ".near"  # in the root; what lies there can be deleted at any time
SHINGLE = 5  # words, as in the published near-duplicate search
COUNT, SEED = 128, 1  # hashes of a signature: the standard error of an estimate of .5 is .044
MARGIN = 3.0  # standard errors that an estimate may lie below the threshold: .1 % of what lies on it are missed
MOST_ROWS = 2_000_000  # documents of a signature index, 1 GB
MOST_LSH = 200_000  # documents of an LSH index: 2 GB of memory
MOST_CANDIDATES = 200  # texts that are read for a lookup, the best by estimate
SHOWN = ("id", "key", "source", "url", "file", "offset", "text")


@dataclass(frozen=True)
class Found:
    """A document near a text: its row (`SHOWN`, as far as the dataset has them) and the true Jaccard similarity."""

    jaccard: float
    document: dict[str, Any]


def read(path: Path) -> str:
    """The text of a file; bytes that are not UTF-8 separate words.

    Raises:
        ConfigError: there is no such file.
    """
    try:
        return path.read_text(errors="replace")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ConfigError("--file", "no such file", got=path, expected="a text file", mend="mend the path") from error


def line(one: Found) -> list[Any]:
    """What a table shows of it: Jaccard, id, source, address or place, and how the text begins."""
    row = one.document
    where = row.get("url") or (f"{row['file']}:{row.get('offset')}" if row.get("file") else None)
    return [round(one.jaccard, 3), row["id"], row.get("source"), where, row["text"][:80]]


@dataclass(frozen=True)
class Signatures:
    """The MinHash signatures of a dataset's documents that have a word.

    Attributes:
        places: int64, shape (documents,): number of the file << 32 | row, as in `origin`.
        hashes: uint32, shape (documents, COUNT), mapped from a file.
    """

    shingle: int
    places: np.ndarray
    hashes: np.ndarray

    def scan(self, text: str, threshold: float, most: int = MOST_CANDIDATES) -> np.ndarray:
        """Places of the documents whose estimate lies at most MARGIN standard errors below `threshold`; of more than `most` the best by estimate."""
        wanted = signature(text, self.shingle)
        equal = [np.count_nonzero(self.hashes[k : k + 65_536] == wanted, axis=1) for k in range(0, len(self.places), 65_536)]
        share = np.concatenate(equal) / COUNT if equal else np.zeros(0)
        low = threshold - MARGIN * (threshold * (1 - threshold) / COUNT) ** 0.5
        rows = np.flatnonzero(share >= max(low, 1 / COUNT))
        return self.places[rows[np.argsort(-share[rows], kind="stable")][:most]]

    def query(self, index: "MinHashLSH", text: str, most: int = MOST_CANDIDATES) -> np.ndarray:
        """Places of the documents that `index`, made by `lsh`, finds for a text; of more than `most` the best by estimate."""
        wanted = signature(text, self.shingle)
        rows = np.sort(np.array(index.query(_lean(wanted)), np.int64))
        share = np.count_nonzero(self.hashes[rows] == wanted, axis=1)
        return self.places[rows[np.argsort(-share, kind="stable")][:most]]

    def lsh(self, threshold: float) -> "MinHashLSH":
        """A datasketch LSH index of the documents, each by its row in `places`: 80 to 150 us and 10 kB a document, so that it
        pays from about 1,000 lookups on (`scan` takes 115 ns a document).

        Its bands are chosen so that a miss weighs nine times what a needless candidate does.

        Raises:
            ConfigError: more than MOST_LSH documents.
            EnvironmentFault: datasketch is not installed.
        """
        sketch = _datasketch()
        if len(self.places) > MOST_LSH:
            raise ConfigError(
                "--lsh",
                "too many documents for an LSH index in memory",
                got=f"{len(self.places):,}",
                expected=f"at most {MOST_LSH:,}",
                mend="leave --lsh out; match thousands of texts as a later delivery (pipelines/README.md)",
            )
        made = sketch.MinHashLSH(threshold=threshold, num_perm=COUNT, weights=(0.1, 0.9))
        for row, hashes in enumerate(self.hashes):
            made.insert(row, _lean(hashes), check_duplication=False)
        return made


def _datasketch() -> Any:
    try:
        import datasketch
    except ImportError as error:
        raise EnvironmentFault(
            "dolma.near", "datasketch is not installed", got="no datasketch", expected="datasketch>=2", mend="pip install 'dolma-flow[dedup]'"
        ) from error
    return datasketch


def _lean(hashes: np.ndarray) -> "LeanMinHash":
    return _datasketch().LeanMinHash(seed=SEED, hashvalues=hashes, scheme="affine32")  # a x + b mod 2^32, as ours


def signature(text: str, shingle: int) -> np.ndarray:
    """uint32 MinHash signature of a text, shape (COUNT,).

    Raises:
        ConfigError: the text has no word.
    """
    from dolma.kernels.minhash import signatures

    hashes, counts = signatures(pa.array([text], pa.large_string()), shingle=shingle, count=COUNT, seed=SEED)
    if not counts[0]:
        raise ConfigError("near", "the text has no word", got=repr(text[:40]), expected="words", mend="give a text with letters or digits")
    return hashes[0]


def signatures_of(root: Path, dataset: str, shingle: int = SHINGLE) -> Signatures:
    """The signatures of a dataset's documents: those of an earlier call while the dataset is the same, else made and kept below `root`/.near.

    Raises:
        ConfigError: it holds no documents, or more than MOST_ROWS.
        DataError: it does not exist.
    """
    found = _documents_of(root, dataset)
    if found.rows > MOST_ROWS:
        raise ConfigError(
            dataset,
            "too many documents for an index of signatures",
            got=f"{found.rows:,}",
            expected=f"at most {MOST_ROWS:,}",
            mend="make a dataset of its band index with the step index_bands, and name it: --bands pool/bands",
        )
    folder = root / FOLDER / dataset.replace("/", "_")
    path = folder / f"{found.fingerprint[:32]}-{shingle}-{COUNT}"
    if not path.is_dir():
        _write(root, found, shingle, folder, path)
    try:
        places, hashes = np.load(path / "places.npy", allow_pickle=False), np.load(path / "hashes.npy", mmap_mode="r", allow_pickle=False)
        if hashes.shape != (len(places), COUNT) or hashes.dtype != np.uint32 or places.dtype != np.int64:
            raise ValueError(f"{hashes.dtype} {hashes.shape}")
    except (OSError, ValueError) as error:
        raise DataError(str(path), "damaged index", got=str(error)[:120], expected="what `dolma near` wrote", mend=f"delete {path}") from error
    return Signatures(shingle, places, hashes)


def _documents_of(root: Path, dataset: str) -> Manifest:
    found = manifests.load(root / dataset)
    names = pq.read_schema(manifests.shard(root / dataset, found.files[0])).names if found.format == "parquet" and found.files else []
    if not {"id", "text"} <= set(names):
        raise ConfigError(dataset, "has no documents to look among", got=", ".join(names) or found.format, expected="id, text", mend="name a document table")
    return found


def _write(root: Path, found: Manifest, shingle: int, folder: Path, path: Path) -> None:
    from dolma.kernels.minhash import signatures

    log.info("%s", f"indexing {found.rows:,} documents of {found.dataset}")
    places, hashes = [np.zeros(0, np.int64)], [np.zeros((0, COUNT), np.uint32)]
    for number, file in enumerate(found.files):
        start = 0
        for batch in pq.ParquetFile(manifests.shard(root / found.dataset, file)).iter_batches(batch_size=4096, columns=["text"]):
            made, counts = signatures(batch.column(0), shingle=shingle, count=COUNT, seed=SEED)
            some = np.flatnonzero(counts)
            places.append((number << 32 | start) + some)
            hashes.append(made[some])
            start += batch.num_rows
    with disk_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
        for old in [one for one in folder.iterdir() if not one.name.startswith(found.fingerprint[:32])]:
            shutil.rmtree(old, ignore_errors=True)  # of the dataset as it was before; another call may be at it
        work = folder / f"{found.fingerprint[:32]}.{os.getpid()}.tmp"
        work.mkdir()
        np.save(work / "places.npy", np.concatenate(places), allow_pickle=False)
        np.save(work / "hashes.npy", np.concatenate(hashes), allow_pickle=False)
        try:
            os.rename(work, path)
        except OSError:  # another call was first
            shutil.rmtree(work)


@dataclass(frozen=True)
class Bands:
    """The band index of a dataset (`index_bands`), where it lies on the disk. Of documents that share a band it names them all only if made with `every`."""

    root: Path
    found: Manifest

    @property
    def shingle(self) -> int:
        """Words of a shingle of its signatures."""
        return int(self.found.facts["bands"]["shingle"])

    def scan(self, text: str, threshold: float, most: int = MOST_CANDIDATES) -> np.ndarray:
        """Places of the documents that share most bands with `text`; the bands decide what can be found, `threshold` does not."""
        from dolma.dedup.increment import index_bands
        from dolma.engines.shuffle import bucket

        del threshold
        signature(text, self.shingle)  # refuses a text without words
        row = pa.record_batch({"key": pa.array([-1]), "origin": pa.array([0]), "text": pa.array([text], pa.large_string())})
        assert index_bands.rows is not None
        wanted = [key for key in index_bands.rows(row, delivery=0, **self.found.facts["bands"])["band_key"].to_pylist() if key >= 0]
        numbers = bucket(pa.record_batch({"band_key": pa.array(wanted, pa.int64())}), index_bands.key, len(self.found.files))
        hits: Counter[int] = Counter()
        for number in sorted(set(numbers.tolist())):  # a shard is a bucket, sorted by band_key: the filter reads the row groups that may have one
            path = manifests.shard(self.root / self.found.dataset, self.found.files[number])
            here = [key for key, place in zip(wanted, numbers, strict=True) if place == number]
            hits.update(pq.read_table(path, columns=["origin"], filters=[("band_key", "in", here)])["origin"].to_pylist())
        best = sorted(hits, key=lambda place: (-hits[place], place))[:most]
        return np.array(best, np.int64)


def bands_of(root: Path, dataset: str, bands: str) -> Bands:
    """The band index `bands` of `dataset`.

    Raises:
        ConfigError: it is no band index, or not of this dataset alone.
        DataError: the dataset was made again since.
    """
    of, found = _documents_of(root, dataset), manifests.load(root / bands)
    inputs = [(one.name, one.fingerprint) for one in found.inputs]
    if "bands" not in found.facts or [name for name, _ in inputs] != [dataset]:
        raise ConfigError(
            bands,
            f"is not the band index of {dataset}",
            got=f"made from {', '.join(name for name, _ in inputs)}",
            expected="a dataset of index_bands",
            mend=f"name the dataset that it was made from: --in {inputs[0][0] if inputs else dataset}",
        )
    if inputs[0][1] != of.fingerprint:
        raise DataError(bands, f"is of an earlier {dataset}", got=inputs[0][1][:16], expected=of.fingerprint[:16], mend=f"dolma run {bands}")
    return Bands(root, found)


def near(root: Path, dataset: str, texts: Iterable[str], index: Signatures | Bands, *, threshold: float, top: int, lsh: bool = False) -> list[list[Found]]:
    """For each text the documents of `dataset` with a Jaccard similarity of at least `threshold`, best first, equal ones by id, at most `top`.

    Args:
        index: of the same dataset.
        lsh: look candidates up in a datasketch LSH index instead of comparing every signature; misses some near the threshold.
    """
    if not 0 < threshold <= 1:
        raise ConfigError("--threshold", "a Jaccard similarity", got=threshold, expected="above 0, at most 1", mend="give e.g. 0.5")
    look = _look(index, threshold, lsh)
    return [_best(root, dataset, text, look(text), index.shingle, threshold)[:top] for text in texts]


def _look(index: Signatures | Bands, threshold: float, lsh: bool) -> Callable[[str], np.ndarray]:
    if not lsh or isinstance(index, Bands):  # which is one already
        return lambda text: index.scan(text, threshold)
    made = index.lsh(threshold)
    return lambda text: index.query(made, text)


def _best(root: Path, dataset: str, text: str, places: np.ndarray, shingle: int, threshold: float) -> list[Found]:
    from dolma.kernels.jaccard import jaccards

    rows = _rows(root, dataset, places)
    texts = pa.array([text, *(row["text"] for row in rows)], pa.large_string())
    true = jaccards(texts, np.zeros(len(rows), np.int64), np.arange(1, len(rows) + 1), shingle=shingle)
    found = [Found(float(value), row) for value, row in zip(true, rows, strict=True) if value >= threshold]
    return sorted(found, key=lambda one: (-one.jaccard, one.document["id"]))


def _rows(root: Path, dataset: str, places: np.ndarray) -> list[dict[str, Any]]:
    """Rows of a dataset by their places; reads the row groups that hold one."""
    files = manifests.load(root / dataset).files
    out: list[dict[str, Any]] = []
    for number in np.unique(places >> 32).tolist():
        wanted = np.sort(places[places >> 32 == number] & 0xFFFFFFFF)
        reader = pq.ParquetFile(manifests.shard(root / dataset, files[number]))
        columns = [name for name in SHOWN if name in reader.schema_arrow.names]
        start = 0
        for group in range(reader.num_row_groups):
            size = reader.metadata.row_group(group).num_rows
            inside = wanted[(wanted >= start) & (wanted < start + size)] - start
            if len(inside):
                out += reader.read_row_group(group, columns=columns).take(pa.array(inside)).to_pylist()
            start += size
    return out
