import re
from fractions import Fraction
from itertools import pairwise
from math import gcd
from random import Random

import pytest

from dolma.gather.math import KINDS, arithmetic, divisor, fractions, linear, problems, sequence


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_solution_ends_in_the_answer(kind):
    for seed in range(200):
        _, solution, answer = kind(Random(seed))
        assert re.findall(r"-?\d+(?:/\d+)?", solution)[-1] == answer


EQUATION = re.compile(r"(?<![\w/^.])(?<![-*+/] )(\d+(?: (?:\*|\+|-|//) \d+)+) = (-?\d+)(?![\d/]| [*/])")


def test_every_whole_equation_in_a_solution_is_true():
    checked = set()
    for kind in KINDS:
        for seed in range(200):
            for left, right in EQUATION.findall(kind(Random(seed))[1]):
                assert eval(left) == int(right), (kind.__name__, seed)
                checked.add(kind.__name__)
    assert {"arithmetic", "shopping", "sharing", "percentage", "sequence", "journey"} <= checked


def test_answers_agree_with_another_way_to_them():
    for seed in range(200):
        problem, _, answer = arithmetic(Random(seed))
        assert eval(re.search(r"\d.*\d", problem)[0]) == int(answer)
        problem, _, answer = divisor(Random(seed))
        assert gcd(*map(int, re.findall(r"\d+", problem))) == int(answer)
        problem, _, answer = fractions(Random(seed))
        a, b, c, d = map(int, re.findall(r"\d+", problem))
        assert Fraction(a, b) + Fraction(c, d) == Fraction(answer)
        left, right = (re.sub(r"(\d+)x", r"\1*x", side) for side in re.search(r": (.*)\.", linear(Random(seed))[0])[1].split(" = "))
        x = int(linear(Random(seed))[2])
        assert eval(left, {"x": x}) == eval(right, {"x": x})
        problem, _, answer = sequence(Random(seed))
        *shown, number = map(int, re.findall(r"\d+", problem))
        gaps = {b - a for a, b in pairwise(shown)}
        value = shown[0] + (number - 1) * gaps.pop() if len(gaps) == 1 else shown[0] * (shown[1] // shown[0]) ** (number - 1)
        assert value == int(answer)


def test_problems_are_all_different_and_follow_the_seed():
    made = problems(3, 500)
    assert len({row["problem"] for row in made}) == len({row["id"] for row in made}) == 500
    assert made == problems(3, 500) and made != problems(4, 500)
