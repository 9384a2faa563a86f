"""What a unit cost: CPU seconds by step, for `run.jsonl` beside a manifest, never in it; and the family of rules that a drop belongs to.

A unit is one thread, so one clock does: at each border the time since the last border goes to the step that just ran, and nothing is left over.
"""

import json
import os
import resource
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from dolma import table
from dolma.core.errors import DolmaError
from dolma.core.files import disk_errors
from dolma.core.recipe import Bound, Compiled
from dolma.engines.plan import Record

LOG = "run.jsonl"
TICK = os.sysconf("SC_CLK_TCK")
WRITE = "write"  # rows into files, and their hashes
SHUFFLE = "shuffle"  # rows into buckets, and sorted out of them


class Clock:
    """CPU seconds that one unit spent, by step."""

    def __init__(self) -> None:
        self.cpu: defaultdict[str, float] = defaultdict(float)
        self.started, self.last = time.monotonic(), cpu_seconds()

    def lap(self, label: str) -> None:
        """What was spent since the last call, or since the beginning, was spent by `label`."""
        now = cpu_seconds()
        self.cpu[label] += now - self.last
        self.last = now

    def described(self) -> dict[str, Any]:
        """Wall seconds so far and CPU seconds by step."""
        return {"seconds": round(time.monotonic() - self.started, 4), "cpu": {label: round(value, 4) for label, value in self.cpu.items()}}


def cpu_seconds() -> float:
    """CPU seconds of this process with all its threads, of the children it has buried, and of those that live (to 10 ms, on Linux only)."""
    buried = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + buried.ru_utime + buried.ru_stime + _living()


def _living() -> float:
    """CPU seconds of the children that are alive (a PDF engine, say) and of theirs that are buried."""
    ticks = 0
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)  # ChildProcessError when there is none: 2 us, not 40
        for thread in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{thread}/children") as file:
                children = file.read().split()
            for child in children:
                with open(f"/proc/{child}/stat", "rb") as file:
                    ticks += sum(map(int, file.read().rpartition(b")")[2].split()[11:15]))  # utime, stime, cutime, cstime: proc(5)
    except OSError:  # no child, no /proc, or a thread that has just ended: the next call counts what this one misses
        pass
    return ticks / TICK


def path(folder: Path, kind: str, unit: str) -> Path:
    """Where the costs of a unit wait for its dataset to be finished."""
    return folder / ".work" / "cost" / f"{kind}-{unit}.json"


def save(clock: Clock, work: Path, task: str) -> None:
    """Write the costs of a unit into its workplace; its commit moves them to `path`."""
    (work / ".cost.json").write_text(json.dumps({"task": task, **clock.described()}))


def move(work: Path, folder: Path, kind: str, unit: str) -> None:
    """Bring what `save` wrote to its place. It is not flushed: a unit whose costs are lost is one that was not measured."""
    target = path(folder, kind, unit)
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(work / ".cost.json", target)


def collect(folder: Path, records: list[Record]) -> dict[str, Any]:
    """The costs of all units that were made since the dataset was last finished, by `pass/unit`, and how many units it has in all."""
    found = {}
    for record in records:
        try:
            value = json.loads(path(folder, record.kind, record.unit).read_bytes())
        except (FileNotFoundError, ValueError):
            continue
        if value.pop("task") == record.task:  # else it is of an earlier plan
            found[f"{record.kind}/{record.unit}"] = value
    return {"units": len(records), "measured": found}


def log(folder: Path, line: dict[str, Any]) -> None:
    """Add a line to the dataset's `run.jsonl`: one an attempt that finished it."""
    with disk_errors(folder), open(folder / LOG, "a") as file:
        file.write(json.dumps(line) + "\n")


def read(folder: Path, fingerprint: str) -> dict[str, Any] | None:
    """What the attempts that made a dataset measured: its `families`, its `units`, and under `measured` the latest costs of each; None without any."""
    found: dict[str, Any] | None = None
    for text in (folder / LOG).read_text(encoding="utf-8").splitlines() if (folder / LOG).is_file() else []:
        try:
            line = json.loads(text)
        except ValueError:  # a line that was cut by a kill
            continue
        if line.get("fingerprint") == fingerprint and "measured" in line:
            found = {**line, "measured": {**(found["measured"] if found else {}), **line["measured"]}}
    return found


def families(compiled: Compiled) -> dict[str, str]:
    """Which family of rules each step of a recipe belongs to, by label: a step that makes columns is its own family, and a `keep` belongs to the step
    that last made one of the columns it looks at; to the reader, the input or the tag dataset that brought them when no step did.
    """
    read = compiled.reader.label if compiled.reader else "read:input"
    tags = {column: dataset for dataset, columns in compiled.recipe.tags.items() for column in columns}
    maker = {name: tags.get(name, read) for name in compiled.source.names}
    order = [read, *compiled.recipe.tags]
    found, schema = {read: read}, compiled.source
    for bound in compiled.steps:
        if bound.step.kind == "keep":
            makers = [maker[name] for name in table.columns(bound.arguments()["where"], schema)]
            found[bound.label] = max(makers, key=order.index, default=bound.label)
            continue
        after = bound.step.adds(bound.params, schema)
        maker = {name: maker.get(name, bound.label) for name in after.names} | dict.fromkeys(_made(bound, schema, after), bound.label)
        found[bound.label] = bound.label
        order.append(bound.label)
        schema = after
    return found


def _made(bound: Bound, before: pa.Schema, after: pa.Schema) -> list[str]:
    """The columns that a step adds or edits."""
    try:
        return bound.step.adds(bound.params, pa.schema([])).names
    except DolmaError:  # its columns depend on those before
        return [name for name in after.names if name not in before.names]
