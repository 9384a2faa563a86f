"""`dolma plan budget`: what the command line asks of a budget and a pool, and the answer as tables or JSON."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dolma.console import short, table
from dolma.core.config import parse
from dolma.core.errors import ConfigError
from dolma.mix import budget, shapes
from dolma.mix.budget import UNITS, Budget, Cover
from dolma.mix.shapes import Shape


@dataclass(frozen=True)
class Answer:
    """A budget, the shape it was made for, and what it means for a pool."""

    budget: Budget
    shape: Shape | None
    cover: Cover | None
    warnings: list[str]


def answer(asked: dict[str, Any], root: Path | None, pipelines: Path) -> Answer:
    """The budget that the options of `dolma plan budget` ask for.

    Args:
        asked: options by name; what was not given is None.
        root: folder of all datasets, for a pool that is one.
        pipelines: folder of the recipes, for shares that are those of one.
    Raises:
        ConfigError: see `budget.solve`, `budget.cover`, `shapes.read`.
    """
    given = {name: asked[name] for name in UNITS if asked.get(name) is not None}
    if isinstance(given.get("gpu_days"), str):
        given["gpu_days"] = budget.gpu_days(given["gpu_days"])
    shape = shapes.read(asked["model"], vocab=asked.get("vocab"), context=asked.get("context"), root=root) if asked.get("model") else None
    if shape is None and (only := [f"--{name}" for name in ("vocab", "context") if asked.get(name)]):
        raise ConfigError("plan budget", f"{' and '.join(only)} say nothing without a model", got="no model", expected="--model", mend="--model 7B")
    if not 0 < asked["worth"] < math.inf:
        raise ConfigError("--worth", "no number of repeats", got=asked["worth"], expected="above 0", mend="mend it")
    found = budget.of_tokens(given["tokens"], shape) if set(given) == {"tokens"} and asked.get("pool") else budget.solve(given, shape, asked["peak"])
    if asked.get("pool") and "tokens" not in found.values:
        raise ConfigError("plan budget", "a pool is repeated by a number of tokens", got="a cost", expected=budget.NEED_TOKENS, mend="give them too")
    if not asked.get("pool"):
        if asked.get("shares") or asked.get("caps"):
            mend = "--pool FILE.csv, or a dataset such as shard/pool"
            raise ConfigError("plan budget", "shares and caps say nothing without a pool", got="no pool", expected="--pool", mend=mend)
        return Answer(found, shape, None, [])
    pool, shares = _pool(asked["pool"], asked.get("shares"), root, pipelines)
    covered = budget.cover(found.tokens, pool, shares, asked["cap"], budget.pairs(asked.get("caps") or [], "--cap-of"))
    return Answer(found, shape, covered, covered.warnings(asked["worth"]))


def reads_datasets(asked: dict[str, Any]) -> bool:
    """Whether options name a dataset, or a stage whose data says what they leave out: then an env must say where datasets are."""
    pool, model = asked.get("pool"), asked.get("model")
    return bool(pool and not pool.endswith(".csv")) or bool(model and shapes.is_stage(model) and not (asked.get("vocab") and asked.get("context")))


def _pool(name: str, shares: str | None, root: Path | None, pipelines: Path) -> tuple[dict[str, float], dict[str, float] | None]:
    column = shares if shares and name.endswith(".csv") and "=" not in shares and "/" not in shares else None
    if name.endswith(".csv"):
        pool, taken = budget.read_csv(Path(name), column)
    elif root is not None:
        pool, taken = budget.of_dataset(root / name), None
    else:
        raise ConfigError("--pool", "no env says where datasets are", got=name, expected="a CSV, or an env", mend="--env tiny")
    if shares and column is None:
        taken = budget.pairs([shares], "--shares") if "=" in shares else _of_recipe(pipelines / f"{shares}.yaml")
    return pool, taken


def _of_recipe(path: Path) -> dict[str, float]:
    """The shares that a recipe of a mix plans."""
    if path.is_file():
        steps = (parse(path) or {}).get("steps") or []
        for step in steps:
            if shares := (step.get("plan_mix") or {}).get("shares"):
                return {name: float(share) for name, share in shares.items()}
    raise ConfigError("--shares", "no recipe plans shares there", got=str(path), expected="a recipe with plan_mix", mend="mix/pretrain, or web=0.8,code=0.2")


def as_dict(found: Answer) -> dict[str, Any]:
    """All of an answer as plain values."""
    made: dict[str, Any] = {"budget": found.budget.values, "how": found.budget.how}
    if found.shape:
        made["model"] = {**asdict(found.shape), "parameters": found.shape.parameters, "active": found.shape.active, "flops_per_token": found.shape.flops}
    if found.cover:
        made["sources"] = [{**asdict(one), "tokens": one.pool * one.repeats} for one in found.cover.sources]
        made["largest_budget"] = {"tokens": found.cover.most, "bound_by": found.cover.bound}
        made["warnings"] = found.warnings
    return made


def text(found: Answer) -> str:
    """An answer as tables for a terminal."""
    rows: list[Sequence[object]] = [
        [name.replace("_", " "), _shown(name, value), UNITS[name], found.budget.how[name]] for name, value in found.budget.values.items()
    ]
    if found.shape:
        rows += [["parameters", short(found.shape.parameters), f"{short(found.shape.active)} without embedding", "model"]]
        rows += [
            ["vocabulary", f"{found.shape.vocab:,}", "rows of the embedding", "model"],
            ["context", f"{found.shape.context:,}", "tokens a sequence", "model"],
        ]
        rows += [["flops", f"{found.shape.flops / 1e9:.4g}e9", "a token: 6 N + 12 layers d context", "model"]]
    blocks = [table(["what", "value", "in", "how"], rows, right=["value"])]
    if found.cover:
        body: list[Sequence[object]] = [
            [one.name, short(one.pool), f"{100 * one.share:.2f}", short(one.pool * one.repeats), f"{one.repeats:.3f}", f"{one.cap:g}"]
            for one in found.cover.sources
        ]
        header = ["source", "pool tokens", "% of mix", "mix tokens", "repeats", "cap"]
        blocks.append(table(header, body, right=header[1:]))
        blocks.append(f"largest budget under these caps: {short(found.cover.most)} tokens, bounded by {found.cover.bound}")
    return "\n\n".join(blocks)


def _shown(name: str, value: float) -> str:
    if name in ("uptime", "utilisation"):
        return f"{value:.3f}"
    return short(value) if name == "tokens" else f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
