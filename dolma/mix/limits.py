"""What a mix may be: bounds on the weight of each domain, and the nearest mix that keeps them.

A domain of n tokens that may be repeated r times gives at most n r of `target` tokens: its weight is capped at n r / target.
Source: spec of the mix, section 3 (Olmo 3 report, section 3.4.4; allowed repeats 4 to 7).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dolma.core.errors import ConfigError


@dataclass(frozen=True)
class Limits:
    """Bounds of the weights, shape (domains,). `copies` is how often a domain would be repeated at weight 1; absent: tokens unbounded."""

    lower: np.ndarray
    upper: np.ndarray
    copies: np.ndarray | None = None


def unlimited(domains: int) -> Limits:
    """Any mix of so many domains."""
    return Limits(np.zeros(domains), np.ones(domains))


def limit(
    names: Sequence[str],
    tokens: np.ndarray,
    target: float,
    *,
    repeats: float = 4.0,
    minimum: float = 0.0,
    held: Mapping[str, float] | None = None,
    where: str = "mix",
) -> Limits:
    """The bounds of each domain's weight.

    Args:
        names, tokens: the domains and what there is of each, shape (domains,).
        target: tokens of the whole mix.
        repeats: most copies of a token.
        minimum: least weight of each domain that is not held.
        held: weights that are fixed.
    Raises:
        ConfigError: no mix keeps all bounds; the message says which, and by how much.
    """
    tokens = np.asarray(tokens, np.float64)
    if len(set(names)) != len(names) or tokens.shape != (len(names),) or not ((tokens > 0) & (tokens < np.inf)).all() or not 0 < target < np.inf:
        raise ConfigError(
            where,
            "domains have different names and some tokens, and a mix a target",
            got=f"{len(set(names))} names, tokens of shape {tokens.shape} from {min(tokens.flat, default=0):,.0f}, target {target}",
            expected=f"{len(names)} names and sizes, all above 0",
            mend="leave out domains without tokens",
        )
    upper = np.minimum(tokens * repeats / target, 1.0)
    lower = np.full(len(names), minimum)
    for name, weight in (held or {}).items():
        if name not in names:
            raise ConfigError(f"{where}: held", f"no domain {name}", got=", ".join(names), expected=name, mend="name a domain of the swarm")
        lower[names.index(name)] = weight
    for name, low, high in zip(names, lower, upper, strict=True):
        if not 0 <= low <= high:
            raise ConfigError(
                f"{where}: {name}",
                "the domain cannot give the least weight asked of it",
                got=f"at most {high:.6g} of {target:,.0f} tokens with {repeats:g} repeats",
                expected=f"{low:.6g}",
                mend="lower its weight, `minimum` or the target, raise `repeats`, add data, or leave the domain out",
            )
    for name, weight in (held or {}).items():
        upper[names.index(name)] = weight
    if lower.sum() > 1 + 1e-9 or upper.sum() < 1 - 1e-9:
        raise ConfigError(
            where,
            "no mix keeps all bounds",
            got=f"least weights sum to {lower.sum():.6g}, caps to {upper.sum():.6g} ({repeats:g} repeats of {tokens.sum():,.0f} tokens)",
            expected="least weights at most 1, caps at least 1",
            mend="lower `minimum`, `held` or the target, raise `repeats`, or add data",
        )
    return Limits(lower, upper, target / tokens)


def nearest(mixes: np.ndarray, limits: Limits) -> np.ndarray:
    """The mix within the limits that is nearest by KL(mix || given): clip(s given, lower, upper), with s such that it sums to 1.

    Args:
        mixes: (..., domains), not negative; need not sum to 1.
    Returns:
        Same shape. A row whose positive domains cannot reach 1 under their caps sums to less: the caller refuses it.
    """
    given = np.atleast_2d(np.asarray(mixes, np.float64))
    given = given / given.sum(-1, keepdims=True)
    out = given.copy()
    wrong = np.flatnonzero(((given < limits.lower) | (given > limits.upper)).any(-1))
    if len(wrong):
        out[wrong] = _scaled(given[wrong], limits.lower, limits.upper)
    return out.reshape(np.shape(mixes))


def _scaled(given: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    low, high = np.full(len(given), -60.0), np.full(len(given), 700.0)  # log of the scale: e^-60 leaves the lower bounds, e^700 the upper ones
    for _ in range(56):
        middle = (low + high) / 2
        short = np.clip(given * np.exp(middle)[:, None], lower, upper).sum(-1) < 1
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    at = given * np.exp(high)[:, None]
    free = (at > lower) & (at < upper)
    rest = 1 - np.where(free, 0.0, np.clip(at, lower, upper)).sum(-1)
    mass = np.where(free, given, 0.0).sum(-1)
    scale = np.where(mass > 0, rest / np.where(mass > 0, mass, 1.0), np.exp(high))  # exact, once it is known which bounds bind
    return np.clip(given * scale[:, None], lower, upper)
