"""Instructions whose fulfilment can be counted."""

from fractions import Fraction

from training.verifiers.math import parse


def repeat(answer: str, truth: str) -> float:
    """1 when the answer is one word exactly so often as asked; `truth` is `WORD N`."""
    word, _, times = truth.rpartition(" ")
    return float(answer.split() == [word] * int(times))


def between(answer: str, truth: str) -> float:
    """1 when the answer is one number of the range; `truth` is `LOW HIGH`, both of them in it."""
    got = parse(answer)
    low, high = (Fraction(bound) for bound in truth.split())
    return float(got is not None and low <= got <= high)


def round_number(answer: str, truth: str) -> float:
    """1 when the answer is one multiple of ten of the range; `truth` is `LOW HIGH`."""
    got = parse(answer)
    return between(answer, truth) if got is not None and got % 10 == 0 else 0.0
