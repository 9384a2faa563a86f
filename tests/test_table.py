"""`keep`, `select` and `set`."""

import pyarrow as pa
import pytest

from dolma import table
from dolma.core.errors import ConfigError, DataError

BATCH = pa.record_batch(
    {"a": pa.array([1, 2, None], pa.int64()), "t": pa.array(["x", "y", "z"], pa.large_string()), "s": pa.array([0.65, 0.7, None], pa.float32())}
)


def test_keep_is_false_where_the_condition_is_null() -> None:
    assert table.keep(BATCH, where="a > 1", reason="r").to_pylist() == [False, True, False]


def test_an_empty_batch_goes_through() -> None:
    assert len(table.keep(BATCH.slice(0, 0), where="a > 1", reason="r")) == 0
    assert table.set(BATCH.slice(0, 0), columns={"n": "a + 1"}).num_rows == 0


def test_keep_compares_float32_as_duckdb_does() -> None:
    assert table.keep(BATCH, where="s >= 0.65", reason="r").to_pylist() == [True, True, False]


ROWS = pa.record_batch({"id": ["a", "b", "c", "d"], "n": ["1", "2", "x", "y"], "offset": pa.array([0, 10, 20, 30], pa.int64()), "m": ["9"] * 4})


@pytest.mark.parametrize("bad", [0, 1, 2, 3])
def test_keep_names_the_first_row_that_it_has_no_value_for(bad: int) -> None:
    batch = ROWS.set_column(1, "n", pa.array(["x" if n == bad else "1" for n in range(4)]))
    with pytest.raises(DataError) as error:
        table.keep(batch, where="n::INTEGER > 1 OR m = '8'", reason="small")
    assert error.value.where == "keep small" and "n::INTEGER > 1" in error.value.what and "Conversion Error" in error.value.what
    assert error.value.got == f"row {bad} of its batch: n = 'x', m = '9', id = {'abcd'[bad]!r}, offset = '{bad * 10}'"
    assert "TRY_CAST" in error.value.mend


def test_set_names_the_expression_and_the_row() -> None:
    with pytest.raises(DataError, match="`n::INTEGER` has no value") as error:
        table.set(ROWS, columns={"k": "m::INTEGER", "l": "n::INTEGER"})
    assert "row 2 " in str(error.value)


def test_columns_are_those_that_an_expression_looks_at() -> None:
    assert table.columns("coalesce(S, 0) > 0.5 AND length(t) IN (1, 2)", BATCH.schema) == ["t", "s"]
    assert table.columns("'a' = 'b'", BATCH.schema) == []
    assert table.columns("least(*COLUMNS('a|s')) > 1", BATCH.schema) == ["a", "t", "s"]


NESTED = pa.record_batch(
    {
        "xs": pa.array([[1, 2], [3], None]),
        "pii": pa.array(
            [[{"kind": "email", "start": 1}, {"kind": "ip", "start": 3}], [], None], pa.list_(pa.struct({"kind": pa.string(), "start": pa.int32()}))
        ),
        "one": pa.array([{"start": 5, "in": {"x": 1}}, {"start": 2, "in": {"x": 0}}, None]),
        "start": pa.array([1, 2, 3]),
        "kind": pa.array(["email", "ip", "x"]),
        "x": pa.array([0, 1, 2]),
        "json": pa.array(['{"a": 1}', "{}", "{}"]),
    }
)


@pytest.mark.parametrize(
    ("where", "looked_at", "kept"),
    [
        ("len([p for p in pii if p.kind = 'email']) = 1", ["pii"], [True, False, False]),
        ("len(list_filter(pii, lambda p: p.kind = 'email')) = 1", ["pii"], [True, False, False]),
        ("len(list_filter(PII, lambda P, n: p.KIND = 'email' AND N = 1)) = 1", ["pii"], [True, False, False]),
        ("len([p for p in pii if p.kind = kind AND len([q for q in xs if q = p.start]) = 1]) = 1", ["xs", "pii", "kind"], [True, False, False]),
        ("len([y for y in xs if y > 1]) = 1 AND x < 1", ["xs", "x"], [True, False, False]),
        ("list_reduce(xs, lambda p, q: p + q) = 3", ["xs"], [True, True, False]),
        ("one.start > 4", ["one"], [True, False, False]),
        ('one."in".x = 1', ["one"], [True, False, False]),
        ("pii[1].kind = 'email'", ["pii"], [True, False, False]),
        ("(json -> '$.a') = '1'", ["json"], [True, False, False]),
        ("KIND = 'email'", ["kind"], [True, False, False]),
        ("\"Kind\" = 'email'", ["kind"], [True, False, False]),
    ],
)
def test_parameters_and_fields_are_no_columns(where: str, looked_at: list[str], kept: list[bool]) -> None:
    assert table.check(where, NESTED.schema) == "BOOLEAN"
    assert table.columns(where, NESTED.schema) == looked_at
    assert table.keep(NESTED, where=where, reason="r").to_pylist() == kept


@pytest.mark.parametrize(
    "where",
    [
        "len([p for p in pii if p.kind = 'email']) = 1 AND p = 1",
        "len([a for a in pii if a.kind = 'x']) = 1",
        "[random() < 0.5 for p in pii][1]",
        "#1 > 1",
        "[current_date for p in xs] = []",
    ],
)
def test_a_parameter_hides_nothing_that_is_refused(where: str) -> None:
    with pytest.raises(ConfigError):
        table.check(where, BATCH.append_column("pii", NESTED["pii"]).append_column("xs", NESTED["xs"]).schema)


def test_names_of_columns_are_in_any_case_as_in_duckdb() -> None:
    batch = pa.record_batch({"id": ["a", "b"], "lang": ["en", "de"], "lang_score": [0.1, 0.2]})
    assert table.keep(batch, where="LANG = 'en'", reason="r").to_pylist() == [True, False]
    made = table.set(batch, columns={"n": "Length(Id)", "up": "upper(LANG)"})
    assert made.column("n").to_pylist() == [1, 1] and made.column("up").to_pylist() == ["EN", "DE"]
    with pytest.raises(DataError) as error:
        table.keep(batch, where="LANG::INTEGER > 1", reason="small")
    assert "lang = 'en'" in error.value.got and "lang_score" not in error.value.got


def test_set_keeps_the_type_of_a_text_column() -> None:
    made = table.set(BATCH, columns={"t": "upper(t)", "n": "a + 1"})
    assert made.schema.field("t").type == pa.large_string() and made.column("t").to_pylist() == ["X", "Y", "Z"]
    assert made.column("n").to_pylist() == [2, 3, None]


@pytest.mark.parametrize(
    "expression",
    ["random() < .5", "now() > '2020-01-01'", "current_date > date '2020-01-01'", "sum(a) > 1", "row_number() over () > 1", "(select 1) = 1", "b > 1", "a >"],
)
def test_expressions_that_are_not_of_the_row_are_refused(expression: str) -> None:
    with pytest.raises(ConfigError):
        table.check(expression, BATCH.schema)


def test_sql_cannot_read_files() -> None:
    with pytest.raises(Exception, match=r"(?i)disabled|permission|not"):
        table.evaluate(BATCH, {"x": "(select content from read_text('/etc/passwd'))"})
