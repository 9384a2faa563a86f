"""From laws of the loss to a mix: by simulation with any law, or exactly with a log-linear one.

Both minimise   F(w) = mean over tasks of L_k(w) + kl KL(w || prior)   within the limits; KL keeps a mix near what there is where a swarm says little.
Source: spec of the mix, section 3, step 5 (Olmo 3 report, section 3.4.4; RegMix; Olmix).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dolma.core.errors import ConfigError
from dolma.mix.convex import least
from dolma.mix.limits import Limits, nearest, unlimited
from dolma.mix.regress import Fit

DOMAINS = {"domain": pa.string(), "weight": pa.float64(), "prior": pa.float64(), "cap": pa.float64(), "binds": pa.bool_(), "repeats": pa.float64()}
TASKS = {"task": pa.string(), "predicted": pa.float64(), "prior": pa.float64(), "gain": pa.float64()}


FAINT = -690.0  # log of a share that a bound can still scale up to 1


@dataclass(frozen=True)
class Proposal:
    """A mix and what the fit says of it.

    losses, prior_losses: (tasks,) under the mix and under the prior (brought within the limits); mean, prior_mean: by importance; objective: with the KL term.
    gap: the objective is at most so far above the optimum (optimise: proven; simulate: None).
    """

    domains: tuple[str, ...]
    tasks: tuple[str, ...]
    weights: np.ndarray
    prior: np.ndarray
    limits: Limits
    losses: np.ndarray
    prior_losses: np.ndarray
    mean: float
    prior_mean: float
    divergence: float
    objective: float
    gap: float | None = None

    @property
    def binding(self) -> tuple[str, ...]:
        """Domains at their cap, within a millionth of it."""
        return tuple(name for name, weight, cap in zip(self.domains, self.weights, self.limits.upper, strict=True) if weight >= cap * (1 - 1e-6) and cap < 1)

    @property
    def repeats(self) -> np.ndarray | None:
        """Copies of a token of each domain in the whole mix, or None if the limits do not say what there is."""
        return None if self.limits.copies is None else self.weights * self.limits.copies

    def as_table(self) -> pa.Table:
        """One row a domain."""
        repeats = self.repeats
        rows = [
            {
                "domain": name,
                "weight": float(self.weights[i]),
                "prior": float(self.prior[i]),
                "cap": float(self.limits.upper[i]),
                "binds": name in self.binding,
                "repeats": None if repeats is None else float(repeats[i]),
            }
            for i, name in enumerate(self.domains)
        ]
        return pa.Table.from_pylist(rows, schema=pa.schema(list(DOMAINS.items())))

    def tasks_table(self) -> pa.Table:
        """One row a task: predicted loss, that of the prior, and the gain (prior less predicted)."""
        columns = [list(self.tasks), self.losses.tolist(), self.prior_losses.tolist(), (self.prior_losses - self.losses).tolist()]
        return pa.table(columns, schema=pa.schema(list(TASKS.items())))


@dataclass(frozen=True)
class _Goal:
    fit: Fit
    prior: np.ndarray
    limits: Limits
    importance: np.ndarray  # (tasks,), sum 1
    kl: float

    def values(self, weights: np.ndarray) -> np.ndarray:
        """Objective of mixes (mixes, domains)."""
        means = self.fit.predict(weights) @ self.importance
        return means + self.kl * divergence(weights, self.prior) if self.kl else means

    def proposal(self, weights: np.ndarray, gap: float | None = None) -> Proposal:
        start = nearest(self.prior, self.limits)
        losses, before = self.fit.predict(weights), self.fit.predict(start)
        return Proposal(
            self.fit.domains,
            self.fit.tasks,
            weights,
            self.prior,
            self.limits,
            losses,
            before,
            float(losses @ self.importance),
            float(before @ self.importance),
            float(divergence(weights, self.prior)),
            float(self.values(weights[None])[0]),
            gap,
        )


def divergence(weights: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """KL(weights || prior) in nats, over the last axis; infinite where a weight is above 0 and the prior is not."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(weights > 0, weights * (np.log(weights) - np.log(prior)), 0.0).sum(-1)


def _goal(fit: Fit, prior: np.ndarray, limits: Limits | None, importance: Mapping[str, float] | None, kl: float) -> _Goal:
    prior = np.asarray(prior, np.float64)
    if prior.shape != (len(fit.domains),) or not (prior >= 0).all() or not abs(prior.sum() - 1) <= 1e-6:
        raise ConfigError(
            "mix: prior", "a prior is a share of each domain", got=f"{prior} (sum {prior.sum():.6g})", expected=", ".join(fit.domains), mend="mend it"
        )
    share = np.array([(importance or {}).get(task, 0.0 if importance else 1.0) for task in fit.tasks])
    if set(importance or ()) - set(fit.tasks) or not (share >= 0).all() or not share.sum() > 0 or not kl >= 0:
        raise ConfigError(
            "mix: importance", "importance is of tasks and not negative, nor is kl", got=f"{importance}, kl {kl}", expected=", ".join(fit.tasks), mend="mend it"
        )
    limits = limits or unlimited(len(prior))
    if limits.lower.shape != prior.shape or (limits.lower[prior == 0] > 0).any() or not abs(nearest(prior, limits).sum() - 1) <= 1e-9:
        raise ConfigError(
            "mix: limits",
            "domains with a prior above 0 cannot fill the mix under their caps",
            got=f"{limits.upper.shape} caps, {limits.upper[: len(prior)][prior[: len(limits.upper)] > 0].sum():.6g} in all",
            expected=f"{prior.shape} caps, at least 1 in all",
            mend="give each domain a prior, raise `repeats`, or lower the target",
        )
    return _Goal(fit, prior / prior.sum(), limits, share / share.sum(), kl)


