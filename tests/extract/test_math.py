import gzip
import json
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@pytest.mark.parametrize("formula", [r"$a<<b=c>>d$", "<<x=3>>", r"\[ x  \\  y \]", "$$\n a\t b\n$$", "#### no end\nmore"])
def test_formulas_stay_byte_for_byte(formula: str):
    assert text(f"p {formula} q", f"s {formula} t", "1")[0] == f"p {formula} q\n\ns {formula} t\n\nAnswer: 1"


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=10))
def test_nothing_but_marks_and_outer_white_space_goes(problem: str, solution: str, value: str):
    made, solved = text(problem, solution, value)
    for part in (problem, "" if "<<" in solution or "####" in solution else solution, value):
        assert part.strip() in made
    assert solved == bool(solution.strip()) or "<<" in solution or "####" in solution


@pytest.mark.kit
def test_no_calculator_mark_of_gsm8k_is_left(kit: Path):
    with gzip.open(kit / "math" / "gsm8k_train.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines][:1000]
    marks = sum(row["solution"].count("<<") for row in rows)
    made = [text(row["problem"], row["solution"], row["answer"])[0] for row in rows]
    assert marks > 2000 and not any("<<" in one or "####" in one for one in made)
