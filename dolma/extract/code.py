"""Source files as documents: the text as it is, with the language that its name or first line tells where the input does not."""

import pyarrow as pa
import pyarrow.compute as pc

from dolma.core.schema import append, keys
from dolma.core.step import step
from dolma.extract.constants import constants


@step(
    needs=("id", "text", "path"),
    adds={"key": pa.int64(), "source": pa.string(), "url": pa.string(), "lang": pa.string(), "lang_score": pa.float32(), "language": pa.string()},
    version=2,
)
def extract_code(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with the columns of a document; the text is not changed.

    `language` is the input's where it has one, else that of the file's name or of its `#!` line (`dolma.text.languages`), NULL where neither tells.
    """
    from dolma.text.languages import language_of

    names = batch.column("language").to_pylist() if "language" in batch.schema.names else [None] * batch.num_rows
    firsts = pc.utf8_slice_codeunits(batch.column("text"), 0, 120).to_pylist()  # the kernel of Linux reads 127 bytes of a `#!` line
    paths = batch.column("path").to_pylist()
    found = [name or language_of(path or "", (first or "").partition("\n")[0]) for name, path, first in zip(names, paths, firsts, strict=True)]
    columns = {"key": keys(batch.column("id")), **constants(batch.num_rows, source="code", lang="code"), "language": pa.array(found, pa.string())}
    return append(batch, columns)
