"""Exact duplicates by a 128-bit hash of a column: a tag, never a drop."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dolma.core.errors import ConfigError
from dolma.core.schema import TABLES, Columns
from dolma.core.step import Sizes, Taken, group_step

LAST = np.iinfo(np.int64).max  # what NULL counts as in a column of preference


def preference(batch: pa.RecordBatch, prefer: str | None, where: str) -> pa.Array:
    """A non-null int64 array to sort by: the column `prefer` with NULL as the largest value, or zeros without one.

    Raises:
        ConfigError: the column is not int64.
    """
    if prefer is None:
        return pa.array(np.zeros(batch.num_rows, np.int64))
    column = batch.column(prefer)
    if column.type != pa.int64():
        raise ConfigError(
            f"{where}: prefer", f"`{prefer}` is no int64 column", got=column.type, expected="int64", mend=f"cast it with `set`: ({prefer})::BIGINT"
        )
    return pc.fill_null(column, LAST)


def _rows(batch: pa.RecordBatch, *, by: str = "text", within: str | None = None, prefer: str | None = None) -> pa.RecordBatch:
    from dolma.kernels.minhash import text_hashes
    from dolma.kernels.words import buffers

    if batch.column(by).type not in (pa.string(), pa.large_string()):
        raise ConfigError(
            "mark_exact: by", f"`{by}` is no string column", got=batch.column(by).type, expected="string", mend=f"cast it with `set`: ({by})::VARCHAR"
        )
    hashes, known = text_hashes(*buffers(batch.column(by))), pc.is_valid(batch.column(by))
    if within is not None:
        group = batch.column(within)
        # times an odd number: a value and its group may not change places
        hashes = hashes + text_hashes(*buffers(group.cast(pa.large_string()))) * np.uint64(0x9E3779B97F4A7C15)
        known = pc.and_(known, pc.is_valid(group))
    columns = {
        "high": pa.array((hashes[:, 0] >> np.uint64(1)).astype(np.int64)),
        "low": pa.array(hashes[:, 1].view(np.int64)),
        "prefer": preference(batch, prefer, "mark_exact"),
        "key": batch.column("key"),
        "origin": batch.column("origin"),
    }
    return pa.RecordBatch.from_pydict(columns).filter(known)


def _needs(params: object) -> tuple[str, ...]:
    named = (getattr(params, name, None) for name in ("by", "within", "prefer"))
    return ("key", *dict.fromkeys(name for name in named if name))


def _out(params: Any) -> Columns:
    return {**TABLES["tag"], params.name: pa.int64()}


def _sizes(params: Any, taken: Taken) -> Sizes:
    return Sizes(taken.rows, 40, out=taken.rows)  # two halves of a hash, prefer, key, origin


# 2: NULL is no value that documents may share
@group_step(key=("high", "low"), order=("prefer", "key", "origin"), needs=_needs, rows=_rows, out=_out, splittable=True, version=2, sizes=_sizes)
def mark_exact(
    batch: pa.RecordBatch, starts: np.ndarray, *, cont: bool, by: str = "text", within: str | None = None, prefer: str | None = None, name: str = "exact_of"
) -> pa.RecordBatch:
    """For every document but one of those with the same value: `exact_of`, the key of that one, which is kept.

    Args:
        by: a string column, compared byte by byte: `text`, or `url` as it stands (no scheme, `www.` or query is taken off). NULL is never marked.
        within: a column: only documents with the same value of it are compared, as of one crawl. NULL is never marked.
        prefer: an int64 column: the document with its smallest value is kept, then the one with the smallest key; NULL comes last.
        name: of the column: a recipe that takes marks of two datasets needs two names.
    """
    keys = batch.column("key").to_numpy()
    sizes = np.diff(np.append(starts, batch.num_rows))
    first = np.repeat(keys[starts], sizes)
    later = np.ones(batch.num_rows, bool)
    later[starts] = False  # in a continued chunk row 0 is the group's first again
    columns = [batch.column("origin").filter(pa.array(later)), batch.column("key").filter(pa.array(later)), pa.array(first[later])]
    return pa.RecordBatch.from_arrays(columns, names=["origin", "key", name])
