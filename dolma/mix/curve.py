"""How often each quality bucket of a topic is repeated: a truncated power-exponential curve, in closed form.

On the kept quality axis x in [0, W] the density of copies is f(x) = C x^p e^(lambda x), zero below the cut, steep at the top. Its integral is

    G(x) = int_0^x t^p e^(lambda t) dt = x^(p+1) sum_k (lambda x)^k / (k! (p+1+k)),

a series of positive terms, so C and every bucket's mean need no quadrature. The mean at the top rises in p and in lambda, and its logarithm is concave in
lambda (the density is log-concave: its variance over the top is below that over the whole), so Newton from lambda = 0 rises to the cap and never passes it.
Source: Olmo 3 report, quality-aware upsampling; spec of the mix, section 5 (three published parameter sets).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil
from typing import Literal

import numpy as np

from dolma.core.errors import ConfigError, DolmaError, Errors

STEEPEST = 500.0  # largest lambda: e^500 is well inside a double
NARROW = 1e-3  # of its upper end: below this width a mean is taken by Gauss-Legendre, as the difference of two integrals would lose its digits
SLACK = 1e-12  # relative, on the cap: rounding
ROWS = 1024  # topics solved at once
NODES, WEIGHTS = np.polynomial.legendre.leggauss(5)

Fallback = Literal["none", "throwaway", "cap"]


@dataclass(frozen=True)
class Params:
    """Where a solution is searched: the grid of p, the largest lambda, and the share of the last bucket (from its top) whose mean may not pass the cap.

    Raises:
        ConfigError: no p, a negative p (the curve would fall), lambda outside [0, 500], `upper` outside (0, 1].
    """

    p: tuple[float, ...]
    lambda_max: float
    upper: float = 1.0

    def __post_init__(self) -> None:
        if not (self.p and all(0 <= p < np.inf for p in self.p) and 0 <= self.lambda_max <= STEEPEST and 0 < self.upper <= 1):
            expected = f"p >= 0, lambda in [0, {STEEPEST:g}], upper in (0, 1]"
            raise ConfigError("curve: params", "no ranges of a rising curve", got=self, expected=expected, mend="mend the ranges")


def ranges(p: tuple[float, float], lambda_max: float, *, steps: int = 20, upper: float = 1.0) -> Params:
    """Params with an even grid of p, both ends included; where they are equal, that one value."""
    return Params(tuple(np.linspace(*p, steps if p[0] < p[1] else 1).tolist()), lambda_max, upper)


SETS = {
    "A": ranges((0.01, 2.0), 2.0),  # the committed code
    "B": ranges((0.4, 2.0), 0.2),  # the saved notebook
    "C": ranges((0.4, 0.4), 20.0, upper=0.5),  # production, recovered by fitting: reproduces all 201 cells
}


@dataclass(frozen=True)
class Curve:
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
    p, k = np.asarray(p, np.float64), np.arange(1, count)
    return x ** (p + 1) * (1 / (p + 1) + ((np.asarray(growth * x)[..., None] / k).cumprod(-1) / (p[..., None] + 1 + k)).sum(-1))


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
    wanted, caps, shares = (np.broadcast_to(np.asarray(values, np.float64), count) for values in (targets, cap, throwaway))
    names = where or ["curve"] * count
    made: list[Curve] = []
    failed: list[DolmaError] = []
    for start in range(0, count, ROWS):
        rows = slice(start, start + ROWS)
        block = _Topics(tokens[rows], wanted[rows], caps[rows].copy(), shares[rows].copy(), params)
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
        self.counts = np.array([len(sizes) for sizes in tokens])
        self.sizes = np.zeros((len(tokens), max(self.counts.max(initial=0), 1)))
        self.sizes[np.arange(self.sizes.shape[1]) < self.counts[:, None]] = np.concatenate([*tokens, ()])
        self.notes = [""] * len(tokens)
        self.terms = terms(params.lambda_max)  # of these params, not of these topics: a topic is solved alike in any company
        with np.errstate(all="ignore"):  # amounts that are none are refused by `relax`
            ends = np.cumsum(self.sizes, axis=1)
            self.total = ends[:, -1]
            self.shares = self.sizes / self.total[:, None]
            self.bounds = np.concatenate([np.zeros((len(tokens), 1)), ends / self.total[:, None]], axis=1)
            self.copies = targets / self.total
            top = self.shares[np.arange(len(tokens)), (self.sizes > 0).cumsum(1).argmax(1)] * params.upper  # what the cap is held over
            kept = np.cumsum(self.shares[:, ::-1], axis=1)[:, ::-1]  # what a cut before each bucket keeps
            self.cut = np.clip((self.bounds <= throwaway[:, None]).sum(1) - 1, 0, self.sizes.shape[1] - 1)
            self.needed = self.copies[:, None] * _spike(min(params.p), kept, top[:, None])  # the least cap with a cut before each bucket
        self.kept, self.top = kept, top

    def relax(self, fallback: Fallback, names: Sequence[str]) -> list[DolmaError]:
        """Let the throwaway or the cap give way where it must; a refusal for each topic that cannot be solved."""
        with np.errstate(all="ignore"):
            fits = np.isfinite(self.total) & (self.sizes >= 0).all(1) & (self.targets >= 0) & np.isfinite(self.targets)
            fits &= (self.total == 0) | np.isfinite(self.copies)
            fits &= (self.throwaway >= 0) & (self.throwaway < 1) & (self.cap > 0) & np.isfinite(self.cap)
        failed: dict[int, DolmaError | None] = {row: self._no_amount(row, names[row]) for row in map(int, np.flatnonzero(~fits))}
        self.solved = fits & (self.targets > 0)
        for row in map(int, np.flatnonzero(self.solved & (self.total == 0))):
            wanted = _amount(float(self.targets[row]))
            failed[row] = ConfigError(names[row], "there are no tokens to repeat", got="0 tokens", expected=wanted, mend="lower its share or add data")
        over = self.needed[np.arange(len(self.cut)), self.cut] > self.cap * (1 + SLACK)
        for row in map(int, np.flatnonzero(self.solved & (self.total > 0) & over)):
            failed[row] = self._relax(row, fallback, names[row])
        return [error for _, error in sorted(failed.items()) if error]

    def _relax(self, row: int, fallback: Fallback, name: str) -> ConfigError | None:
        cap, throwaway, cut = float(self.cap[row]), float(self.throwaway[row]), int(self.cut[row])
        needed = self.needed[row, : cut + 1]
        fitting = np.flatnonzero(needed <= cap * (1 + SLACK))  # cuts: lower ones need a lower cap
        possible, least = self.targets[row] * cap / needed[cut], float(needed[cut])
        short = f"{cap:g} copies at most and a throwaway of {throwaway:g} give {_amount(possible)} of {_amount(self.targets[row])} tokens"
        if fallback == "cap":
            self.cap[row], self.notes[row] = least, f"cap raised from {cap:g} to {least:.6g}: {short}"
        elif fallback == "throwaway" and len(fitting):
            self.cut[row], self.throwaway[row] = fitting[-1], self.bounds[row, fitting[-1]]
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
        rows = np.flatnonzero(self.solved)
        p, growth, scale, cut = (np.full(len(self.solved), value) for value in (max(self.params.p), 0.0, 0.0, 1.0))
        whole, top, copies, cap = self.kept[rows, self.cut[rows]], self.top[rows], self.copies[rows], self.cap[rows]
        p[rows] = _steepest(copies, cap, whole, top, self.params)
        growth[rows] = _growth(copies, cap, whole, top, p[rows], self.params.lambda_max)
        scale[rows] = copies / integral(whole, p[rows], growth[rows], self.terms)
        cut[rows] = self.bounds[rows, self.cut[rows]]
        rates = self._rates(p, growth, scale)
        columns = [column.tolist() for column in (p, growth, scale, cut, self.cap, self.throwaway, self.counts)]
        return [Curve(row[: made[-1]].copy(), *made[:-1], note=note) for row, note, made in zip(rates, self.notes, zip(*columns, strict=True), strict=True)]

    def _rates(self, p: np.ndarray, growth: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """The mean of each curve over each bucket, (topics, buckets)."""
        there = self.solved[:, None] & (self.sizes > 0) & (np.arange(self.sizes.shape[1]) >= self.cut[:, None])
        width = np.where(there, self.shares, 0.0)
        topic, bucket = np.nonzero(there)
        low = np.where(bucket > 0, np.cumsum(width, axis=1)[topic, bucket - 1], 0.0)
        width, p, growth = width[topic, bucket], p[topic], growth[topic]
        ends = integral(low + width, p, growth, self.terms)  # of a bucket: where the next one of the topic begins
        rates = np.zeros_like(self.sizes)
        rates[topic, bucket] = scale[topic] * mean(low, width, p, growth, ends - np.where(low > 0, np.roll(ends, 1), 0.0))
        return np.where(there, np.maximum.accumulate(rates, axis=1), 0.0)  # means that are equal differ by rounding


def _spike(p: np.ndarray | float, whole: np.ndarray, top: np.ndarray) -> np.ndarray:
    """The mean of the density x^p over [whole - top, whole] when its integral to `whole` is 1."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return -np.expm1((p + 1) * np.log1p(-np.minimum(top / whole, 1.0))) / top


