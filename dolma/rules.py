"""What the rules of a recipe take: first, alone, and only they; and what another threshold would take. Measured by running the steps again."""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dolma.console import table
from dolma.core import manifest as manifests
from dolma.core.errors import ConfigError, DataError, Errors
from dolma.core.files import lock
from dolma.core.graph import fingerprint
from dolma.core.manifest import Manifest
from dolma.engines.cost import cpu_seconds
from dolma.io import tables
from dolma.replay import Measured, Replay, Rule, measure

MEASURES = "measures"  # the folder of what is saved, beside those of the recipes
SHOWN = 3  # examples of documents that a change gains or loses


@dataclass
class Weight:
    """Documents (and characters of their text) that one rule takes.

    `first`: it is the first to drop them, as the ledger of a run counts; `alone`: it would drop them were it the only rule; `only`: no other rule
    drops them, so without it they would be kept; `then`: it would be the first under the changed rules; `unmeasured`: the step before it cannot
    take these documents, which an earlier rule drops.
    """

    rule: Rule
    first: int = 0
    first_chars: int = 0
    alone: int = 0
    only: int = 0
    then: int = 0
    then_chars: int = 0
    unmeasured: int = 0


@dataclass
class Moved:
    """Documents that a change brings or costs, with the characters of their text and a few ids: those with the smallest keys, a hash."""

    documents: int = 0
    chars: int = 0
    examples: list[tuple[int, str]] = field(default_factory=list)

    @property
    def ids(self) -> list[str]:
        """Ids of examples."""
        return [name for _, name in self.examples]


@dataclass
class Weighed:
    """All rules of a recipe over `documents` rows of its input; `kept` and `kept_then` come through all of them as they are, and as changed."""

    dataset: str
    weights: list[Weight]
    changes: dict[str, str]
    units: int
    of: int
    documents: int = 0
    unreadable: int = 0
    kept: int = 0
    kept_chars: int = 0
    kept_then: int = 0
    kept_then_chars: int = 0
    gained: Moved = field(default_factory=Moved)
    lost: Moved = field(default_factory=Moved)
    cpu: float = 0.0
    seconds: float = 0.0

    def add(self, one: Measured) -> None:
        """Count one batch."""
        first, then = one.first("now"), one.first("then")
        gone, known = one.now == 0, (one.now >= 0).all(axis=0)
        for n, weight in enumerate(self.weights):
            weight.first += int(first[n].sum())
            weight.first_chars += int(one.chars[n, first[n]].sum())
            weight.alone += int(gone[n].sum())
            weight.only += int((gone[n] & known & (gone.sum(axis=0) == 1)).sum())
            weight.then += int(then[n].sum())
            weight.then_chars += int(one.chars[n, then[n]].sum())
            weight.unmeasured += int(((one.now[n] < 0) & ~one.unreadable).sum())
        chars = characters(one)
        now, later = one.reached
        self.documents += one.rows
        self.unreadable += int(one.unreadable.sum())
        self.kept, self.kept_chars = self.kept + int(now.sum()), self.kept_chars + int(chars[now].sum())
        self.kept_then, self.kept_then_chars = self.kept_then + int(later.sum()), self.kept_then_chars + int(chars[later].sum())
        for moved, rows in ((self.gained, later & ~now), (self.lost, now & ~later)):
            moved.documents += int(rows.sum())
            moved.chars += int(chars[rows].sum())
            moved.examples = nsmallest(SHOWN, [*moved.examples, *_named(one, rows)])


def characters(one: Measured) -> np.ndarray:
    """Characters of `text` after all steps, shape (rows,); 0 where there is none."""
    chars = np.zeros(one.rows, np.int64)
    if "text" in one.batch.schema.names:
        chars[one.place] = pc.fill_null(pc.utf8_length(one.batch.column("text")), 0).to_numpy(zero_copy_only=False)
    return chars


