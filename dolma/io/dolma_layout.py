"""The layout of the Dolma toolkit, both ways: `documents/**/x.jsonl.gz`, and beside it `attributes/<name>/**/x.jsonl.gz` with a line for each document.

A line of attributes is `{"id": ..., "attributes": {key: [[start, end, score], ...]}}`, places in characters. Source: docs/data-format.md of that toolkit.
"""

import gzip
from collections.abc import Iterable, Iterator, Mapping
from itertools import zip_longest
from pathlib import Path, PurePosixPath
from typing import Any

import orjson
import pyarrow as pa

from dolma.core.errors import ConfigError, DataError
from dolma.core.files import disk_errors, sha256
from dolma.core.manifest import File
from dolma.core.schema import Columns
from dolma.core.step import reader
from dolma.io.columns import SCALARS, Picker, Row, batch, declared, filled
from dolma.io.jsonl import BATCH_BYTES, decoded, lines

DOCUMENTS, ATTRIBUTES = "documents", "attributes"
SPANS = pa.list_(pa.struct([("start", pa.int64()), ("end", pa.int64()), ("score", pa.float64())]))
KINDS = pa.list_(pa.struct([("kind", pa.string()), ("start", pa.int32()), ("end", pa.int32())]))
LISTS = {"spans": SPANS, "kinds": KINDS}
VALUES = ("int32", "int64", "float32", "float64", "bool")  # types of a value that holds for the whole text
OWN = ("id", "text", "source", "added", "created", "version")  # fields of a document that stand beside `metadata`
NAMES = ("key", "offset", "origin")  # whole numbers that say which row it is: no measures


def _schema(params: Any) -> Columns:
    made = dict(declared("dolma", {**params.columns, **params.metadata}, params.required))
    for name in params.metadata:
        if name in params.columns:
            raise _twice(name)
    for folder, keys in params.attributes.items():
        if not folder or folder in (".", "..") or "/" in folder:
            raise ConfigError("dolma", "an attribute folder is one name", got=repr(folder), expected="a folder in `attributes/`", mend="mend its name")
        for name, kind in keys.items() or [(folder, "json")]:
            if name in made:
                raise _twice(name)
            if keys and kind not in (*VALUES, *LISTS):
                known = ", ".join((*VALUES, *LISTS))
                raise ConfigError("dolma", f"unknown type of attribute `{kind}`", got=kind, expected=known, mend="write one of these")
            made[name] = _type(kind)
    return made


def _type(kind: str) -> pa.DataType:
    return LISTS[kind] if kind in LISTS else SCALARS[kind][0]


def _twice(name: str) -> ConfigError:
    return ConfigError("dolma", f"column `{name}` is made twice", got=name, expected="one place for each", mend="take it from one place")


@reader(out=_schema, version=2)
def dolma(
    path: str | Path,
    *,
    file: str,
    attributes: dict[str, dict[str, str]] = {},  # noqa: B006
    columns: dict[str, str] = {"id": "string", "source": "string", "text": "large_string"},  # noqa: B006
    metadata: dict[str, str] = {},  # noqa: B006
    required: list[str] = ["id", "text"],  # noqa: B006
    batch_rows: int = 1000,
    max_line_bytes: int = 64_000_000,
) -> Iterator[pa.RecordBatch]:
    """Documents of the Dolma toolkit's layout with their attributes: line n of `documents/x.jsonl.gz` and line n of `attributes/NAME/x.jsonl.gz`.

    Put the globs of both into `files`, so that a change of either makes the dataset stale; files below `attributes` give no rows of their own. `file` and
    `offset` are those of the document. A line that `jsonl` would not read is an `_error` row here too, whichever file it stands in.

    Args:
        attributes: for each folder of attributes the keys that become columns, with their types: int32, int64, float32, float64 or bool for the score of the
            one span that a key has (null when it has none), `spans` for all as list<struct<start, end, score>>, `kinds` for those of all keys that begin
            with `KEY__`, as list<struct<kind, start, end>> in their order in the text. No keys: all, as JSON in a column named like the folder.
        columns: fields of a document, typed as in `jsonl`.
        metadata: fields of its `metadata`, likewise.
        required: columns of these whose value must be there and not be empty text.
        batch_rows: most rows of one batch.
        max_line_bytes: a longer line is an error row and is not held in memory.
    Raises:
        DataError: a row of attributes is missing, over or of another id than the document in its line; a file is absent, cut short or damaged.
    """
    if ATTRIBUTES in PurePosixPath(file).parts[:-1] and DOCUMENTS not in PurePosixPath(file).parts[:-1]:
        return
    picker = Picker({**columns, **metadata}, required, "dolma")
    keys = {folder: _Keys(folder, wanted) for folder, wanted in attributes.items()}
    types = {**picker.types, **{name: kind for one in keys.values() for name, kind in one.types.items()}}
    streams = [lines(Path(path), file, max_line_bytes)]
    places = [file]
    for folder in attributes:
        there, name = beside(Path(path), file, folder)
        streams.append(lines(there, name, max_line_bytes))
        places.append(name)

    def rows() -> Iterator[tuple[tuple[int, Row], int]]:
        for number, (document, *marks) in enumerate(zip_longest(*streams), 1):
            row = _row(number, document, marks, places, picker, frozenset(metadata), list(keys.values()))
            yield (document[0] if document else 0, row), sum(len(one[1] or b"") for one in (document, *marks) if one)

    for held in filled(rows(), batch_rows, BATCH_BYTES):
        yield batch(held, types, file)


