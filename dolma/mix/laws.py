"""What a loss is as a function of the mix: laws that are fitted to a swarm, all tasks in one call.

    log_linear           L(w) = f + exp(t . w), f >= 0     the published law, f = exp(c)
    linear               log L(w) = t . w, ridge           the baseline
    gaussian_process     a smooth function, kriged
    lightgbm             boosted trees

On mixes that sum to 1 a constant is part of t. Source: spec of the mix, section 3, step 4 (Olmo 3 report, section 3.4.4; RegMix; Data mixing laws).
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dolma.core.errors import EnvironmentFault


class Law(Protocol):
    def predict(self, weights: np.ndarray) -> np.ndarray:
        """Losses (mixes, tasks) of mixes (mixes, domains)."""
        ...


@dataclass(frozen=True)
class LogLinear:
    """floors + exp(weights @ slopes^T); floors (tasks,), slopes (tasks, domains)."""

    floors: np.ndarray
    slopes: np.ndarray

    def predict(self, weights: np.ndarray) -> np.ndarray:
        return self.floors + np.exp(weights @ self.slopes.T)


def log_linear(weights: np.ndarray, losses: np.ndarray, *, delta: float = 0.02, starts: int = 10, steps: int = 100, ridge: float = 1e-7) -> LogLinear:
    """The law with least Huber error: Levenberg-Marquardt with reweighted residuals, all tasks and starts at once.

    A start is a floor, evenly from 0 to just under the task's least loss, with the slopes that fit log(L - floor) best; from there the best of all starts is as
    good as the best of the published 10 x 30 random starts of L-BFGS (a test compares them).

    Args:
        weights, losses: (runs, domains), (runs, tasks) > 0.
        delta: where the Huber error turns from squared to linear, in units of the loss.
        ridge: on the slopes less their mean, in units of squared loss a run: noise of 0.01 in 64 runs, slopes of about 4. What no run shows becomes 0.
    """
    least = losses.min(0)
    floors = (least[:, None] * np.linspace(0, 0.98, starts)).ravel()  # (tasks x starts,)
    bound = np.repeat(least, starts)
    target = np.repeat(losses.T, starts, axis=0)  # (tasks x starts, runs)
    slopes = np.log(target - floors[:, None]) @ np.linalg.pinv(weights, rcond=1e-6).T
    values = np.concatenate([floors[:, None], slopes], axis=1)
    values, error = _descend(values, weights, target, bound, delta, steps, ridge * len(weights))
    best = error.reshape(-1, starts).argmin(1) + np.arange(0, len(error), starts)
    return LogLinear(values[best, 0], values[best, 1:])


def _error(values: np.ndarray, weights: np.ndarray, target: np.ndarray, delta: float, ridge: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Huber error (problems,), residuals and exponentials (problems, runs)."""
    grown = np.exp(np.minimum(values[:, 1:] @ weights.T, 50.0))
    residual = values[:, :1] + grown - target
    size = np.abs(residual)
    huber = np.where(size <= delta, residual**2 / 2, delta * (size - delta / 2)).sum(-1)
    return huber + ridge / 2 * _centred(values[:, 1:])[1], residual, grown


