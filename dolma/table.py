"""Steps that any table may use, in DuckDB's SQL: `keep`, `select`, `set`. One dialect on every engine.

Float32 0.65 `>= 0.65` is true in DuckDB and false in Spark SQL and Arrow, and NaN compares differently in each: so every `where` of the flow is
evaluated here, and a measured column holds NULL, never NaN.
"""

import json
import os
from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dolma.core.errors import ConfigError, DataError
from dolma.core.step import step
from dolma.io.spill import connection


def _shape_keep(params: Any, schema: pa.Schema) -> pa.Schema:
    kind = check(params.where, schema)
    if kind != "BOOLEAN":
        raise ConfigError("keep", f"`where` is not a condition: {params.where}", got=kind, expected="BOOLEAN", mend="compare the value with something")
    return schema


@step(kind="keep", shape=_shape_keep, uses=lambda params, schema: columns(params.where, schema))
def keep(batch: pa.RecordBatch, *, where: str, reason: str) -> pa.Array:
    """The rows that stay: a boolean mask, false where `where` is false or NULL.

    The only step that drops documents. Dropped rows are counted under `reason`.

    Args:
        where: DuckDB condition over the columns of the batch; deterministic, no aggregates, windows or subqueries.
        reason: name under which dropped rows are counted, e.g. `not_english`.
    """
    return pc.fill_null(_flat(evaluate(batch, {"kept": where}, f"keep {reason}").column("kept")), False)


def _shape_select(params: Any, schema: pa.Schema) -> pa.Schema:
    missing = [name for name in params.columns if name not in schema.names]
    if missing:
        raise ConfigError(
            "select", f"no column {', '.join(missing)}", got=", ".join(schema.names), expected=", ".join(params.columns), mend="add the step that makes it"
        )
    return pa.schema([schema.field(name) for name in params.columns])


@step(shape=_shape_select, uses=lambda params, _: params.columns)
def select(batch: pa.RecordBatch, *, columns: list[str]) -> pa.RecordBatch:
    """The batch with just these columns, in this order."""
    return batch.select(columns)


TYPES = {"VARCHAR": pa.string(), "BIGINT": pa.int64(), "INTEGER": pa.int32(), "DOUBLE": pa.float64(), "FLOAT": pa.float32(), "BOOLEAN": pa.bool_()}


def _shape_set(params: Any, schema: pa.Schema) -> pa.Schema:
    fields = {field.name: field.type for field in schema}
    for name, expression in params.columns.items():
        kind = check(expression, schema)
        if kind not in TYPES:
            raise ConfigError(
                "set", f"column {name} would have a type that tables do not hold", got=kind, expected=", ".join(TYPES), mend="cast it: `(...)::BIGINT`"
            )
        old = fields.get(name)
        fields[name] = old if old == pa.large_string() and kind == "VARCHAR" else TYPES[kind]
    return pa.schema(list(fields.items()))


@step(shape=_shape_set, uses=lambda params, schema: [name for one in params.columns.values() for name in columns(one, schema)])
def set(batch: pa.RecordBatch, *, columns: dict[str, str]) -> pa.RecordBatch:
    """The batch with columns added or replaced by DuckDB expressions over the row, all evaluated on the columns as they were before."""
    made = evaluate(batch, columns, "set")
    target = _shape_set(keyed(columns), batch.schema)
    arrays = [_flat(made.column(f.name)).cast(f.type) if f.name in columns else batch.column(f.name) for f in target]
    return pa.RecordBatch.from_arrays(arrays, schema=target)


def _flat(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)  # an empty batch gives no chunk


def keyed(columns: dict[str, str]) -> Any:
    """The parameters of `set`, for its own schema function."""
    return set.params(columns=columns)


def evaluate(batch: pa.RecordBatch, expressions: dict[str, str], where: str = "where") -> pa.Table:
    """Row-wise DuckDB expressions over a batch, as a table with their names.

    Raises:
        DataError: an expression has no value for a row (a cast that fails, say); it names `where`, the expression and that row.
    """
    import duckdb

    used = {name for expression in expressions.values() for name in columns(expression, batch.schema)}
    names = [name for name in batch.schema.names if name in used] or batch.schema.names[:1]
    try:
        return _project(batch.select(names), expressions)
    except duckdb.Error as error:
        for name, expression in expressions.items():
            row = _culprit(batch.select(names), {name: expression})
            if row is not None:
                raise _fault(batch.slice(row, 1), row, where, expression, str(error).splitlines()[0]) from error
        raise  # no row by itself: memory, say


def _project(batch: pa.RecordBatch, expressions: dict[str, str]) -> pa.Table:
    projection = ", ".join(f'({expression}) AS "{name}"' for name, expression in expressions.items())
    return connection(os.getpid()).from_arrow(pa.Table.from_batches([batch])).project(projection).to_arrow_table()


def _culprit(batch: pa.RecordBatch, expressions: dict[str, str]) -> int | None:
    """The first row for which there is no value, found by halving."""
    import duckdb

    def fails(start: int, end: int) -> bool:
        try:
            _project(batch.slice(start, end - start), expressions)
        except duckdb.Error:
            return True
        return False

    start, end = 0, batch.num_rows
    if not fails(start, end):
        return None
    while end - start > 1:
        middle = (start + end) // 2
        start, end = (start, middle) if fails(start, middle) else (middle, end)
    return start if fails(start, end) else None


def _fault(row: pa.RecordBatch, number: int, where: str, expression: str, words: str) -> DataError:
    names = [*columns(expression, row.schema), *(name for name in ("id", "file", "offset") if name in row.schema.names)]
    values = [f"{name} = {str(row.column(name)[0].as_py())!r:.200}" for name in dict.fromkeys(names)]
    return DataError(
        where,
        f"`{expression}` has no value: {words}",
        got=f"row {number} of its batch: {', '.join(values)}",
        expected="a value for every row",
        mend="use TRY_CAST, or drop such rows with a `keep` before this step",
    )


