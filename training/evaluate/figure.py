"""One figure of a model on held-out data."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A value with what it is of.

    Args:
        metric: `bits_per_byte`, `recall`, `exact`, ...
        slice: which part of the data.
        n: documents, facts, answers or pairs behind it.
        chance: what guessing gives, where that is known.
    """

    metric: str
    slice: str
    value: float
    n: int
    chance: float | None = None
