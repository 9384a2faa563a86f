"""`dolma near`: which documents of a dataset are near a text, by the true Jaccard similarity of their word shingles.

Candidates come from one of three places. The first call on a dataset writes a MinHash signature of each document beside the datasets; one text is then
compared with every signature (a million documents are 0.5 GB, mapped and not read by Python). Many texts at once can be looked up in a datasketch LSH
index of these signatures. A dataset too large for either is looked up in its band index (`index_bands`), of which a lookup reads a few row groups.
"""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
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
MOST_CANDIDATES = 200  # texts that are read for a lookup, the best by estimate; more where more are asked for
HELD = 200_000  # places of candidates that are looked up together: those of 1,000 texts
SHOWN = ("id", "key", "source", "url", "file", "offset", "text")


@dataclass(frozen=True)
class Found:
    """A document near a text: its row (`SHOWN`, as far as the dataset has them) and the true Jaccard similarity."""

    jaccard: float
    document: dict[str, Any]


def read(path: Path) -> str:
    """The text of a file in UTF-8, whatever the locale.

    Raises:
        ConfigError: there is no such file, or it may not be read.
        DataError: it is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        got = f"byte 0x{error.object[error.start]:02x} at {error.start:,}"
        raise DataError(f"--file {path}", "is not UTF-8", got=got, expected="UTF-8", mend=f"convert it: iconv -f ENCODING -t UTF-8 {path}") from error
    except FileNotFoundError as error:
        raise ConfigError(f"--file {path}", "no such file", got=error.strerror, expected="a text file", mend="mend the path") from error
    except OSError as error:
        mend = f"chmod +r {path}, or give a copy" if isinstance(error, PermissionError) else "mend the path"
        raise ConfigError(f"--file {path}", "cannot be read", got=error.strerror, expected="a text file", mend=mend) from error


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
        made = sketch.MinHashLSH(threshold=min(threshold, 0.99), num_perm=COUNT, weights=(0.1, 0.9))
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
        raise _wordless(text)
    return hashes[0]


def _wordless(text: str) -> ConfigError:
    return ConfigError("near", "the text has no word", got=repr(text[:40]), expected="words", mend="give a text with letters or digits")


def signatures_of(root: Path, dataset: str, shingle: int = SHINGLE) -> Signatures:
    """The signatures of a dataset's documents: those of an earlier call while the dataset is the same, else made and kept below `root`/.near.

    Another word rule, or another version of `mark_minhash`, whose kernel this is, makes them anew.

    Raises:
        ConfigError: it holds no documents, or more than MOST_ROWS.
        DataError: it does not exist.
    """
    from dolma.dedup.minhash import mark_minhash
    from dolma.kernels.words import WORD_RULE

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
    state = f"{found.fingerprint[:32]}-{WORD_RULE}-{mark_minhash.version}-"
    path = folder / f"{state}{shingle}-{COUNT}"
    if not path.is_dir():
        _write(root, found, shingle, path, state)
    try:
        places, hashes = np.load(path / "places.npy", allow_pickle=False), np.load(path / "hashes.npy", mmap_mode="r", allow_pickle=False)
        if hashes.shape != (len(places), COUNT) or hashes.dtype != np.uint32 or places.dtype != np.int64:
            raise ValueError(f"{hashes.dtype} {hashes.shape}")
    except (OSError, ValueError) as error:
        raise DataError(str(path), "damaged index", got=str(error)[:120], expected="what `dolma near` wrote", mend=f"delete {path}") from error
    return Signatures(shingle, places, hashes)


def _documents_of(root: Path, dataset: str) -> Manifest:
    found = manifests.at(root, dataset)
    names = pq.read_schema(manifests.shard(root / dataset, found.files[0])).names if found.format == "parquet" and found.files else []
    if not {"id", "text"} <= set(names):
        raise ConfigError(dataset, "has no documents to look among", got=", ".join(names) or found.format, expected="id, text", mend="name a document table")
    return found


def _write(root: Path, found: Manifest, shingle: int, path: Path, state: str) -> None:
    from dolma.kernels.minhash import signatures

    log.info("%s", f"indexing {found.rows:,} documents of {found.dataset}")
    places, hashes = [np.zeros(0, np.int64)], [np.zeros((0, COUNT), np.uint32)]
    for number, file in enumerate(found.files):
        start = 0
        for batch in pq.ParquetFile(manifests.shard(root / found.dataset, file), pre_buffer=False).iter_batches(4096, columns=["text"], use_threads=False):
            made, counts = signatures(batch.column(0), shingle=shingle, count=COUNT, seed=SEED)
            some = np.flatnonzero(counts)
            places.append((number << 32 | start) + some)
            hashes.append(made[some])
            start += batch.num_rows
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for old in [one for one in path.parent.iterdir() if not one.name.startswith(state)]:
            shutil.rmtree(old, ignore_errors=True)  # of the dataset, or of the kernel, as it was before; another call may be at it
        work = path.parent / f"{state}{os.getpid()}.tmp"
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
        DataError: the dataset was made again since, or the index by an earlier version of its step.
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
    from dolma.dedup.increment import index_bands

    if (version := found.code.get("steps", {}).get("index_bands")) != index_bands.version:
        raise DataError(bands, "another version of index_bands made it", got=version, expected=index_bands.version, mend=f"dolma run {bands}")
    return Bands(root, found)


def near(root: Path, dataset: str, texts: Iterable[str], index: Signatures | Bands, *, threshold: float, top: int, lsh: bool = False) -> list[list[Found]]:
    """For each text the documents of `dataset` with a Jaccard similarity of at least `threshold`, best first, equal ones by id, at most `top`.

    Nothing is near a text without a word: a warning names it.

    Args:
        index: of the same dataset.
        lsh: look candidates up in a datasketch LSH index instead of comparing every signature; misses some near the threshold.
    Raises:
        ConfigError: a threshold that is none; no text has a word.
    """
    if not 0 < threshold <= 1:
        raise ConfigError("--threshold", "a Jaccard similarity", got=threshold, expected="above 0, at most 1", mend="give e.g. 0.5")
    given = list(texts)
    some, most = _with_words(given), max(MOST_CANDIDATES, top)
    look = _look(index, threshold, lsh, most)
    out: list[list[Found]] = [[] for _ in given]
    block = max(1, HELD // most)
    for start in range(0, len(some), block):
        numbers = some[start : start + block]
        together = [given[number] for number in numbers]
        best = _best(root, dataset, together, [look(text) for text in together], index.shingle, threshold, top)
        for number, found in zip(numbers, best, strict=True):
            out[number] = found
    return out


def _with_words(texts: Sequence[str]) -> list[int]:
    """Which texts have a word; says which have none."""
    from dolma.kernels.words import buffers, count_words

    counts = count_words(*buffers(pa.array(texts, pa.large_string())))
    without = np.flatnonzero(counts == 0).tolist()
    if without and len(without) == len(texts):
        raise _wordless(texts[0])
    if without:
        names = ", ".join(str(number + 1) for number in without[:20]) + (f" and {len(without) - 20:,} more" if len(without) > 20 else "")
        log.warning("%s", f"no word in text {names} of {len(texts):,}: nothing is looked up there; the first is {texts[without[0]][:40]!r}")
    return np.flatnonzero(counts).tolist()


def _look(index: Signatures | Bands, threshold: float, lsh: bool, most: int) -> Callable[[str], np.ndarray]:
    if not lsh or isinstance(index, Bands):  # which is one already
        return lambda text: index.scan(text, threshold, most)
    made = index.lsh(threshold)
    return lambda text: index.query(made, text, most)


def _best(root: Path, dataset: str, texts: list[str], places: list[np.ndarray], shingle: int, threshold: float, top: int) -> list[list[Found]]:
    """The best of the candidates at `places[i]` for each text i; a row group is read once for all texts, and one is held at a time."""
    from dolma.kernels.jaccard import jaccards

    out: list[list[Found]] = [[] for _ in texts]
    of, flat = np.repeat(np.arange(len(texts)), [len(one) for one in places]), np.concatenate(places)
    order = np.argsort(flat, kind="stable")
    of, flat = of[order], flat[order]
    for here, rows in _rows(root, dataset, np.unique(flat)):
        pairs = slice(*np.searchsorted(flat, [here[0], here[-1] + 1]))
        asked, left = np.unique(of[pairs], return_inverse=True)
        right = np.searchsorted(here, flat[pairs])
        content = pa.concat_arrays([pa.array([texts[number] for number in asked], pa.large_string()), *rows["text"].cast(pa.large_string()).chunks])
        true = jaccards(content, left, len(asked) + right, shingle=shingle)
        close = np.flatnonzero(true >= threshold)
        kept, document = np.unique(right[close], return_inverse=True)
        documents = rows.take(pa.array(kept)).to_pylist()
        for pair, row in zip(close.tolist(), document.tolist(), strict=True):
            out[asked[left[pair]]].append(Found(float(true[pair]), documents[row]))
        for number in set(asked[left[close]].tolist()):  # stable: of equal ones with one id the first place stays first
            out[number] = sorted(out[number], key=lambda one: (-one.jaccard, one.document["id"]))[:top]
    return out


def _rows(root: Path, dataset: str, places: np.ndarray) -> Iterator[tuple[np.ndarray, pa.Table]]:
    """The rows of a dataset at `places`, sorted and distinct: of each row group that holds one, those places and their rows."""
    files = manifests.load(root / dataset).files
    for number in np.unique(places >> 32).tolist():
        wanted = places[places >> 32 == number] & 0xFFFFFFFF
        reader = pq.ParquetFile(manifests.shard(root / dataset, files[number]))
        columns = [name for name in SHOWN if name in reader.schema_arrow.names]
        start = 0
        for group in range(reader.num_row_groups):
            size = reader.metadata.row_group(group).num_rows
            inside = wanted[(wanted >= start) & (wanted < start + size)] - start
            if len(inside):
                yield (number << 32 | start) + inside, reader.read_row_group(group, columns=columns).take(pa.array(inside))
            start += size
