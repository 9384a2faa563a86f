"""Problems made by rule: their answers worked out again here, and a split that no prompt crosses."""

import re
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.core.errors import ConfigError
from dolma.core.schema import keys
from dolma.synth.problems import KINDS, PROBLEM, is_heldout, problems

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
@given(st.integers(0, 10_000), st.integers(0, 50), st.sampled_from(["train", "heldout"]))
def test_answers_are_right(seed: int, largest: int, split: str) -> None:
    for row in rows(seed=seed, largest=largest, split=split):
        assert row["answer"] == solved(row["prompt"]), row["prompt"]


def test_truth_is_what_the_verifier_is_given() -> None:
    for row in rows(count=200):
        kind = {"copy": "exact", "reverse": "exact", "sort": "exact", "repeat": "repeat"}.get(row["kind"], "number")
        assert row["verifier"] == kind
        words = row["answer"].split()
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
def test_train_and_heldout_never_share_a_prompt(one: int, other: int, small: int, large: int) -> None:
    train = {row["prompt"] for row in rows(seed=one, largest=small)}
    heldout = {row["prompt"] for row in rows(seed=other, largest=large, split="heldout")}
    assert not train & heldout
    assert not any(map(is_heldout, train)) and all(map(is_heldout, heldout))


def test_a_tenth_of_prompts_is_held_out() -> None:
    share = sum(is_heldout(f"What is {a} + {b}?") for a in range(100) for b in range(100)) / 10_000
    assert 0.09 < share < 0.11


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
    made = rows(count=90, kinds={"add": 1}, largest=9, distinct=True)
    assert len({row["prompt"] for row in made}) == 90
    with pytest.raises(ConfigError, match="not so many different problems"):
        rows(count=101, kinds={"add": 1}, largest=9, distinct=True)


@pytest.mark.parametrize("kinds", [{}, {"ad": 1}, {"add": 1, "sqrt": 1}, {"add": 0}, {"add": 1, "sort": -1}])
def test_unknown_kinds_are_refused_with_those_that_exist(kinds: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="reverse") as error:
        rows(kinds=kinds)
    assert error.value.code == 2