def _named(one: Measured, rows: np.ndarray) -> Iterator[tuple[int, str]]:
    picked = one.batch.filter(pa.array(rows[one.place]))
    names = [name for name in ("id", "url", "file") if name in picked.schema.names][:1]
    ids = picked.column(names[0]).to_pylist() if names else []
    keys = picked.column("key").to_pylist() if "key" in picked.schema.names else [0] * len(ids)
    return zip(keys, map(str, ids), strict=True)


def changed(again: Replay, texts: Sequence[str]) -> dict[str, str]:
    """The conditions in `reason: where` texts, by the label of their `keep`; a label (`7:keep: where`) stands for a reason that two rules share.

    Raises:
        ConfigError: (or Errors) no such reason, or a `where` that is no condition over the columns that are there at that step.
    """
    found: dict[str, str] = {}
    errors = []
    for text in texts:
        try:
            rule, where = _parsed(again, text)
            _check(again, rule, where)
            found[rule.step] = where
        except ConfigError as error:
            errors.append(error)
    if errors:
        raise errors[0] if len(errors) == 1 else Errors(errors)
    return found


def _parsed(again: Replay, text: str) -> tuple[Rule, str]:
    for rule in again.rules:
        if text.startswith(f"{rule.step}:"):
            return rule, text.removeprefix(f"{rule.step}:").strip()
    name, colon, where = (part.strip() for part in text.partition(":"))
    fits = [rule for rule in again.rules if rule.reason == name]
    if len(fits) != 1 or not colon or not where:
        known = ", ".join(rule.reason for rule in again.rules)
        mend = f"name one of: {', '.join(rule.step for rule in fits)}" if len(fits) > 1 else f"reasons: {known}"
        raise ConfigError("--what-if", f"`{text}` names {len(fits) or 'no'} rules", got=name, expected="`reason: where`", mend=mend)
    return fits[0], where


def _check(again: Replay, rule: Rule, where: str) -> None:
    schema = again.compiled.source
    for bound in again.compiled.steps:
        if bound.label == rule.step:
            try:
                bound.step.adds(bound.params.model_copy(update={"where": where}), schema)
            except ConfigError as error:
                raise ConfigError(f"--what-if {rule.reason}", error.what, got=error.got, expected=error.expected, mend=error.mend) from error
        schema = bound.step.adds(bound.params, schema)


def weigh(again: Replay, texts: Sequence[str] = (), root: Path | None = None) -> Weighed:
    """All rules over the rows of `again`, under their own conditions and under those in `texts`.

    Args:
        root: write the measures of every row as the dataset `measures/<dataset>` below it.
    Raises:
        DataError: the rules of a finished dataset do not drop what its ledger says.
    """
    changes = changed(again, texts)
    made = Weighed(again.plan.dataset, [Weight(rule) for rule in again.rules], changes, len(again.units), again.of)
    start, spent = time.monotonic(), cpu_seconds()
    if root is None:
        for one in measure(again, changes):
            made.add(one)
    else:
        _save(again, made, measure(again, changes), root)
    made.seconds, made.cpu = time.monotonic() - start, cpu_seconds() - spent
    if again.fresh and made.units == made.of:
        _agree(again, made)
    return made


def _agree(again: Replay, made: Weighed) -> None:
    counts = manifests.load(Path(again.plan.root) / made.dataset).counts
    for weight in made.weights:
        counted = counts.get(f"{weight.rule.step}.dropped.{weight.rule.reason}", 0)
        if counted != weight.first:
            where, mend = f"{made.dataset} {weight.rule.step}", "a step is not a function of its row: find it with `dolma run --force`"
            raise DataError(where, f"drops otherwise than in the run ({weight.rule.reason})", got=weight.first, expected=counted, mend=mend)


PLAIN = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_string)