def columns(expression: str, schema: pa.Schema) -> list[str]:
    """The columns of `schema` that a row-wise expression looks at, in the order of the schema."""
    used = _used(expression)
    return [name for name in schema.names if used is None or name.lower() in used]


@lru_cache(1024)
def _used(expression: str) -> frozenset[str] | None:
    """The names of columns in an expression, in small letters; None when it may look at any, as `COLUMNS('a.*')` does. Cached: 0.7 ms, for every batch."""
    nodes = list(_nodes(_tree(expression)))
    return None if any(node.get("class") == "STAR" for node in nodes) else frozenset(_column(node) for node in nodes if node.get("class") == "COLUMN_REF")


def _tree(expression: str) -> Any:
    """DuckDB's syntax tree; without nodes where the syntax is wrong."""
    return json.loads(connection(os.getpid()).execute("SELECT json_serialize_sql(?)", [f"SELECT ({expression})"]).fetchall()[0][0])


def _column(node: dict[str, Any]) -> str:
    return str(node["column_names"][0]).lower()  # the others are fields of a struct


def check(expression: str, schema: pa.Schema) -> str:
    """The DuckDB type of a row-wise expression over the columns of `schema`.

    Raises:
        ConfigError: unknown column, wrong syntax, or an expression whose value is not a function of the row alone.
    """
    import duckdb

    try:
        kind = connection(os.getpid()).from_arrow(schema.empty_table()).project(f"({expression}) AS x").types[0]
        nodes = list(_nodes(_tree(expression)))
    except duckdb.Error as error:
        raise ConfigError(
            "where", f"`{expression}`: {str(error).splitlines()[0]}", got=", ".join(schema.names), expected="columns of the table", mend="mend the SQL"
        ) from error
    names = {name.lower() for name in schema.names}
    for node in nodes:
        bad = _impure(node, names)
        if bad:
            raise ConfigError(
                "where",
                f"`{expression}` uses {bad}",
                got=bad,
                expected="a deterministic expression over one row",
                mend="measure it in a step and compare the column",
            )
    return str(kind)


def _nodes(value: Any, own: frozenset[str] = frozenset()) -> Iterator[dict[str, Any]]:
    """The nodes of a syntax tree; a parameter of a lambda or of a list comprehension (`own`) is no column."""
    if isinstance(value, list):
        for inner in value:
            yield from _nodes(inner, own)
    elif isinstance(value, dict):
        if value.get("class") == "LAMBDA" and value.get("syntax_type") != "SINGLE_ARROW":  # `column -> '$.a'` reads JSON
            named = {_column(node) for node in _nodes(value["lhs"]) if node.get("class") == "COLUMN_REF"}
            own, value = own | named, {"class": "LAMBDA", "parameters": sorted(named), "expr": value["expr"]}
        if value.get("class") != "COLUMN_REF" or _column(value) not in own:
            yield value
        for inner in value.values():
            yield from _nodes(inner, own)


def _impure(node: dict[str, Any], columns: Collection[str]) -> str | None:
    if node.get("class") == "COLUMN_REF" and _column(node) not in columns:
        return f"`{node['column_names'][0]}`, which is no column"  # current_date and its like bind without being one
    for name in node.get("parameters", ()):
        if name in columns:  # `name.field` would be read from the column
            return f"`{name}` as a parameter, which is a column too"
    if node.get("class") == "POSITIONAL_REFERENCE":
        return f"#{node['index']}, a column by its place"
    if node.get("class") in ("SUBQUERY", "WINDOW"):
        return f"a {node['class'].lower()}"
    if node.get("class") == "FUNCTION":
        name = str(node["function_name"]).lower()
        if name in _refused():
            return f"{name}()"
    return None


@lru_cache(1)
def _refused() -> frozenset[str]:
    """Functions that are aggregates or whose value may change between calls; what depends on the time zone alone does not: it is always UTC."""
    rows = (
        connection(os.getpid())
        .execute(
            "SELECT function_name FROM duckdb_functions() GROUP BY 1 "
            "HAVING bool_or(function_type IN ('aggregate', 'table', 'pragma')) AND NOT bool_or(function_type IN ('scalar', 'macro')) "
            "OR bool_or(stability IN ('VOLATILE', 'CONSISTENT_WITHIN_QUERY') AND NOT contains(CAST(parameter_types AS VARCHAR), 'TIME ZONE') "
            "AND NOT contains(CAST(parameter_types AS VARCHAR), 'TIMESTAMPTZ'))"
        )
        .fetchall()
    )
    return frozenset(str(row[0]).lower() for row in rows)


def long_bytes(batch: pa.RecordBatch) -> np.ndarray:
    """Bytes of each row in columns whose values have no fixed length, shape (rows,): the same in any batch, unlike those of buffers."""
    total = np.zeros(batch.num_rows, np.int64)
    for column in batch.columns:
        if not pa.types.is_primitive(column.type):
            total += _bytes(column)
    return total


def _bytes(array: pa.Array) -> np.ndarray:
    kind = array.type
    if pa.types.is_struct(kind):
        return sum((_bytes(field) for field in array.flatten()), np.zeros(len(array), np.int64))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False).astype(np.int64)
        before, ends = np.concatenate([[0], np.cumsum(_bytes(array.flatten()))]), np.cumsum(lengths)
        return before[ends] - before[ends - lengths]
    if pa.types.is_primitive(kind):
        return np.full(len(array), -(-kind.bit_width // 8), np.int64)
    return pc.fill_null(pc.binary_length(array), 0).to_numpy(zero_copy_only=False).astype(np.int64)
