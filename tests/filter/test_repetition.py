"""Golden documents of the repetition rules."""

import pyarrow as pa
import pytest

from dolma.filter.repetition import COLUMNS, tag_repetition
from dolma.kernels import repetition

LIMITS = dict(zip(repetition.REPETITION, (0.3, 0.2, 0.3, 0.2, 0.2, 0.18, 0.16, 0.15, 0.14, 0.13, 0.12, 0.11, 0.10), strict=True))


def plain(n: int, start: int = 0) -> str:
    """`n` different words."""
    return " ".join(f"word{chr(97 + k // 26 % 26)}{chr(97 + k % 26)}" for k in range(start, start + n))


def measured(*texts: str | None) -> list[dict[str, float]]:
    return tag_repetition(pa.RecordBatch.from_arrays([pa.array(texts, pa.large_string())], ["text"])).select(list(COLUMNS)).to_pylist()


def broken(text: str) -> set[str]:
    return {name for name, limit in LIMITS.items() if measured(text)[0][name] > limit}


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        (plain(300), set()),
        ("\n".join([plain(20, 0), "x", "x", plain(20, 20), "x"]), {"duplicate_line_ratio"}),
        ("\n\n".join([plain(20, 0), "x", "y", "x", "y", plain(20, 20)]), {"duplicate_line_ratio", "duplicate_paragraph_ratio"}),
        (" ".join(f"longestword thing {word}" for word in plain(30).split()), {"top_2gram_chars"}),
        (plain(200) + " " + plain(17), {f"repeated_{n}gram_chars" for n in (5, 6, 7, 8, 9, 10)}),
        (plain(200) + " " + plain(11), {"repeated_10gram_chars"}),
    ],
)
def test_each_rule_is_broken_by_its_golden_document(text: str, rules: set[str]) -> None:
    assert broken(text) == rules


def test_case_makes_no_difference_to_ngrams_but_to_lines() -> None:
    made = measured("ONE two three four five\none TWO three FOUR five")[0]
    assert made["repeated_5gram_chars"] == 1.0 and made["duplicate_line_ratio"] == 0.0


def test_empty_text_repeats_nothing() -> None:
    for row in measured("", None, "\n\n"):
        assert set(row.values()) == {0.0}


def test_columns_are_in_the_order_of_the_kernel() -> None:
    assert COLUMNS == repetition.REPETITION