def beside(path: Path, file: str, folder: str) -> tuple[Path, str]:
    """Where the attributes `folder` of a file of documents lie: the path, and the name below the raw folder.

    Raises:
        DataError: the file is in no folder `documents`, or has no such attributes.
    """
    parts = list(PurePosixPath(file).parts)
    if DOCUMENTS not in parts[:-1]:
        raise DataError(file, "not in the Dolma layout", got="no folder `documents` above it", expected="documents/...", mend="read it with `jsonl`")
    at = len(parts) - 1 - parts[-2::-1].index(DOCUMENTS) - 1
    name = "/".join([*parts[:at], ATTRIBUTES, folder, *parts[at + 1 :]])
    up = path.parents[len(parts) - at - 1]
    there = up / ATTRIBUTES / folder / PurePosixPath(*parts[at + 1 :])
    if not there.is_file():
        raise DataError(file, f"has no attributes `{folder}`", got="no file", expected=name, mend="run the tagger on it, or leave the attribute out")
    return there, name


class _Keys:
    """The columns that a folder of attributes gives."""

    def __init__(self, folder: str, wanted: Mapping[str, str]) -> None:
        self.folder, self.wanted = folder, wanted
        self.types: Columns = {name: _type(kind) for name, kind in (wanted or {folder: "json"}).items()}

    def row(self, value: Any) -> Row:
        """The values of `value`, what a line holds under `attributes`."""
        if not isinstance(value, dict):
            return f"attributes {self.folder}: no object `attributes`"
        if not self.wanted:
            return {self.folder: orjson.dumps(value).decode()}
        row: dict[str, Any] = {}
        for name, kind in self.wanted.items():
            made = _kinds(name, value) if kind == "kinds" else _spans(name, value.get(name) or []) if kind == "spans" else _one(name, kind, value)
            if isinstance(made, str):
                return f"attributes {self.folder}: {made}"
            row[name] = made
        return row


def _kinds(name: str, value: dict[str, Any]) -> list[dict[str, Any]] | str:
    """The spans of all keys that begin with `name__`, in their order in the text, or why not."""
    found: list[tuple[int, int, str]] = []
    for key, listed in value.items():
        if key.startswith(f"{name}__"):
            spans = _spans(key, listed or [])
            if isinstance(spans, str):
                return spans
            found += [(span["start"], span["end"], key[len(name) + 2 :]) for span in spans]
    if not all(SCALARS["int32"][1](place) for start, end, _ in found for place in (start, end)):
        return f"`{name}` has a place that is no int32"
    return [{"kind": kind, "start": start, "end": end} for start, end, kind in sorted(found)]


def _spans(name: str, listed: Any) -> list[dict[str, Any]] | str:
    if not isinstance(listed, list) or not all(map(_is_span, listed)):
        return f"`{name}` is no list of [start, end, score]"
    return [{"start": start, "end": end, "score": None if score is None else float(score)} for start, end, score in listed]


def _one(name: str, kind: str, value: dict[str, Any]) -> Any:
    """The score of the one span of `name`, None without one, or why not."""
    listed = value.get(name) or []
    if isinstance(spans := _spans(name, listed), str):
        return spans
    if len(spans) > 1:
        return f"`{name}` has {len(spans)} spans, not one"
    score = listed[0][2] if listed else None
    made = None if score is None else _value(score, kind)
    return f"`{name}` has the wrong type" if score is not None and made is None else made


def _is_span(span: Any) -> bool:
    whole = SCALARS["int64"][1]
    return (
        isinstance(span, list)
        and len(span) == 3
        and whole(span[0])
        and whole(span[1])
        and (span[2] is None or isinstance(span[2], bool) or SCALARS["float64"][1](span[2]))
    )


def _value(score: Any, kind: str) -> Any:
    """`score` as a value of `kind`; None when it is none. The toolkit writes every score as a float, and true as 1.0."""
    if kind == "bool":
        return bool(score) if score in (0, 1) else None
    if kind.startswith("int"):
        whole = int(score) if isinstance(score, bool) or (isinstance(score, float) and score.is_integer()) else score
        return whole if SCALARS[kind][1](whole) else None
    return float(score)