def _save(again: Replay, made: Weighed, batches: Iterator[Measured], root: Path) -> None:
    """Write `measures/<dataset>`: of each row all columns but texts and lists, `chars` of its text, `dropped_by` the first rule, `fails` all rules."""
    schema = again.compiled.source
    for bound in again.compiled.steps:
        if bound.step.name != "select":
            schema = bound.step.adds(bound.params, schema)
    columns = [f for f in schema if any(fits(f.type) for fits in PLAIN)]
    more = [pa.field("chars", pa.int64()), pa.field("dropped_by", pa.string()), pa.field("fails", pa.list_(pa.string()))]
    target = pa.schema([*(f for f in columns if f.name not in {m.name for m in more}), *more])
    reasons = pa.array([weight.rule.reason for weight in made.weights], pa.string())

    def rows() -> Iterator[pa.RecordBatch]:
        for one in batches:
            made.add(one)
            yield _stored(one, target, reasons)

    name = f"{MEASURES}/{made.dataset}"
    folder = root / name
    with lock(folder):
        (folder / manifests.NAME).unlink(missing_ok=True)
        file = tables.write(rows(), target, folder / ".00000.parquet", "00000.parquet")
        os.replace(folder / ".00000.parquet", folder / file.name)
        facts = {"of": again.plan.fingerprint, "units": made.units, "units_in_all": made.of, "rows_not_measured": made.documents - file.rows}
        done = Manifest(
            dataset=name,
            fingerprint=fingerprint([again.plan.fingerprint, "measures", made.units]),
            table="rows",
            rows=file.rows,
            tokens=file.tokens,
            bytes=file.bytes,
            files=[file],
            facts=facts,
            recipe={"measures_of": made.dataset},
        )
        manifests.save(folder, done)


def _stored(one: Measured, schema: pa.Schema, reasons: pa.Array) -> pa.RecordBatch:
    gone = (one.now == 0)[:, one.place]
    _, rule = np.nonzero(gone.T)  # row by row
    ends = np.concatenate([[0], np.cumsum(gone.sum(axis=0))])
    first = one.first("now")[:, one.place]
    who = pa.array(np.where(first.any(axis=0), first.argmax(axis=0), 0), mask=~first.any(axis=0))
    made = {
        "chars": pa.array(characters(one)[one.place]),
        "dropped_by": reasons.take(who),
        "fails": pa.ListArray.from_arrays(pa.array(ends, pa.int32()), reasons.take(pa.array(rule))),
    }
    return pa.RecordBatch.from_arrays([made[f.name] if f.name in made else one.batch.column(f.name) for f in schema], schema=schema)


def text(found: Weighed) -> str:
    """The rules as a table, what a change moves, and what it took to find out."""
    share = "all" if found.units == found.of else f"{found.units} of {found.of}"
    lines = [
        f"{found.dataset}: {found.documents:,} documents in {share} units, measured anew in {found.cpu:,.2f} CPU s ({found.seconds:,.2f} s); "
        f"{found.kept:,} kept, {found.unreadable:,} unreadable"
    ]
    header = ["reason", "first", "% of pool", "characters", "alone", "only it", *(["first then"] if found.changes else []), "kept where"]
    rows = []
    for weight in found.weights:
        rule = weight.rule
        then = [weight.then] if found.changes else []
        where = f"{rule.where}  ->  {found.changes[rule.step]}" if rule.step in found.changes else rule.where
        percent = 100 * weight.first / found.documents if found.documents else 0.0
        rows.append([rule.reason, weight.first, percent, weight.first_chars, weight.alone, weight.only, *then, where])
    lines.append(table(header, rows))
    if blind := [f"{w.rule.reason} {w.unmeasured:,}" for w in found.weights if w.unmeasured]:
        lines.append(f"not measured, since an earlier rule drops them and the steps cannot take them: {', '.join(blind)}")
    if found.changes:
        lines.append(_moves(found))
    return "\n".join(lines)


def _moves(found: Weighed) -> str:
    rows = [
        ["kept now", found.kept, found.kept_chars, ""],
        ["kept then", found.kept_then, found.kept_then_chars, ""],
        ["gained", found.gained.documents, found.gained.chars, ", ".join(found.gained.ids)],
        ["lost", found.lost.documents, found.lost.chars, ", ".join(found.lost.ids)],
    ]
    return f"\n{table(['with the change', 'documents', 'characters', 'for example'], rows, width=240)}"
