"""CPU seconds of whole processes: user and system time of a command and of every process that it started."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from threading import Timer

from dolma.core.errors import EnvironmentFault

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER
_PATIENCE = 10.0  # seconds that children may go on after their parent's end before they are killed


@dataclass(frozen=True)
class Usage:
    """What a command and every process that it started took: CPU seconds, seconds of wall time, bytes of the largest of the processes at its peak."""

    cpu: float
    wall: float
    peak: int


def cpu_seconds(command: Sequence[str], *, where: str, log: Path, env: Mapping[str, str], cwd: Path, limit: float = 3600) -> float:
    """The CPU seconds of `usage`."""
    return usage(command, where=where, log=log, env=env, cwd=cwd, limit=limit).cpu


def usage(command: Sequence[str], *, where: str, log: Path, env: Mapping[str, str], cwd: Path, limit: float = 3600) -> Usage:
    """Run `command` and return what it used, its children included; its two output streams go to `log`.

    A child that outlives its parent (Spark's JVM) would be inherited and reaped by init, and its time lost: this process inherits and counts it.

    Raises:
        EnvironmentFault: it ended with another code than 0, or ran longer than `limit` seconds of wall time; the end of its output is in the message.
    """
    _inherit(True)
    start = time.monotonic()
    try:
        with log.open("wb") as out:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=env, cwd=cwd, start_new_session=True)
        timer = Timer(limit, _kill, [process.pid])
        timer.start()
        try:
            _, status, used = os.wait4(process.pid, 0)
        except BaseException:
            _kill(process.pid)
            raise
        finally:
            timer.cancel()
        wall = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)  # reaped here: Popen must not wait for it again
        seconds = used.ru_utime + used.ru_stime + _orphans(process.pid)
    finally:
        _inherit(False)
    if process.returncode:
        tail = log.read_text(errors="replace")[-2000:].strip()
        raise EnvironmentFault(where, f"ended with exit code {process.returncode}", got=tail or "no output", expected="exit 0", mend=f"its output is {log}")
    return Usage(seconds, wall, used.ru_maxrss * (1 if sys.platform == "darwin" else 1024))  # of the largest process below it: getrusage(2)


def _inherit(on: bool) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SUBREAPER, int(on), 0, 0, 0)


def _kill(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def _orphans(group: int) -> float:
    """CPU seconds of the members of a process group that this process has inherited; those that do not end are killed."""
    seconds, end = 0.0, time.monotonic() + _PATIENCE
    while True:
        try:
            pid, _, used = os.wait4(-group, os.WNOHANG)
        except ChildProcessError:
            return seconds
        if pid:
            seconds += used.ru_utime + used.ru_stime
            continue
        if time.monotonic() > end:
            _kill(group)
        time.sleep(0.02)


def spread(runs: Sequence[float]) -> float:
    """The relative spread of repeated runs: (largest - smallest) / median. A row names the larger one of its two sides."""
    middle = median(runs)
    return (max(runs) - min(runs)) / middle if middle else 0.0
