"""A step: a pure function between Arrow record batches, its typed parameters, and the columns it needs and adds.

Four kinds. `step` maps a batch to a batch with the same rows; `group_step` gets whole groups of a shuffle; `reduce_step` reads a whole dataset
in one unit; `reader` turns files into batches. The keyword-only parameters of the function *are* its configuration: they become a strict pydantic
model, and `needs`/`adds` let a recipe be checked column by column before anything runs.
"""

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, NewType, get_type_hints

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, create_model

from dolma.core.schema import Columns

Asset = NewType("Asset", str)
"""A parameter that names a dataset (`pool/cuts`) or a file in one (`tag/quality/model.bin`); the step gets its absolute path."""

Kind = Literal["map", "keep", "group", "reduce", "reader"]
Names = Iterable[str] | Callable[..., tuple[str, ...]]


class Sizes(NamedTuple):
    """What a group or reduce step makes of its input, each figure at most: the rows that it shuffles or reads, the bytes of one of them (Arrow, not
    compressed; in a reduce step, of its memory), the bytes of text that they carry besides, and the rows of its result, None where nobody can say.

    `groups` where a parameter says how many there are, all of about one size; `at_most` where the rows or their bytes may be far fewer.
    """

    rows: int
    width: int
    text: int = 0
    out: int | None = None
    groups: int | None = None
    at_most: bool = False


class Taken(NamedTuple):
    """What reaches a group or reduce step at most: rows, bytes (in Arrow) of all their values in long columns, and the documents that they are of."""

    rows: int
    text: int
    documents: int


MEND = "drop rows before the step with `keep`, or group by something with fewer rows each"  # of a group that is too large, where a step names no other
Sizer = Callable[[Any, Taken], Sizes]  # called with the resolved parameters


@dataclass(frozen=True)
class Step:
    """A registered function with what a recipe must know of it before it runs."""

    name: str
    kind: Kind
    fn: Callable[..., Any]
    params: type[BaseModel]
    version: int = 1
    needs: Callable[[BaseModel], tuple[str, ...]] = lambda _: ()
    adds: Callable[[BaseModel, pa.Schema], pa.Schema] = lambda _, schema: schema
    assets: tuple[str, ...] = ()
    facts: Callable[..., dict[str, Any]] | None = None
    rows: Callable[..., pa.RecordBatch] | None = None
    combine: Callable[[pa.RecordBatch], pa.RecordBatch] | None = None
    key: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    splittable: bool = False
    cap: int = 1_000_000
    cap_bytes: str = ""
    cap_mend: str = MEND
    distributed: str = ""
    uses: Callable[[BaseModel, pa.Schema], Iterable[str]] = lambda *_: ()
    files: Callable[..., Any] | None = None
    packages: Callable[[BaseModel], tuple[str, ...]] = lambda _: ()
    sizes: Sizer | None = field(default=None, compare=False)
    doc: str = field(default="", compare=False)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.fn(*args, **kwargs)


REGISTRY: dict[str, Step] = {}
PLACES: dict[str, str] = {}  # modules of steps that are imported when they are asked for


def declare(places: Mapping[str, str]) -> None:
    """Say in which module each of these steps is, for `find` and `every`.

    Raises:
        AssertionError: a module has registered another step of that name.
    """
    PLACES.update(places)
    for made in [REGISTRY[name] for name in places if name in REGISTRY]:
        _add(made)


def find(name: str) -> Step | None:
    """The step called `name`, its module imported where it was not; None when nobody has declared or registered one."""
    if name not in REGISTRY and name in PLACES:
        importlib.import_module(PLACES[name])
    return REGISTRY.get(name)


def every() -> dict[str, Step]:
    """All steps by name: the registered ones, and the declared ones, all of whose modules are imported."""
    for module in dict.fromkeys(PLACES.values()):
        importlib.import_module(module)
    return REGISTRY


