"""How long a document is."""

import pyarrow as pa
import pyarrow.compute as pc

from dolma.core.schema import append
from dolma.core.step import step


@step(needs=("text",), adds={"n_bytes": pa.int32(), "n_chars": pa.int32()})
def tag_length(batch: pa.RecordBatch) -> pa.RecordBatch:
    """UTF-8 bytes and characters of the text; 0 for a NULL text."""
    text = pc.fill_null(batch.column("text"), "")
    return append(batch, {"n_bytes": pc.binary_length(text).cast(pa.int32()), "n_chars": pc.utf8_length(text).cast(pa.int32())})
