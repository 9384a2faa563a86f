"""Spoiled answers: always wrong, and wrong for a verifier too."""

import random

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.synth.pairs import spoil, spoil_answer
from dolma.synth.problems import KINDS, problems

TEXT = st.text(st.characters(codec="utf-8"), max_size=20) | st.lists(st.sampled_from(["0", "1", "-3", "--4", "\u00b2", "a", "b", ""]), max_size=5).map(" ".join)


@settings(max_examples=300)
@given(TEXT, TEXT, st.integers(0, 1000))
def test_a_spoiled_answer_always_differs(solution: str, answer: str, seed: int) -> None:
    working, spoiled = spoil(solution, answer, random.Random(seed))
    assert spoiled != answer
    assert working == solution or spoiled in working


@given(st.integers(0, 12), st.integers(0, 10_000))
def test_a_spoiled_number_is_another_number_nearby(number: int, seed: int) -> None:
    _, spoiled = spoil("", str(number), random.Random(seed))
    assert spoiled == str(int(spoiled)) and 1 <= abs(int(spoiled) - number) <= 2 and int(spoiled) >= 0


def batch(*answers: str, first: int = 0) -> pa.RecordBatch:
    columns = [pa.array(range(first, first + len(answers)), pa.int64()), pa.array(["3 + 4 = 7"] * len(answers), pa.large_string()), pa.array(answers)]
    return pa.RecordBatch.from_arrays(columns, ["key", "solution", "answer"])


def test_the_fault_is_chosen_by_key_and_seed_alone() -> None:
    made = spoil_answer(batch(*["7"] * 40), seed=1)
    later = spoil_answer(batch(*["7"] * 30, first=10), seed=1)
    assert made.slice(10).to_pylist() == later.to_pylist()
    assert spoil_answer(batch(*["7"] * 40), seed=2).to_pylist() != made.to_pylist()


def test_the_working_leads_to_the_wrong_answer() -> None:
    for number, row in enumerate(spoil_answer(batch(*["7"] * 60)).to_pylist()):
        assert row["bad_solution"] == f"3 + 4 = {row['bad_answer']}", number
    working, bad = spoil("12 > 7", "12", random.Random(1))
    assert working == f"{bad} > 7"
    assert spoil("b1 a1 b2", "2", random.Random(1))[0] == "b1 a1 b2"  # it never says 2 by itself


def test_problems_of_every_kind_get_a_wrong_answer() -> None:
    for made in problems(None, file="", count=400, seed=1, kinds=dict.fromkeys(KINDS, 1.0), largest=3, distinct=False):
        for row in spoil_answer(made).to_pylist():
            right, wrong = row["answer"], row["bad_answer"]
            assert int(wrong) != int(right) if row["verifier"] == "number" else wrong.split() != right.split(), row
