"""Numbers as people write them."""

import math
from decimal import Decimal

UNITS = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


def amount(text: str) -> int | float:
    """The number that a text means: `5.93e12`, `6T`, `150B`, `2.5M`, `6_000_000`; thousands to 10^12 by K, M, B, T. An int where it is whole.

    Raises:
        ValueError: it is none, or is not finite.
    """
    written = text.strip()
    step = UNITS.get(written[-1:], 1)
    try:
        number = Decimal(written[:-1] if written[-1:] in UNITS else written)
        made = number * step
    except ArithmeticError as error:  # too large an exponent is an Overflow
        raise ValueError(f"{text!r} is no number, such as 5.93e12, 6T, 150B or 2.5M") from error
    if not math.isfinite(made) or math.isinf(float(made)) or (number and not float(made)):
        raise ValueError(f"{text!r} is no number that can be counted with, such as 5.93e12, 6T, 150B or 2.5M")
    return int(made) if made == made.to_integral_value() else float(made)
