"""What a unit cost: CPU seconds by step, for `run.jsonl` beside a manifest, never in it; and the family of rules that a drop belongs to.

A unit is one thread, so one clock does: at each border the time since the last border goes to the step that just ran, and nothing is left over.
"""

import json
import os
import resource
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa

from dolma import table
from dolma.core.errors import DolmaError
from dolma.core.recipe import Bound, Compiled

TICK = os.sysconf("SC_CLK_TCK")
WRITE = "write"  # rows into files, and their hashes
SHUFFLE = "shuffle"  # rows into buckets, and sorted out of them


class Clock:
    """CPU seconds that one unit spent, by step."""

    def __init__(self) -> None:
        self.cpu: Counter[str] = Counter()
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
        for thread in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{thread}/children") as file:
                children = file.read().split()
            for child in children:
                with open(f"/proc/{child}/stat", "rb") as file:
                    ticks += sum(map(int, file.read().rpartition(b")")[2].split()[11:15]))  # utime, stime, cutime, cstime: proc(5)
    except OSError:  # no /proc, or a thread that has just ended: the next call counts what this one misses
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


def collect(folder: Path, tasks: dict[str, str]) -> dict[str, Any]:
    """The costs of all units that were made since the dataset was last finished, by `pass/unit`.

    Args:
        tasks: the task of each unit (`map/00000`), as its record has it; costs of another task are of another dataset.
    """
    found = {}
    for name, task in sorted(tasks.items()):
        try:
            value = json.loads(path(folder, *name.split("/")).read_bytes())
        except (FileNotFoundError, ValueError):
            continue
        if value.pop("task") == task:
            found[name] = value
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
