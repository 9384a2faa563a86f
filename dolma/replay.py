"""A recipe's steps run again over its inputs, for people: what a `keep` dropped, and every measure of every row. Nothing is written below the root.

What a run drops is kept nowhere, since it would be a second corpus; its inputs and its code are there, and steps are pure: so it can be had again.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dolma.core import manifest
from dolma.core.errors import ConfigError, DataError
from dolma.core.recipe import Bound, Compiled
from dolma.core.schema import ERROR, without
from dolma.engines import worker
from dolma.engines.plan import Plan, Unit
from dolma.runner import Run


@dataclass(frozen=True)
class Rule:
    """One `keep` of a recipe; `step` is its label there."""

    step: str
    reason: str
    where: str


@dataclass(frozen=True)
class Replay:
    """A recipe that can be run again: `units` are those of its first pass over the rows, all or some."""

    plan: Plan
    compiled: Compiled
    units: tuple[Unit, ...]
    of: int
    fresh: bool

    @property
    def rules(self) -> list[Rule]:
        """The `keep` steps in their order."""
        return [Rule(b.label, b.arguments()["reason"], b.arguments()["where"]) for b in self.compiled.steps if b.step.kind == "keep"]


@contextmanager
def replay(dataset: str, env_file: Path, pipelines: Path, limit: int | None = None) -> Iterator[Replay]:
    """The recipe of `dataset`, its tags laid out in a folder that is gone afterwards.

    Args:
        limit: only so many units (input shards, or raw files), evenly spaced over all; what they give is exact for them.
    Raises:
        ConfigError: it is no recipe, or none with a `keep`, or the limit is below 1.
        DataError: an input is missing, or the dataset was made otherwise than its recipe now says.
    """
    if limit is not None and limit < 1:
        raise ConfigError("--limit", "no unit would be read", got=limit, expected="1 or more", mend="leave it out for all")
    run = Run(env_file, pipelines)
    node = run.graph[dataset]
    if not isinstance(node, Compiled) or not any(bound.step.kind == "keep" for bound in node.steps):
        raise ConfigError(dataset, "drops no documents", got="no `keep`", expected="a recipe with `keep`", mend="name a dataset whose recipe has one")
    state, reason, plan = run.state(dataset)
    if not isinstance(plan, Plan):
        raise DataError(dataset, "its inputs are not there", got=reason, expected=", ".join(node.needs), mend=f"dolma run {dataset}")
    if state == "stale":
        mend = f"`dolma run {dataset}` makes it as the recipe now says; then ask again"
        raise DataError(dataset, "was made otherwise than its recipe now says", got=reason, expected="what made it", mend=mend)
    with tempfile.TemporaryDirectory() as folder:
        plan = plan.model_copy(update={"folder": folder})
        passes = {one.kind: one.units for one in plan.passes}
        if "tags" in passes:
            path = Path(folder) / ".work" / "plan.json"
            path.parent.mkdir()
            path.write_bytes(manifest.canonical(plan.model_dump()))
            for index in range(len(passes["tags"])):
                worker.run_unit(str(path), "tags", index, "replay")
        units = next(passes[kind] for kind in ("map", "scatter", "edges", "reduce") if kind in passes)
        some = units if limit is None or limit >= len(units) else tuple(units[n * len(units) // limit] for n in range(limit))
        yield Replay(plan, node, some, len(units), state == "fresh")


def dropped(again: Replay, reason: str) -> Iterator[tuple[Rule, pa.RecordBatch]]:
    """The rows that a `keep` with this reason drops, as they are at that step, in the order of the input.

    Raises:
        ConfigError: no `keep` of the recipe has this reason.
    """
    rules = {rule.step: rule for rule in again.rules}
    reasons = list(dict.fromkeys(rule.reason for rule in rules.values()))
    if reason not in reasons:
        dataset = again.plan.dataset
        raise ConfigError(dataset, f"does not drop documents as `{reason}`", got=reason, expected=", ".join(reasons), mend="name one of these reasons")
    for unit in again.units:
        ledger = worker.Ledger(unit.name)
        steps = _steps(again)
        for batch in worker.read_unit(again.plan, again.compiled, unit, ledger):
            for bound, arguments in steps:
                if bound.label in rules and rules[bound.label].reason == reason:
                    out = batch.filter(pc.invert(bound.step.fn(batch, **arguments)))
                    if out.num_rows:
                        yield rules[bound.label], out
                batch = worker.apply(bound, arguments, batch, ledger)


@dataclass
class Measured:
    """One batch with the columns of every step, no row dropped, and what each rule says of it.

    `place` has, for each row of `batch`, its number among the `rows` that were read; the arrays below are by that number. `now` and `then` (rules, rows)
    hold 1 keep, 0 drop, -1 not measured; `chars` (rules, rows) are the characters of `text` at each rule; `reached` (2, rows) says which rows come
    through all steps under the rules as they are, and as they would be; `unreadable` are rows that a run quarantines.
    """

    rows: int
    batch: pa.RecordBatch
    place: np.ndarray
    now: np.ndarray
    then: np.ndarray
    chars: np.ndarray
    reached: np.ndarray
    unreadable: np.ndarray

    def first(self, which: Literal["now", "then"]) -> np.ndarray:
        """The rows that each rule is the first to drop, shape (rules, rows): what the ledger of a run counts."""
        gone = (self.now if which == "now" else self.then) == 0
        before = np.cumsum(gone, axis=0) - gone
        return gone & (before == 0) & ~self.unreadable


def measure(again: Replay, changes: dict[str, str]) -> Iterator[Measured]:
    """Every row of the units with all measures.

    A row that a rule drops still goes through the later steps, which no run does to it. A step that fails on such rows is given only those that come to
    it under the rules as they are or as they would be; the others are not measured from there on.

    Args:
        changes: step label of a `keep`: its other condition.
    """
    steps = _steps(again)
    for unit in again.units:
        ledger = worker.Ledger(unit.name)
        for batch in worker.read_unit(again.plan, again.compiled, unit, ledger):
            if batch.num_rows:
                yield _Pass(batch, len(again.rules), changes).run(steps)


def _steps(again: Replay) -> list[tuple[Bound, dict[str, Any]]]:
    return [(bound, bound.arguments(Path(again.plan.root))) for bound in again.compiled.steps]


class _Pass:
    """One batch on its way through all steps."""

    def __init__(self, batch: pa.RecordBatch, rules: int, changes: dict[str, str]) -> None:
        self.batch, self.rows, self.changes = batch, batch.num_rows, changes
        self.place = np.arange(batch.num_rows)
        self.now, self.then = (np.full((rules, self.rows), -1, np.int8) for _ in range(2))
        self.chars = np.zeros((rules, self.rows), np.int64)
        self.alive = np.ones((2, self.rows), bool)
        self.unreadable = np.zeros(self.rows, bool)

    def run(self, steps: list[tuple[Bound, dict[str, Any]]]) -> Measured:
        rule = 0
        for bound, arguments in steps:
            if bound.step.kind == "keep":
                self._rule(rule, bound, arguments)
                rule += 1
            elif bound.step.name != "select":  # the measures that it takes away are what we are here for
                self._step(bound, arguments)
        return Measured(self.rows, self.batch, self.place, self.now, self.then, self.chars, self.alive, self.unreadable)

    def _attempt(self, fn: Callable[[pa.RecordBatch], Any]) -> Any:
        try:
            return fn(self.batch)
        except Exception:  # a row that no run gives to this step: whatever it is, the step owes it nothing
            there = self.alive.any(axis=0)[self.place]
            if there.all():
                raise
            self.batch, self.place = self.batch.filter(pa.array(there)), self.place[there]
            return fn(self.batch)

    def _rule(self, rule: int, bound: Bound, arguments: dict[str, Any]) -> None:
        other = {**arguments, "where": self.changes.get(bound.label, arguments["where"])}
        now, then = self._attempt(lambda batch: (bound.step.fn(batch, **arguments), bound.step.fn(batch, **other)))
        for table, alive, mask in ((self.now, self.alive[0], now), (self.then, self.alive[1], then)):
            table[rule, self.place] = mask.to_numpy(zero_copy_only=False)
            alive &= table[rule] != 0
        if "text" in self.batch.schema.names:
            self.chars[rule, self.place] = pc.fill_null(pc.utf8_length(self.batch.column("text")), 0).to_numpy(zero_copy_only=False)

    def _step(self, bound: Bound, arguments: dict[str, Any]) -> None:
        made = self._attempt(lambda batch: bound.step.fn(batch, **arguments))
        names = bound.step.adds(bound.params, self.batch.schema).names
        if ERROR in made.schema.names:
            good = pc.is_null(made.column(ERROR)).to_numpy(zero_copy_only=False)
            bad = self.place[~good]
            self.unreadable[bad] |= self.alive[0, bad]
            self.alive[:, bad] = False
            made, self.place = without(made.filter(pa.array(good)), ERROR), self.place[good]
        self.batch = made.select(names)
