"""`dolma trace`: from a packed sequence back to the documents inside it, and to where their raw bytes lie."""

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dolma import stats
from dolma.core import manifest as manifests
from dolma.core.errors import DataError

COLUMNS = ("id", "key", "source", "url", "file", "offset")


@dataclass(frozen=True)
class Piece:
    """The part of a sequence that comes from one document: tokens [start, start + tokens)."""

    start: int
    tokens: int
    key: int
    document: dict[str, Any]


def trace(root: Path, dataset: str, stream: str, sequence: int) -> list[Piece]:
    """The documents of a sequence in order, each with its row of the document table that the shards were made from.

    Args:
        root: folder of all datasets.
        dataset: a sharded dataset, e.g. `shard/pool`.
        stream: the stream in it, e.g. `web/science/18`.
        sequence: index of the sequence in the stream, from 0.
    Raises:
        DataError: there is no such sequence, or a document of it is not in the pool.
    """
    row = _sequence(root, dataset, _stream(root, dataset, stream), sequence)
    if "doc_keys" not in row or "doc_lens" not in row:
        raise DataError(f"{dataset}/{stream}", "sequences do not name their documents", got=", ".join(row), expected="doc_keys, doc_lens", mend="pack it again")
    keys, lengths = [int(k) for k in row["doc_keys"]], [int(n) for n in row["doc_lens"]]
    documents = _documents(root, _table(root, dataset), keys)
    pieces, start = [], 0
    for key, length in zip(keys, lengths, strict=True):
        if key not in documents:
            raise DataError(
                f"{dataset}/{stream} sequence {sequence}", "a document is not in the pool", got=key, expected="a key of the pool", mend="run the flow again"
            )
        pieces.append(Piece(start, length, key, documents[key]))
        start += length
    return pieces


def _stream(root: Path, dataset: str, stream: str) -> str:
    """The full name of a stream; the part that a unit of work puts before it may be left out when one stream fits."""
    known = list(dict.fromkeys(cell.stream for cell in stats.cells(manifests.load(root / dataset))))
    fits = [name for name in known if name == stream] or [name for name in known if name.endswith(f"/{stream}")]
    if len(fits) != 1:
        near = fits or get_close_matches(stream, known, n=3) or known[:3]
        raise DataError(dataset, f"{len(fits) or 'no'} streams fit `{stream}`", got=stream, expected="one stream", mend=f"name one of: {', '.join(near)}")
    return fits[0]


def _sequence(root: Path, dataset: str, stream: str, sequence: int) -> dict[str, Any]:
    from dolma.io import mds

    count = 0
    for row in mds.read(root / dataset, stream):
        if count == sequence:
            return row
        count += 1
    raise DataError(f"{dataset}/{stream}", "there is no such sequence", got=sequence, expected=f"0 to {count - 1}", mend="count from 0")


def _table(root: Path, dataset: str) -> str:
    """The nearest document table that a dataset was made from."""
    known = stats.datasets(root)
    waiting = list(stats.parents(known[dataset])) if dataset in known else []
    while waiting:
        name = waiting.pop(0)
        if name in known and known[name].table == "document":
            return name
        waiting += stats.parents(known[name]) if name in known else []
    raise DataError(
        dataset, "was not made from a document table", got="no such input", expected="a dataset of table `document`", mend="trace a dataset of the pool"
    )


def _documents(root: Path, dataset: str, keys: list[int]) -> dict[int, dict[str, Any]]:
    wanted = pa.array(keys, pa.int64())
    found: dict[int, dict[str, Any]] = {}
    for file in manifests.load(root / dataset).files:
        path = manifests.shard(root / dataset, file)
        columns = [name for name in COLUMNS if name in manifests.pq.read_schema(path).names]
        rows = manifests.pq.read_table(path, columns=columns)
        for row in rows.filter(pc.is_in(rows["key"], value_set=wanted)).to_pylist():
            found.setdefault(row["key"], row)
    return found
