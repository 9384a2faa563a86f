"""From a swarm's losses to a law of each task, and how well it foretells runs it has not seen.

Source: spec of the mix, section 3, step 4: one model a metric (bits per byte of an evaluation task), about 5 runs a domain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from dolma.core.errors import ConfigError, DataError
from dolma.mix import laws

Name = Literal["log_linear", "linear", "gaussian_process", "lightgbm"]

FIT = {"task": pa.string(), "law": pa.string(), "floor": pa.float64(), "domain": pa.string(), "slope": pa.float64()}
HELDOUT = {"task": pa.string(), "law": pa.string(), "runs": pa.int32(), "spearman": pa.float64(), "pearson": pa.float64(), "error": pa.float64()}


@dataclass(frozen=True)
class Fit:
    """A law of each task; `model.predict` and this give losses (mixes, tasks)."""

    domains: tuple[str, ...]
    tasks: tuple[str, ...]
    law: str
    model: laws.Law

    def predict(self, weights: np.ndarray) -> np.ndarray:
        """Losses (mixes, tasks) of mixes (mixes, domains); one mix (domains,) gives (tasks,)."""
        weights = np.asarray(weights, np.float64)
        return self.model.predict(np.atleast_2d(weights)).reshape(*weights.shape[:-1], len(self.tasks))

    def parametric(self) -> laws.LogLinear:
        """The floors and slopes; a law without them raises ConfigError."""
        if isinstance(self.model, laws.LogLinear):
            return self.model
        raise ConfigError(
            "mix: law",
            f"the law {self.law} has no coefficients",
            got=self.law,
            expected="log_linear or linear",
            mend="fit one of these, or propose by simulation",
        )

    def as_table(self) -> pa.Table:
        """One row a task and domain: loss = floor + exp(sum of slope x weight)."""
        model = self.parametric()
        tasks, domains = len(self.tasks), len(self.domains)
        columns = [
            np.repeat(self.tasks, domains),
            np.repeat(self.law, tasks * domains),
            np.repeat(model.floors, domains),
            np.tile(self.domains, tasks),
            model.slopes.ravel(),
        ]
        return pa.table([pa.array(column.tolist(), kind) for column, kind in zip(columns, FIT.values(), strict=True)], names=list(FIT))

    @staticmethod
    def from_table(table: pa.Table) -> "Fit":
        """A fit that `as_table` wrote; rows may come in any order."""
        rows = table.to_pylist()
        domains, tasks = (tuple(dict.fromkeys(row[key] for row in rows)) for key in ("domain", "task"))
        cells = {(row["task"], row["domain"]): row for row in rows}
        if not rows or len(cells) != len(rows) or len(rows) != len(tasks) * len(domains):
            raise DataError(
                "mix: fit",
                "a fit has one row for each task and domain",
                got=f"{len(rows)} rows",
                expected=f"{len(tasks)} x {len(domains)}",
                mend="write it again with as_table",
            )
        floors = np.array([cells[task, domains[0]]["floor"] for task in tasks])
        slopes = np.array([[cells[task, domain]["slope"] for domain in domains] for task in tasks])
        return Fit(domains, tasks, rows[0]["law"], laws.LogLinear(floors, slopes))


def fit(
    weights: np.ndarray,
    losses: np.ndarray,
    *,
    law: Name = "log_linear",
    seed: int = 0,
    domains: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
) -> Fit:
    """A law of each task.

    Args:
        weights: mixes of the swarm, (runs, domains), rows sum to 1.
        losses: (runs, tasks), finite; above 0 for log_linear and linear.
        seed: of the trees; the other laws draw nothing.
        domains, tasks: names; absent: their numbers.
    Raises:
        DataError: losses or weights that no law can be fitted to; fewer runs than domains + 1 for log_linear.
        EnvironmentFault: lightgbm is not installed.
    """
    weights, losses = _checked(weights, losses, law)
    made: laws.Law
    match law:
        case "log_linear":
            made = laws.log_linear(weights, losses)
        case "linear":
            made = laws.linear(weights, losses)
        case "gaussian_process":
            made = laws.gaussian_process(weights, losses)
        case "lightgbm":
            made = laws.lightgbm(weights, losses, seed=seed)
    return Fit(_names(domains, weights.shape[1]), _names(tasks, losses.shape[1]), law, made)


def _names(given: Sequence[str] | None, count: int) -> tuple[str, ...]:
    return tuple(given) if given is not None else tuple(map(str, range(count)))


def _checked(weights: np.ndarray, losses: np.ndarray, law: Name) -> tuple[np.ndarray, np.ndarray]:
    weights, losses = np.asarray(weights, np.float64), np.asarray(losses, np.float64)
    whole = weights.ndim == losses.ndim == 2 and len(weights) == len(losses) > 0
    if not whole or not np.isfinite(losses).all() or not (weights >= 0).all() or not (np.abs(weights.sum(1) - 1) <= 1e-6).all():
        raise DataError(
            "mix: swarm",
            "a swarm has a mix that sums to 1 and a finite loss of each task for every run",
            got=f"weights {weights.shape}, losses {losses.shape}, {np.count_nonzero(~np.isfinite(losses))} not finite",
            expected="(runs, domains) and (runs, tasks)",
            mend="leave out the runs or tasks that failed",
        )
    if law in ("log_linear", "linear") and not (losses > 0).all():
        raise DataError(
            "mix: swarm",
            "these laws are of losses above 0",
            got=f"least {losses.min():g}",
            expected="> 0",
            mend="turn the metric into a loss, or take gaussian_process",
        )
    if law == "log_linear" and len(weights) <= weights.shape[1]:
        raise DataError(
            "mix: swarm",
            "there are too few runs for the law",
            got=f"{len(weights)} runs of {weights.shape[1]} domains",
            expected=f"at least {weights.shape[1] + 1}; about 5 a domain are published",
            mend="train more proxies, or take the law linear",
        )
    return weights, losses


def heldout(
    weights: np.ndarray, losses: np.ndarray, *, law: Name = "log_linear", folds: int = 5, seed: int = 0, tasks: Sequence[str] | None = None
) -> pa.Table:
    """How well a law foretells runs that it was not fitted to.

    Every run is foretold once, by a fit to the other folds. Returns one row a task: rank correlation (Spearman), Pearson and mean absolute error over all
    runs; a correlation with a constant is NULL. The last row, task NULL, is of the mean over tasks, which a search minimises: on planted laws its rank
    correlation is about 0.99 where the law holds; near 0.9 the law is wrong and a proposal may be worse than the prior.
    """
    weights, losses = _checked(weights, losses, law)
    runs = len(weights)
    if not 2 <= folds <= runs:
        raise ConfigError("mix: heldout", "every fold holds out a run", got=folds, expected=f"2 to {runs}", mend="mend `folds`")
    fold = np.random.default_rng(seed).permutation(runs) % folds
    foretold = np.empty_like(losses)
    for k in range(folds):
        foretold[fold == k] = fit(weights[fold != k], losses[fold != k], law=law, seed=seed).predict(weights[fold == k])
    seen = np.concatenate([losses, losses.mean(1, keepdims=True)], axis=1)
    said = np.concatenate([foretold, foretold.mean(1, keepdims=True)], axis=1)
    rows = [
        {
            "task": task,
            "law": law,
            "runs": runs,
            "spearman": correlation(ranks(a), ranks(b)),
            "pearson": correlation(a, b),
            "error": float(np.abs(a - b).mean()),
        }
        for task, a, b in zip([*_names(tasks, losses.shape[1]), None], seen.T, said.T, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=pa.schema(list(HELDOUT.items())))


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0; equal values get their mean rank."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[which]


def correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    """Pearson's, or None if one of them is constant."""
    a, b = a - a.mean(), b - b.mean()
    size = np.sqrt((a**2).sum() * (b**2).sum())
    return float(np.clip((a * b).sum() / size, -1, 1)) if size > 1e-300 else None
