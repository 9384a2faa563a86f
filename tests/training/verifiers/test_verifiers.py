"""Verdicts: what is right, what is wrong, and what tries to be taken for right."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma.core.errors import DataError
from training.verifiers.registry import VERIFIERS, score
from training.verifiers.text import final, in_template


@pytest.mark.parametrize("answer", ["12", " 12 ", "12.", "+12", "12.0", "<think>\n5 + 7 = 12\n</think>\n\n12", "<think>13</think>12"])
def test_a_number_is_right_in_any_spelling(answer: str) -> None:
    assert score("number", answer, "12") == 1


@pytest.mark.parametrize(
    "answer",
    ["", "13", "-12", "1 2", "12 13", "11 12 13", "12 or 13", "0x0c", "9**9**9", "1e999999999", "12" * 2000, "1" * 10**6, "</think>12</think>", "nan", "١٢"],
)
def test_a_number_is_nothing_else(answer: str) -> None:
    assert score("number", answer, "12") == 0


@pytest.mark.parametrize(("answer", "truth"), [("1,200", "1200"), ("−3", "-3"), ("0.50", "0.5"), ("1,234,567.25", "1234567.25")])
def test_thousands_minus_and_decimals(answer: str, truth: str) -> None:
    assert score("number", answer, truth) == 1


@given(st.integers(-(10**30), 10**30), st.integers(-(10**30), 10**30))
def test_numbers_are_equal_exactly_when_they_are(a: int, b: int) -> None:
    assert score("number", str(a), str(a)) == 1 and score("number", f"{a:,}", str(a)) == 1
    assert score("number", str(a), str(b)) == float(a == b)


def test_exact_and_repeat() -> None:
    assert score("exact", "<think>\na b\n</think>\n\na  b", "a b") == 1
    assert score("exact", "a b c", "a b") == score("exact", "b a", "a b") == score("exact", "", "a b") == score("exact", "A b", "a b") == 0
    assert score("repeat", "kelp kelp kelp", "kelp 3") == 1
    assert [score("repeat", answer, "kelp 3") for answer in ("kelp kelp", "kelp " * 4, "kelpkelpkelp", "kelp kelp jade", "")] == [0] * 5


@pytest.mark.parametrize(("answer", "score_"), [("30", 1), ("41", 1), ("29", 0), ("42", 0), ("35.5", 1), ("30 or 31", 0), ("thirty", 0), ("", 0)])
def test_between_takes_both_ends_and_one_number(answer: str, score_: int) -> None:
    assert score("between", answer, "30 41") == score_
    assert score("round", answer, "30 41") == float(answer == "30")


def test_an_unknown_verifier_is_named() -> None:
    with pytest.raises(DataError, match="unknown verifier `maths`") as error:
        score("maths", "1", "1")
    assert error.value.expected == ", ".join(VERIFIERS)


@pytest.mark.parametrize(
    ("response", "answer", "form"),
    [
        ("<think>\na\n</think>\n\nb", "b", True),
        ("b", "b", False),
        ("<think>\na\n</think>\n\n", "", False),
        ("<think>\na", "<think>\na", False),
        ("x<think>\na\n</think>\n\nb", "b", False),
        ("<think>\na\n</think>\n\nb</think>c", "c", False),
        ("<think>\n<think>\na\n</think>\n\nb", "b", False),
    ],
)
def test_the_answer_follows_the_thought(response: str, answer: str, form: bool) -> None:
    assert final(response) == answer and in_template(response) is form


@given(st.text(), st.text())
def test_any_text_gets_a_score(response: str, truth: str) -> None:
    assert all(0 <= score(name, response, {"repeat": f"{truth} 2", "between": "1 2", "round": "1 2"}.get(name, truth)) <= 1 for name in VERIFIERS)
