"""Problems made by rule: their answers worked out again here, and a split that no prompt crosses."""

import re
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.core.errors import ConfigError
from dolma.core.schema import keys
from dolma.synth.problems import KINDS, ORDERLESS, PROBLEM, problems, side

ALL = dict.fromkeys(KINDS, 1.0)


def rows(**params) -> list[dict]:
    batches = list(problems(None, file="", **{"count": 60, "seed": 1, "kinds": ALL, "distinct": False, **params}))
    assert all(batch.schema == pa.schema(list(PROBLEM.items())) for batch in batches)
    return [row for batch in batches for row in batch.to_pylist()]


def solved(prompt: str) -> str:
    """The answer to a prompt, from its words alone."""
    head, _, rest = prompt.partition(": ")
    match re.findall(r"\d+", prompt), prompt.split():
        case [a, b], ["What", *_]:
            return str({"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b)}[prompt.split()[3]])
        case [a, b], ["Which", *_]:
            return str(max(int(a), int(b)))
        case [times], ["Write", word, *_]:
            return " ".join([word] * int(times))
        case _, ["How", "many", letter, "in", *letters]:
            return str("".join(letters).rstrip("?").count(letter))
        case _, ["Sort:", *numbers]:
            return " ".join(sorted(numbers, key=int))
    return {"Copy": rest, "Reverse": rest[::-1]}[head]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 50), st.sampled_from(["train", "tune", "heldout"]))
def test_answers_are_right(seed: int, largest: int, split: str) -> None:
    for row in rows(seed=seed, largest=largest, split=split):
        if row["kind"] in ("between", "round"):
            low, high = map(int, re.findall(r"\d+", row["prompt"]))
            assert low <= int(row["answer"]) <= high and row["truth"] == f"{low} {high}"
            assert row["kind"] == "between" or int(row["answer"]) % 10 == 0
        else:
            assert row["answer"] == solved(row["prompt"]), row["prompt"]


def test_truth_is_what_the_verifier_is_given() -> None:
    for row in rows(count=200):
        kind = {"copy": "exact", "reverse": "exact", "sort": "exact", "repeat": "repeat", "between": "between", "round": "round"}.get(row["kind"], "number")
        assert row["verifier"] == kind
        words = row["answer"].split()
        if kind not in ("between", "round"):
            assert row["truth"] == (f"{words[0]} {len(words)}" if kind == "repeat" else row["answer"])


def test_every_working_leads_to_the_answer() -> None:
    for row in rows(count=200):
        solution, answer = row["solution"], row["answer"]
        if row["kind"] in ("add", "subtract", "multiply"):
            left, right = solution.split(" = ")
            a, sign, b = left.split()
            assert row["prompt"] == f"What is {left}?" and right == answer == str({"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b)}[sign])
        elif row["kind"] == "count":
            letters = row["prompt"].rstrip("?").split()
            seen: Counter[str] = Counter()
            for step, letter in zip(solution.split(), letters[4:], strict=True):
                seen[letter] += letter == letters[2]
                assert step == f"{letter}{seen[letters[2]]}"


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 10_000), st.integers(2, 40), st.integers(2, 40))
def test_the_sides_never_share_a_problem_in_any_order(one: int, other: int, small: int, large: int) -> None:
    asked = [
        {(row["kind"], frozenset(row["prompt"].split()) if row["kind"] in ORDERLESS else row["prompt"]) for row in made}
        for made in (rows(seed=one, largest=small), rows(seed=other, largest=large, split="tune"), rows(seed=other, largest=large, split="heldout"))
    ]
    assert not asked[0] & asked[1] and not asked[0] & asked[2] and not asked[1] & asked[2]


def test_a_tenth_of_problems_is_on_each_side_that_is_not_trained_on() -> None:
    sides = [side("add", f"What is {a} + {b}?") for a in range(100) for b in range(a, 100)]
    assert all(0.08 < sides.count(name) / len(sides) < 0.12 for name in ("tune", "heldout"))
    assert all(side("add", f"What is {a} + {b}?") == side("add", f"What is {b} + {a}?") for a in range(20) for b in range(20))
    assert {side("copy", "Copy: a b"), side("copy", "Copy: b a"), side("reverse", "Reverse: a b")} <= {"train", "tune", "heldout"}


def test_same_seed_same_rows_and_another_seed_others() -> None:
    assert rows() == rows()
    assert [row["prompt"] for row in rows(seed=2)] != [row["prompt"] for row in rows()]


def test_ids_are_unique_and_keys_are_of_them_across_batches() -> None:
    made = rows(count=5000)
    assert len({row["id"] for row in made}) == len(made) == 5000
    assert [row["key"] for row in made] == keys(pa.array([row["id"] for row in made])).to_pylist()


def test_kinds_come_at_their_rates() -> None:
    made = Counter(row["kind"] for row in rows(count=2000, kinds={"add": 3, "sort": 1}))
    assert set(made) == {"add", "sort"} and 2.5 < made["add"] / made["sort"] < 3.6


def test_distinct_problems_are_distinct_or_the_recipe_is_refused() -> None:
    made = rows(count=75, kinds={"add": 1}, largest=9, distinct=True)
    assert len({row["prompt"] for row in made}) == 75
    with pytest.raises(ConfigError, match="not so many different problems"):
        rows(count=101, kinds={"add": 1}, largest=9, distinct=True)


@pytest.mark.parametrize("kinds", [{}, {"ad": 1}, {"add": 1, "sqrt": 1}, {"add": 0}, {"add": 1, "sort": -1}])
def test_unknown_kinds_are_refused_with_those_that_exist(kinds: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="reverse") as error:
        rows(kinds=kinds)
    assert error.value.code == 2
