"""Which rows each update was made of: kept in parts beside the checkpoints while a stage runs, and two tables of its run when it is done.

RUN/served/rows.parquet      update (from 1), stream (number), row (in the stream, from 0): the rows of an update in the order of the streams
RUN/served/streams.parquet   number, dataset, stream, rows, repeats, content (what the stream held: a hash that stays when shards are packed anew)

The rows of an update stand sorted: that is the same for any number of processes, and 4M of them take 10 MB instead of 14.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dolma.core.errors import DataError
from dolma.core.files import sha256, write_atomic
from dolma.core.manifest import File
from training.data import Part

ROWS = pa.schema([("update", pa.int32()), ("stream", pa.int32()), ("row", pa.int32())])
NAMES = {"number": pa.int32(), "dataset": pa.string(), "stream": pa.string(), "rows": pa.int64(), "repeats": pa.float64(), "content": pa.string()}
GROUP = 1 << 20  # rows of a row group, and about as many are in memory before they go to a part
WRITING: dict[str, Any] = {
    "compression": "zstd",
    "use_dictionary": ["update"],
    "column_encoding": {"stream": "DELTA_BINARY_PACKED", "row": "BYTE_STREAM_SPLIT"},
}


class Record:
    """The rows served so far: parts on disk up to the last checkpoint, and what came since.

    Args:
        folder: of the parts, named after their last update.
        parts: the open streams, in the order in which Streaming numbers their rows.
        first: whether this process writes.
        gather: what each process gives, as a list over all of them.
    """

    def __init__(self, folder: Path, parts: list[Part], first: bool, gather: Callable[[Any], list[Any]]) -> None:
        self.folder, self.first, self.gather = folder, first, gather
        self.starts = np.cumsum([0, *(part.rows for part in parts)])
        self.held: list[tuple[int, np.ndarray]] = []

    def add(self, update: int, index: np.ndarray) -> None:
        """Note the rows of this process in an update, by their number over all streams."""
        self.held.append((update, np.asarray(index, np.int64)))

    def flush(self) -> None:
        """Write what is in memory, of all processes, as one part; each process calls it after the same update."""
        if not self.held:
            return
        every = self.gather(self.held)
        last = self.held[-1][0]
        self.held = []
        if self.first:
            update = np.concatenate([np.full(len(index), step) for mine in every for step, index in mine])
            index = np.concatenate([index for mine in every for _, index in mine])
            order = np.lexsort((index, update))
            update, index = update[order], index[order]
            stream = np.searchsorted(self.starts, index, side="right") - 1
            columns = [update, stream, index - self.starts[stream]]
            table = pa.table([pa.array(column.astype(np.int32)) for column in columns], schema=ROWS)
            write_atomic(self.folder / f"{last:09}.parquet", _bytes(table, **WRITING))

    def resume(self, update: int) -> None:
        """Forget what was served after the checkpoint of `update`: it is served again.

        Raises:
            DataError: the parts do not reach that checkpoint.
        """
        self.held = []
        if not self.first:
            return
        found = parts(self.folder)
        for path in found:
            if int(path.stem) > update:
                path.unlink()
        reached = max((int(path.stem) for path in found if int(path.stem) <= update), default=0)
        if reached != update:
            mend = "`dolma-train run --again` starts the stage anew"
            raise DataError(str(self.folder), "the record of the served rows does not reach the checkpoint", got=reached, expected=update, mend=mend)


def parts(folder: Path) -> list[Path]:
    """The parts of a record, in the order of their updates."""
    return sorted(folder.glob("*.parquet"))


def _bytes(table: pa.Table, **writing: Any) -> bytes:
    out = pa.BufferOutputStream()
    pq.write_table(table, out, **writing)
    return out.getvalue().to_pybytes()


def _grouped(folder: Path) -> Iterator[pa.Table]:
    """All rows of the parts in groups of one size, however often the run was saved."""
    held = ROWS.empty_table()
    for path in parts(folder):
        held = pa.concat_tables([held, pq.read_table(path)])
        while len(held) >= GROUP:
            yield held.slice(0, GROUP).combine_chunks()
            held = held.slice(GROUP)
    if len(held):
        yield held.combine_chunks()


def write(folder: Path, streams: list[Part], run: Path) -> list[File]:
    """Join the parts in `folder` to the two tables of a run; returns its files. One row group is in memory at a time."""
    out = run / "served"
    out.mkdir(exist_ok=True)
    rows, temporary, count = out / "rows.parquet", out / ".rows.parquet", 0
    with pq.ParquetWriter(temporary, ROWS, **WRITING) as writer:
        for table in _grouped(folder):
            writer.write_table(table, row_group_size=GROUP)
            count += len(table)
    temporary.replace(rows)
    named = [
        {"number": i, "dataset": one.dataset, "stream": one.stream, "rows": one.rows, "repeats": one.repeats, "content": one.content}
        for i, one in enumerate(streams)
    ]
    names = pa.schema([*NAMES.items()])
    write_atomic(out / "streams.parquet", _bytes(pa.Table.from_pylist(named, schema=names), compression="zstd"))
    counts = {rows: count, out / "streams.parquet": len(named)}
    return [File(name=f"served/{path.name}", rows=n, bytes=path.stat().st_size, sha256=sha256(path)) for path, n in counts.items()]
