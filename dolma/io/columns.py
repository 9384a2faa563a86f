"""The types that a recipe may give to columns (`columns: {id: string, flags: list<string>}`), and the rows and `_error` rows that readers make of values."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import orjson
import pyarrow as pa

from dolma.core.errors import ConfigError
from dolma.core.schema import ERROR, Columns

Type = tuple[pa.DataType, Callable[[Any], bool]]
T = TypeVar("T")
Row = dict[str, Any] | str  # the values of a row, or why it cannot be read


def _string(value: Any) -> bool:
    return isinstance(value, str)


def _whole(bits: int) -> Callable[[Any], bool]:
    limit = 1 << (bits - 1)
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and -limit <= value < limit


def _number(value: Any) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool)


# Name in a recipe: the Arrow type, and whether a JSON value is of it. `json` takes any value and keeps it as JSON text.
SCALARS: dict[str, Type] = {
    "string": (pa.string(), _string),
    "large_string": (pa.large_string(), _string),
    "int32": (pa.int32(), _whole(32)),
    "int64": (pa.int64(), _whole(64)),
    "float32": (pa.float32(), _number),
    "float64": (pa.float64(), _number),
    "bool": (pa.bool_(), lambda value: isinstance(value, bool)),
    "json": (pa.large_string(), lambda _: True),
}


def type_of(name: str, reader: str) -> Type:
    """The Arrow type called `name` (a scalar or `list<scalar>`), and the test of a JSON value.

    Raises:
        ConfigError: no such type.
    """
    if name in SCALARS:
        return SCALARS[name]
    if name.startswith("list<") and name.endswith(">") and name[5:-1] in SCALARS and name != "list<json>":
        inner, fits = SCALARS[name[5:-1]]
        return pa.list_(inner), lambda value: isinstance(value, list) and all(map(fits, value))
    raise ConfigError(reader, f"unknown column type `{name}`", expected=f"{', '.join(SCALARS)} or list<...>", mend="write one of these types")


def _kept(name: str) -> Callable[[Any], Any] | None:
    """How a JSON value of the type is given to Arrow, which refuses whole numbers over 2^24 as float32."""
    if name == "json":
        return lambda value: orjson.dumps(value).decode()
    if name in ("float32", "float64"):
        return float
    return (lambda value: list(map(float, value))) if name in ("list<float32>", "list<float64>") else None


def declared(reader: str, columns: Mapping[str, str], required: list[str]) -> Columns:
    """The columns that `reader` makes: those of the recipe, then `file` and `offset`.

    Raises:
        ConfigError: an unknown type, a name that the reader makes itself, or a required column that is none.
    """
    for name in ("file", "offset", ERROR):
        if name in columns:
            raise ConfigError(reader, f"column `{name}` is made by the reader", got=name, expected="another name", mend="leave it out of `columns`")
    for name in required:
        if name not in columns:
            known = ", ".join(columns)
            raise ConfigError(reader, f"`required` names `{name}`, which is no column", got=name, expected=known, mend="add it to `columns`")
    return {**{name: type_of(kind, reader)[0] for name, kind in columns.items()}, "file": pa.string(), "offset": pa.int64()}


class Picker:
    """Takes the declared columns out of JSON objects."""

    def __init__(self, columns: Mapping[str, str], required: list[str], reader: str) -> None:
        self.kinds = {name: (*type_of(kind, reader), _kept(kind)) for name, kind in columns.items()}
        self.required = frozenset(required)

    def row(self, value: dict[str, Any]) -> Row:
        """The values of `value`, a decoded JSON object."""
        row: dict[str, Any] = {}
        for name, (_, fits, kept) in self.kinds.items():
            got = value.get(name)
            if got is None or (got == "" and name in self.required):
                if name in self.required:
                    return f"`{name}` is missing"
                row[name] = None
            elif not fits(got):
                return f"`{name}` has the wrong type"
            else:
                row[name] = kept(got) if kept else got
        return row

    @property
    def types(self) -> Columns:
        """The Arrow type of each column."""
        return {name: kind for name, (kind, _, _) in self.kinds.items()}


def filled(sized: Iterable[tuple[T, int]], rows: int, size: int) -> Iterator[list[T]]:
    """Items in lists; a list ends with the item that makes it `rows` long, or the sizes in it `size` together."""
    held: list[T] = []
    total = 0
    for item, one in sized:
        held.append(item)
        total += one
        if len(held) >= rows or total >= size:
            yield held
            held, total = [], 0
    if held:
        yield held


def batch(rows: list[tuple[int, Row]], types: Columns, file: str) -> pa.RecordBatch:
    """Rows with their offsets as a batch; a row that is a reason has null columns and that `_error`."""
    made = {name: pa.array([row[name] if isinstance(row, dict) else None for _, row in rows], kind) for name, kind in types.items()}
    made["file"] = pa.array([file] * len(rows), pa.string())
    made["offset"] = pa.array([offset for offset, _ in rows], pa.int64())
    errors = [row if isinstance(row, str) else None for _, row in rows]
    if any(errors):
        made[ERROR] = pa.array(errors, pa.string())
    return pa.RecordBatch.from_pydict(made)
