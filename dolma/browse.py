"""Looking at single rows: documents of a dataset, and what it quarantined with place and reason."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dolma.core import manifest as manifests
from dolma.core.errors import ConfigError
from dolma.core.manifest import Manifest

if TYPE_CHECKING:
    from dolma.replay import Rule


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
    found = manifests.load(root / dataset)
    if found.format != "parquet" or not found.files:
        raise ConfigError(
            dataset, "has no rows to look at", got=f"{found.format}, {len(found.files)} files", expected="parquet", mend="for sequences use `dolma trace`"
        )
    _refuse_unknown(dataset, columns, manifests.pq.read_schema(manifests.shard(root / dataset, found.files[0])).names)
    for batch in manifests.batches(root / dataset):
        batch = _where(batch, where)
        yield from (batch.select(columns) if columns else batch).to_pylist()


def _refuse_unknown(dataset: str, columns: list[str] | None, there: list[str]) -> None:
    if missing := ", ".join(name for name in columns or [] if name not in there):
        raise ConfigError(dataset, f"no column {missing}", got=", ".join(there), expected=missing, mend="name columns that it has")


def _where(batch: pa.RecordBatch, where: str | None) -> pa.RecordBatch:
    """The rows that meet a condition; all when there is none."""
    from dolma import table

    if where is None:
        return batch
    if (kind := table.check(where, batch.schema)) != "BOOLEAN":
        raise ConfigError("--where", f"`{where}` is not a condition", got=kind, expected="BOOLEAN", mend="compare the value with something")
    return batch.filter(table.evaluate(batch, {"kept": f"coalesce(({where}), false)"}, "--where")["kept"].combine_chunks())


def first(root: Path, dataset: str, count: int, where: str | None = None, columns: list[str] | None = None) -> list[dict[str, Any]]:
    """The first `count` rows of `rows`."""
    return list(islice(rows(root, dataset, where, columns), count))


@dataclass(frozen=True)
class Dropped:
    """A document as it was when a rule dropped it, with all that was measured of it by then; `looked_at` are the columns of the rule's condition."""

    rule: "Rule"
    row: dict[str, Any]
    looked_at: list[str]


def dropped(
    dataset: str, reason: str, env_file: Path, pipelines: Path, count: int, where: str | None = None, columns: list[str] | None = None
) -> list[Dropped]:
    """The first `count` documents that a rule drops for `reason`: the recipe's steps are run again on its input, until there are enough.

    Args:
        where: only those that meet this condition over what was measured of them by then.
        columns: only these of them, in this order.

    Raises:
        ConfigError: no `keep` of the recipe has this reason, `where` is no condition, or a column was not there by then.
        DataError: an input is missing, or the dataset was made otherwise than its recipe now says.
    """
    from dolma import table
    from dolma.replay import dropped as drops
    from dolma.replay import replay

    found: list[Dropped] = []
    with replay(dataset, env_file, pipelines) as again:
        for rule, batch in drops(again, reason):
            _refuse_unknown(f"{dataset} at {rule.step}", columns, batch.schema.names)
            looked_at = [name for name in table.columns(rule.where, batch.schema) if name in (columns or batch.schema.names)]
            rows = _where(batch, where).slice(0, count - len(found))
            found += [Dropped(rule, row, looked_at) for row in (rows.select(columns) if columns else rows).to_pylist()]
            if len(found) >= count:
                break
    return found


PLACE = ("id", "url", "source", "file", "offset")


def why(one: Dropped, width: int) -> str:
    """A dropped document as one block: the rule, what it looked at, where the document lies, every other measure, and the text."""
    heading = f"dropped as {one.rule.reason} by {one.rule.step} where not ({one.rule.where})"
    names = dict.fromkeys(name for name in (*one.looked_at, *PLACE, *one.row) if name in one.row)
    return f"{heading}\n{show({name: one.row[name] for name in names}, width)}"


def as_json(row: dict[str, Any]) -> str:
    """A row as a line of JSON; bytes as text, with what is no UTF-8 replaced."""
    return json.dumps(row, default=lambda value: value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value), ensure_ascii=False)


def show(row: dict[str, Any], width: int) -> str:
    """A row as one block: `column: value` lines, the text last and cut to `width` characters (0: all of it)."""
    lines = []
    for name, value in sorted(row.items(), key=lambda item: item[0] == "text"):
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        if width and len(text) > width:
            text = f"{text[:width]}... ({len(text):,} characters)"
        lines.append(f"{name}:\n{_indent(text)}" if "\n" in text else f"{name}: {text}")
    return "\n".join(lines)


def _indent(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
