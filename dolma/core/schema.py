"""Arrow schemas of the tables that datasets hold, and the few edits that steps make to batches."""

from collections.abc import Mapping

import pyarrow as pa

Columns = Mapping[str, pa.DataType]

# The columns a table must have; a dataset may carry more (tags). `key` is the first 63 bits of sha256(id): a non-null group key.
TABLES: dict[str, dict[str, pa.DataType]] = {
    "blob": {"id": pa.string(), "source": pa.string(), "file": pa.string(), "offset": pa.int64(), "content": pa.large_binary()},
    "document": {"id": pa.string(), "key": pa.int64(), "source": pa.string(), "text": pa.large_string()},
    "label": {"id": pa.string(), "text": pa.large_string(), "label": pa.string()},
    "tag": {"origin": pa.int64(), "key": pa.int64()},
    "edge": {"origin_a": pa.int64(), "key_a": pa.int64(), "origin_b": pa.int64(), "key_b": pa.int64()},
    "span": {"origin": pa.int64(), "key": pa.int64(), "start": pa.int32(), "end": pa.int32()},
    "cut": {"source": pa.string(), "topic": pa.string(), "vigintile": pa.int32(), "edge": pa.float64()},
    "tokens": {"id": pa.string(), "key": pa.int64(), "cell": pa.string(), "cell_key": pa.int64(), "tokens": pa.large_list(pa.uint32())},
    "sequence": {"stream": pa.string(), "tokens": pa.large_list(pa.uint32())},
    "mix": {"dataset": pa.string(), "stream": pa.string(), "repeats": pa.float64(), "sequences": pa.int64(), "tokens": pa.int64()},
    "chat": {"id": pa.string(), "key": pa.int64(), "prompt": pa.large_string(), "response": pa.large_string()},
    "pair": {"id": pa.string(), "key": pa.int64(), "prompt": pa.large_string(), "chosen": pa.large_string(), "rejected": pa.large_string()},
    "prompt": {"id": pa.string(), "key": pa.int64(), "prompt": pa.large_string(), "verifier": pa.string(), "truth": pa.string()},
    "model": {"name": pa.string(), "value": pa.float64()},
    "rows": {},
}

ERROR = "_error"  # a step or reader sets it on rows that cannot be read: they go to the quarantine with that reason


def append(batch: pa.RecordBatch, columns: Mapping[str, pa.Array]) -> pa.RecordBatch:
    """`batch` with `columns` added, or put in the place of those with the same name."""
    names, arrays = list(batch.schema.names), list(batch.columns)
    for name, array in columns.items():
        if name in names:
            arrays[names.index(name)] = array
        else:
            names.append(name)
            arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, names=names)


def without(batch: pa.RecordBatch, *names: str) -> pa.RecordBatch:
    """`batch` without the columns `names`; a name that is not there is no error."""
    return batch.select([name for name in batch.schema.names if name not in names])


def keys(ids: pa.Array) -> pa.Array:
    """int64 group keys of document ids: the first 8 bytes of sha256, sign bit cleared (never null, the same on every engine)."""
    from hashlib import sha256

    return pa.array([int.from_bytes(sha256(i.encode()).digest()[:8], "big") >> 1 for i in ids.to_pylist()], pa.int64())
