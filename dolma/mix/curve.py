"""How often each quality bucket of a topic is repeated: a truncated power-exponential curve, in closed form.

On the kept quality axis x in [0, W] the density of copies is f(x) = C x^p e^(lambda x), zero below the cut, steep at the top. Its integral is

    G(x) = int_0^x t^p e^(lambda t) dt = x^(p+1) sum_k (lambda x)^k / (k! (p+1+k)),

a series of positive terms, so C and every bucket's mean need no quadrature. The mean at the top rises in p and in lambda, and its logarithm is concave in
lambda (the density is log-concave: its variance over the top is below that over the whole), so a step of Newton ends below the cap from either side.
Source: Olmo 3 report, quality-aware upsampling; spec of the mix, section 5 (three published parameter sets).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil
from typing import Literal, NamedTuple

import numpy as np

from dolma.core.errors import ConfigError, DolmaError, Errors

STEEPEST = 500.0  # largest lambda: e^500 is well inside a double
SHARPEST = 16.0  # largest p: the least part of a topic that can be kept, 5e-17, to the power of p + 2 is well inside a double
TINY = np.finfo(float).tiny  # least share: of a bucket whose own is none in a double
NARROW = 1e-3  # of its upper end: below this width a mean is taken by Gauss-Legendre, as the difference of two integrals would lose its digits
SLACK = 1e-12  # relative, on the cap: rounding
ROWS = 1024  # topics solved at once
NODES, WEIGHTS = np.polynomial.legendre.leggauss(5)

Fallback = Literal["none", "throwaway", "cap"]


@dataclass(frozen=True)
class Params:
    """Where a solution is searched: the grid of p, the largest lambda, and the share of the last bucket (from its top) whose mean may not pass the cap.

    Raises:
        ConfigError: no p, p outside [0, 16] (below, the curve would fall), lambda outside [0, 500], `upper` outside (0, 1].
    """

    p: tuple[float, ...]
    lambda_max: float
    upper: float = 1.0

    def __post_init__(self) -> None:
        if not (self.p and all(0 <= p <= SHARPEST for p in self.p) and 0 <= self.lambda_max <= STEEPEST and 0 < self.upper <= 1):
            expected = f"p in [0, {SHARPEST:g}], lambda in [0, {STEEPEST:g}], upper in (0, 1]"
            raise ConfigError("curve: params", "no ranges of a rising curve", got=self, expected=expected, mend="mend the ranges")


def ranges(p: tuple[float, float], lambda_max: float, *, steps: int = 20, upper: float = 1.0) -> Params:
    """Params with an even grid of p, both ends included; where they are equal, that one value."""
    return Params(tuple(np.linspace(*p, steps if p[0] < p[1] else 1).tolist()), lambda_max, upper)


SETS = {
    "A": ranges((0.01, 2.0), 2.0),  # the committed code
    "B": ranges((0.4, 2.0), 0.2),  # the saved notebook
    "C": ranges((0.4, 0.4), 20.0, upper=0.5),  # production, recovered by fitting: reproduces all 201 cells
}


class Curve(NamedTuple):
    """A solution: rates (mean copies a token of each bucket, worst first), and what made them.

    `cut` is the share of the topic's tokens below the curve; `cap` and `throwaway` are those really used, and `note` says what was relaxed ("": nothing).
    """

    rates: np.ndarray
    p: float
    growth: float
    scale: float
    cut: float
    cap: float
    throwaway: float
    note: str = ""


@cache
def terms(z: float) -> int:
    """How many terms of the series leave less than 1e-17 of the sum up to lambda x = z: from there on each is at most half of the one before."""
    count, term, total = 0, 1.0, 0.0
    while term > 1e-18 * total or count < 2 * z:
        total += term
        count += 1
        term *= z / count
    return count + 1


def integral(x: np.ndarray, p: np.ndarray | float, growth: np.ndarray | float, count: int) -> np.ndarray:
    """int_0^x t^p e^(growth t) dt, elementwise, for x, p, growth >= 0, by `count` terms."""
    p, k = np.asarray(p, np.float64) + 1, np.arange(1.0, count)
    series = np.multiply.accumulate(np.asarray(growth * x)[..., None] / k, -1)
    return x**p * (1 / p + np.add.reduce(series / (p[..., None] + k), -1))


def mean(low: np.ndarray, width: np.ndarray, p: np.ndarray, growth: np.ndarray, part: np.ndarray) -> np.ndarray:
    """The mean of t^p e^(growth t) over [low, low + width], whose integral is `part` but for rounding; low, width, growth (n,), p and part (n,) or (m, n)."""
    narrow = width < NARROW * (low + width)
    made = part / np.where(narrow, 1.0, width)
    if narrow.any():
        t = low[narrow, None] + width[narrow, None] * (NODES + 1) / 2
        made[..., narrow] = (t ** p[..., narrow, None] * np.exp(growth[narrow, None] * t) * WEIGHTS).sum(-1) / 2
    return made


def solve(
    tokens: np.ndarray,
    target: float,
    *,
    cap: float = 7.0,
    throwaway: float = 0.4,
    params: Params = SETS["C"],
    where: str = "curve",
    fallback: Fallback = "none",
) -> Curve:
    """Copies a token for each bucket, so that the topic gives `target` tokens.

    Args:
        tokens: natural tokens of the buckets, worst first, shape (buckets,).
        target: tokens wanted of the topic (>= 0).
        cap: largest mean copies at the top (over the last bucket, or its upper part).
        throwaway: share of the topic's tokens that may be left out; the cut is the last bucket boundary not above it.
        params: search ranges; the largest feasible p is taken, then the largest feasible lambda.
        fallback: what gives way where the target is over what the cap allows: `throwaway` keeps more buckets, edge by edge, until it fits; `cap` is raised
            just enough; `none` refuses.
    Returns:
        A Curve; rates are nondecreasing over the buckets that have tokens, 0 below the cut and where there are none, and rates @ tokens = target.
    Raises:
        ConfigError: what is no amount; or no curve under the cap gives so many tokens: the message says how many are possible, and what would suffice.
    """
    return solve_many([tokens], [target], cap=cap, throwaway=throwaway, params=params, where=[where], fallback=fallback)[0]


def solve_many(
    tokens: Sequence[np.ndarray],
    targets: Sequence[float] | np.ndarray,
    *,
    cap: float | np.ndarray = 7.0,
    throwaway: float | np.ndarray = 0.4,
    params: Params = SETS["C"],
    where: Sequence[str] | None = None,
    fallback: Fallback = "none",
) -> list[Curve]:
    """The curve of each topic, as `solve` makes it; `cap` and `throwaway` may be one for each.

    Raises:
        ConfigError: a topic cannot be solved; Errors where it is more than one.
    """
    count = len(tokens)
    wanted, caps, shares = (np.full(count, values, np.float64) for values in (targets, cap, throwaway))
    names = where or ["curve"] * count
    made: list[Curve] = []
    failed: list[DolmaError] = []
    with np.errstate(all="ignore"):  # amounts that are none are refused by `relax`
        for start in range(0, count, ROWS):
            rows = slice(start, start + ROWS)
            block = _Topics(tokens[rows], wanted[rows], caps[rows], shares[rows], params)
            failed += block.relax(fallback, names[rows])
            if not failed:
                made += block.curves()
    if failed:
        raise failed[0] if len(failed) == 1 else Errors(failed)
    return made


class _Topics:
    """Some topics side by side, padded to the same number of buckets: arrays (topics,) and (topics, buckets)."""

    def __init__(self, tokens: Sequence[np.ndarray], targets: np.ndarray, cap: np.ndarray, throwaway: np.ndarray, params: Params) -> None:
        self.targets, self.cap, self.throwaway, self.params = targets, cap, throwaway, params
        self.counts = [*map(len, tokens)]
        self.rows, self.buckets = np.arange(len(tokens)), np.arange(max(*self.counts, 1))
        self.sizes = np.zeros((len(self.rows), len(self.buckets)))
        self.sizes[self.buckets < np.array(self.counts)[:, None]] = np.concatenate(tokens)
        self.notes = [""] * len(tokens)
        self.terms = terms(params.lambda_max)  # of these params, not of these topics: a topic is solved alike in any company
        self.grid = np.array(sorted(params.p, reverse=True))
        self.bounds = np.zeros((len(self.rows), len(self.buckets) + 1))
        self.sizes.cumsum(1, out=self.bounds[:, 1:])
        self.total = self.bounds[:, -1].copy()
        self.bounds /= self.total[:, None]
        self.shares = self.sizes / self.total[:, None]
        self.copies = targets / self.total
        last = self.shares[self.rows, -1 - (self.sizes[:, ::-1] > 0).argmax(1)]
        self.top = np.maximum(last * params.upper, TINY)  # what the cap is held over
        self.kept = self.shares[:, ::-1].cumsum(1)[:, ::-1]  # what a cut before each bucket keeps
        self.cut = np.minimum(np.add.reduce(self.bounds[:, 1:] <= throwaway[:, None], 1), self.buckets[-1])
        whole = self.kept[self.rows, self.cut]
        self.peaks = self.copies[:, None] * _spike(self.grid, whole[:, None], self.top[:, None])  # the least cap with each p: lambda = 0 is the flattest

    def relax(self, fallback: Fallback, names: Sequence[str]) -> list[DolmaError]:
        """Let the throwaway or the cap give way where it must; a refusal for each topic that cannot be solved."""
        over = self.peaks[:, -1] > self.cap * (1 + SLACK)
        fits = (self.targets >= 0) & (self.throwaway >= 0) & (self.throwaway < 1) & (self.cap > 0) & np.logical_and.reduce(self.sizes >= 0, 1)
        fits &= (np.isfinite(self.peaks[:, -1]) | (self.total == 0)) & np.isfinite(self.total + self.targets + self.cap)
        self.solved = fits & (self.targets > 0)
        failed: dict[int, DolmaError | None] = {row: self._no_amount(row, names[row]) for row in map(int, np.flatnonzero(~fits))}
        for row in map(int, np.flatnonzero(self.solved & (self.total == 0))):
            wanted = _amount(float(self.targets[row]))
            failed[row] = ConfigError(names[row], "there are no tokens to repeat", got="0 tokens", expected=wanted, mend="lower its share or add data")
        for row in map(int, np.flatnonzero(self.solved & over)):
            failed[row] = self._relax(row, fallback, names[row])
        return [error for _, error in sorted(failed.items()) if error]

    def _relax(self, row: int, fallback: Fallback, name: str) -> ConfigError | None:
        cap, throwaway, cut = float(self.cap[row]), float(self.throwaway[row]), int(self.cut[row])
        needed = self.copies[row] * _spike(self.grid[-1], self.kept[row, : cut + 1], self.top[row])
        fitting = np.flatnonzero(needed <= cap * (1 + SLACK))  # cuts: lower ones need a lower cap
        possible, least = self.targets[row] * cap / needed[cut], float(needed[cut])
        short = f"{cap:g} copies at most and a throwaway of {throwaway:g} give {_amount(possible)} of {_amount(self.targets[row])} tokens"
        if fallback == "cap":
            self.cap[row], self.notes[row] = least, f"cap raised from {cap:g} to {least:.6g}: {short}"
        elif fallback == "throwaway" and len(fitting):
            self.cut[row], self.throwaway[row] = fitting[-1], self.bounds[row, fitting[-1]]
            self.peaks[row] = self.copies[row] * _spike(self.grid, self.kept[row, fitting[-1]], self.top[row])
            self.notes[row] = f"throwaway lowered from {throwaway:g} to {self.throwaway[row]:.6g}: {short}"
        else:
            return self._shortage(row, name, least, fitting)
        return None

    def _shortage(self, row: int, name: str, needed: float, fitting: np.ndarray) -> ConfigError:
        """What is possible, and each single change that would suffice."""
        target, cap, bounds = self.targets[row], self.cap[row], self.bounds[row]
        if len(fitting):
            edge = ceil(bounds[fitting[-1]] * 1e4) / 1e4
            keep = f"lower `throwaway` to {edge if edge < bounds[fitting[-1] + 1] else float(bounds[fitting[-1]])}"
        else:
            keep = "no lower `throwaway` suffices"
        return ConfigError(
            name,
            "the target is over what the cap allows",
            got=f"{_amount(target)} tokens of {_amount(self.total[row])} ({self.copies[row]:.2f} copies each, cap {cap:g}, throwaway {self.throwaway[row]:g})",
            expected=f"at most {_amount(target * cap / needed)}",
            mend=f"raise `cap` to {_above(needed)}, or lower the target or the share; {keep}",
        )

    def _no_amount(self, row: int, name: str) -> ConfigError:
        least = self.sizes[row, : self.counts[row]].min() if self.counts[row] else 0
        got = f"target {self.targets[row]}, {self.total[row]} tokens, least {least}, throwaway {self.throwaway[row]}, cap {self.cap[row]}"
        what = "a curve needs tokens and a target that are not negative"
        return ConfigError(name, what, got=got, expected="finite, >= 0; throwaway below 1, cap above 0", mend="mend the plan")

    def curves(self) -> list[Curve]:
        """The solutions, after `relax` found each feasible."""
        p, growth, full, cut = (np.full(len(self.rows), value) for value in (self.grid[0], 0.0, 1.0, 1.0))
        rows = self.solved.nonzero()[0]
        p[rows], growth[rows] = self._steepest(rows)
        cut[rows] = self.bounds[rows, self.cut[rows]]
        there = self.solved[:, None] & (self.sizes > 0) & (self.buckets >= self.cut[:, None])
        topic, bucket = there.nonzero()
        full[rows], means = self._means(rows, topic, bucket, p[topic], growth[topic])
        rates = np.zeros_like(self.sizes)
        rates[topic, bucket] = self.copies[topic] * (means / full[topic])
        rates = np.where(there, np.maximum.accumulate(rates, 1), 0.0)  # means that are equal differ by rounding
        scale = np.where(self.solved, self.copies / full, 0.0)
        columns = [column.tolist() for column in (p, growth, scale, cut, self.cap, self.throwaway)]
        return [Curve(row[:count].copy(), *made) for row, count, *made in zip(rates, self.counts, *columns, self.notes, strict=True)]

    def _steepest(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The largest p of the grid that some lambda makes feasible, and with it the largest lambda."""
        cap = self.cap[rows]
        fits = self.peaks[rows] <= cap[:, None] * (1 + SLACK)
        fits[:, -1] = True  # `relax` saw to it
        best = fits.argmax(1)
        p, whole = self.grid[best], self.kept[rows, self.cut[rows]]
        spare = cap / self.peaks[rows, best]
        return p, _growth(cap / self.copies[rows], spare, whole, np.minimum(self.top[rows], whole), p, self.params.lambda_max)

    def _means(self, rows: np.ndarray, topic: np.ndarray, bucket: np.ndarray, p: np.ndarray, growth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of t^p e^(growth t): the integral over what is kept of each topic of `rows`, and the mean over each bucket of it."""
        width = self.shares[topic, bucket]
        low = np.zeros_like(self.shares)
        low[topic, bucket] = width
        high = low.cumsum(1)[topic, bucket]
        ends = integral(high, p, growth, self.terms)
        follows = topic[1:] == topic[:-1]  # a bucket begins where the one before it in its topic ends
        low, part = np.zeros_like(high), ends.copy()
        low[1:], part[1:] = np.where(follows, high[:-1], 0.0), ends[1:] - np.where(follows, ends[:-1], 0.0)
        return ends[topic.searchsorted(rows, "right") - 1], mean(low, width, p, growth, part)


def _spike(p: np.ndarray | float, whole: np.ndarray, top: np.ndarray) -> np.ndarray:
    """The mean of the density x^p over [whole - top, whole] when its integral to `whole` is 1."""
    return -np.expm1((p + 1) * np.log1p(-np.minimum(top / whole, 1.0))) / top


def _growth(cap: np.ndarray, spare: np.ndarray, whole: np.ndarray, top: np.ndarray, p: np.ndarray, most: float) -> np.ndarray:
    """The largest lambda in [0, most] whose mean at the top is not above the cap, for densities with integral 1; `spare`: cap over that mean at lambda 0."""
    growth, count, low = np.full(len(p), most), terms(most), whole - top
    begin, full = integral(np.array([low, whole]), p, growth, count)
    excess = np.log(mean(low, top, p, growth, full - begin) / (full * cap))
    over = ((excess > 0) & (low > 0)).nonzero()[0]  # where the top is all that is kept, its mean does not depend on lambda
    excess, spare = excess[over], np.maximum(np.log(spare[over]), 0)
    growth[over] = most * spare / (spare + excess)  # where the chord crosses the cap: above the solution
    for _ in range(100):
        if not len(over):
            break
        ends, width, both, at = np.array([low[over], whole[over]]), top[over], np.array([p[over], p[over] + 1]), growth[over]
        begin, full = integral(ends[:, None], both, at, count)
        high = mean(ends[0], width, both, at, full - begin)
        left = np.log(full[0] * cap[over] / high[0])
        slope = high[1] / high[0] - full[1] / full[0]  # the mean of x over the top, less that over the whole
        growth[over] = np.minimum(np.maximum(at + left / np.maximum(slope, TINY), 0), most)
        over = over[np.abs(left) > 1e-8]  # Newton squares it
    return growth


def _amount(tokens: float) -> str:
    """Tokens as a whole number, or with six digits where there are few."""
    return f"{tokens:,.0f}" if tokens >= 1000 else f"{tokens:.6g}"


def _above(value: float) -> float:
    """A value with few digits that is not below `value`."""
    return ceil(value * 1e4) / 1e4 if value < 1e11 else float(value) * (1 + 1e-9)
