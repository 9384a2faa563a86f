"""The mix with least loss under log-linear laws, exactly: a convex problem over exponential cones. The one door to cvxpy."""

import warnings

import numpy as np

from dolma.core.errors import EnvironmentFault
from dolma.mix.limits import Limits


def least(offsets: np.ndarray, slopes: np.ndarray, prior: np.ndarray, limits: Limits, kl: float) -> np.ndarray:
    """argmin over w of sum_k exp(offsets_k + slopes_k . w) + kl KL(w || prior), subject to sum w = 1 and the limits.

    A domain whose prior is 0 gets its lower bound. Solved by Clarabel's interior point (the published code used ECOS, which is no longer kept).

    Raises:
        EnvironmentFault: cvxpy or Clarabel is missing, or the solver gave up.
    """
    try:
        import clarabel  # noqa: F401  # a solver of cvxpy
        import cvxpy as cp
    except ImportError as error:
        raise EnvironmentFault(
            "mix: optimise", "a package is missing", got=str(error), expected="cvxpy, clarabel", mend="pip install 'dolma-flow[mix]', or propose by simulation"
        ) from error
    weights = cp.Variable(len(prior))
    upper = np.where(prior > 0, limits.upper, limits.lower)
    objective = cp.sum(cp.exp(slopes @ weights + offsets))
    if kl > 0:
        there = np.flatnonzero(prior > 0)
        objective = objective + kl * cp.sum(cp.kl_div(weights[there], prior[there]))
    bounds: list = [cp.sum(weights) == 1, weights >= limits.lower, weights <= upper]
    problem = cp.Problem(cp.Minimize(objective), bounds)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Solution may be inaccurate")  # the caller measures how inaccurate
            problem.solve(solver=cp.CLARABEL)
    except cp.SolverError as error:
        raise EnvironmentFault("mix: optimise", "the solver gave up", got=str(error), expected="an optimum", mend="propose by simulation") from error
    if weights.value is None:
        raise EnvironmentFault("mix: optimise", "the solver gave up", got=problem.status, expected="an optimum", mend="propose by simulation")
    return np.asarray(weights.value, np.float64)
