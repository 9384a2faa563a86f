"""`dolma verify`: are the bytes, the rows and the ledger of a dataset still what its manifest says, and did a run serve the sequences of its plan?"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dolma import served as record
from dolma.core import counts as ledger
from dolma.core import manifest as manifests
from dolma.core.errors import DataError
from dolma.core.files import safe_join, sha256
from dolma.core.manifest import File, Manifest


@dataclass(frozen=True)
class Verdict:
    """What was looked at in one dataset, and all that is wrong with it; of a training stage with a record, a line for each stream that it served."""

    dataset: str
    files: int
    bytes: int
    errors: tuple[DataError, ...]
    served: tuple[record.Line, ...] = ()


def verify(root: Path, dataset: str) -> Verdict:
    """Re-hash every file of a dataset, check its ledger and sums, and what a training stage served; errors are gathered, not raised.

    Raises:
        DataError: the dataset has no readable manifest.
        EnvironmentFault: a training stage is checked where Streaming is not installed.
    """
    found = manifests.at(root, dataset)
    files = [*found.files, *found.assets, *found.quarantine]
    errors = [*_manifest(found), *(error for file in files for error in _file(root / dataset, found, file))]
    lines, other = (record.check(root, found) if found.table == "checkpoint" and not errors else None) or ([], [])
    return Verdict(found.dataset, len(files), sum(file.bytes for file in files), (*errors, *other), tuple(lines))


def _manifest(found: Manifest) -> Iterator[DataError]:
    try:
        ledger.check(found.counts, found.dataset, whole=True)
    except DataError as error:
        yield error
    # A training stage counts the tokens that it has seen: its files are checkpoints and hold none.
    for name in ("rows", "tokens", "bytes") if found.format in ("parquet", "mds") else ("bytes",):
        total = sum(getattr(file, name) for file in found.files)
        if total != getattr(found, name):
            yield DataError(found.dataset, f"the shards do not add up to the manifest's {name}", got=total, expected=getattr(found, name), mend=_again(found))


def _file(folder: Path, found: Manifest, file: File) -> Iterator[DataError]:
    where = f"{found.dataset}/{file.name}"
    path = safe_join(folder, file.name)
    if not path.is_file():
        yield DataError(where, "shard is missing", got="no file", expected=f"{file.bytes:,} bytes", mend=_again(found))
        return
    length = path.stat().st_size
    if length != file.bytes:
        yield DataError(where, "shard has another length", got=f"{length:,} bytes", expected=f"{file.bytes:,} bytes", mend=_again(found))
        return
    got = sha256(path)
    if got != file.sha256:
        yield DataError(where, "shard's bytes were changed", got=got[:16], expected=file.sha256[:16], mend=_again(found))
    elif path.suffix == ".parquet":
        rows = manifests.pq.read_metadata(path).num_rows
        if rows != file.rows:
            yield DataError(where, "shard has another number of rows", got=rows, expected=file.rows, mend=_again(found))


def _again(found: Manifest) -> str:
    if "copy_of" in found.recipe:
        return f"delete {found.dataset} and copy or publish {found.recipe['copy_of']} again"
    if found.table == "checkpoint":
        return manifests.RESTORE
    return f"delete {found.dataset}/{manifests.NAME} below the root and run again: only what is damaged is made again"