def simulate(
    fit: Fit,
    prior: np.ndarray,
    *,
    limits: Limits | None = None,
    importance: Mapping[str, float] | None = None,
    kl: float = 0.0,
    rounds: int = 10,
    draws: int = 100_000,
    concentration: tuple[float, float] = (1.0, 100.0),
    near: float = 1e-3,
    smallest: float = 1e-5,
    seed: int = 0,
) -> Proposal:
    """The mean of the best simulated mixes, round after round, each around the last.

    A round draws mixes from Dirichlet(a x prior), log a uniform in `concentration`, times 2 (round + 1); takes the mean of all that are within `near` of the
    best; sets weights under `smallest` to 0; the next round's prior is halfway to it. Draws over a cap are moved to the nearest mix under it.

    Args:
        prior: natural shares, (domains,).
        importance: of tasks; absent: all the same; a task that is not named counts 0.
        draws: of one round.
    Returns:
        The best of all rounds and the prior: under the fit never worse than the prior within the limits.
    """
    goal = _goal(fit, prior, limits, importance, kl)
    random = np.random.Generator(np.random.PCG64(seed))
    best = nearest(goal.prior, goal.limits)
    around, value = goal.prior, goal.values(best[None])[0]
    low, high = np.log(concentration)
    for number in range(rounds):
        alpha = np.exp(random.uniform(low, high, (draws, 1))) * 2 * (number + 1) * around
        mixes = random.standard_gamma(alpha)
        mixes = nearest(mixes[mixes.sum(1) > 0], goal.limits)
        mixes = mixes[np.abs(mixes.sum(1) - 1) <= 1e-9]
        if not len(mixes):
            continue
        values = goal.values(mixes)
        found = mixes[values <= values.min() + near].mean(0)
        found = nearest(np.where(found < smallest, 0.0, found), goal.limits)
        around = (found + around) / 2
        reached = goal.values(found[None])[0]
        if reached < value and abs(found.sum() - 1) <= 1e-9:
            best, value = found, reached
    return goal.proposal(best)


def optimise(
    fit: Fit,
    prior: np.ndarray,
    *,
    limits: Limits | None = None,
    importance: Mapping[str, float] | None = None,
    kl: float = 0.05,
    enough: float = 1e-12,
    steps: int = 100,
) -> Proposal:
    """The mix with least objective, exactly; `gap` proves how near it is.

    An interior point leaves small weights a large relative error, so steps of conditional gradient follow while the gap is over `enough`, `steps` at most.

    Args:
        prior: natural shares, (domains,); a domain with 0 gets nothing.
        kl: price of a nat of KL(w || prior), in units of the loss.
    Raises:
        ConfigError: the law has no coefficients, or limits that no mix keeps.
        EnvironmentFault: cvxpy is missing.
    """
    goal = _goal(fit, prior, limits, importance, kl)
    model = fit.parametric()
    counted = goal.importance > 0
    found = least(np.log(goal.importance[counted]), model.slopes[counted], goal.prior, goal.limits, kl)
    found = nearest(np.maximum(found, 0.0) * (goal.prior > 0), goal.limits)
    best = min((found, nearest(goal.prior, goal.limits)), key=lambda weights: goal.values(weights[None])[0])
    along = np.concatenate([[0.0], np.geomspace(1e-6, 1.0, 61)])[:, None]
    for _ in range(steps):
        towards, gap = _step(goal, best)
        line = best + along * (towards - best)
        if gap <= enough or (chosen := goal.values(line).argmin()) == 0:
            break
        best = line[chosen]
    return goal.proposal(best, _step(goal, best)[1])


def _step(goal: _Goal, weights: np.ndarray) -> tuple[np.ndarray, float]:
    """The minimiser of the objective with its losses made linear at `weights`, and how much it promises: a proven bound on F(weights) - min F.

    The losses are convex, so F(v) >= F(w) + g.(v - w) + kl (KL(v) - KL(w)) for every v, and the right side has its least value in closed form.
    """
    model, limits = goal.fit.parametric(), goal.limits
    slope = (goal.importance * np.exp(model.slopes @ weights)) @ model.slopes
    if goal.kl:
        with np.errstate(divide="ignore"):
            logs = np.log(goal.prior) - slope / goal.kl
        least_at = nearest(np.exp(np.maximum(logs - logs.max(), FAINT)) * (goal.prior > 0), limits)
        gap = slope @ (weights - least_at) + goal.kl * (divergence(weights, goal.prior) - divergence(least_at, goal.prior))
        return least_at, float(max(gap, 0.0))
    least_at, room = limits.lower.copy(), 1 - limits.lower.sum()
    upper = np.where(goal.prior > 0, limits.upper, limits.lower)
    for i in np.argsort(slope, kind="stable"):
        least_at[i] += (more := min(room, upper[i] - limits.lower[i]))
        room -= more
    return least_at, float(max(slope @ (weights - least_at), 0.0))
