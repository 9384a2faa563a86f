"""Did a trainer serve what its mix planned? The record of a run, checked row by row against an order that is computed again from manifests and seed."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from dolma.core import manifest as manifests
from dolma.core.errors import DataError
from dolma.core.log import logger
from dolma.core.manifest import Manifest

log = logger(__name__)
ROWS, STREAMS = "served/rows.parquet", "served/streams.parquet"
HELD, HELD_ROWS = 4096, 1 << 20  # updates and rows in memory where no epoch bounds them
AGAIN = "train the stage again, `dolma-train run --again`; or restore what it read"
RECORD = pa.schema([("stage", pa.string()), ("update", pa.int32()), ("stream", pa.int32()), ("row", pa.int32())])
PLAN = {"stage": pa.string(), "mix": pa.string(), "number": pa.int64(), "dataset": pa.string(), "stream": pa.string()}
SIZES = {"rows": pa.int64(), "repeats": pa.float64(), "sequences": pa.int64(), "updates": pa.int64(), "epoch_updates": pa.int64()}
VIEW = """CREATE TEMP VIEW served AS
WITH epochs AS (
    SELECT * EXCLUDE (number, rows, repeats, updates, epoch_updates), number AS n,
        unnest(CASE WHEN epoch_updates IS NULL THEN [NULL] ELSE range((updates + epoch_updates - 1) // epoch_updates) END) AS epoch,
        least(updates - epoch * epoch_updates, epoch_updates) / epoch_updates AS ran
    FROM served_streams),
counted AS (
    SELECT stage, stream AS n, (update - 1) // epoch_updates AS epoch, count(*) AS served
    FROM served_rows JOIN (SELECT DISTINCT stage, epoch_updates FROM served_streams) USING (stage) GROUP BY ALL)
SELECT e.* EXCLUDE (n, sequences, epoch, ran), e.epoch, e.sequences, e.ran, coalesce(c.served, 0) AS served
FROM epochs e LEFT JOIN counted c ON e.stage = c.stage AND e.n = c.n AND e.epoch IS NOT DISTINCT FROM c.epoch"""


@dataclass(frozen=True)
class Stream:
    """One stream of a plan: the rows of its shards, and how many of them an epoch serves."""

    dataset: str
    name: str
    source: str
    shards: list[int]
    repeats: float
    content: str

    @property
    def rows(self) -> int:
        """Rows in the shards."""
        return sum(self.shards)

    @property
    def chosen(self) -> int:
        """Rows that one epoch serves: the floor of rows times repeats."""
        return int(self.rows * self.repeats)


@dataclass(frozen=True)
class Line:
    """One line of the comparison; `planned` is None where a stage draws its rows itself (rollouts)."""

    source: str
    stream: str
    rows: int
    repeats: float
    epoch: int
    planned: int | None
    served: int


HEADER = ("source", "stream", "sequences", "of an epoch", "planned", "served", "difference")


def rows(lines: Sequence[Line], *, streams: bool = False) -> list[list[object]]:
    """The rows of a table under `HEADER`: a row a source, or a stream, and the sum."""
    groups: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        groups.setdefault((line.source, line.stream if streams else "all"), []).append(line)
    groups["total", ""] = list(lines)
    made = []
    for (source, stream), mine in groups.items():
        served = sum(line.served for line in mine)
        planned = None if mine[0].planned is None else sum(line.planned or 0 for line in mine)
        sizes = [sum(line.rows for line in mine), sum(line.epoch for line in mine)]
        made.append([source, stream, *sizes, planned, served, None if planned is None else served - planned])
    return made


def recorded(root: Path, known: dict[str, Manifest]) -> dict[str, Manifest]:
    """The runs of `known` that have a record, by the name that their stage has in logs and figures, or their whole name where two would have the same.

    A run whose record is damaged is left out, with a warning: the others can still be asked.
    """
    runs = {name: run for name, run in known.items() if _has_record(run) and _readable(root, run)}
    return {name if name.removeprefix("train/") in runs else name.removeprefix("train/"): run for name, run in runs.items()}


def _readable(root: Path, run: Manifest) -> bool:
    try:
        pq.read_metadata(_file(root, run, ROWS))
        pq.read_table(_file(root, run, STREAMS))
    except (DataError, pa.ArrowException, OSError) as error:
        log.warning("%s", f"{run.dataset} is left out of the views `served`: {str(error).splitlines()[0]}; {manifests.RESTORE}")
        return False
    return True


def _has_record(run: Manifest) -> bool:
    return run.table == "checkpoint" and {ROWS, STREAMS} <= {file.name for file in run.files}


def record(root: Path, runs: dict[str, Manifest]) -> ds.Dataset | pa.Table:
    """Each row that `runs` (stage to run) served, as columns RECORD; of a file nothing is read until its rows are asked for."""
    from pyarrow.fs import LocalFileSystem

    paths = [str(_file(root, run, ROWS)) for run in runs.values()]
    if not paths:
        return RECORD.empty_table()
    stages = [ds.field("stage") == stage for stage in runs]
    return ds.FileSystemDataset.from_paths(
        paths, schema=RECORD, format=ds.ParquetFileFormat(), filesystem=LocalFileSystem(), partitions=stages, root_partition=ds.scalar(True)
    )


def plans(root: Path, runs: dict[str, Manifest], known: dict[str, Manifest]) -> Iterator[list[Any]]:
    """A row a stream that `runs` opened, as columns PLAN and SIZES: `sequences` of it are served in an epoch of `epoch_updates` (None for rollouts).

    A stream has the name that it has now in `known` (see `_Folders`); None where its folder holds another one, and none holds what it held.
    """
    folders: dict[str, _Folders] = {}
    for stage, run in runs.items():
        streams, updates = pq.read_table(_file(root, run, STREAMS)).to_pylist(), run.counts["updates"]
        chosen = [int(one["rows"] * one["repeats"]) for one in streams]
        rows = next(file.rows for file in run.files if file.name == ROWS)
        epoch = None if run.recipe["objective"]["kind"] == "rlvr" else max(sum(chosen) // max(rows // updates, 1), 1)
        for one, sequences in zip(streams, chosen, strict=True):
            dataset, name = one["dataset"], one["stream"]
            if dataset in known:
                there = folders.get(dataset) or folders.setdefault(dataset, _Folders(manifests.contents(known[dataset])))
                name = there.now(one) or (None if name in there.contents else name)
            plan = [stage, _plan_name(run), one["number"], dataset, name]
            yield [*plan, one["rows"], one["repeats"], sequences, updates, epoch]


def _file(root: Path, run: Manifest, name: str) -> Path:
    return manifests.shard(root / run.dataset, next(file for file in run.files if file.name == name), manifests.RESTORE)


class _Folders:
    """The streams of one dataset, by name and by what they hold: a folder may have another name after shards were packed anew."""

    def __init__(self, contents: dict[str, str]) -> None:
        self.contents = contents
        self.names = {content: name for name, content in contents.items()}

    def now(self, row: dict[str, Any]) -> str | None:
        """The name of a recorded stream: by what it held where the record says that, and else the same; None if there is no such stream."""
        name, held = row["stream"], row.get("content")
        if name in self.contents and (not held or held == self.contents[name]):
            return name
        return self.names.get(held) if held else None


def check(root: Path, run: Manifest) -> tuple[list[Line], list[DataError]] | None:
    """Compare the rows that a run served with its plan.

    Every row must be of a stream of the plan. For a stage that reads its data in order, each update must consist of the rows of the order that Streaming
    makes of manifests and seed; so an epoch serves each stream exactly as often as planned, and each sequence floor or ceil of its repeats.

    A stage of rollouts has no such order to compare with: which prompts are drawn depends on what the policy has solved (`no_resampling_pass_rate`), which
    of them are trained on depends on the rewards of their answers (`filter_zero`), and both on its weights at that update. (With both off it would follow
    from the seed and the number of processes, which no manifest has.) What can be checked without generating again is checked: each update is there, once;
    each prompt is a row of the stage's shards; an update has the prompts of its batch with `filter_zero: false`, and else at most batch x max(minibatches
    - 1, 1); the lines add up to the rows of the record, which the manifest counts. That bound is loose: rollouts give an update at most max(batch,
    processes x (minibatches - 1)) prompts, and no manifest has the processes.

    Returns:
        A line a stream and what is wrong, or None for a run without a record (an average; a run older than records).
    """
    if not _has_record(run):
        return None
    try:
        streams = _planned(root, run)
        return _Served(root, run, streams, _places(root, run, streams)).compare()
    except DataError as error:
        return [], [error]


def _places(root: Path, run: Manifest, streams: list[Stream]) -> np.ndarray:
    """For each stream of a record its number in the plan (see `_Folders`)."""
    number = {(one.dataset, one.name): place for place, one in enumerate(streams)}
    contents: dict[str, dict[str, str]] = defaultdict(dict)
    for one in streams:
        contents[one.dataset][one.name] = one.content
    folders = {dataset: _Folders(held) for dataset, held in contents.items()}
    numbers = []
    for row in pq.read_table(root / run.dataset / STREAMS).to_pylist():
        name = folders[row["dataset"]].now(row) if row["dataset"] in folders else None
        if name is None:
            got, expected = f"{row['dataset']}/{row['stream']}", _plan_name(run)
            raise DataError(f"{run.dataset}/{STREAMS}", "a stream was served that the plan has not", got=got, expected=expected, mend=AGAIN)
        numbers.append(number[row["dataset"], name])
    return np.array(numbers, np.int64)


def _plan_name(run: Manifest) -> str:
    return run.recipe["data"]["manifest"]


def _planned(root: Path, run: Manifest) -> list[Stream]:
    """The streams that a run should have read, in the order of its mix."""
    name = _plan_name(run)
    found = manifests.at(root, name)
    command = manifests.maker(run.dataset)
    mend = f"`{command}` trains it again; or restore what it read" if command.startswith("dolma swarm") else AGAIN
    if found.dataset not in (names := [Path(one.name).as_posix() for one in run.inputs]):
        raise DataError(run.dataset, "its manifest does not say what it was trained on", got=", ".join(names), expected=f"input {found.dataset}", mend=mend)
    manifests.check_input(run, found, mend)
    if found.format == "mds":
        return _streams(found, None)
    rates: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for row in manifests.read(root / name).to_pylist():
        rates[row["dataset"]][row["stream"]] = row
    streams = []
    for dataset, rows in rates.items():
        inner = manifests.at(root, dataset)
        held = {stream: row["content"] for stream, row in rows.items() if row["repeats"] > 0 and row.get("content")}
        manifests.check_input(found, inner, f"`{manifests.maker(name)}` plans it again, and what changed is trained again", held)
        streams += _streams(inner, rows)
    return streams


def _streams(found: Manifest, rates: dict[str, dict[str, Any]] | None) -> list[Stream]:
    shards: dict[str, list[int]] = defaultdict(list)
    sources: dict[str, str] = {}
    for file in found.files:
        if file.name.endswith((".mds", ".mds.zstd")):
            stream = file.name.rpartition("/")[0]
            shards[stream].append(file.rows)
            sources[stream] = file.extra.get("source") or stream.partition("/")[0]
    made, held = [], manifests.contents(found)
    for name in shards if rates is None else [one for one in rates if one in shards]:
        row = {"repeats": 1.0, "sequences": None} if rates is None else rates[name]
        one = Stream(found.dataset, name, sources[name], shards[name], row["repeats"], held[name])
        if row["sequences"] is not None and row["sequences"] != one.chosen:
            got, mend = f"{row['repeats']:g} x {one.rows} = {one.chosen}", "plan the mix again"
            raise DataError(f"{found.dataset}/{name}", "the mix plans another number of sequences", got=got, expected=row["sequences"], mend=mend)
        if one.chosen:
            made.append(one)
    return made


class _Served:
    """A record and its plan; a row is known by its number over all planned streams.

    Args:
        place: for each stream of the record, its number in `streams`.
    """

    def __init__(self, root: Path, run: Manifest, streams: list[Stream], place: np.ndarray) -> None:
        self.root, self.run, self.streams, self.place = root, run, streams, place
        self.sizes = np.array([one.rows for one in streams], np.int64)
        self.starts = np.cumsum([0, *self.sizes])
        self.where = f"{run.dataset}/{ROWS}"

    def compare(self) -> tuple[list[Line], list[DataError]]:
        """A line a stream, and what differs from the plan."""
        served, errors = np.zeros(len(self.streams), np.int64), list[DataError]()
        planned: np.ndarray | None = None
        if self.run.recipe["objective"]["kind"] == "rlvr":
            errors = self.drawn(served)
        else:
            planned = np.zeros_like(served)
            errors = self.in_order(served, planned)
        lines = [
            Line(one.source, f"{one.dataset}/{one.name}", one.rows, one.repeats, one.chosen, None if planned is None else int(planned[i]), int(served[i]))
            for i, one in enumerate(self.streams)
        ]
        return lines, errors

    def in_order(self, served: np.ndarray, planned: np.ndarray) -> list[DataError]:
        """What differs from the order of the plan, epoch by epoch; adds to `served` and `planned` what it counts."""
        from dolma.io import mds

        update, seed = self.rows_of_update(), self.run.recipe["data"]["seed"]
        shards, chosen = [one.shards for one in self.streams], [one.chosen for one in self.streams]
        length = sum(chosen) // update
        if length < 1:
            raise DataError(_plan_name(self.run), "one update is larger than an epoch", got=update, expected=f"at most {sum(chosen)}", mend=AGAIN)
        most = np.repeat(np.ceil([one.repeats for one in self.streams]).astype(np.int64), self.sizes)
        errors: list[DataError] = []
        first, others = None, 0
        for epoch, (steps, index) in enumerate(self.updates(length)):
            sizes = np.unique(steps, return_counts=True)[1]
            expected = mds.order(shards, chosen, update=update, seed=seed, epoch=epoch)[: len(sizes)]
            served += self.by_stream(index)
            planned += self.by_stream(expected.ravel())
            times = np.bincount(index, minlength=len(most))
            if (over := np.flatnonzero(times > most)).size:
                at = int(over[0])
                what = f"{over.size} sequences were served more often in epoch {epoch} than their repeats allow"
                errors.append(DataError(self.where, what, got=f"{self.row(at)}: {times[at]}", expected=int(most[at]), mend=AGAIN))
            if (odd := np.flatnonzero(sizes != update)).size:
                where = f"{self.where}: update {steps[0] + odd[0]}"
                errors.append(DataError(where, "an update has another number of rows", got=int(sizes[odd[0]]), expected=update, mend=AGAIN))
                break
            rows = index.reshape(-1, update)
            wrong = np.flatnonzero((np.sort(rows) != np.sort(expected)).any(1))
            if wrong.size and first is None:
                first = int(steps[0] + wrong[0]), rows[wrong[0]], expected[wrong[0]]
            others += wrong.size
        return errors if first is None else [*errors, self.other(*first, others - 1, mds.version())]

    def drawn(self, served: np.ndarray) -> list[DataError]:
        """What cannot be of a stage that draws its prompts itself (see `check`); adds to `served` what it counts."""
        settings, update = self.run.recipe["objective"], self.rows_of_update()
        every, most = not settings["filter_zero"], update * max(settings["minibatches"] - 1, 1)  # a round of fewer groups than minibatches is one update
        errors: list[DataError] = []
        for steps, index in self.updates(HELD):
            served += self.by_stream(index)
            numbers, sizes = np.unique(steps, return_counts=True)
            if not errors and (odd := np.flatnonzero(sizes != update if every else sizes > most)).size:
                where, expected = f"{self.where}: update {numbers[odd[0]]}", update if every else f"at most {most}"
                errors.append(DataError(where, "an update has another number of prompts", got=int(sizes[odd[0]]), expected=expected, mend=AGAIN))
        return errors

    def rows_of_update(self) -> int:
        batch = self.run.recipe["batch"]
        return batch["sequences"] or batch["tokens"] // manifests.load(self.root / self.streams[0].dataset).facts["sequence_tokens"]

    def other(self, update: int, got: np.ndarray, expected: np.ndarray, more: int, version: str) -> DataError:
        sides = np.setdiff1d(got, expected), np.setdiff1d(expected, got)
        shown = [", ".join(map(self.row, side[:3].tolist())) or "the same rows, one more often" for side in sides]
        what = "it has other rows than the plan" + (f", and so have {more} more updates" if more else "")
        if (by := self.run.code.get("streaming")) != version:
            what += f"; Streaming {by} served it and {version} checks it: they may order rows in different ways"
        return DataError(f"{self.where}: update {update}", what, got=shown[0], expected=shown[1], mend=AGAIN)

    def row(self, index: int) -> str:
        number = int(np.searchsorted(self.starts, index, side="right")) - 1
        return f"{self.streams[number].name}#{index - self.starts[number]}"

    def by_stream(self, index: np.ndarray) -> np.ndarray:
        return np.bincount(np.searchsorted(self.starts, index, side="right") - 1, minlength=len(self.streams))

    def updates(self, length: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(update, row) of each `length` updates, and of the rest.

        Raises:
            DataError: a row is of no stream, or an update is missing or comes twice.
        """
        steps, index = np.empty(0, np.int64), np.empty(0, np.int64)
        last, first = 0, 1
        for batch in pq.ParquetFile(self.root / self.run.dataset / ROWS).iter_batches(HELD_ROWS):
            step, number, row = (batch.column(name).to_numpy().astype(np.int64) for name in ("update", "stream", "row"))
            gaps = np.diff(step, prepend=last)
            if (bad := np.flatnonzero((gaps < 0) | (gaps > 1))).size:
                at = int(bad[0])
                got, expected = f"update {step[at]}", f"{step[at] - gaps[at]} or the one after it"
                raise DataError(self.where, "an update is missing, or comes twice", got=got, expected=expected, mend=AGAIN)
            known = (number >= 0) & (number < len(self.place))
            stream = self.place[np.where(known, number, 0)]
            if (bad := np.flatnonzero(~known | (row < 0) | (row >= self.sizes[stream]))).size:
                at = int(bad[0])
                got = f"stream {number[at]}, row {row[at]}"
                raise DataError(f"{self.where}: update {step[at]}", "there is no such row", got=got, expected="a row of the plan", mend=AGAIN)
            steps, index, last = np.concatenate([steps, step]), np.concatenate([index, self.starts[stream] + row]), int(step[-1])
            while last >= first + length:  # the updates before the last one are whole
                cut = int(np.searchsorted(steps, first + length))
                yield steps[:cut], index[:cut]
                steps, index, first = steps[cut:], index[cut:], first + length
        if last != self.run.counts["updates"]:
            raise DataError(self.where, "the record ends at another update than the run", got=last, expected=self.run.counts["updates"], mend=AGAIN)
        if len(steps):
            yield steps, index
