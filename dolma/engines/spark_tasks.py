"""Tasks of Spark whose errors are values: an exception would be tried again though it cannot succeed, and PySpark's own keeps no field of ours.

An error rides in the column FAULT of a row of its own, through every shuffle: what reads the other rows cannot miss that some are not there.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dolma.core import errors
from dolma.core.errors import DolmaError, EnvironmentFault, Errors

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

FAULT = "_fault"
RESULT = pa.schema([("result", pa.string())])
Task = Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]


class Elsewhere(Exception):
    """What a task raises that is sent the error of another: no DolmaError, so that nothing takes it for its own, and without words, by which a full disk is
    told."""

    def __init__(self, said: str) -> None:
        super().__init__()
        self.said = said


def as_json(error: DolmaError) -> str:
    """An error as text; got and expected as they are printed."""
    got, expected = (None if value is None else str(value) for value in (error.got, error.expected))
    return json.dumps([type(error).__name__, error.where, error.what, got, expected, error.mend])


def from_json(said: str) -> DolmaError:
    """The error that `as_json` wrote."""
    kind, where, what, got, expected, mend = json.loads(said)
    return getattr(errors, kind)(where, what, got=got, expected=expected, mend=mend)


def mapped(frame: "DataFrame", task: Task, schema: pa.Schema, told: pa.RecordBatch | None = None) -> "DataFrame":
    """`frame.mapInArrow(task, schema)` with errors as values; without pandas, which PySpark demands there and never uses.

    Not to install pandas is worth a detour: where it is, every process that makes an Arrow array imports it, which takes a second.

    Args:
        told: the rows, of some of the columns, that carry an error: one for each task that must learn of it; one row of NULL when absent.
    """
    from pyspark.sql import DataFrame
    from pyspark.sql.pandas.types import from_arrow_schema
    from pyspark.sql.udf import UserDefinedFunction
    from pyspark.util import PythonEvalType

    sent = schema.append(pa.field(FAULT, pa.string()))
    safe = _safe(task, sent, told)
    call = UserDefinedFunction(safe, returnType=from_arrow_schema(sent), name=task.__name__, evalType=PythonEvalType.SQL_MAP_ARROW_ITER_UDF)
    column: Any = call(*[frame[name] for name in frame.columns])
    java: Any = frame._jdf
    return DataFrame(java.mapInArrow(column._jc, False, None), frame.sparkSession)


def collect(frame: "DataFrame") -> list[str]:
    """The results of tasks that gave RESULT.

    Raises:
        DolmaError: that of a task, or `Errors` when there are several.
        EnvironmentFault: a task raised something else whenever Spark tried it; said here, since after the session nobody can read PySpark's exception.
    """
    from pyspark.errors import PySparkException

    try:
        rows = frame.collect()
    except PySparkException as error:
        lines = [line.strip() for line in str(error).split("JVM stacktrace")[0].splitlines() if line.strip()]
        mend = "mend what it names; what is finished is kept, and the same command resumes"
        raise EnvironmentFault("engine spark", "a task failed at every attempt", got=lines[-1][:200], expected="no exception", mend=mend) from error
    found = [from_json(said) for said in sorted({row[FAULT] for row in rows if row[FAULT] is not None})]
    if found:
        raise found[0] if len(found) == 1 else Errors(found)
    return [row.result for row in rows]


def _safe(task: Task, schema: pa.Schema, told: pa.RecordBatch | None) -> Task:
    rows = 1 if told is None else told.num_rows

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        rest = iter(batches)
        try:
            for made in task(_whole(rest)):
                yield made.append_column(schema.field(FAULT), pa.nulls(made.num_rows, pa.string()))
        except (DolmaError, Elsewhere) as error:
            said = error.said if isinstance(error, Elsewhere) else as_json(error)
            columns = [told.column(f.name) if told is not None and f.name in told.schema.names else pa.nulls(rows, f.type) for f in schema]
            yield pa.RecordBatch.from_arrays([*columns[:-1], pa.array([said] * rows, pa.string())], schema=schema)
            for _ in rest:  # Spark's side still writes
                pass

    return run


def _whole(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The batches without FAULT.

    Raises:
        Elsewhere: the first error that a row carries.
    """
    for batch in batches:
        if FAULT in batch.schema.names:
            for said in batch.column(FAULT).drop_null()[:1]:
                raise Elsewhere(said.as_py())
            batch = batch.drop_columns([FAULT])
        yield batch
