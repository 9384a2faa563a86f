"""From a compiled recipe to a plan: which units there are, and the fingerprint that decides whether they must run."""

import json
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

from dolma.core import manifest
from dolma.core.config import Env
from dolma.core.errors import ConfigError, DataError
from dolma.core.files import find, sha256, write_atomic
from dolma.core.graph import Graph, fingerprint
from dolma.core.log import logger
from dolma.core.manifest import File, Manifest
from dolma.core.recipe import Compiled
from dolma.engines.plan import Pass, Plan, Shard, Unit, pack
from dolma.io import raw as remote
from dolma.io.tables import WRITER

log = logger(__name__)
BUCKET_BYTES = 64 << 20  # input bytes a bucket of a group pass, so that a shuffle's (file, bucket) parts stay above 100 kB


def build(compiled: Compiled, graph: Graph, env: Env, root: Path, raw: Path | str, remember: bool = False) -> Plan:
    """The plan of a dataset whose inputs exist.

    Args:
        raw: folder of the raw files, or its URL.
        remember: keep the hashes of raw files below `root`, so that they are not read again.
    Raises:
        DataError: a glob matches no file, or tags belong to other rows.
    """
    needs = graph.needs(compiled.name)
    manifests = {name: manifest.load(root / name) for name in needs}
    inputs: list[dict[str, Any]] = [{"name": name, "fingerprint": m.fingerprint, "bytes": m.bytes} for name, m in manifests.items()]
    if compiled.reader:
        units, files = _raw_units(compiled, env, root, raw, remember)
        inputs += [{"name": file.name, "fingerprint": file.sha256, "bytes": file.bytes} for file in files]
    else:
        units = _shard_units(compiled, manifests, root)
    shards = [shard for unit in units for shard in unit.inputs]
    origin = fingerprint([[s.dataset, s.name, s.file.sha256] for s in shards])
    tags = {name: tuple(Shard(dataset=name, path=str(root / name / f.name), file=f) for f in manifests[name].files) for name in compiled.recipe.tags}
    for name in tags:
        if manifests[name].facts.get("origin") != origin:
            raise DataError(
                compiled.name,
                f"tags {name} were computed on other rows",
                got=str(manifests[name].facts.get("origin"))[:16],
                expected=origin[:16],
                mend=f"run {name} again",
            )
    grouped = compiled.final is not None and compiled.final.step.kind == "group"
    buckets = compiled.recipe.buckets or max(1, -(-sum(s.bytes for s in shards) // BUCKET_BYTES))
    passes = _passes(compiled, units, tags, buckets)
    facts = _inherited(compiled, manifests, origin, any("origin" in graph._schema(name).names for name in compiled.recipe.inputs))
    made = fingerprint(
        {
            "recipe": compiled.resolved(),
            "schema": [f"{f.name} {f.type}" for f in compiled.schema],
            "steps": [[b.step.name, b.step.version] for b in compiled.bound],
            "packages": compiled.packages,
            "writer": WRITER,
            "buckets": len(shards) if tags and not grouped else buckets,
            "inputs": [[i["name"], i["fingerprint"]] for i in inputs],
            "units": [[s.name for s in u.inputs] for u in units],
        }
    )
    schemas = {name: pack(graph._schema(name)) for name in (*compiled.recipe.inputs, *compiled.recipe.tags)}
    return Plan(
        dataset=compiled.name,
        folder=str(root / compiled.name),
        root=str(root),
        fingerprint=made,
        recipe=compiled.recipe.model_dump(mode="json"),
        schemas=schemas,
        buckets=buckets,
        shards=len(shards),
        passes=passes,
        tags=tags,
        facts=facts,
        inputs=tuple(inputs),
    )


def _passes(compiled: Compiled, units: list[Unit], tags: dict[str, tuple[Shard, ...]], buckets: int) -> tuple[Pass, ...]:
    first: list[Pass] = []
    if tags:
        shards = [shard for shards in tags.values() for shard in shards]
        first.append(
            Pass(kind="tags", units=tuple(Unit(name=f"{shard.dataset.replace('/', '.')}-{shard.file.name.split('.')[0]}", inputs=(shard,)) for shard in shards))
        )
    if compiled.final is None:
        return (*first, Pass(kind="map", units=tuple(units)))
    if compiled.final.step.distributed:
        return (*first, Pass(kind="edges", units=tuple(units)), Pass(kind="reduce", units=(Unit(name="00000"),)))
    if compiled.final.step.kind == "reduce":
        return (*first, Pass(kind="reduce", units=(Unit(name="00000", inputs=tuple(s for u in units for s in u.inputs)),)))
    gathers = tuple(Unit(name=f"{k:05d}", bucket=k) for k in range(buckets))
    return (*first, Pass(kind="scatter", units=tuple(units)), Pass(kind="gather", units=gathers))


def _inherited(compiled: Compiled, manifests: dict[str, Manifest], origin: str, carried: bool) -> dict[str, Any]:
    """Facts of the inputs, which must agree; a group pass says which rows its `origin` columns point to.

    Args:
        carried: the rows of the inputs have an `origin` already: they point where the last input says.
    """
    facts: dict[str, Any] = {}
    for name in compiled.recipe.inputs:
        for fact, value in manifests[name].facts.items():
            if fact in ("assets",):
                continue
            if fact in facts and facts[fact] != value and fact != "origin":
                raise DataError(
                    compiled.name,
                    f"inputs disagree on `{fact}`",
                    got=f"{name}: {value}",
                    expected=str(facts[fact]),
                    mend="make them with the same recipe steps",
                )
            facts[fact] = value
    group = compiled.final is not None and compiled.final.step.kind == "group"
    if group and not (carried and "origin" in facts):
        facts["origin"] = origin
    elif compiled.final is None and not any(name.split("_")[0] == "origin" for name in compiled.schema.names):
        facts.pop("origin", None)
    return facts


def _shard_units(compiled: Compiled, manifests: dict[str, Manifest], root: Path) -> list[Unit]:
    units: list[Unit] = []
    for name in compiled.recipe.inputs:
        found = manifests[name]
        if found.format == "mds":
            file = File(name=name, rows=found.rows, bytes=found.bytes, sha256=found.fingerprint, extra={"format": "mds"})
            units.append(Unit(name=f"{len(units):05d}", inputs=(Shard(dataset=name, path=str(root / name), file=file, index=len(units)),)))
            continue
        for file in found.files:
            units.append(Unit(name=f"{len(units):05d}", inputs=(Shard(dataset=name, path=str(root / name / file.name), file=file, index=len(units)),)))
    return units


def _raw_units(compiled: Compiled, env: Env, root: Path, raw: Path | str, remember: bool) -> tuple[list[Unit], list[File]]:
    """Units of raw files up to the recipe's `unit_bytes`, and the files; `limit` selects among the units, so it is in the fingerprint."""
    if not compiled.files:
        if compiled.reader and compiled.recipe.read and "files" in next(iter(compiled.recipe.read.values())):
            raise ConfigError(compiled.name, "`files` is empty", mend="give a glob below the env's raw folder")
        return [Unit(name="00000")], []
    cut = compiled.recipe.unit_bytes if compiled.reader and compiled.reader.step.splittable else 0
    groups: list[list[Shard]] = []
    for shard in _raw_files(compiled, root, raw, remember):
        if cut and shard.file.bytes > cut:
            parts = _parts(shard, cut)
            groups += [[part] for part in parts]
            if remote.is_url(shard.path):
                log.warning(
                    "%s: each of its %d parts brings all of its %.1f GB; fetch it first if that is much", shard.file.name, len(parts), shard.file.bytes / 1e9
                )
        elif groups and groups[-1][-1].end is None and sum(s.file.bytes for s in groups[-1]) + shard.file.bytes <= compiled.recipe.unit_bytes:
            groups[-1].append(shard)
        else:
            groups.append([shard])
    groups = groups[: env.limit]
    files = {shard.file.name: shard.file for group in groups for shard in group}
    return [Unit(name=f"{n:05d}", inputs=tuple(group)) for n, group in enumerate(groups)], list(files.values())


def _parts(shard: Shard, size: int) -> list[Shard]:
    """A large file in parts of about `size` bytes."""
    count = -(-shard.file.bytes // size)
    borders = [shard.file.bytes * n // count for n in range(count + 1)]
    return [shard.model_copy(update={"begin": begin, "end": end}) for begin, end in pairwise(borders)]


def _raw_files(compiled: Compiled, root: Path, raw: Path | str, remember: bool) -> list[Shard]:
    """The raw files of a recipe; `sha256` of one at a URL is the digest of what its server says of it."""
    if isinstance(raw, str):
        found = remote.find(raw, list(compiled.files), compiled.name)
        return [Shard(dataset="", path=one.url, file=File(name=one.name, rows=0, bytes=one.bytes, sha256=one.identity)) for one in found]
    paths = find(raw, list(compiled.files), compiled.name)
    hashes = _hashes(paths, root, remember)
    return [
        Shard(dataset="", path=str(path), file=File(name=str(path.relative_to(raw)), rows=0, bytes=path.stat().st_size, sha256=hashes[str(path)]))
        for path in paths
    ]


def _hashes(paths: list[Path], root: Path, remember: bool) -> dict[str, str]:
    """sha256 of raw files; a file whose size and time are those of last time is not read again."""
    cache_file = root / ".raw.json"
    try:
        cache: dict[str, list[Any]] = json.loads(cache_file.read_bytes())
    except (FileNotFoundError, ValueError):
        cache = {}
    made, changed = {}, False
    for path in paths:
        stat = os.stat(path)
        known = cache.get(str(path))
        if known is None or known[:2] != [stat.st_size, stat.st_mtime_ns]:
            known = [stat.st_size, stat.st_mtime_ns, sha256(path)]
            cache[str(path)] = known
            changed = True
        made[str(path)] = known[2]
    if changed and remember:
        write_atomic(cache_file, json.dumps(cache, sort_keys=True).encode())
    return made
