"""How often each quality bucket of a topic is repeated: a truncated power-exponential curve, in closed form.

On the kept quality axis x in [0, W] the density of copies is f(x) = C x^p e^(lambda x), zero below the cut, steep at the top. Its integral is

    G(x) = int_0^x t^p e^(lambda t) dt = x^(p+1) sum_k (lambda x)^k / (k! (p+1+k)),

a series of positive terms, so C and every bucket's mean need no quadrature. The published code spends seconds a topic in nested quadrature.
Source: Olmo 3 report, quality-aware upsampling; spec of the mix, section 5 (three published parameter sets).
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import numpy as np

from dolma.core.errors import ConfigError

TERMS = 128  # of the series: at lambda x = 20 the remainder is below 1e-17 of the sum


@dataclass(frozen=True)
class Params:
    """Ranges that a solution is searched in, and the interval whose mean is capped.

    `upper` is the share of the last bucket (from its top) over which the mean may not exceed the cap.
    """

    p: tuple[float, ...]
    lambda_max: float
    upper: float = 1.0


SETS = {
    "A": Params(tuple(np.linspace(0.01, 2.0, 20).tolist()), 2.0),  # the committed code
    "B": Params(tuple(np.linspace(0.4, 2.0, 20).tolist()), 0.2),  # the saved notebook
    "C": Params((0.4,), 20.0, upper=0.5),  # production, recovered by fitting: reproduces all 201 cells
}


@dataclass(frozen=True)
class Curve:
    """A solution: rates (mean copies a token of each bucket, worst first), and what made them."""

    rates: np.ndarray
    p: float
    growth: float
    scale: float
    cut: float


def integral(x: np.ndarray, p: float, growth: float) -> np.ndarray:
    """int_0^x t^p e^(growth t) dt, elementwise, for x >= 0."""
    x = np.asarray(x, np.float64)
    terms = min(TERMS, 24 + ceil(4 * growth))
    k = np.arange(1, terms)
    powers = np.concatenate([np.ones((*x.shape, 1)), np.cumprod(growth * x[..., None] / k, axis=-1)], axis=-1)
    return x ** (p + 1) * (powers / (p + 1 + np.arange(terms))).sum(-1)


def solve(tokens: np.ndarray, target: float, *, cap: float = 7.0, throwaway: float = 0.4, params: Params = SETS["C"], where: str = "curve") -> Curve:
    """Copies a token for each bucket, so that the topic gives `target` tokens.

    Args:
        tokens: natural tokens of the buckets, worst first, shape (buckets,).
        target: tokens wanted of the topic (>= 0).
        cap: largest mean copies at the top (over the last bucket, or its upper part).
        throwaway: share of the topic's tokens that may be left out; the cut is the last bucket boundary not above it.
        params: search ranges; the largest feasible p is taken, then the largest feasible lambda.
    Returns:
        A Curve; rates are nondecreasing, 0 below the cut, and rates @ tokens = target.
    Raises:
        ConfigError: no curve under the cap gives so many tokens; the message says how many are possible.
    """
    tokens = np.asarray(tokens, np.float64)
    total = tokens.sum()
    if not (0 <= target < np.inf and (tokens >= 0).all() and np.isfinite(total) and 0 <= throwaway < 1):  # NaN fails each of these
        raise ConfigError(
            where,
            "a curve needs tokens and a target that are not negative",
            got=f"target {target}, {total} tokens, least {min(tokens, default=0)}, throwaway {throwaway}",
            expected="finite, >= 0",
            mend="mend the plan",
        )
    if target == 0 or total == 0:
        if target > 0:
            raise ConfigError(where, "there are no tokens to repeat", got="0 tokens", expected=f"{target:,.0f}", mend="lower its share or add data")
        return Curve(np.zeros(len(tokens)), params.p[-1], 0.0, 0.0, 1.0)
    bounds = np.concatenate([[0.0], np.cumsum(tokens) / total])
    bounds[-1] = 1.0
    cut = int(np.searchsorted(bounds, throwaway, side="right")) - 1
    axis = np.maximum(bounds - bounds[cut], 0.0)
    copies = target / total
    top = np.flatnonzero(tokens)[-1]
    high = (axis[top + 1] - params.upper * (axis[top + 1] - axis[top]), axis[top + 1])

    def peak(p: float, growth: float) -> float:
        low, up, whole = integral(np.array([high[0], high[1], axis[-1]]), p, growth)
        return copies * (up - low) / whole / (high[1] - high[0])

    for p in sorted(params.p, reverse=True):
        if peak(p, 0.0) <= cap:
            growth = _largest(lambda value, p=p: peak(p, value) <= cap, params.lambda_max)
            return _curve(axis, tokens, copies, p, growth, bounds[cut], cut)
    most = cap * total * (1 - bounds[cut]) / max(peak(min(params.p), 0.0) * (1 - bounds[cut]) / copies, 1e-300)
    raise ConfigError(
        where,
        "the target is over what the cap allows",
        got=f"{target:,.0f} tokens of {total:,.0f} ({copies:.2f} copies each)",
        expected=f"at most {most:,.0f}",
        mend="lower the target or the share, raise `cap`, or lower `throwaway`",
    )


def _largest(fits: Callable[[float], bool], most: float) -> float:
    """The largest value in [0, most] that fits, by bisection; what fits is an interval from 0."""
    if fits(most):
        return most
    low, high = 0.0, most
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _curve(axis: np.ndarray, tokens: np.ndarray, copies: float, p: float, growth: float, at: float, cut: int) -> Curve:
    whole = integral(axis, p, growth)
    scale = copies / whole[-1]
    width = np.diff(axis)
    rates = np.where((tokens > 0) & (np.arange(len(tokens)) >= cut), scale * np.diff(whole) / np.where(width > 0, width, 1.0), 0.0)
    return Curve(rates, p, growth, scale, at)