def _row(number: int, document: Any, marks: list[Any], places: list[str], picker: Picker, metadata: frozenset[str], keys: list[_Keys]) -> Row:
    """The row of line `number` of all files, or why it cannot be read.

    Raises:
        DataError: a file ends before another, or an id differs.
    """
    found = [decoded(one[1]) if one else None for one in (document, *marks)]
    ids = [value.get("id") if isinstance(value, dict) else None for value in found]
    for name, value, got in zip(places, found, ids, strict=True):
        if value is None:
            there = next(one for one, other in zip(places, found, strict=True) if other is not None)
            raise _apart(name, number, "no line", f"one, as in {there}")
        if isinstance(value, dict) and isinstance(found[0], dict) and got != ids[0]:
            raise _apart(name, number, f"id {str(got)[:80]!r}", f"id {str(ids[0])[:80]!r}, as in {places[0]}")
    head = found[0]
    if not isinstance(head, dict):
        return str(head)
    inner = head.get("metadata")
    if metadata:
        head = {**{k: v for k, v in head.items() if k not in metadata}, **({k: inner.get(k) for k in metadata} if isinstance(inner, dict) else {})}
    row = picker.row(head)
    for one, value in zip(keys, found[1:], strict=True):
        if isinstance(row, str):
            break
        more = one.row(value.get("attributes")) if isinstance(value, dict) else f"attributes {one.folder}: {value}"
        row = more if isinstance(more, str) else {**row, **more}
    return row


def _apart(file: str, number: int, got: str, expected: str) -> DataError:
    mend = "run the tagger on the documents again; nothing of them was taken"
    return DataError(f"{file}, row {number}", "attributes and documents do not belong together", got=got, expected=expected, mend=mend)


def write(batches: Iterable[pa.RecordBatch], out: Path, name: str, shard: str) -> tuple[File, File]:
    """Write rows as `documents/<shard>.jsonl.gz` and `attributes/<name>/<shard>.jsonl.gz` below `out`, and describe both files.

    Numbers, truth values and lists of spans are attributes (a value as `[[0, characters of the text, value]]`, null as `[]`; spans with a kind under a key
    for each kind, `pii__email`, with score 1); id, text, source, added,
    created and version are fields of the document; all other columns are its `metadata`. `dolma` reads the same rows back.
    """
    names = (f"{DOCUMENTS}/{shard}.jsonl.gz", f"{ATTRIBUTES}/{name}/{shard}.jsonl.gz")
    rows = 0
    for one in names:
        (out / one).parent.mkdir(parents=True, exist_ok=True)
    with disk_errors(out), open(out / names[0], "wb") as left, open(out / names[1], "wb") as right:
        documents, marks = (gzip.GzipFile("", "wb", 6, stream, mtime=0) for stream in (left, right))
        with documents, marks:
            for one in batches:
                measures = [field.name for field in one.schema if is_measure(field)]
                for row in one.to_pylist():
                    documents.write(orjson.dumps(_document(row, measures), default=str, option=orjson.OPT_APPEND_NEWLINE))
                    marks.write(orjson.dumps({"id": row["id"], "attributes": _marks(row, measures)}, option=orjson.OPT_APPEND_NEWLINE))
                rows += one.num_rows
    files = (File(name=n, rows=rows, bytes=(out / n).stat().st_size, sha256=sha256(out / n)) for n in names)
    documents_file, marks_file = files
    return documents_file, marks_file


def check(schema: pa.Schema, where: str) -> None:
    """Refuse a table that cannot be lines of JSON.

    Raises:
        ConfigError: a column holds bytes.
    """
    for field in schema:
        if pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
            raise ConfigError(where, f"column `{field.name}` holds bytes", got=field.type, expected="text or numbers", mend="leave it out with `select`")


def is_measure(field: pa.Field) -> bool:
    """Whether a column is written as an attribute."""
    kind = field.type
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    return field.name not in (*OWN, *NAMES) and (number or kind in (SPANS, KINDS))


def _document(row: dict[str, Any], measures: list[str]) -> dict[str, Any]:
    rest = {name: value for name, value in row.items() if name not in OWN and name not in measures}
    return {**{name: row[name] for name in OWN if row.get(name) is not None}, **({"metadata": rest} if rest else {})}


def _marks(row: dict[str, Any], measures: list[str]) -> dict[str, Any]:
    length = len(row["text"])
    made: dict[str, Any] = {}
    for name in measures:
        value = row[name]
        if isinstance(value, list) and value and "kind" in value[0]:
            for span in value:
                made.setdefault(f"{name}__{span['kind']}", []).append([span["start"], span["end"], 1.0])
        elif isinstance(value, list):
            made[name] = [[span["start"], span["end"], span["score"]] for span in value]
        else:
            made[name] = [] if value is None else [[0, length, int(value) if isinstance(value, bool) else value]]  # the toolkit's scores are numbers
    return made