def step(
    *,
    needs: Names = (),
    adds: Columns | Callable[..., Columns] | None = None,
    removes: Iterable[str] = (),
    version: int = 1,
    facts: Callable[..., dict[str, Any]] | None = None,
    kind: Kind = "map",
    shape: Callable[[Any, pa.Schema], pa.Schema] | None = None,
    packages: Names = (),
    uses: Callable[[Any, pa.Schema], Iterable[str]] = lambda *_: (),
) -> Callable[[Callable[..., Any]], Step]:
    """Register a map step. It returns the batch with the same rows in the same order, `adds` added (or edited) and `removes` gone.

    Rows that cannot be read get a reason in a nullable string column `_error` and go to the quarantine. A float column holds NULL, never NaN.

    Args:
        needs: columns that must be there; a callable gets the parameters.
        adds: columns with their Arrow types; a callable gets the parameters.
        removes: columns that are gone afterwards; `("*",)` removes all that `adds` does not name.
        version: raise it when results change: it enters the fingerprint.
        facts: called with the resolved parameters; what it returns stands in the manifest (sequence length, tokenizer hash).
        kind: `keep` for a step that returns a boolean mask instead of a batch; only `keep` drops documents.
        shape: in place of `adds` and `removes`: the schema afterwards from the parameters and the schema before; raises ConfigError.
        packages: distributions whose version changes the results, by their names on PyPI: the installed versions enter the fingerprint.
        uses: columns of the schema that it looks at beside `needs`. A long column (text, tokens, content) that no step of a recipe needs or uses, and that is
            not in its result, is not read.
    """

    def register(fn: Callable[..., Any]) -> Step:
        gone = tuple(removes)

        def added(params: BaseModel, schema: pa.Schema) -> pa.Schema:
            columns: Columns = adds(params) if callable(adds) else (adds or {})
            fields = {} if gone == ("*",) else {f.name: f.type for f in schema if f.name not in gone}
            return pa.schema([pa.field(name, kind) for name, kind in {**fields, **columns}.items()])

        extra = {"packages": _needs(packages), "uses": uses, "doc": inspect.getdoc(fn) or ""}
        return _add(Step(fn.__name__, kind, fn, _parameters(fn), version, _needs(needs), shape or added, _assets(fn), facts, **extra))

    return register


def group_step(
    *,
    key: Iterable[str],
    order: Iterable[str],
    out: Columns | Callable[..., Columns],
    needs: Names = (),
    rows: Callable[..., pa.RecordBatch] | None = None,
    combine: Callable[[pa.RecordBatch], pa.RecordBatch] | None = None,
    splittable: bool = False,
    cap: int = 1_000_000,
    cap_bytes: str = "",
    cap_mend: str = MEND,
    version: int = 1,
    facts: Callable[..., dict[str, Any]] | None = None,
    sizes: Sizer | None = None,
) -> Callable[[Callable[..., Any]], Step]:
    """Register a group step: `fn(batch, starts, *, cont, **params)` gets sorted batches that hold whole groups, and the first row of each group.

    `key` columns are non-null int64. `order` makes the order total (end it with a unique column). `rows(batch, **params)` may turn input rows into the
    rows that are shuffled (it sees the int64 column `origin` = input shard << 32 | row). `combine(batch)` merges rows of one key before they are shuffled,
    within an input shard, into rows of the same columns; what it gives must not depend on their order or on what was merged before (sums of integers, the
    smallest, the largest). Over `cap` rows, or 128 MB of strings, a group comes in chunks that each begin with its first row (`cont=True`: that row 0 was
    counted before). With `splittable=False` more than `cap` rows are an error, as are more bytes than the parameter that `cap_bytes` names; `cap_mend` says
    what a recipe can do about it. Returns a batch with the columns `out`, or `(batch, {"dropped.reason": rows})`. A parameter that both `fn` and `rows`
    have is given to both. `sizes` says what is shuffled before it is; without it `dolma plan` takes a row for each, with the columns in `needs` where there
    are `rows`, else with all: `rows` that makes several of one must say so.
    """

    def register(fn: Callable[..., Any]) -> Step:
        params = _parameters(fn, *([rows] if rows else []))
        return _add(
            Step(
                fn.__name__,
                "group",
                fn,
                params,
                version,
                _needs(needs),
                _fixed(out),
                _assets(fn),
                facts,
                rows,
                combine,
                tuple(key),
                tuple(order),
                splittable,
                cap,
                cap_bytes,
                cap_mend,
                sizes=sizes,
                doc=inspect.getdoc(fn) or "",
            )
        )

    return register


