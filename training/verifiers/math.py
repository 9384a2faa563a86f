"""Answers that are numbers."""

import re
from fractions import Fraction

NUMBER = re.compile(r"([+−-]?)([0-9]{1,40}|[0-9]{1,3}(?:,[0-9]{3}){1,12})(?:\.([0-9]{1,40}))?")  # bounded: no megabyte of digits is parsed


def parse(text: str) -> Fraction | None:
    """The number that `text` is, exactly; None when it is anything else, or more than one number."""
    found = NUMBER.fullmatch(text.strip().removesuffix("."))
    if found is None:
        return None
    sign, whole, part = found[1], found[2].replace(",", ""), found[3] or ""
    value = Fraction(int(whole + part), 10 ** len(part))
    return -value if sign in ("-", "−") else value


def number(answer: str, truth: str) -> float:
    """1 when the answer is the number `truth` and nothing else: a list of guesses scores 0."""
    got = parse(answer)
    return float(got is not None and got == parse(truth))
