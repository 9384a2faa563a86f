"""The measures of mathematics as columns."""

import pyarrow as pa
import pytest

from dolma.filter.math import tag_math


def test_golden_texts_and_an_empty_one() -> None:
    texts = ["Let $x^2$ be", "It costs $5 or $6.", "", r"\frac{1}{2} lost its marks", None]
    batch = pa.RecordBatch.from_arrays([pa.array(texts, pa.large_string())], ["text"])
    made = tag_math(batch)
    assert made.schema == tag_math.adds(tag_math.params(), batch.schema)
    rows = made.to_pylist()
    assert [row["n_formulas"] for row in rows] == [1, 0, 0, 0, 0] and [row["n_commands"] for row in rows] == [0, 0, 0, 1, 0]
    assert [row["math_ratio"] for row in rows] == [pytest.approx(5 / 12), 0, None, 0, None]
