"""Problems with solutions and answers as one text."""

import re

import pyarrow as pa

from dolma.core.schema import append, keys
from dolma.core.step import step
from dolma.extract.constants import constants

# GSM8K writes `$<<5*2=10>>10`: the marks call a calculator and are no prose. All 14,257 of 4,500 solutions hold arithmetic alone, so `a << b >> c` is none.
CALCULATOR = re.compile(r"<<[\d.+\-*/()%,$ ]*=[\d.+\-*/()%,$ ]*>>")
FINAL = re.compile(r"\n?####[^\n]*\s*\Z")  # and ends with `#### 10`


@step(
    needs=("id", "problem", "solution", "answer"),
    adds={
        "key": pa.int64(),
        "source": pa.string(),
        "url": pa.string(),
        "lang": pa.string(),
        "lang_score": pa.float32(),
        "text": pa.large_string(),
        "has_solution": pa.bool_(),
    },
    version=2,
)
def extract_math(batch: pa.RecordBatch, *, answer: str = "Answer: ") -> pa.RecordBatch:
    """Problem, solution without its calculator marks, and answer, each after an empty line, as `text`. Nothing else of them is changed but white space
    around each: formulas stay byte for byte.

    Args:
        answer: what stands before the answer.
    """
    texts, solved = [], []
    for problem, solution, value in zip(*(batch.column(name).to_pylist() for name in ("problem", "solution", "answer")), strict=True):
        worked = FINAL.sub("", CALCULATOR.sub("", solution or "")).strip()
        parts = [problem.strip(), worked, answer + value.strip() if value and value.strip() else ""]
        texts.append("\n\n".join(part for part in parts if part))
        solved.append(bool(worked))
    columns = {
        "key": keys(batch.column("id")),
        **constants(batch.num_rows, source="math", lang="en"),
        "text": pa.array(texts, pa.large_string()),
        "has_solution": pa.array(solved, pa.bool_()),
    }
    return append(batch, columns)
