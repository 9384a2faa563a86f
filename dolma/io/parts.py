"""A file of any size in parts, for a step that copies it and need not hold it."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from dolma.core.step import reader

PART_BYTES = 4 << 20


@reader(out={"file": pa.string(), "offset": pa.int64(), "content": pa.large_binary()})
def parts(path: str | Path, *, file: str) -> Iterator[pa.RecordBatch]:
    """The bytes of a file in order, 4 MB a row, one row a batch; one without bytes for an empty file."""
    offset = 0
    with open(path, "rb") as source:
        while (content := source.read(PART_BYTES)) or not offset:
            made = {"file": pa.array([file]), "offset": pa.array([offset], pa.int64()), "content": pa.array([content], pa.large_binary())}
            yield pa.RecordBatch.from_pydict(made)
            offset += len(content)
            if not content:
                return
