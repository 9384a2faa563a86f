"""Measures a pair: the input once, then ours and theirs in turn, each a fresh process with an empty folder to write to."""

import os
import shutil
import sys
from pathlib import Path
from statistics import median

from benchmarks.clock import spread, usage
from benchmarks.environments import python_of, version_of
from benchmarks.pair import Pair, Side
from benchmarks.results import Row

ROOT = Path(__file__).parents[1]
Seconds = tuple[list[float], list[float]]  # of all runs: ours, theirs


def measure(pair: Pair, work: Path) -> Row:
    """The row of `pair`; everything is written below `work`.

    Raises:
        EnvironmentFault: a side failed, or the peer's environment cannot be made.
    """
    python = python_of(pair.peer, work)
    bench = Bench(pair, python, work / "rows" / pair.name)
    notes = [pair.note]
    if pair.prepare and pair.inside:
        inputs = bench.folder("inputs")
        notes.append(f"Input: {pair.prepare(inputs, pair.size)}.")
    elif pair.prepare:
        small, inputs = bench.folder("small"), bench.folder("inputs")
        pair.prepare(small, 0)
        notes.append(f"Input: {pair.prepare(inputs, pair.size)}.")
        bench.run(small, 1)
        start = [median(side) for side in bench.run(small, pair.runs)]
        notes.append(f"Start-up (the same on one text): ours {start[0]:.2f}, theirs {start[1]:.2f} CPU s.")
    else:
        inputs = bench.folder("inputs")
    bench.peaks.clear()
    ours, theirs = bench.run(inputs, pair.runs)
    if pair.memory:
        notes.append("Peak memory of the largest process: " + ", ".join(f"{name} {max(peaks) / 1e6:,.0f} MB" for name, peaks in bench.peaks.items()) + ".")
    if pair.agree:
        notes.append(pair.agree(inputs, bench.base / "ours", bench.base / "theirs"))
    return Row(
        name=pair.name,
        peer=pair.peer.name,
        peer_version=version_of(pair.peer, python),
        unit="CPU ms" if pair.inside else "CPU s",
        ours=round(median(ours) * (1000 if pair.inside else 1), 3),
        theirs=round(median(theirs) * (1000 if pair.inside else 1), 3),
        ratio=round(median(theirs) / median(ours), 2),
        runs=pair.runs,
        spread=round(max(spread(ours), spread(theirs)), 3),
        note=" ".join(notes),
    )


class Bench:
    """The folders and processes of one pair."""

    def __init__(self, pair: Pair, python: Path, base: Path) -> None:
        self.pair, self.base = pair, base
        self.sides = {"ours": (pair.ours, Path(sys.executable)), "theirs": (pair.theirs, python)}
        self.peaks: dict[str, list[int]] = {}  # bytes of each run

    def folder(self, name: str) -> Path:
        """An empty folder."""
        made = self.base / name
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        return made

    def run(self, inputs: Path, runs: int) -> Seconds:
        """CPU seconds of `runs` runs of each side, in turn: a machine that slows down slows both."""
        seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
        for number in range(runs):
            for name, (side, python) in self.sides.items():
                command = _command(side, python, inputs, self.folder(name))
                used = usage(
                    command, where=f"{self.pair.name}: {self._who(name)}", log=self.base / f"{name}.log", env=_environment(python), cwd=self.base / name
                )
                print(f"  {self.pair.name} {inputs.name} {number + 1}/{runs}: {name} {used.cpu:.2f} CPU s", file=sys.stderr, flush=True)
                seconds[name].append(float((self.base / name / "seconds").read_text()) if self.pair.inside else used.cpu)
                self.peaks.setdefault(name, []).append(used.peak)
        return seconds["ours"], seconds["theirs"]

    def _who(self, name: str) -> str:
        return "ours" if name == "ours" else self.pair.peer.name


def _command(side: Side, python: Path, inputs: Path, out: Path) -> list[str]:
    if isinstance(side, tuple):
        return [part.replace("{inputs}", str(inputs)).replace("{out}", str(out)).replace("{python}", str(python)) for part in side]
    return [str(python), "-m", "benchmarks.side", side.__module__, side.__name__, str(inputs), str(out)]


def _environment(python: Path) -> dict[str, str]:
    """One thread a process on both sides, this package importable, the environment's commands found first, and bytecode kept as on any machine."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    path = os.pathsep.join([str(python.parent), os.environ.get("PATH", "")])
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**inherited, **threads, "TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": str(ROOT), "PATH": path}
