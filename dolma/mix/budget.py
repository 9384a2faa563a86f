"""From GPUs, days and a model to tokens and cost, and back; then what those tokens mean for a pool: how often each source is repeated.

    gpu_days = gpus x days        tokens = gpu_days x 86,400 x rate x uptime        rate = utilisation x peak / flops        cost = gpu_days x 24 x price

`rate` is tokens a second of one GPU while it trains; `uptime` is the share of the time in which it does: restarts, evaluations, checkpoints and waiting make up
the rest. Of each relation all but one are given. They share single quantities and no ring of them, so solving one after another finds all that can be found.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dolma.core.amounts import amount
from dolma.core.errors import ConfigError
from dolma.mix.shapes import Shape
from dolma.mix.shares import LARGEST, LEAST

PEAK = 989.5e12  # FLOP/s of an H100 SXM in bf16, dense (NVIDIA data sheet)
UNITS = {
    "gpus": "GPUs",
    "days": "days",
    "gpu_days": "GPU days",
    "tokens": "tokens",
    "rate": "tokens/s/GPU",
    "uptime": "share of the time",
    "utilisation": "share of peak",
    "price": "a GPU hour",
    "cost": "as price",
}
TRAINING = ("tokens", "rate", "utilisation", "uptime")
NEEDED, PAID = ("tokens", "gpu_days", "rate"), ("gpu_days", "price", "cost")
NEED_TOKENS = "tokens, or a rate"
CLOSE = 1e-6  # relative difference under which two ways to one quantity agree


@dataclass(frozen=True)
class Budget:
    """All quantities that could be found, by name (those of `UNITS`), and which of them were given, derived or assumed."""

    values: dict[str, float]
    how: dict[str, str]
    flops: int | None

    @property
    def tokens(self) -> float:
        """Tokens of the run."""
        return self.values["tokens"]


def solve(given: Mapping[str, float], shape: Shape | None = None, peak: float = PEAK) -> Budget:
    """The rest of a budget.

    Args:
        given: quantities by the names of `UNITS`, all above 0; with none of `TRAINING` it is a question about the cost alone. `uptime` is 1 where it is
            neither given nor follows from the others.
        shape: of the model; `utilisation` needs it.
        peak: FLOP/s of one GPU.
    Raises:
        ConfigError: tokens, GPU days or rate do not follow from what is given (it says what is missing), or two ways to one quantity differ.
    """
    for name, value in {**given, "peak": peak}.items():
        if not 0 < value < math.inf or (name in ("uptime", "utilisation") and value > 1):
            expected = "above 0, at most 1" if name in ("uptime", "utilisation") else "above 0"
            raise ConfigError("plan budget", f"`{name}` is no amount", got=value, expected=expected, mend="mend it")
    # each relation: product of the first = factor x product of the second
    relations: list[tuple[tuple[str, ...], float, tuple[str, ...]]] = [
        (("gpu_days",), 1.0, ("gpus", "days")),
        (("tokens",), 86_400.0, ("gpu_days", "rate", "uptime")),
        (("cost",), 24.0, ("gpu_days", "price")),
    ]
    if shape is not None:
        relations.append((("rate",), peak / shape.flops, ("utilisation",)))
    elif "utilisation" in given:
        raise ConfigError("plan budget", "utilisation says nothing without a model", got="no model", expected="its shape", mend="--model 7B")
    values, how = dict(given), dict.fromkeys(given, "given")
    _spread(values, how, relations)
    needed = NEEDED if set(TRAINING) & set(given) or not set(PAID[1:]) & set(given) else PAID
    if needed == NEEDED and "uptime" not in values and any(name not in values for name in NEEDED):
        values["uptime"], how["uptime"] = 1.0, "assumed"
        _spread(values, how, relations)
    if lacking := [name for name in needed if name not in values]:
        raise ConfigError(
            "plan budget", f"{', '.join(lacking)} cannot be found", got=", ".join(given) or "nothing", expected=_more(values, shape), mend="give it"
        )
    for name in ("uptime", "utilisation"):
        if values.get(name, 0) > 1 + CLOSE:
            mend = "fewer tokens, more GPUs or days, or a faster rate"
            raise ConfigError("plan budget", f"what is given needs more than all of the {name}", got=f"{values[name]:.3f}", expected="at most 1", mend=mend)
    ordered = {name: values[name] for name in UNITS if name in values}
    return Budget(ordered, how, shape.flops if shape else None)


def _spread(values: dict[str, float], how: dict[str, str], relations: list[tuple[tuple[str, ...], float, tuple[str, ...]]]) -> None:
    """Solve relations with one unknown until none is left, and check those without."""
    changed = True
    while changed:
        changed = False
        for one, factor, other in relations:
            unknown = [name for name in (*one, *other) if name not in values]
            left = math.prod(values[name] for name in one if name in values)
            right = factor * math.prod(values[name] for name in other if name in values)
            if not all(0 < one < math.inf for one in (left, right)) or (unknown and not 0 < right / left < math.inf):
                known = ", ".join(f"{name} {values[name]:g}" for name in (*one, *other) if name in values)
                what = f"{unknown[0] if unknown else 'a product'} cannot be counted: too large, or too small"
                raise ConfigError("plan budget", what, got=known, expected="amounts of a run", mend=f"mend {known.split(' ')[0]} or what it goes with")
            if len(unknown) == 1:
                values[unknown[0]], how[unknown[0]] = (right / left, "derived") if unknown[0] in one else (left / right, "derived")
                changed = True
            elif not unknown and abs(left / right - 1) > CLOSE:
                named = ", ".join((*one, *other))
                raise ConfigError("plan budget", f"{named} contradict one another", got=f"{left:.6g}", expected=f"{right:.6g}", mend="leave one of them out")


def _more(values: Mapping[str, float], shape: Shape | None) -> str:
    wants = []
    if "rate" not in values and "tokens" not in values and set(PAID[1:]) & set(values):
        return "two of: gpu_days (gpus and days), price, cost; and tokens or a rate for more than the cost"
    if "gpu_days" not in values:
        wants.append("gpus and days" if not {"gpus", "days"} & set(values) else "days" if "gpus" in values else "gpus")
    if "rate" not in values:
        wants.append("rate, or utilisation" + ("" if shape else " with a model"))
    if "tokens" not in values:
        wants.append("tokens")
    return f"all but one of: {'; '.join(wants)}"


def of_tokens(tokens: float, shape: Shape | None = None) -> Budget:
    """A budget of which nothing but the tokens is asked: all that a pool needs."""
    return Budget({"tokens": tokens}, {"tokens": "given"}, shape.flops if shape else None)


def gpu_days(text: str) -> float:
    """GPU days of a run in phases: `512x9.5+1024x35`, or a number.

    Raises:
        ConfigError: it is none.
    """
    try:
        return sum(math.prod(float(one) for one in phase.split("x")) for phase in text.split("+"))
    except ValueError as error:
        raise ConfigError("--gpu-days", "no number of GPU days", got=text, expected="a number, or 512x9.5+1024x35", mend="mend it") from error


@dataclass(frozen=True)
class Source:
    """A source of a pool: its tokens, its share of the mix, how often it is repeated, and the most that it may be."""

    name: str
    pool: float
    share: float
    repeats: float
    cap: float


@dataclass(frozen=True)
class Cover:
    """What a budget means for a pool: its sources, the tokens of the largest budget under their caps, and the source that bounds it."""

    sources: tuple[Source, ...]
    most: float
    bound: str

    def warnings(self, worth: float) -> list[str]:
        """What is repeated too often: over its cap, or over `worth` times, where a repetition brings less than new tokens."""
        said = []
        for one in self.sources:
            if one.repeats > one.cap * (1 + CLOSE):
                said.append(f"{one.name} would be repeated {one.repeats:.2f} times, over its cap of {one.cap:g}")
            elif one.repeats > worth:
                said.append(f"{one.name} is repeated {one.repeats:.2f} times: beyond {worth:g} a repetition brings less and less")
        return said


def cover(
    tokens: float, pool: Mapping[str, float], shares: Mapping[str, float] | None = None, cap: float = 7.0, caps: Mapping[str, float] | None = None
) -> Cover:
    """How often each source of a pool is repeated in a mix of `tokens`.

    Args:
        tokens: of the mix.
        pool: tokens of each source.
        shares: of each source in the mix, summing to 1; absent: as the pool is.
        cap: most repeats of a source; 7 in the published mix (Olmo 3 report, section 3.4.4).
        caps: in place of `cap` for single sources.
    Raises:
        ConfigError: shares that do not sum to 1 or name a source without tokens, or a cap for no source.
    """
    if wrong := {name: size for name, size in pool.items() if not (size == 0 or 1 <= size < math.inf)}:
        raise ConfigError("plan budget: pool", f"no number of tokens: {', '.join(wrong)}", got=wrong, expected="0, or 1 and more", mend="mend the pool")
    total = sum(pool.values())
    if not 0 < total < math.inf:
        raise ConfigError("plan budget: pool", "the pool has no tokens", got=dict(pool), expected="tokens by source", mend="name another pool")
    if not 0 < tokens < math.inf:
        raise ConfigError("plan budget", "`tokens` is no amount", got=tokens, expected="above 0", mend="mend it")
    shares = {name: size / total for name, size in pool.items()} if shares is None else shares
    caps = caps or {}
    if absent := sorted({name for name, share in shares.items() if share > 0 and not pool.get(name)} | (set(caps) - set(pool))):
        raise ConfigError(
            "plan budget: shares", f"no tokens of {', '.join(absent)}", got=", ".join(pool), expected="sources of the pool", mend="mend the names"
        )
    if wrong := {name: share for name, share in shares.items() if not (share == 0 or LEAST <= share < math.inf)}:
        expected = f"0, or at least {LEAST:g}"
        raise ConfigError("plan budget: shares", f"no share: {', '.join(wrong)}", got=wrong, expected=expected, mend="mend it, or leave it out")
    if not abs(sum(shares.values()) - 1) <= 1e-6:
        raise ConfigError("plan budget: shares", "shares must be at least 0 and sum to 1", got=sum(shares.values()), expected=1, mend="mend them")
    if wrong := {name: one for name, one in {"cap": cap, **caps}.items() if not LEAST <= one <= LARGEST}:
        expected = f"above 0, {LEAST:g} to {LARGEST:g}"
        raise ConfigError("plan budget: caps", f"a cap is above 0: {', '.join(wrong)}", got=wrong, expected=expected, mend="mend it")
    made = tuple(
        Source(name, size, shares.get(name, 0.0), tokens * shares.get(name, 0.0) / size if size else 0.0, caps.get(name, cap)) for name, size in pool.items()
    )
    most, bound = min((one.cap * one.pool / one.share, one.name) for one in made if one.share > 0)
    return Cover(made, most, bound)


def read_csv(path: Path, column: str | None = None) -> tuple[dict[str, float], dict[str, float] | None]:
    """(pool tokens by source, shares by source) of a CSV with the columns `source` and `pool_tokens`; a row TOTAL is left out, rows of one source are added up.

    Args:
        column: what the shares are proportional to.
    Raises:
        ConfigError: the file or a column is missing, or a value is no number.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["source"] != "TOTAL"]
        pool = _sums(rows, "pool_tokens")
        weights = _sums(rows, column) if column else None
    except (OSError, KeyError, ValueError, TypeError) as error:
        expected = ", ".join(("source", "pool_tokens", *([column] if column else [])))
        raise ConfigError(str(path), "no table of a pool", got=f"{type(error).__name__}: {error}", expected=f"columns {expected}", mend="mend it") from error
    if weights is None:
        return pool, None
    if wrong := {name: weight for name, weight in weights.items() if weight < 0}:
        raise ConfigError(str(path), f"`{column}` is below 0 for {', '.join(wrong)}", got=wrong, expected="0 or more", mend="mend the table")
    total = sum(weights.values())
    if not 0 < total < math.inf:
        raise ConfigError(str(path), f"`{column}` gives no shares", got=total, expected="a sum above 0", mend="name another column")
    return pool, {name: weight / total for name, weight in weights.items()}


def _sums(rows: Sequence[Mapping[str, str]], column: str) -> dict[str, float]:
    """A column by source; a source may have several rows, of topics say."""
    sums: dict[str, float] = {}
    for row in rows:
        sums[row["source"]] = sums.get(row["source"], 0.0) + amount(row[column] or "")
    return sums


def of_dataset(folder: Path) -> dict[str, float]:
    """Tokens by source of a dataset of packed shards."""
    from dolma.io import mds

    pool: dict[str, float] = {}
    for row in mds.streams(folder).to_pylist():
        name = row["source"] or row["stream"].partition("/")[0]
        pool[name] = pool.get(name, 0.0) + row["tokens"]
    return pool


def pairs(texts: Sequence[str], what: str) -> dict[str, float]:
    """`["web=0.8,code=0.2"]` as numbers by name.

    Raises:
        ConfigError: a part is no NAME=NUMBER.
    """
    try:
        return {name: amount(value) for text in texts for name, _, value in [part.rpartition("=") for part in text.split(",")]}
    except ValueError as error:
        raise ConfigError(what, "no NAME=NUMBER", got=", ".join(texts), expected="web=0.8,code=0.2", mend="mend it") from error
