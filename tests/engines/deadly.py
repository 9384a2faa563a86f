"""Steps that misbehave, for the tests of the engines."""

import os
import signal

import pyarrow as pa

from dolma.core.errors import DataError
from dolma.core.schema import ERROR, append
from dolma.core.step import step


@step(needs=("id",))
def die_test_unit(batch: pa.RecordBatch, *, key: int) -> pa.RecordBatch:
    """Kill the own process on the batch that holds `key`."""
    if f"doc{key}" in batch.column("id").to_pylist():
        os.kill(os.getpid(), signal.SIGKILL)
    return batch


@step(needs=("id",))
def raise_in_test(batch: pa.RecordBatch, *, key: int) -> pa.RecordBatch:
    """Fail on the batch that holds `key`."""
    if f"doc{key}" in batch.column("id").to_pylist():
        print(1 // 0)
    return batch


@step(needs=("id",), adds={"number": pa.int64()})
def refuse_test_rows(batch: pa.RecordBatch, *, every: int) -> pa.RecordBatch:
    """The number in the id; one that `every` divides cannot be read."""
    numbers = [int(i.removeprefix("doc")) for i in batch.column("id").to_pylist()]
    errors = [f"{number} is refused" if number % every == 0 else None for number in numbers]
    return append(batch, {"number": pa.array(numbers, pa.int64()), ERROR: pa.array(errors, pa.string())})


@step()
def drop_in_test(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Lose the first row."""
    return batch.slice(1)


@step(needs=("id",))
def say_in_test(batch: pa.RecordBatch, *, key: int) -> pa.RecordBatch:
    """Refuse the batch that holds `key`, in words."""
    if f"doc{key}" in batch.column("id").to_pylist():
        raise DataError(f"doc{key}", "no place for it", got=key, expected="another", mend="wait")
    return batch