def _steepest(copies: np.ndarray, cap: np.ndarray, whole: np.ndarray, top: np.ndarray, params: Params) -> np.ndarray:
    """The largest p of the grid that some lambda makes feasible: lambda = 0 is the flattest."""
    grid = np.array(sorted(params.p, reverse=True))
    fits = copies[:, None] * _spike(grid, whole[:, None], top[:, None]) <= cap[:, None] * (1 + SLACK)
    fits[:, -1] = True  # `relax` saw to it
    return grid[np.argmax(fits, axis=1)]


def _growth(copies: np.ndarray, cap: np.ndarray, whole: np.ndarray, top: np.ndarray, p: np.ndarray, most: float) -> np.ndarray:
    """The largest lambda in [0, most] whose mean at the top is not above the cap."""
    growth, count = np.full(len(p), most), terms(most)
    top = np.minimum(top, whole)
    low = whole - top
    begin, full = integral(np.array([low, whole]), p, growth, count)
    over = np.flatnonzero(copies * mean(low, top, p, growth, full - begin) > cap * full)
    growth[over] = 0.0
    room = np.log(cap / copies)
    for _ in range(100):
        if not len(over):
            break
        begin, width, both, at = low[over], top[over], np.array([p[over], p[over] + 1]), growth[over]
        ends = integral(np.array([begin, whole[over]]), both[:, None], at, count)
        high, full = mean(begin, width, both, at, ends[:, 1] - ends[:, 0]), ends[:, 1]
        slope = high[1] / high[0] - full[1] / full[0]  # the mean of x over the top, less that over the whole
        step = (room[over] - np.log(high[0] / full[0])) / np.maximum(slope, 1e-300)
        growth[over] = np.clip(at + step, at, most)
        # Newton squares the error. At `most`: where the top is all that is kept, its mean does not depend on lambda.
        over = over[(step > 1e-7 * (1 + at)) & (growth[over] < most)]
    return growth


def _amount(tokens: float) -> str:
    """Tokens as a whole number, or with six digits where there are few."""
    return f"{tokens:,.0f}" if tokens >= 1000 else f"{tokens:.6g}"


def _above(value: float) -> float:
    """A value with few digits that is not below `value`."""
    return ceil(value * 1e4) / 1e4 if value < 1e11 else float(value) * (1 + 1e-9)
