"""Looking at single rows: documents of a dataset, and what it quarantined with place and reason."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from dolma.core import manifest as manifests
from dolma.core.errors import ConfigError
from dolma.core.manifest import Manifest
from dolma.core.recipe import Compiled
from dolma.engines.plan import Plan


@dataclass(frozen=True)
class Quarantined:
    """A row that could not be read: which dataset met it, where it lies, at which step, and why."""

    dataset: str
    file: str
    offset: int | None
    id: str
    step: str
    reason: str


def quarantined(root: Path, manifest: Manifest) -> Iterator[Quarantined]:
    """The quarantine of one dataset, in the order of its files."""
    for file in manifest.quarantine:
        table = manifests.pq.read_table(manifests.shard(root / manifest.dataset, file), columns=["file", "offset", "id", "step", "reason"])
        for row in table.to_pylist():
            yield Quarantined(manifest.dataset, row["file"] or "", row["offset"], row["id"] or "", row["step"] or "", row["reason"] or "")


def rows(root: Path, dataset: str, where: str | None = None, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Rows of a Parquet dataset that meet the DuckDB condition `where`, in file order.

    Raises:
        ConfigError: the dataset is not Parquet, `where` is no condition over its columns, or a column does not exist.
    """
    from dolma import table

    found = manifests.load(root / dataset)
    if found.format != "parquet" or not found.files:
        raise ConfigError(
            dataset, "has no rows to look at", got=f"{found.format}, {len(found.files)} files", expected="parquet", mend="for sequences use `dolma trace`"
        )
    schema = manifests.pq.read_schema(manifests.shard(root / dataset, found.files[0]))
    missing = [name for name in columns or [] if name not in schema.names]
    if missing:
        raise ConfigError(dataset, f"no column {', '.join(missing)}", got=", ".join(schema.names), expected=", ".join(missing), mend="name columns that it has")
    if where is not None and table.check(where, schema) != "BOOLEAN":
        raise ConfigError(
            "--where", f"`{where}` is not a condition", got=table.check(where, schema), expected="BOOLEAN", mend="compare the value with something"
        )
    for batch in manifests.batches(root / dataset):
        if where is not None:
            batch = batch.filter(table.evaluate(batch, {"kept": f"coalesce(({where}), false)"})["kept"].combine_chunks())
        yield from (batch.select(columns) if columns else batch).to_pylist()


def first(root: Path, dataset: str, count: int, where: str | None = None, columns: list[str] | None = None) -> list[dict[str, Any]]:
    """The first `count` rows of `rows`."""
    return list(islice(rows(root, dataset, where, columns), count))


def dropped(dataset: str, reason: str, env_file: Path, pipelines: Path, count: int) -> list[dict[str, Any]]:
    """The first `count` documents that `keep` dropped for `reason`, as they were at that step: the recipe's steps are run again on its input.

    Raises:
        ConfigError: no `keep` of the recipe has this reason.
    """
    from dolma.engines import worker
    from dolma.runner import Run

    run = Run(env_file, pipelines)
    node = run.graph[dataset]
    plan = run.state(dataset)[2]
    reasons = [b.params.model_dump()["reason"] for b in node.steps if b.step.kind == "keep"] if isinstance(node, Compiled) else []
    if not isinstance(node, Compiled) or not isinstance(plan, Plan) or reason not in reasons:
        raise ConfigError(
            dataset, f"does not drop documents as `{reason}`", got=reason, expected=", ".join(reasons) or "a recipe with `keep`", mend="name a reason"
        )
    if node.recipe.tags:
        raise ConfigError(
            dataset, "drops by tags", got=", ".join(node.recipe.tags), expected="a recipe without tags", mend="query the tag dataset with `dolma sql`"
        )
    found: list[dict[str, Any]] = []
    steps = [(bound, bound.arguments(run.root)) for bound in node.steps]
    for unit in plan.passes[0].units:
        ledger = worker.Ledger(unit.name)
        for batch in worker.read_unit(plan, node, unit, ledger):
            for bound, arguments in steps:
                if bound.step.kind == "keep" and arguments["reason"] == reason:
                    found += batch.filter(pc.invert(bound.step.fn(batch, **arguments))).to_pylist()
                batch = worker.apply(bound, arguments, batch, ledger)
            if len(found) >= count:
                return found[:count]
    return found


def show(row: dict[str, Any], width: int) -> str:
    """A row as one block: `column: value` lines, the text last and cut to `width` characters (0: all of it)."""
    lines = []
    for name, value in sorted(row.items(), key=lambda item: item[0] == "text"):
        text = str(value)
        if width and len(text) > width:
            text = f"{text[:width]}... ({len(text):,} characters)"
        lines.append(f"{name}:\n{_indent(text)}" if "\n" in text else f"{name}: {text}")
    return "\n".join(lines)


def _indent(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