def reduce_step(
    *,
    out: Columns | Callable[..., Columns],
    needs: Names = (),
    version: int = 1,
    facts: Callable[..., dict[str, Any]] | None = None,
    packages: Names = (),
    distributed: Literal["", "components"] = "",
    sizes: Sizer | None = None,
) -> Callable[[Callable[..., Any]], Step]:
    """Register a reduce step: `fn(batches, *, folder, **params)` reads all batches of a dataset in order and returns one table with the columns `out`.

    `folder` is a directory; files that the step writes there (a model, a tokenizer) belong to the dataset and stand in its manifest.
    `packages` as for `step`; `sizes` says what memory it takes: without it `dolma plan` counts every value of the columns in `needs`.
    A step over an edge table whose result is too large for one shard names the `distributed` form that an engine may have of it (`components`: connected
    components). It yields (number of the shard, table) in place of one table, its parameter `shards` says how many shards of the tagged dataset go into one
    of these, and it leaves no files.
    """

    def register(fn: Callable[..., Any]) -> Step:
        params, doc = _parameters(fn), inspect.getdoc(fn) or ""
        extra = {"packages": _needs(packages), "distributed": distributed, "sizes": sizes, "doc": doc}
        return _add(Step(fn.__name__, "reduce", fn, params, version, _needs(needs), _fixed(out), _assets(fn), facts, **extra))

    return register


def reader(
    *, out: Columns | Callable[..., Columns], version: int = 1, name: str | None = None, splittable: bool = False, packages: Names = ()
) -> Callable[[Callable[..., Any]], Step]:
    """Register a reader: `fn(path, *, file, **params)` yields batches with the columns `out` (and `_error` on rows that cannot be read).

    `file` is the path relative to the raw directory, as it goes into the rows. A file that ends too early raises DataError. With `splittable` it also
    takes `begin` and `end`, and gives the rows that begin in these bytes: those of all parts of a file in order are the rows of the file. `packages` as
    for `step`.
    """

    def register(fn: Callable[..., Any]) -> Step:
        extra = {"splittable": splittable, "packages": _needs(packages), "doc": inspect.getdoc(fn) or ""}
        return _add(Step(name or fn.__name__, "reader", fn, _parameters(fn), version, _needs(()), _fixed(out), _assets(fn), **extra))

    return register


def _add(made: Step) -> Step:
    if made.fn.__module__ != (PLACES.get(made.name) or REGISTRY.get(made.name, made).fn.__module__):
        raise AssertionError(f"two steps are called {made.name}")
    REGISTRY[made.name] = made
    return made


def _needs(needs: Names) -> Callable[[BaseModel], tuple[str, ...]]:
    if callable(needs):
        return needs
    fixed = tuple(needs)
    return lambda _: fixed


def _fixed(out: Columns | Callable[..., Columns]) -> Callable[[BaseModel, pa.Schema], pa.Schema]:
    return lambda params, _: pa.schema(list((out(params) if callable(out) else out).items()))


RESERVED = {"folder", "cont", "file", "begin", "end"}  # keyword-only arguments that the worker gives, not the recipe


def _parameters(*functions: Callable[..., Any]) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    for fn in functions:
        hints = get_type_hints(fn, include_extras=True)  # bounds and checks of a value stand in `Annotated`
        for parameter in inspect.signature(fn).parameters.values():
            if parameter.kind is parameter.KEYWORD_ONLY and parameter.name not in RESERVED:
                default = ... if parameter.default is parameter.empty else parameter.default
                fields[parameter.name] = (hints[parameter.name], default)
    return create_model(functions[0].__name__, __config__=ConfigDict(extra="forbid", frozen=True, protected_namespaces=()), **fields)


def _assets(fn: Callable[..., Any]) -> tuple[str, ...]:
    hints: Mapping[str, Any] = get_type_hints(fn)
    return tuple(p.name for p in inspect.signature(fn).parameters.values() if hints.get(p.name) is Asset)
