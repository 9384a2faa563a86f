"""How large the passes of a dataset will be before one of them starts: rows, bytes through the shuffle, memory of a worker, spill, room on the disk.

All comes from the counts in manifests and from what steps declare as `sizes`. Of a dataset whose inputs are not there yet the rows are upper bounds,
followed through the recipes: map steps keep rows, `keep` drops some, group and reduce steps say what they make at most. Bytes of text are estimates.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from dolma import table
from dolma.console import size as human
from dolma.core import counts, manifest
from dolma.core.config import Env
from dolma.core.errors import DataError
from dolma.core.graph import Graph
from dolma.core.manifest import Manifest
from dolma.core.recipe import STREAMS, Compiled
from dolma.core.step import Sizes, Taken
from dolma.engines.groups import CHUNK_BYTES, CHUNK_ROWS
from dolma.engines.plan import Plan
from dolma.engines.units import BUCKET_BYTES
from dolma.io.tables import GROUP_ROWS

INFLATION = 3.5  # bytes of text in Arrow for one in a shard (Parquet, zstd 3): 173 MB for 49.3 in design/engines.md; 2.1 to 3.4 for pages and code
GUESS = 1 - 1 / INFLATION  # share of an estimate of text that may not be: text takes no less room in Arrow than in a shard
STRING = 36  # bytes of a short string (id, source, url) with its offset
BASE = 280_000_000  # resident set of a worker before its first row: 262 to 278 MB measured with dedup's steps
READ = 6  # row groups of its input that a worker has in memory in all forms: 80 to 105 MB measured for 15 MB of pages
SORT = 256_000_000  # DuckDB's limit in `io.spill.sort`; what a bucket has beyond is spilled
COPIES = 3  # a scatter holds the rows of its shard as they came, joined, and ordered by bucket


@dataclass(frozen=True)
class Extent:
    """What a dataset holds, or will hold at most: None where nothing is known. `text` is Arrow bytes of its long columns, `stored` those of its shards."""

    rows: int | None
    text: int | None
    stored: int | None
    shards: int | None
    largest: int | None  # rows of the largest shard
    documents: int | None = None  # that the rows are of: edges, tags and spans are of those that the group step read
    sure: bool = True  # counted, not bounded


@dataclass(frozen=True)
class Size:
    """What the shuffles and the reduce of a dataset take at most: None where nothing is known.

    `memory` is bytes of one of `workers` processes in the pass that takes most, `shuffle` bytes of all scattered rows as Arrow, `spill` bytes that all sorts
    together have on disk at a time, `disk` bytes of the work folder. `sure` when all inputs are there; `exact` when besides no step drops rows before the
    shuffle and the group or reduce step does not say `at_most`. `spare` are bytes of an exact memory, `spare_disk` of an exact disk, that it may not take,
    since text is estimated.
    """

    rows: int | None
    shuffle: int | None
    memory: int | None
    spill: int | None
    disk: int | None
    workers: int
    sure: bool
    exact: bool
    limited: bool = True  # whether the memory is that of the machine that plans
    mend: str = ""
    spare: int = 0
    spare_disk: int = 0


class Sizing:
    """Sizes of datasets, asked in the order of a run."""

    def __init__(self, graph: Graph, env: Env, root: Path) -> None:
        self.graph, self.env, self.root = graph, env, root
        self.extents: dict[str, Extent] = {}

    def fresh(self, name: str) -> None:
        """`name` is there and stays as it is."""
        self.extents.pop(name, None)

    def of(self, name: str, plan: Plan | None) -> Size | None:
        """The size of `name`, which will be made; None for one that neither shuffles nor reduces. `plan` where all its inputs are there."""
        compiled = self.graph[name]
        if not isinstance(compiled, Compiled):
            return None
        tags = {tag: self.extent(tag) for tag in compiled.recipe.tags}
        read = _joined(self.extent(one) for one in compiled.recipe.inputs) if compiled.recipe.inputs else UNKNOWN
        taken = _left(compiled, read, tags)
        buckets = plan.buckets if plan else compiled.recipe.buckets or max(1, -(-(read.stored or 0) // BUCKET_BYTES))
        final = compiled.final.step if compiled.final else None
        declared = declare(compiled, taken)
        self.extents[name] = _made(compiled, taken, declared, buckets)
        if final is None and not tags:
            return None
        spark, workers = self.env.engine == "spark", self.env.workers
        alone = self.env.scheduler != "local"  # each process has a machine of its own
        sure, drops = plan is not None and taken.sure, any(bound.step.kind == "keep" for bound in compiled.steps)
        group, guess = _group(read, compiled.source)
        size = Size(0, 0, BASE + READ * group, 0, 0, 1, sure, sure and not drops, spare=READ * guess)
        if tags:
            size = _with_tags(size, compiled, tags, read, self.graph, workers)
        if final is not None and final.kind == "reduce":
            return _reduced(size, declared, spark and bool(final.distributed))
        return size if final is None else _grouped(size, declared, taken, buckets, workers, spark, alone)

    def extent(self, name: str) -> Extent:
        """What a dataset holds, or will hold when it is asked for in its turn."""
        if name not in self.extents:
            there, schema = manifest.load(self.root / name), self.graph._schema(name)
            self.extents[name] = known(there, schema)
        return self.extents[name]


UNKNOWN = Extent(None, None, None, None, None, sure=False)


def known(there: Manifest, schema: pa.Schema) -> Extent:
    """What a finished dataset holds; one of MosaicML shards reads as a row a stream."""
    if there.format == "mds":
        rows = len({file.extra.get("stream") for file in there.files})
        return Extent(rows, 0, rows * width(STREAMS), 1, rows, rows)
    text = round(INFLATION * there.bytes) if any(map(_long, schema)) else 0
    documents = [step["rows_in"] for step in counts.steps(there.counts).values() if "scattered" in step]
    largest = max((file.rows for file in there.files), default=0)
    return Extent(there.rows, text, there.bytes, len(there.files), largest, sum(documents) if documents else there.rows)


def width(schema: Iterable[pa.Field]) -> int:
    """Bytes of a row in Arrow without what its long columns hold; 8 for the offset of each of these."""
    return sum(8 if _long(field) else STRING if field.type in (pa.string(), pa.binary()) else -(-field.type.bit_width // 8) for field in schema)


def _long(field: pa.Field) -> bool:
    kind = field.type
    return kind in (pa.large_string(), pa.large_binary()) or pa.types.is_nested(kind)


def _joined(inputs: Iterable[Extent]) -> Extent:
    found = list(inputs)

    def total(name: str) -> int | None:
        values = [getattr(one, name) for one in found]
        return None if None in values else sum(values)

    largest = [one.largest for one in found]
    most = None if None in largest else max(one for one in largest if one is not None)
    return Extent(total("rows"), total("text"), total("stored"), total("shards"), most, total("documents"), all(one.sure for one in found))


def _left(compiled: Compiled, taken: Extent, tags: dict[str, Extent]) -> Extent:
    """The rows that can be left after the map steps: a `keep` on tags of one dataset that is not true of a row without tags leaves only tagged rows."""
    rows = taken.rows
    for bound in compiled.steps:
        if bound.step.name != "keep":
            break
        of = _tag_only(str(bound.arguments()["where"]), compiled)
        if of is not None and rows is not None and (tagged := tags[of].rows) is not None and tagged < rows:
            rows = tagged
    if rows == taken.rows or not taken.rows or rows is None:
        return taken
    share = rows / taken.rows  # of the bytes of text: an estimate, the rows are a bound
    text, stored = (None if value is None else round(value * share) for value in (taken.text, taken.stored))
    return Extent(rows, text, stored, taken.shards, None if taken.largest is None else min(taken.largest, rows), taken.documents, taken.sure)


def _tag_only(where: str, compiled: Compiled) -> str | None:
    """The tag dataset whose rows are all that `where` can be true of."""
    used = table.columns(where, compiled.source)
    of = next((name for name, columns in compiled.recipe.tags.items() if used and set(used) <= set(columns)), None)
    if of is None:
        return None
    empty = pa.RecordBatch.from_arrays([pa.nulls(1, compiled.source.field(name).type) for name in used], names=used)
    try:
        return None if table.evaluate(empty, {"kept": where}).column("kept")[0].as_py() else of
    except DataError:
        return None


def declare(compiled: Compiled, taken: Extent) -> Sizes | None:
    """What the group or reduce step says it makes of these rows. Where it says nothing: a row for each, of all columns, or of those that it needs if it is
    a reduce step or makes rows of its own to shuffle.
    """
    final = compiled.final
    if final is None or taken.rows is None or taken.text is None:
        return None
    if final.step.sizes is not None:
        return final.step.sizes(final.params, Taken(taken.rows, taken.text, taken.rows if taken.documents is None else taken.documents))
    schema = compiled.source
    for bound in compiled.steps:
        schema = bound.step.adds(bound.params, schema)
    needs: tuple[str, ...] = ()
    if final.step.kind == "reduce" or final.step.rows is not None:
        needs = final.step.needs(final.params)
    fields = [field for field in schema if not needs or field.name in (*needs, "origin")]
    return Sizes(taken.rows, width(fields), taken.text if any(map(_long, fields)) else 0)


def _made(compiled: Compiled, taken: Extent, declared: Sizes | None, buckets: int) -> Extent:
    """What the dataset will hold at most."""
    if compiled.recipe.format == "mds" or (compiled.final is None and taken.rows is None):
        return UNKNOWN
    rows = taken.rows if compiled.final is None else declared.out if declared else None
    if rows is None:
        return UNKNOWN
    text = taken.text if any(map(_long, compiled.schema)) else 0
    stored = None if text is None else round(rows * width(compiled.schema) + text / INFLATION)
    if compiled.final is None:
        return Extent(rows, text, stored, taken.shards, taken.largest, taken.documents, sure=False)
    shards = buckets if compiled.final.step.kind == "group" else 1
    documents = taken.rows if compiled.final.step.kind == "group" else rows
    return Extent(rows, text, stored, shards, -(-rows // shards), documents, sure=False)


def _group(read: Extent, schema: pa.Schema) -> tuple[int, int]:
    """Bytes of a row group of the input in Arrow, and how many of these are a guess."""
    if not read.rows or read.text is None:
        return 0, 0
    rows, text = min(GROUP_ROWS, read.rows), read.text / read.rows
    return round(rows * (width(schema) + text)), round(rows * text * GUESS)


def _plus(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def _with_tags(size: Size, compiled: Compiled, tags: dict[str, Extent], read: Extent, graph: Graph, workers: int) -> Size:
    """Tag rows go by `origin` to the shard of their row."""
    rows = shuffle = memory = 0
    for name, extent in tags.items():
        wide = width(graph._schema(name).field(column) for column in ("origin", "key", *compiled.recipe.tags[name]))
        if extent.rows is None or extent.largest is None:
            return Size(None, None, None, 0, None, workers, sure=False, exact=False)
        rows, shuffle = rows + extent.rows, shuffle + extent.rows * wide
        memory = max(memory, COPIES * extent.largest * wide)
    sure = size.sure and all(extent.sure for extent in tags.values())
    exact = sure and (size.exact or compiled.final is None)
    most = max(sum(extent.shards or workers for extent in tags.values()), read.shards or workers)  # units of the pass over the tags, of that over the rows
    return replace(
        size,
        rows=rows,
        shuffle=shuffle,
        memory=_plus(size.memory, memory),
        disk=shuffle,
        workers=min(workers, most),
        sure=sure,
        exact=exact,
        mend="`workers: 1` in the env",
    )


def _reduced(size: Size, declared: Sizes | None, distributed: bool) -> Size:
    """One process holds all; a form that an engine distributes is not bound to it."""
    if declared is None:
        return Size(None, size.shuffle, None, 0, size.disk, 1, size.sure, False)
    mend = "a larger machine, fewer rows, or `engine: spark` where the step has a distributed form"
    memory = _plus(size.memory, declared.rows * declared.width + declared.text)
    return replace(
        size,
        rows=declared.rows,
        memory=memory,
        workers=1,
        exact=size.exact and not declared.at_most,
        limited=not distributed,
        mend=mend,
        spare=size.spare + round(declared.text * GUESS),
    )


def _grouped(size: Size, declared: Sizes | None, taken: Extent, buckets: int, workers: int, spark: bool, alone: bool = False) -> Size:
    """Each shard is scattered by one worker, each bucket sorted by one; Spark sorts and spills in its own executors."""
    if declared is None:
        return Size(None, None, None, None, None, workers, size.sure, False)
    shuffle = declared.rows * declared.width + declared.text
    groups = declared.groups or declared.rows
    bucket = max(shuffle / buckets, shuffle / max(groups, 1))  # all rows of a group are in one bucket
    row = shuffle / max(declared.rows, 1)
    chunk = min(CHUNK_ROWS * row, CHUNK_ROWS * declared.width + CHUNK_BYTES)  # whole groups are given to the step in chunks of this many rows and bytes
    chunk = min(bucket, max(chunk, shuffle / groups if declared.groups else 0))
    gather = min(SORT, 2 * bucket) + COPIES * chunk
    share = 1.0 if taken.largest is None or not taken.rows else taken.largest / taken.rows
    scatter = 0 if spark else COPIES * share * shuffle
    unit = "more `groups` of the step" if declared.groups and declared.groups <= buckets else "more `buckets` in the recipe"
    machine = ", fewer `workers` in the env, `engine: spark`, or a larger machine"
    passes = [
        (0, size.workers, size.mend),  # over tags
        (scatter, min(workers, taken.shards or workers), f"smaller shards of the input{machine}"),
        (gather, min(workers, buckets, groups or 1), f"{unit}{machine}"),
    ]
    most, at_once, mend = max(passes, key=lambda one: ((size.memory or 0) + one[0]) * (1 if alone else one[1]))
    spill = round(min(min(workers, buckets) * bucket, shuffle)) if bucket > SORT else 0
    stored = round(declared.rows * declared.width + declared.text / INFLATION)
    guess = GUESS * declared.text / max(shuffle, 1)
    made = replace(
        size,
        rows=declared.rows,
        shuffle=_plus(size.shuffle, shuffle),
        memory=_plus(size.memory, round(most)),
        spill=spill,
        disk=_plus(size.disk, stored + spill),
        workers=at_once,
        exact=size.exact and not declared.at_most,
        mend=mend,
        spare=size.spare + round(most * guess),
        spare_disk=round(spill * guess),
    )
    # shuffle files and spill lie on the disks of Spark's executors
    return replace(made, spill=None, disk=size.disk, limited=False) if spark else made


HEADER = ("rows", "shuffle", "memory", "spill")


def cells(size: Size | None) -> list[str]:
    """One line of `dolma plan` under `HEADER`: a dash where nothing is known, `<=` before what is a bound, nothing where nothing is taken."""
    if size is None:
        return [""] * len(HEADER)
    most = "" if size.exact else "<= "
    sizes = ["-" if value is None else most + human(value) if value else "" for value in (size.shuffle, size.memory, size.spill)]
    return ["-" if size.rows is None else f"{most}{size.rows:,}", *sizes]
