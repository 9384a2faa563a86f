"""A part of a mix that cannot give what is asked of it: what is missing, and each change that suffices alone."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dolma.core.errors import ConfigError
from dolma.mix import curve as curves

STEPS = 50  # of a bisection: to one part in 1e15
DIGITS = 1e6  # shares are offered to six digits, always on the side that suffices


@dataclass(frozen=True)
class Shortage:
    """What is asked of a part, and where that comes from.

    `linear` is (tokens that `repeats` take, those that are shared out) where the target grows with the latter; `share` the field that asks, empty where the
    part is as large as in the pool; `whole` the tokens that the share is of.
    """

    name: str
    target: float
    linear: tuple[float, float] | None
    share: str
    whole: float

    @property
    def where(self) -> str:
        """The place, for the message."""
        return f"plan_mix: {self.name}" if "/" in self.name or "," in self.name else f"plan_mix: source {self.name}"

    def ways(self, most: float) -> list[str]:
        """Fewer tokens of the mix, or a smaller share, with which the part is asked for `most` tokens at most."""
        found = []
        if self.linear and (tokens := math.floor(self.linear[0] + self.linear[1] * most / self.target)) > self.linear[0]:
            found.append(f"`tokens` of at most {tokens:,}")
        if self.share:
            found.append(f"`{self.share}` of at most {math.floor(most / self.whole * DIGITS) / DIGITS:g}" if most else f"no `{self.share}`")
        return found

    def of_repeats(self, available: float, caps: dict[str, float], best: int | None = None) -> ConfigError:
        """The error of a part whose every token would be repeated more often than `caps`, by field, allow; `best`: the highest vigintile of a source of which
        only those from one vigintile up are taken."""
        cap = min(caps.values())
        most = available * cap if available else 0.0
        ways, missing = self.ways(most), self.target - most
        if not available:
            ways += [f"`best` of at most {best}"] if best else []
            ways.append(f"{_tokens(self.target, cap)} tokens of data")
        else:
            ways.append(_raised(caps, self.target / available))
            ways.append(f"{_tokens(self.target, cap, available)} more tokens of data")
        what = f"{'its share needs more repeats than allowed' if available else 'there are no tokens to repeat'}: {math.ceil(missing):,} tokens are missing"
        copies = f" ({self.target / available:.2f} copies)" if available else ""
        got, expected = f"{self.target:,.0f} tokens from {available:,.0f}{copies}", f"at most {most:,.0f} ({cap:g} copies)"
        return ConfigError(self.where, what, got=got, expected=expected, mend=_any(ways))


def for_a_curve(short: Shortage, sizes: np.ndarray, cap: float, settings: dict[str, Any], caps: dict[str, float]) -> ConfigError:
    """The error of a topic whose curve would pass its cap.

    Args:
        sizes: tokens of its buckets, worst first, shape (buckets,).
        settings: the other arguments of `curve.solve`.
        caps: what each field allows that says how many copies there may be: every one that is too low must be raised.
    """
    total, target = float(sizes.sum()), short.target

    def solves(tokens: float, cap: float = cap, **other: Any) -> bool:
        try:
            curves.solve(sizes, tokens, cap=cap, **{**settings, **other})
        except ConfigError:
            return False
        return True

    most = _edge(solves, 0.0, target)
    ways = short.ways(most)
    high = 2 * cap
    while not solves(target, high):
        high *= 2
    needed = _edge(lambda value: not solves(target, value), cap, high, upper=True)
    ways.append(_raised(caps, needed))
    throwaways = [value / 100 for value in range(100) if value / 100 < settings["throwaway"]]
    if fits := [value for value in throwaways if solves(target, throwaway=value)]:
        ways.append(f"`throwaway` of at most {max(fits):g}")
    if most:
        ways.append(f"{_tokens(total * target, most, total)} more tokens of data, as good as these")
    one = "; all its scores are equal, so it is one bucket" if np.count_nonzero(sizes) == 1 else ""
    what = f"the target is over what the cap allows: {math.ceil(target - most):,} tokens are missing{one}"
    got = f"{target:,.0f} tokens of {total:,.0f} ({target / total:.2f} copies each)"
    return ConfigError(short.where, what, got=got, expected=f"at most {most:,.0f}", mend=_any(ways))


def _edge(holds: Callable[[float], bool], low: float, high: float, upper: bool = False) -> float:
    """The last value that holds between `low`, which does, and `high`, which does not; the first that does not where `upper`."""
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return high if upper else low


def _raised(caps: dict[str, float], needed: float) -> str:
    """Every cap that is too low, and what it must be."""
    return f"{' and '.join(f'`{field}`' for field, most in caps.items() if most < needed)} of at least {_up(needed)}"


def _up(value: float) -> str:
    return f"{math.ceil(value * 1e4) / 1e4:g}" if value < 100 else f"{math.ceil(value):g}"


def _tokens(target: float, copies: float, there: float = 0.0) -> str:
    """How many more than are there give the target in so many copies; where a double holds no such number, more than it does."""
    needed = float(target) / float(copies) - there
    return f"{math.ceil(needed):,}" if needed < math.inf else f"more than {float(np.finfo(float).max):.0e}"


def _any(ways: list[str]) -> str:
    return ways[0] if len(ways) == 1 else f"any one of: {'; '.join(ways)}"
