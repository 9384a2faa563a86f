"""Steps that misbehave, for the tests of the engines."""

import os
import signal

import pyarrow as pa

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


@step()
def drop_in_test(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Lose the first row."""
    return batch.slice(1)
