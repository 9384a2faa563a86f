"""The mixes that a swarm of proxies is trained on: Dirichlet draws around a prior, within limits, none like another.

Source: spec of the mix, section 3, steps 1 and 2 (Olmo 3 report, section 3.4.4; Olmix): about 5 runs a domain, Dirichlet(strength x prior) with the
strength log-uniform in 0.1 to 5, prior the natural sizes (temperature 1 or 0.7) or manual (0.75/0.25), least weight 1e-4 (0.05 between sources).
"""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from dolma.core.errors import ConfigError
from dolma.mix.limits import Limits, limit, nearest

GRID = 2.0**-30  # weights are multiples of it: rows sum to exactly 1, and the last bits of a library do not change a design
BLOCK = 256


class Design(BaseModel):
    """How a swarm's mixes are drawn; a block of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    runs: Annotated[int, Field(ge=1)]
    seed: Annotated[int, Field(ge=0)] = 0
    strength: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (0.1, 5.0)
    temperature: Annotated[float, Field(gt=0)] = 1.0
    minimum: Annotated[float, Field(ge=0, lt=1)] = 1e-4
    below: Literal["drop", "raise"] = "drop"
    repeats: Annotated[float, Field(gt=0)] = 4.0
    distance: Annotated[float, Field(ge=0, lt=1)] = 0.01
    prior: dict[str, float] | None = None
    held: dict[str, float] = {}

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if self.strength[0] > self.strength[1]:
            raise ValueError(f"strength is (low, high), got {self.strength}")
        return self


def designs(names: Sequence[str], tokens: np.ndarray, target: float, design: Design) -> np.ndarray:
    """The mixes of a swarm, each row one run.

    Draws come one after another, so the first rows of a larger swarm are the smaller swarm: it can be resumed and grown.
    A draw over a cap is moved to the nearest mix (by KL) under it: drawing again would almost never end where caps are tight, and an optimum often lies
    on a cap.
    A weight below `minimum` is dropped to 0 (default) or raised to it (`below: raise`: every source stays present).
    A draw nearer than `distance` (total variation) to an earlier one is refused.

    Args:
        names, tokens: domains, and what there is of each, shape (domains,).
        target: tokens of the mix that the search is for, which the caps follow from (not those of a proxy).
    Returns:
        (runs, domains), multiples of 2^-30, each row sums to exactly 1; limits are kept within 2^-30 x domains.
    Raises:
        ConfigError: no mix, or not so many different ones, are within the limits.
    """
    names = list(names)
    limits = bounds(names, tokens, target, design)
    prior = natural(names, tokens, design)
    bits = np.random.PCG64(design.seed)
    found, count = np.empty((design.runs, len(names))), 0
    most = max(100 * design.runs, 20_000)
    for _ in range(0, most, BLOCK):
        for row in _drawn(bits, prior, limits, design):
            if (np.abs(found[:count] - row).sum(-1) / 2 >= design.distance).all():
                found[count], count = row, count + 1
                if count == design.runs:
                    return found
    raise ConfigError(
        "design",
        "there are not so many different mixes within the limits",
        got=f"{count} in {most:,} draws, {design.distance:g} apart",
        expected=f"{design.runs}",
        mend="lower `runs`, `distance` or `minimum`, raise `repeats`, or widen `strength`",
    )


def bounds(names: Sequence[str], tokens: np.ndarray, target: float, design: Design) -> Limits:
    """The limits of a design, which are those of the proposal too; ConfigError if no mix keeps them or a domain could never be drawn."""
    limits = limit(names, tokens, target, repeats=design.repeats, minimum=design.minimum if design.below == "raise" else 0.0, held=design.held, where="design")
    if never := [name for name, cap in zip(names, limits.upper, strict=True) if cap < design.minimum and name not in design.held]:
        raise ConfigError(
            "design: minimum",
            f"no run could hold {', '.join(never)}: what there is gives less than the least weight",
            got=f"at most {limits.upper[names.index(never[0])]:.6g}",
            expected=f"{design.minimum:.6g}",
            mend="lower `minimum` or the target, raise `repeats`, add data, or leave the domain out",
        )
    return limits


def natural(names: Sequence[str], tokens: np.ndarray, design: Design) -> np.ndarray:
    """The prior of a design, shape (domains,), sum 1: natural sizes to the power of the temperature, or the manual one as it is written."""
    if design.prior is None:
        sizes = (np.asarray(tokens, np.float64) / np.sum(tokens)) ** design.temperature
        return sizes / sizes.sum()
    prior = np.array([design.prior.get(name, -1.0) for name in names])
    if set(design.prior) != set(names) or not (prior > 0).all() or not abs(prior.sum() - 1) <= 1e-9:
        raise ConfigError(
            "design: prior",
            "a manual prior gives each domain a share above 0; they sum to 1",
            got=f"{design.prior} (sum {sum(design.prior.values()):.6g})",
            expected=", ".join(names),
            mend="mend it",
        )
    return prior


def _drawn(bits: np.random.PCG64, prior: np.ndarray, limits: Limits, design: Design) -> np.ndarray:
    """The next draws that can be brought within the limits, on the grid, shape (<= BLOCK, domains)."""
    from scipy.special import gammaincinv

    raw = bits.random_raw(BLOCK * (1 + 2 * len(prior))).reshape(BLOCK, -1)
    uniform = ((raw >> np.uint64(11)) + 0.5) * 2.0**-53  # the raw bits of PCG64 are stable between versions of numpy, its transforms are not
    low, high = design.strength
    alpha = (low * (high / low) ** uniform[:, :1]) * prior
    first, second = np.split(uniform[:, 1:], 2, axis=1)
    logs = np.log(gammaincinv(alpha + 1, first)) + np.log(second) / alpha  # of Gamma(alpha): Gamma(alpha + 1) U^(1/alpha) does not underflow
    rows = np.exp(logs - logs.max(-1, keepdims=True))
    rows = nearest(rows, limits)
    if design.below == "drop":
        rows = np.where((rows < design.minimum) & (limits.lower < limits.upper), 0.0, rows)
        rows = nearest(rows / rows.sum(-1, keepdims=True), limits)
    return _on_grid(rows[np.abs(rows.sum(-1) - 1) <= 1e-9], limits)


def _on_grid(rows: np.ndarray, limits: Limits) -> np.ndarray:
    """Each weight rounded down to the grid; the domain with the most room under its cap takes the rest."""
    units = np.floor(rows / GRID)
    room = np.where(rows > 0, limits.upper - rows, -1.0)
    units[np.arange(len(rows)), room.argmax(-1)] += 1 / GRID - units.sum(-1)
    return units * GRID
