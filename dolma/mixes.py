"""Mixes as people read them: what each source, topic or cell has in the pool and gets in the mix, against another mix, and under changed parameters."""

import copy
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import yaml

from dolma.core import config
from dolma.core import manifest as manifests
from dolma.core.amounts import amount
from dolma.core.errors import ConfigError, DataError
from dolma.core.log import logger
from dolma.core.recipe import Compiled, compile, parse
from dolma.engines import trial
from dolma.engines.units import build
from dolma.io import mds
from dolma.runner import Run

log = logger(__name__)
STEP = "plan_mix"
BY = {"source": ("source",), "topic": ("source", "topic"), "lang": ("source", "lang"), "vigintile": ("source", "vigintile"),
      "cell": ("source", "lang", "topic", "vigintile")}  # fmt: skip
STREAMS = pa.schema(
    [("dataset", pa.string()), ("stream", pa.string()), ("source", pa.string()), ("topic", pa.string()), ("vigintile", pa.int32()), ("lang", pa.string()),
     ("pool_sequences", pa.int64()), ("pool_tokens", pa.int64()), ("repeats", pa.float64()), ("sequences", pa.int64()), ("tokens", pa.int64())]
)  # fmt: skip


@dataclass(frozen=True)
class Mix:
    """A mix beside its pool: one row a stream, with the columns of `STREAMS`; `remade` names datasets that are not those it was planned over."""

    name: str
    streams: pa.Table
    remade: tuple[str, ...] = ()

    @property
    def short(self) -> str:
        """Its name without the folder of all mixes, and without what was set."""
        name, changed, _ = self.name.removeprefix("mix/").partition(" with ")
        return f"{name}, changed" if changed else name

    @cached_property
    def tokens(self) -> int:
        """Tokens that one pass over the mix serves."""
        return pc.sum(self.streams["tokens"]).as_py() or 0

    @cached_property
    def available(self) -> dict[str, int]:
        """Tokens of each source in the pool."""
        return self._by_source("pool_tokens")

    @cached_property
    def served(self) -> dict[str, int]:
        """Tokens of each source in the mix."""
        return self._by_source("tokens")

    @cached_property
    def repeats(self) -> dict[str, float]:
        """Copies of each stream."""
        return dict(zip(self.streams["stream"].to_pylist(), self.streams["repeats"].to_pylist(), strict=True))

    @cached_property
    def datasets(self) -> tuple[str, ...]:
        """The datasets whose streams it may take."""
        return tuple(pc.unique(self.streams["dataset"]).to_pylist())

    def _by_source(self, column: str) -> dict[str, int]:
        made = self.streams.group_by("source").aggregate([(column, "sum")]).sort_by("source")
        return dict(zip(made["source"].to_pylist(), made[f"{column}_sum"].to_pylist(), strict=True))


def read(root: Path, name: str) -> Mix:
    """The mix `name` below `root`.

    Raises:
        ConfigError: it is no mix.
        DataError: it does not exist.
    """
    found = manifests.load(root / name)
    if found.table != "mix":
        raise ConfigError(name, "is no mix", got=found.table, expected="mix", mend='`dolma sql "SELECT DISTINCT mix FROM mixes"` lists them')
    planned = {one.name: one.fingerprint for one in found.inputs}
    return _beside(root, name, manifests.read(root / name), planned)


def _beside(root: Path, name: str, mix: pa.Table, planned: dict[str, str]) -> Mix:
    rows = {(row["dataset"], row["stream"]): row for row in mix.to_pylist()}
    remade, streams = [], list[dict[str, Any]]()
    for dataset in dict.fromkeys([*planned, *(dataset for dataset, _ in rows)]):
        if not manifests.exists(root / dataset):
            remade.append(f"{dataset} is gone")
            continue
        if planned.get(dataset) != manifests.load(root / dataset).fingerprint:
            remade.append(f"{dataset} was made anew after {name} was planned")
        streams += mds.streams(root / dataset, dataset).to_pylist()
    pool = {(row["dataset"], row["stream"]): row for row in streams}
    none = {"source": "unknown", "topic": None, "vigintile": 0, "lang": None}
    made = []
    for key in dict.fromkeys([*pool, *rows]):
        there, row = pool.get(key), rows.get(key, {"repeats": 0.0, "sequences": 0, "tokens": 0})
        cell = there or {**none, **row, "sequences": 0, "tokens": 0}
        amounts = {"pool_sequences": cell["sequences"], "pool_tokens": cell["tokens"], **{one: row[one] for one in ("repeats", "sequences", "tokens")}}
        made.append({"dataset": key[0], "stream": key[1], **{one: cell[one] for one in none}, **amounts})
    return Mix(name, pa.Table.from_pylist(made, STREAMS), tuple(remade))


