"""A recipe: a YAML list of steps from inputs to one dataset, checked column by column before anything runs."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from pydantic import BaseModel, Field

from dolma.core.config import Strict, check
from dolma.core.errors import ConfigError, DolmaError, Errors
from dolma.core.schema import ERROR, TABLES
from dolma.core.step import Step, every, find

# One row a stream: how a dataset of MosaicML shards reads as the input of a recipe.
STREAMS = pa.schema(
    [
        ("dataset", pa.string()),
        ("stream", pa.string()),
        ("source", pa.string()),
        ("topic", pa.string()),
        ("vigintile", pa.int32()),
        ("lang", pa.string()),  # NULL where cells are not separated by language
        ("sequences", pa.int64()),
        ("tokens", pa.int64()),
    ]
)


LONG = (pa.large_string(), pa.large_binary(), pa.large_list(pa.uint32()))


class Recipe(Strict):
    """The YAML of one dataset."""

    read: dict[str, dict[str, Any]] | None = Field(default=None, description="one reader and its parameters; `files` are globs below the env's raw folder")
    input: str | list[str] | None = Field(default=None, description="dataset(s) whose shards are read in this order")
    tags: dict[str, list[str]] = Field(default={}, description="tag datasets computed on the same input, and the columns taken from each")
    uses: list[str] = Field(default=[], description="modules of your own whose steps this recipe uses")
    table: str = Field(description="columns that the result must have")
    format: Literal["parquet", "mds"] = "parquet"
    quarantine: float = Field(default=0.01, ge=0, le=1, description="largest share of rows that may be quarantined")
    unit_bytes: int = Field(default=0, ge=0, description="raw files are joined into a unit up to this size, larger archives are cut; 0: each file is its own")
    buckets: int | None = Field(default=None, ge=1, description="output shards of a group step; from the input's bytes when absent")
    steps: list[dict[str, dict[str, Any] | None]] = []

    @property
    def inputs(self) -> list[str]:
        """The input datasets, in order."""
        return [self.input] if isinstance(self.input, str) else list(self.input or [])


@dataclass(frozen=True)
class Bound:
    """A step with its checked parameters, at its place in a recipe."""

    label: str
    step: Step
    params: BaseModel

    @property
    def assets(self) -> dict[str, str]:
        """Parameters that name a dataset or a file of one."""
        return {name: value for name in self.step.assets if (value := getattr(self.params, name)) is not None}

    def arguments(self, root: Path | None = None) -> dict[str, Any]:
        """The keyword arguments of the function; assets as absolute paths below `root`."""
        values = {name: getattr(self.params, name) for name in type(self.params).model_fields}
        if root is not None:
            values.update({name: str(root / value) for name, value in self.assets.items()})
        return values

    def facts(self, root: Path) -> dict[str, Any]:
        """What this step adds to the facts of the dataset."""
        return self.step.facts(**self.arguments(root)) if self.step.facts else {}


@dataclass(frozen=True)
class Compiled:
    """A recipe whose every step is known, whose parameters are checked and whose columns fit."""

    name: str
    recipe: Recipe
    reader: Bound | None
    files: tuple[str, ...]
    steps: tuple[Bound, ...]
    final: Bound | None
    source: pa.Schema
    schema: pa.Schema

    @cached_property
    def bound(self) -> tuple[Bound, ...]:
        """All steps, the reader first and the group or reduce step last."""
        return (*([self.reader] if self.reader else []), *self.steps, *([self.final] if self.final else []))

    @cached_property
    def needs(self) -> tuple[str, ...]:
        """Datasets that must exist before this one can be made: inputs, tags, assets."""
        assets = [value for bound in self.bound for value in bound.assets.values()]
        return tuple(dict.fromkeys([*self.recipe.inputs, *self.recipe.tags, *assets]))

    @cached_property
    def unread(self) -> frozenset[str]:
        """Long columns of the input that no step needs or uses and that do not reach the result: a pass that compares ids need not read the texts."""
        if self.reader or (self.final is not None and self.final.step.kind == "group" and self.final.step.rows is None):
            return frozenset()
        wanted = set(self.final.step.needs(self.final.params) if self.final else self.schema.names)
        schema = self.source
        for bound in self.steps:
            wanted.update(bound.step.needs(bound.params), bound.step.uses(bound.params, schema))
            schema = bound.step.adds(bound.params, schema)
        return frozenset(f.name for f in self.source if f.name not in wanted and f.type in LONG)

    @cached_property
    def taken(self) -> pa.Schema:
        """The columns that are read, and those that tags add."""
        return pa.schema([f for f in self.source if f.name not in self.unread])

    @cached_property
    def packages(self) -> dict[str, str | None]:
        """Installed versions of the distributions whose version changes what the steps give; None for one that is not installed."""
        return {name: _installed(name) for name in sorted({name for bound in self.bound for name in bound.step.packages(bound.params)})}

    def resolved(self) -> dict[str, Any]:
        """The recipe with all defaults filled in, as it enters the fingerprint."""
        steps = [{bound.step.name: bound.params.model_dump(mode="json")} for bound in self.bound]
        return {**self.recipe.model_dump(mode="json", exclude={"steps", "read"}), "files": list(self.files), "steps": steps}


def parse(name: str, value: Any, where: str) -> Recipe:
    """The YAML value of recipe `name`, checked for its keys."""
    recipe = check(value, Recipe, where)
    if (recipe.read is None) == (recipe.input is None):
        raise ConfigError(
            where, "a recipe has either `read` or `input`", got="neither" if recipe.read is None else "both", expected="one", mend="give one of them"
        )
    if recipe.table not in TABLES:
        raise ConfigError(where, f"unknown table `{recipe.table}`", got=recipe.table, expected=", ".join(TABLES), mend=_near(recipe.table, TABLES))
    return recipe


def compile(name: str, recipe: Recipe, where: str, schema_of: Callable[[str], pa.Schema]) -> Compiled:
    """`recipe` with every step bound and the schema followed through it.

    Args:
        name: the dataset it makes.
        where: the file, for messages.
        schema_of: the schema that another dataset has, or will have.
    Raises:
        ConfigError: (or Errors with all of them) unknown steps, misspelt keys, columns that nobody produced.
    """
    for module in recipe.uses:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ConfigError(
                where, f"`uses`: cannot import {module}", got=str(error), expected="a module on PYTHONPATH", mend="install it, or mend the name"
            ) from error
    return _Compiler(name, recipe, where, schema_of).run()


class _Compiler:
    """Follows the columns through one recipe and gathers what is wrong with it."""

    def __init__(self, name: str, recipe: Recipe, where: str, schema_of: Callable[[str], pa.Schema]) -> None:
        self.name, self.recipe, self.where, self.schema_of = name, recipe, where, schema_of
        self.errors: list[DolmaError] = []

    def run(self) -> Compiled:
        try:
            reader, files = self._reader()
            source = self._source(reader)
        except DolmaError as error:  # no columns to follow, but the steps may be wrong by themselves
            self.errors += error.errors if isinstance(error, Errors) else [error]
            for index, item in enumerate(self.recipe.steps):
                self._bind(index, item)
            raise self._error() from error
        if self._groups() and "origin" not in source.names:
            source = source.append(pa.field("origin", pa.int64()))
        schema = source
        bound: list[Bound] = []
        for index, item in enumerate(self.recipe.steps):
            label, made = self._bind(index, item)
            if made is None:
                continue
            if bound and bound[-1].step.kind in ("group", "reduce"):
                self.errors.append(ConfigError(label, f"no step may follow {bound[-1].step.name}", mend="make a second recipe that reads this dataset"))
            bound.append(made)
            if not self.errors:
                schema = self._follow(label, made, schema)
        self._finish(schema)
        final = bound.pop() if bound and bound[-1].step.kind in ("group", "reduce") else None
        return Compiled(self.name, self.recipe, reader, files, tuple(bound), final, source, schema)

    def _reader(self) -> tuple[Bound | None, tuple[str, ...]]:
        if self.recipe.read is None:
            return None, ()
        if len(self.recipe.read) != 1:
            raise ConfigError(self.where, "`read` names one reader", got=", ".join(self.recipe.read), expected="1", mend="make one recipe a reader")
        kind, params = next(iter(self.recipe.read.items()))
        files = params.get("files", [])
        patterns = [files] if isinstance(files, str) else files
        if not isinstance(patterns, list) or any(not isinstance(one, str) or one.startswith("/") or ".." in one.split("/") for one in patterns):
            raise ConfigError(
                self.where, "`read`: `files` are globs below the env's raw folder", got=repr(files)[:120], expected="one or more, relative", mend="mend them"
            )
        rest = {key: value for key, value in params.items() if key != "files"}
        _, made = self._bind(-1, {kind: rest}, reader=True)
        if made is None:
            raise self.errors.pop()
        return made, (files,) if isinstance(files, str) else tuple(files)

    def _groups(self) -> bool:
        last = find(next(iter(self.recipe.steps[-1]), "")) if self.recipe.steps else None
        return last is not None and last.kind == "group"

    def _source(self, reader: Bound | None) -> pa.Schema:
        if reader:
            schema = reader.step.adds(reader.params, pa.schema([]))
        else:
            schemas = [self.schema_of(name) for name in self.recipe.inputs]
            if not schemas:
                raise ConfigError(self.where, "`input` is empty", got="0 datasets", expected="at least 1", mend="name at least one dataset")
            schema = schemas[0]
            for name, other in zip(self.recipe.inputs, schemas, strict=True):
                if not other.equals(schema):
                    raise ConfigError(
                        self.where,
                        f"inputs {self.recipe.inputs[0]} and {name} have different columns",
                        got=_columns(other),
                        expected=_columns(schema),
                        mend="end both recipes with the same `select`",
                    )
        for tag, columns in self.recipe.tags.items():
            schema = self._tagged(schema, tag, columns)
        return schema

    def _tagged(self, schema: pa.Schema, tag: str, columns: list[str]) -> pa.Schema:
        there = self.schema_of(tag)
        for column in columns:
            if column not in there.names:
                raise ConfigError(self.where, f"tags: {tag} has no column `{column}`", got=_columns(there), expected=column, mend=_near(column, there.names))
            if column in schema.names:
                other = next(one for one, names in self.recipe.tags.items() if column in names)
                if other == tag and columns.count(column) == 1:
                    other = f"the input {', '.join(self.recipe.inputs)}".rstrip()
                raise ConfigError(
                    self.where,
                    f"tags: `{column}` comes from {other} and from {tag}",
                    got="two columns of one name",
                    expected="one",
                    mend=f"leave it out of one, or make it in {tag} by another name (`name`, where its step has it)",
                )
            schema = schema.append(pa.field(column, there.field(column).type))
        return schema

    def _bind(self, index: int, item: Mapping[str, dict[str, Any] | None], reader: bool = False) -> tuple[str, Bound | None]:
        if len(item) != 1:
            self.errors.append(
                ConfigError(f"{self.where}: step {index}", "a step is one name with its parameters", got=", ".join(item), expected="1", mend="split it")
            )
            return "", None
        name, params = next(iter(item.items()))
        label = f"{self.where}: {'read' if reader else f'step {index}'} {name}"
        found = find(name)
        if found is None or (found.kind == "reader") != reader:
            known = [key for key, step in every().items() if (step.kind == "reader") == reader]
            what = "reader" if reader else "step"
            expected = f"one of {len(known)} {what}s"
            self.errors.append(
                ConfigError(label, f"unknown {what} `{name}`", got=name, expected=expected, mend=f"{_near(name, known)}; `dolma steps` lists them")
            )
            return label, None
        try:
            made = check(params or {}, found.params, label)
        except DolmaError as error:
            self.errors.extend(error.errors if isinstance(error, Errors) else [error])
            return label, None
        return label, Bound(f"{index}:{name}" if not reader else f"read:{name}", found, made)

    def _follow(self, label: str, bound: Bound, schema: pa.Schema) -> pa.Schema:
        missing = [name for name in bound.step.needs(bound.params) if name not in schema.names]
        if missing:
            self.errors.append(
                ConfigError(
                    label,
                    f"column {', '.join(f'`{name}`' for name in missing)} is not in the table",
                    got=_columns(schema),
                    expected=", ".join(bound.step.needs(bound.params)),
                    mend=_maker(missing[0], {next(iter(item), "") for item in self.recipe.steps}),
                )
            )
            return schema
        try:
            return bound.step.adds(bound.params, schema)
        except ConfigError as error:
            self.errors.append(ConfigError(label, error.what, got=error.got, expected=error.expected, mend=error.mend))
            return schema

    def _finish(self, schema: pa.Schema) -> None:
        if not self.errors:
            wrong = [f"{name} {kind}" for name, kind in TABLES[self.recipe.table].items() if name not in schema.names or schema.field(name).type != kind]
            if ERROR in schema.names:
                wrong.append(f"no column {ERROR}")
            if wrong:
                self.errors.append(
                    ConfigError(
                        self.where,
                        f"the result is not a `{self.recipe.table}` table",
                        got=", ".join(f"{f.name} {f.type}" for f in schema),
                        expected=", ".join(wrong),
                        mend="add the steps that make these columns, or name another table",
                    )
                )
        if self.errors:
            raise self._error()

    def _error(self) -> DolmaError:
        return self.errors[0] if len(self.errors) == 1 else Errors(self.errors)


def _installed(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _columns(schema: pa.Schema) -> str:
    return ", ".join(schema.names) or "no columns"


def _near(name: str, known: Any) -> str:
    near = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"did you mean `{near[0]}`?" if near else f"known: {', '.join(sorted(known))}"


def _maker(column: str, named: set[str]) -> str:
    """Which steps make a column, as the mend of a missing one: those of the recipe itself before all others."""
    makers = [name for name, step in sorted(every().items()) if step.kind == "map" and _makes(step, column)]
    makers = [name for name in makers if name in named] or makers
    if makers:
        return f"put {' or '.join(f'`{name}`' for name in makers[:3])} before this step: it makes `{column}`"
    return "no step makes it: take it from the input, or add it with `set` or `tags`"


def _makes(step: Step, column: str) -> bool:
    try:
        params = step.params.model_construct()
        return column in step.adds(params, pa.schema([])).names and column not in step.needs(params)  # who needs it only edits it
    except (ConfigError, AttributeError, TypeError, KeyError):  # its columns depend on parameters: it cannot be asked without them
        return False
