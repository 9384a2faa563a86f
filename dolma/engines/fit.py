"""Whether the sizes of a dataset's passes fit: the memory and the disk that a run may take, what is refused, and what is only warned of.

Only what certainly does not fit is refused: a bound, or an estimate of text that is too large, must not keep a run from what it can do.
"""

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dolma.console import size as human
from dolma.core.config import Env
from dolma.core.errors import DolmaError, EnvironmentFault, Errors
from dolma.core.log import logger
from dolma.engines.sizes import Size

log = logger(__name__)


@dataclass(frozen=True)
class Room:
    """Bytes that a run may take: memory of one machine, None where it is another's, and disk below the root."""

    memory: int | None
    disk: int


def room(env: Env, root: Path) -> Room:
    """What this machine and the env allow; the memory of machines behind a scheduler is what the env says of it."""
    memory = env.memory if env.scheduler != "local" or env.memory is not None else memory_here()
    while not root.exists():
        root = root.parent
    return Room(memory, env.disk if env.disk is not None else shutil.disk_usage(root).free)


def memory_here(groups: Path = Path("/sys/fs/cgroup"), mine: Path = Path("/proc/self/cgroup")) -> int:
    """Bytes of memory of this machine, or what its control groups (v1 and v2) leave to this process if that is less."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    try:
        below = mine.read_text().splitlines()[-1].rsplit(":", 1)[-1].strip("/")
    except (OSError, IndexError):
        below = ""
    folders = [groups, groups / "memory", *(groups / Path(*Path(below).parts[: n + 1]) for n in range(len(Path(below).parts)))]
    for path in (folder / name for folder in folders for name in ("memory.max", "memory.limit_in_bytes")):
        try:
            found.append(int(path.read_text()))
        except (OSError, ValueError):  # no such group, or `max`
            continue
    return min(found)


def faults(name: str, size: Size, room: Room, env: Env, folder: Path) -> list[DolmaError]:
    """Why the passes of `name` cannot fit: nothing where they can, or where they may, since only a bound is known."""
    return [fault for fault, certain in _unfit(name, size, room, env, folder) if certain]


def doubts(name: str, size: Size, room: Room, env: Env, folder: Path) -> list[str]:
    """A line for each bound that does not fit: the passes may take less, so they are not refused."""
    unsure = [fault for fault, certain in _unfit(name, size, room, env, folder) if not certain]
    return [f"{name}: {fault.what}: at most {fault.got}, there is {fault.expected}; if it fails: {fault.mend}" for fault in unsure]


def _unfit(name: str, size: Size, room: Room, env: Env, folder: Path) -> list[tuple[EnvironmentFault, bool]]:
    """What does not fit, and whether that is certain."""
    found: list[tuple[EnvironmentFault, bool]] = []

    def say(of: str, need: int, spare: int, there: int, got: str, below: str, mend: str) -> None:
        if need > there:
            certain = size.sure and size.exact and need - spare > there
            expected = f"{'at most ' if certain else ''}{human(there)}{below}"
            found.append((EnvironmentFault(name, f"{'does' if certain else 'may'} not fit {of}", got=got, expected=expected, mend=mend), certain))

    processes = size.workers if env.scheduler == "local" else 1
    if size.limited and size.memory is not None and room.memory is not None:
        got = f"{human(size.memory)} in each of {processes} processes" if processes > 1 else human(size.memory)
        say("into the memory", size.memory * processes, size.spare * processes, room.memory, got, "", f"{size.mend}; or say in the env what it has: `memory`")
    free = room.disk + (_held(folder / ".work") if env.disk is None else 0)  # what an interrupted run has left there is part of what it takes
    if size.disk is not None:
        mend = "another `root` in the env, on a larger disk; or `engine: spark`, which shuffles on the disks of its executors"
        say("on the disk", size.disk, size.spare_disk, free, f"{human(size.disk)} of shuffle and spill", f" below {folder.parent}", mend)
    return found


def _held(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0


def refuse(found: Sequence[DolmaError]) -> None:
    """Raise what does not fit, or cannot be planned, if anything.

    Raises:
        EnvironmentFault: exit code 4; ConfigError of a mix: 2 (or Errors with all of them, and the code of the first).
    """
    if found:
        raise found[0] if len(found) == 1 else Errors(found)


def weigh(name: str, size: Size | None, env: Env, root: Path) -> None:
    """Refuse what cannot fit; warn of what may not.

    Raises:
        EnvironmentFault: (or Errors with all of them) exit code 4.
    """
    if size is not None:
        asked = (name, size, room(env, root), env, root / name)
        refuse(faults(*asked))
        for line in doubts(*asked):
            log.warning("%s", line)


def legend(found: Iterable[Size | None], room: Room) -> str:
    """What the figures of a plan are, beside what there is; empty without any."""
    shown = [size for size in found if size is not None]
    if not shown:
        return ""
    workers = max(size.workers for size in shown)
    memory = "" if room.memory is None or not any(size.limited for size in shown) else f" ({human(room.memory)} in all)"
    parts = [f"memory: of {'the' if workers == 1 else f'each of up to {workers}'} worker{'s' if workers > 1 else ''}{memory}"]
    parts += ["shuffle: in Arrow, before compression", f"spill: of all workers ({human(room.disk)} free)"]
    if any(not size.exact for size in shown):
        parts.append("<= at most: rows are dropped first, or inputs are still to be made; never refused")
    return "\n".join(parts)