def planned(name: str, env_file: Path, pipelines: Path, sets: Sequence[str] = ()) -> tuple[Mix, dict[str, Any]]:
    """What the recipe of `name` would give, with `sets` (such as `shares.web=0.4`) in its parameters, and these parameters; nothing is written.

    Raises:
        ConfigError: (or Errors with all of them) it is no recipe of a mix, or cannot be planned so.
        DataError: its shards are not there.
    """
    run = Run(env_file, pipelines)
    node = run.graph[name]
    if not isinstance(node, Compiled) or node.final is None or node.final.step.name != STEP:
        raise ConfigError(name, "is no recipe of a mix", got="other steps", expected=STEP, mend="name a recipe that ends with `plan_mix`")
    where = f"{run.graph.files[name]}{' with --set' if sets else ''}"
    value = copy.deepcopy(config.parse(run.graph.files[name]))
    params = change(value["steps"][-1][STEP] or {}, sets)
    value["steps"][-1] = {STEP: params}
    compiled = compile(name, parse(name, value, where), where, run.graph._schema)
    plan = build(compiled, run.graph, run.env, run.root, run.raw)
    if not trial.cheap(plan, compiled):
        raise DataError(name, "reads other things than shards", got=", ".join(compiled.recipe.inputs), expected="datasets of format mds", mend="name them")
    return _beside(run.root, name, trial.result(plan, compiled), {one["name"]: one["fingerprint"] for one in plan.inputs}), params


def shown(root: Path, name: str, against: str | None, sets: Sequence[str], env_file: Path, pipelines: Path) -> list[Mix]:
    """The mix, and the one that it is compared with if there is one: under `sets` the mix that is there, or what its recipe gives where none is."""
    if sets:
        found, params = planned(name, env_file, pipelines, sets)
        log.info("%s", f"{name} with {STEP}: {json.dumps(params)}; nothing was written")
        other = against or name
        there = read(root, other) if manifests.exists(root / other) else planned(other, env_file, pipelines)[0]
        made = [replace(found, name=f"{name} with {', '.join(sets)}"), there]
    else:
        made = [read(root, one) for one in (name, against) if one]
    for line in dict.fromkeys(line for mix in made for line in mix.remade):
        log.warning("%s", line)
    return made


def change(params: dict[str, Any], sets: Iterable[str]) -> dict[str, Any]:
    """`params` with some values set: `tokens=2e6`, `shares.web=0.4`, `buckets.web.20=0.5`, `floors={wiki: 0.01}`; `null` takes one out.

    What is set of shares that must sum to 1 holds, and the others of that mapping keep their proportions among themselves.

    Raises:
        ConfigError: a text is not KEY=VALUE, or its key leads into what is no mapping.
    """
    made, touched = copy.deepcopy(params), dict[tuple[str, ...], set[Any]]()
    for text in sets:
        path, equals, written = text.partition("=")
        if not equals or not path:
            raise ConfigError(f"--set {text}", "no value", got=text, expected="KEY=VALUE", mend="such as --set shares.web=0.4")
        parts = path.split(".")
        inner = made
        for part in parts[:-1]:
            inner = inner.setdefault(_key(inner, part), {}) if isinstance(inner, dict) else inner
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {text}", f"`{'.'.join(parts[:-1])}` is one value", got=inner, expected="a mapping", mend="set the whole")
        key, value = _key(inner, parts[-1]), _value(written)
        if value is None:
            inner.pop(key, None)
        else:
            inner[key] = value
            touched.setdefault(tuple(parts[:-1]), set()).add(key)
    for place, keys in touched.items():
        _others(made, place, keys)
    return made


def _key(inner: dict[Any, Any], part: str) -> Any:
    """The key that a part of a path means: vigintiles are numbers."""
    return next((key for key in inner if str(key) == part), int(part) if part.isdigit() else part)


def _value(text: str) -> Any:
    try:
        return amount(text)
    except ValueError:
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set ...={text}", "not YAML", got=text, expected="such as {wiki: 0.01}", mend="close what is open") from error


def _others(made: dict[str, Any], place: tuple[str, ...], keys: set[Any]) -> None:
    """Scale the shares beside those in `keys` so that all sum to 1."""
    depths = {"shares": (1,), "topics": (1, 2), "languages": (1, 2), "buckets": (2,)}
    inner = made
    for part in place:
        inner = inner.get(_key(inner, part)) if isinstance(inner, dict) else None
    if (
        not place
        or not isinstance(inner, dict)
        or not keys <= set(inner)
        or len(place) not in depths.get(place[0], ())
        or not all(isinstance(value, int | float) for value in inner.values())
    ):
        return
    left = 1 - sum(inner[key] for key in keys)
    rest = sum(value for key, value in inner.items() if key not in keys)
    if rest > 0 and left >= 0:
        inner.update({key: value * left / rest for key, value in inner.items() if key not in keys})


