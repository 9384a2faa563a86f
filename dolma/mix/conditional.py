"""Rounds of mixing: a mix that was found is frozen, and stands as one virtual domain in the next round's swarm.

With the ratios within the frozen mix fixed, a round needs runs only for the virtual domain and what is new; runs of earlier rounds stay as they are, since
`dolma.swarm.mixes` knows them by what their streams hold. The published rounds: 24 web topics, then sources; web held at 75 % and 15 code languages in 25 %;
24 PDF topics. The order matters, so it is part of what is recorded.
Source: spec of the mix, section 4 (Olmo 3 report, section 3.4.4).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dolma.core.errors import ConfigError

ROUNDS = {"round": pa.int32(), "name": pa.string(), "domain": pa.string(), "frozen": pa.bool_(), "ratio": pa.float64()}


@dataclass(frozen=True)
class Frozen:
    """A virtual domain: the shares of its parts, which sum to 1. A part may be a frozen mix of an earlier round."""

    name: str
    ratios: dict[str, float]


def freeze(name: str, weights: Mapping[str, float], parts: Collection[str] | None = None) -> Frozen:
    """The mix of `parts` (all: absent) as one virtual domain, their ratios as they are in `weights`; parts of weight 0 are left out.

    Raises:
        ConfigError: parts that are not there, a name that is one of the parts, or no weight at all.
    """
    parts = list(weights) if parts is None else list(parts)
    chosen = {part: weights.get(part, -1.0) for part in parts}
    total = sum(chosen.values())
    if name in chosen or not all(weight >= 0 for weight in chosen.values()) or not 0 < total < np.inf:
        raise ConfigError(
            f"mix: freeze {name}",
            "a frozen mix has parts of another name with some weight",
            got=str({part: weights.get(part) for part in parts}),
            expected=f"some of {', '.join(weights)}",
            mend="mend the parts or the name",
        )
    return Frozen(name, {part: weight / total for part, weight in chosen.items() if weight > 0})


def check(rounds: Sequence[Frozen]) -> None:
    """Refuse rounds that are out of order: a part may name an earlier round only, a domain is in one round only, and names differ."""
    names, seen = [frozen.name for frozen in rounds], set()
    for number, frozen in enumerate(rounds):
        late = sorted(set(frozen.ratios) & set(names[number:]))
        twice = sorted(set(frozen.ratios) & seen | ({frozen.name} & (seen | set(names[:number]))))
        if late or twice:
            raise ConfigError(
                f"mix: round {number + 1}, {frozen.name}",
                "rounds stand in the order they were found, and each domain is in one of them",
                got=f"named before it is found: {late}; named twice: {twice}",
                expected="parts that are new or of an earlier round",
                mend="mend the order or the parts",
            )
        seen |= set(frozen.ratios)


def expand(names: Sequence[str], weights: np.ndarray, rounds: Sequence[Frozen]) -> tuple[list[str], np.ndarray]:
    """Weights of the domains that virtual ones stand for: the product of the weights on the way down.

    Args:
        names, weights: (..., domains); some names may be of `rounds`.
        rounds: in the order they were found.
    Returns:
        Names without virtual domains, each part in place of its whole, and weights (..., names).
    """
    check(rounds)
    names, weights = list(names), np.asarray(weights, np.float64)
    for frozen in reversed(rounds):
        if frozen.name not in names:
            continue
        if twice := sorted(set(frozen.ratios) & set(names)):
            raise ConfigError(
                f"mix: expand {frozen.name}", "a domain is both in the mix and in its frozen part", got=", ".join(twice), expected="one", mend="leave one out"
            )
        at = names.index(frozen.name)
        parts = weights[..., at : at + 1] * np.array(list(frozen.ratios.values()))
        names[at : at + 1] = frozen.ratios
        weights = np.concatenate([weights[..., :at], parts, weights[..., at + 1 :]], axis=-1)
    return names, weights


def supply(tokens: Mapping[str, float], frozen: Frozen) -> float:
    """Tokens that a virtual domain counts for in caps: its scarcest part sets how much of the whole can be served before that part repeats."""
    return min(tokens[part] / ratio for part, ratio in frozen.ratios.items())


def as_table(rounds: Sequence[Frozen]) -> pa.Table:
    """The record of rounds in their order, one row a part."""
    check(rounds)
    names = {frozen.name for frozen in rounds}
    rows = [
        {"round": number, "name": frozen.name, "domain": part, "frozen": part in names, "ratio": ratio}
        for number, frozen in enumerate(rounds, 1)
        for part, ratio in frozen.ratios.items()
    ]
    return pa.Table.from_pylist(rows, schema=pa.schema(list(ROUNDS.items())))


def from_table(table: pa.Table) -> list[Frozen]:
    """Rounds that `as_table` wrote."""
    found: dict[tuple[int, str], dict[str, float]] = {}
    for row in table.sort_by("round").to_pylist():
        found.setdefault((row["round"], row["name"]), {})[row["domain"]] = row["ratio"]
    return [Frozen(name, ratios) for (_, name), ratios in found.items()]
