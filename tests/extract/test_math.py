import pyarrow as pa

from dolma.extract.math import extract_math


def text(problem: str, solution: str | None, value: str | None, **params) -> tuple[str, bool]:
    table = {
        "id": pa.array(["a"]),
        "problem": pa.array([problem], pa.large_string()),
        "solution": pa.array([solution], pa.large_string()),
        "answer": pa.array([value], pa.string()),
    }
    made = extract_math.fn(pa.RecordBatch.from_pydict(table), **params)
    assert made.schema == extract_math.adds(extract_math.params(), pa.RecordBatch.from_pydict(table).schema)
    (row,) = made.to_pylist()
    assert row["source"] == "math" and row["lang_score"] == 1.0
    return row["text"], row["has_solution"]


def test_parts_stand_apart_and_calculator_marks_are_gone():
    made = text("How many?\n", "He has 2*3=<<2*3=6>>6 of them.\n#### 6", "6")
    assert made == ("How many?\n\nHe has 2*3=6 of them.\n\nAnswer: 6", True)


def test_missing_parts_leave_no_empty_lines():
    assert text("Solve.", None, "4", answer="= ") == ("Solve.\n\n= 4", False)
    assert text("Solve.", "#### 4", None) == ("Solve.", False)


def test_comparison_signs_are_no_calculator_marks():
    assert text("p", "a << b\nc >> d", "1")[0] == "p\n\na << b\nc >> d\n\nAnswer: 1"