def summary(mix: Mix, by: str) -> pa.Table:
    """Tokens and shares of the pool and the mix: the columns of `BY[by]`, pool_tokens, pool_share, repeats, tokens, share; shares are of 1.

    `repeats` is NULL where the pool has no tokens.
    """
    keys = [name for name in BY[by] if name != "lang" or by == "lang" or mix.streams["lang"].null_count < mix.streams.num_rows]
    named = mix.streams.set_column(mix.streams.schema.get_field_index("topic"), "topic", pc.fill_null(mix.streams["topic"], "all"))
    made = named.group_by(keys).aggregate([("pool_tokens", "sum"), ("tokens", "sum")]).sort_by([(key, "ascending") for key in keys])
    pool, tokens = made["pool_tokens_sum"], made["tokens_sum"]
    some = pc.if_else(pc.greater(pool, 0), pool, pa.scalar(None, pa.int64()))
    columns = {"pool_tokens": pool, "pool_share": _share(pool), "repeats": _over(tokens, some), "tokens": tokens, "share": _share(tokens)}
    return pa.table({**{key: made[key] for key in keys}, **columns})


def difference(mix: Mix, other: Mix, by: str) -> pa.Table:
    """Both mixes side by side: the columns of `BY[by]`, pool_tokens, and of each tokens, share and repeats (`against_` for those of `other`), and `change`,
    the share of `mix` less that of `other`.

    `pool_tokens` is of the pool of `mix`, or of the other's where only that has such cells.
    """
    one, two = summary(mix, by), summary(other, by)
    keys = [name for name in BY[by] if name in one.column_names and name in two.column_names]
    if len(keys) < len(set(one.column_names) & set(BY[by])) or len(keys) < len(set(two.column_names) & set(BY[by])):
        raise ConfigError("dolma mix", "only one of the two mixes tells languages", got=f"--by {by}", expected="--by source or topic", mend="ask by topic")
    left = {tuple(row[key] for key in keys): row for row in one.to_pylist()}
    right = {tuple(row[key] for key in keys): row for row in two.to_pylist()}
    none = {"pool_tokens": 0, "repeats": None, "tokens": 0, "share": 0.0}
    rows = []
    for key in sorted({*left, *right}, key=lambda parts: [("" if part is None else part) for part in parts]):
        a, b = left.get(key, none), right.get(key, none)
        both = {"tokens": a["tokens"], "against_tokens": b["tokens"], "share": a["share"], "against_share": b["share"], "change": a["share"] - b["share"]}
        repeats = {"repeats": a["repeats"], "against_repeats": b["repeats"]}
        rows.append({**dict(zip(keys, key, strict=True)), "pool_tokens": a["pool_tokens"] or b["pool_tokens"], **both, **repeats})
    fields = [one.schema.field(key) for key in keys]
    kinds = {"pool_tokens": pa.int64(), "tokens": pa.int64(), "against_tokens": pa.int64()}
    names = ["pool_tokens", "tokens", "against_tokens", "share", "against_share", "change", "repeats", "against_repeats"]
    return pa.Table.from_pylist(rows, pa.schema([*fields, *(pa.field(name, kinds.get(name, pa.float64())) for name in names)]))


def _share(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return _over(column, pa.scalar(float(pc.sum(column).as_py() or 1)))


def _over(column: pa.ChunkedArray, by: Any) -> pa.ChunkedArray:
    return pc.divide(pc.cast(column, pa.float64()), pc.cast(by, pa.float64()))


HEADERS = {
    "change": "change, points", "pool_tokens": "pool tokens",
    "pool_share": "% of pool", "share": "% of mix", "against_tokens": "before", "against_share": "% before",
    "against_repeats": "repeats before",
}  # fmt: skip


def lines(table: pa.Table) -> tuple[list[str], list[list[object]]]:
    """A summary or difference for a terminal or a page: header, and rows with shares in per cent, the last of which is the sum."""
    keys = [name for name in table.column_names if name in BY["cell"]]
    rows = []
    for row in table.to_pylist():
        rows.append([100 * value if name.endswith("share") or name == "change" else value for name, value in row.items()])
    total: list[object] = ["sum", *[""] * (len(keys) - 1)]
    sums = {name: sum(value or 0 for value in table[name].to_pylist()) for name in table.column_names[len(keys) :]}
    for name, value in sums.items():
        ratio = {"repeats": "tokens", "against_repeats": "against_tokens"}.get(name)
        repeats = sums[ratio] / sums["pool_tokens"] if ratio and sums["pool_tokens"] else None
        total.append(repeats if ratio else 0.0 if name == "change" else 100 * value if name.endswith("share") else value)
    header = [str(HEADERS.get(name, name)) for name in table.column_names]
    return header, [*rows, total]