def _centred(slopes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    part = slopes - slopes.mean(-1, keepdims=True)
    return part, (part**2).sum(-1)


def _descend(
    values: np.ndarray, weights: np.ndarray, target: np.ndarray, bound: np.ndarray, delta: float, steps: int, ridge: float
) -> tuple[np.ndarray, np.ndarray]:
    values, damping = values.copy(), np.full(len(values), 1e-3)
    error, _, _ = _error(values, weights, target, delta, ridge)
    domains = weights.shape[1]
    penalty = np.zeros((domains + 1, domains + 1))
    penalty[1:, 1:] = ridge * (np.eye(domains) - 1 / domains)
    going = np.arange(len(values))
    for _ in range(steps):
        mine = values[going]
        _, residual, grown = _error(mine, weights, target[going], delta, ridge)
        trust = np.minimum(1.0, delta / np.maximum(np.abs(residual), 1e-300))
        jacobian = np.concatenate([np.ones((*grown.shape, 1)), grown[..., None] * weights], axis=-1)  # (problems, runs, 1 + domains)
        gradient = np.einsum("bri,br->bi", jacobian, trust * residual) + mine @ penalty
        blocked = ((mine[:, 0] <= 0) & (gradient[:, 0] > 0)) | ((mine[:, 0] >= bound[going]) & (gradient[:, 0] < 0))
        jacobian[blocked, :, 0] = 0.0
        gradient[blocked, 0] = 0.0
        curvature = np.swapaxes(jacobian * trust[..., None], 1, 2) @ jacobian + penalty
        diagonal = np.einsum("bii->bi", curvature)
        curvature[:, np.arange(domains + 1), np.arange(domains + 1)] += damping[going, None] * diagonal + 1e-12
        tried = mine - np.linalg.solve(curvature, gradient[..., None])[..., 0]
        tried[:, 0] = np.clip(tried[:, 0], 0.0, bound[going])
        reached, _, _ = _error(tried, weights, target[going], delta, ridge)
        better = reached < error[going]
        gain = error[going] - reached
        values[going[better]], error[going[better]] = tried[better], reached[better]
        damping[going] = np.clip(np.where(better, damping[going] / 5, damping[going] * 4), 1e-9, 1e9)
        stalled = np.where(better, gain <= 1e-10 * (error[going] + 1e-12), damping[going] >= 1e9)
        going = going[~stalled]
        if not len(going):
            break
    return values, error


def linear(weights: np.ndarray, losses: np.ndarray, *, ridge: float = 1e-4) -> LogLinear:
    """log L = t . w by ridge regression; the penalty is on t less its mean, a run."""
    runs, domains = weights.shape
    penalty = ridge * runs * (np.eye(domains) - 1 / domains)
    slopes = np.linalg.solve(weights.T @ weights + penalty + 1e-12 * np.eye(domains), weights.T @ np.log(losses))
    return LogLinear(np.zeros(losses.shape[1]), slopes.T)


@dataclass(frozen=True)
class GaussianProcess:
    """mean + scale * k(weights, points) @ duals, k = exp(-|w - v|^2 / 2 l^2), one length l and noise (variance, relative to the amplitude) a task."""

    points: np.ndarray
    lengths: np.ndarray  # (tasks,)
    noises: np.ndarray
    duals: np.ndarray  # (tasks, runs)
    mean: np.ndarray
    scale: np.ndarray

    def predict(self, weights: np.ndarray) -> np.ndarray:
        out = np.empty((len(weights), len(self.mean)))
        apart = _apart(weights, self.points)
        for length in np.unique(self.lengths):
            mine = self.lengths == length
            out[:, mine] = np.exp(-apart / (2 * length**2)) @ self.duals[mine].T
        return self.mean + self.scale * out


def _apart(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    return np.maximum((some**2).sum(1)[:, None] + (others**2).sum(1) - 2 * some @ others.T, 0.0)


def gaussian_process(weights: np.ndarray, losses: np.ndarray) -> GaussianProcess:
    """The length and noise with the greatest marginal likelihood of each task, from a grid; the amplitude follows in closed form."""
    mean, scale = losses.mean(0), np.where(losses.std(0) > 0, losses.std(0), 1.0)
    y = (losses - mean) / scale
    runs, tasks = y.shape
    apart = _apart(weights, weights)
    best, lengths, noises, duals = np.full(tasks, -np.inf), np.ones(tasks), np.ones(tasks), np.zeros((tasks, runs))
    for length in np.geomspace(0.1, 10, 13):
        values, vectors = np.linalg.eigh(np.exp(-apart / (2 * length**2)))
        turned = vectors.T @ y
        for noise in np.geomspace(1e-6, 10, 22):  # relative to the amplitude
            spectrum = np.maximum(values, 0.0) + noise
            likelihood = -runs / 2 * np.log((turned**2 / spectrum[:, None]).mean(0) + 1e-300) - np.log(spectrum).sum() / 2
            better = likelihood > best
            best[better], lengths[better], noises[better] = likelihood[better], length, noise
            duals[better] = (vectors @ (turned[:, better] / spectrum[:, None])).T
    return GaussianProcess(weights, lengths, noises, duals, mean, scale)


@dataclass(frozen=True)
class Trees:
    """One booster a task."""

    boosters: tuple

    def predict(self, weights: np.ndarray) -> np.ndarray:
        return np.stack([booster.predict(weights) for booster in self.boosters], axis=1)


def lightgbm(weights: np.ndarray, losses: np.ndarray, *, seed: int = 0) -> Trees:
    """Boosted trees, as RegMix uses them: small leaves, for a swarm is small."""
    try:
        import lightgbm as package  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise EnvironmentFault(
            "mix: law lightgbm", "the package lightgbm is missing", got="no lightgbm", expected="lightgbm", mend="pip install lightgbm, or take another law"
        ) from error
    settings = {"objective": "l2", "learning_rate": 0.05, "num_leaves": 8, "min_data_in_leaf": 3, "seed": seed, "verbose": -1, "deterministic": True}
    return Trees(tuple(package.train(settings, package.Dataset(weights, task), num_boost_round=300) for task in losses.T))
