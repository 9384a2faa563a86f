"""A plan: one JSON file that says all a worker must know. Engines get its path and unit numbers, never the units themselves."""

import base64
import json
from difflib import get_close_matches
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa

from dolma.core.config import Strict
from dolma.core.errors import ConfigError
from dolma.core.files import version
from dolma.core.manifest import File, canonical
from dolma.core.recipe import Compiled, Recipe, compile
from dolma.core.step import Step, every
from dolma.engines import stations


class Shard(Strict):
    """One input of a unit: a file of a dataset, or a raw file (`path` may be a URL), or the part of one whose rows begin in the bytes [begin, end)."""

    dataset: str
    path: str
    file: File
    index: int = 0
    begin: int = 0
    end: int | None = None

    @property
    def name(self) -> str:
        """The name of the file, with the part of it."""
        return self.file.name if self.end is None else f"{self.file.name}[{self.begin}:{self.end}]"

    @property
    def bytes(self) -> int:
        """Bytes of this part."""
        return self.file.bytes if self.end is None else self.end - self.begin


class Unit(Strict):
    """A piece of work with its own output, record and resume."""

    name: str
    inputs: tuple[Shard, ...] = ()
    bucket: int = 0


class Pass(Strict):
    """Units that may run in any order; the next pass starts when all have records."""

    kind: str
    units: tuple[Unit, ...]


class Plan(Strict):
    """All passes of one dataset: a group pass has `buckets` output shards; tags are laid out by the `shards` of the input."""

    dataset: str
    folder: str
    root: str
    fingerprint: str
    recipe: dict[str, Any]
    schemas: dict[str, str]
    buckets: int
    shards: int
    passes: tuple[Pass, ...]
    tags: dict[str, tuple[Shard, ...]] = {}
    facts: dict[str, Any] = {}
    inputs: tuple[dict[str, Any], ...] = ()

    def task(self, kind: str, unit: Unit) -> str:
        """What a unit's record must carry to count: a record with another task does not exist."""
        inputs = [[one.name, one.file.sha256] for one in unit.inputs]
        return sha256(canonical([self.fingerprint, kind, unit.name, unit.bucket, inputs])).hexdigest()


class Record(Strict):
    """What a finished unit says of itself. It is written after the data; engines are not believed, records are."""

    task: str
    unit: str
    kind: str
    files: tuple[File, ...] = ()
    assets: tuple[File, ...] = ()
    quarantine: tuple[File, ...] = ()
    counts: dict[str, int] = {}
    facts: dict[str, Any] = {}


def load_steps() -> dict[str, Step]:
    """All steps by name, the modules of all stations imported: to list them. A run imports those that it needs."""
    stations.declare()
    return every()


def load(path: str) -> tuple[Plan, Compiled]:
    """The plan at `path` and its compiled recipe, read once a process and attempt: workers of Spark and of a notebook outlive a run."""
    return _load(path, version(path))


@lru_cache(2)
def _load(path: str, written: tuple[int, ...]) -> tuple[Plan, Compiled]:
    stations.declare()
    plan = Plan.model_validate(json.loads(Path(path).read_bytes()))
    schemas = {name: unpack(text) for name, text in plan.schemas.items()}
    return plan, compile(plan.dataset, Recipe.model_validate(plan.recipe), plan.dataset, schemas.__getitem__)


def pack(schema: pa.Schema) -> str:
    """A schema as text."""
    return base64.b64encode(schema.serialize().to_pybytes()).decode()


def unpack(text: str) -> pa.Schema:
    """The schema in a text of `pack`."""
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))


def described(name: str | None) -> tuple[list[str], list[str], list[list[Any]]]:
    """Lines, a header and rows that say what step `name` is and takes, or which steps there are.

    Raises:
        ConfigError: there is no such step.
    """
    known = load_steps()
    if name is None:
        found = sorted(known.values(), key=lambda one: (one.kind, one.name))
        return [], ["step", "kind", "version", "what it gives"], [[one.name, one.kind, one.version, one.doc.partition("\n")[0]] for one in found]
    if name not in known:
        near = get_close_matches(name, known, n=1)
        mend = f"did you mean `{near[0]}`?" if near else "`dolma steps` lists them"
        raise ConfigError("steps", f"unknown step `{name}`", got=name, expected=f"one of {len(known)}", mend=mend)
    one = known[name]
    fields = one.params.model_fields.items()
    rows = [[field, getattr(f.annotation, "__name__", str(f.annotation)), "required" if f.is_required() else repr(f.default)] for field, f in fields]
    return [f"{one.name}  ({one.kind}, version {one.version})", one.doc], ["parameter", "type", "default"], rows
