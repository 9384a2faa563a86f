"""The runs of a swarm, several at once: each process of `dolma-train many` takes the next run as soon as it is done with one."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Any

from dolma.console import short
from dolma.core import manifest as manifests
from dolma.core.errors import DataError, EnvironmentFault, Partial
from dolma.core.graph import stage_fingerprint, stage_inputs, training_fingerprint
from dolma.core.log import Progress, logger
from dolma.swarm.mixes import fresh

log = logger(__name__)


@dataclass(frozen=True)
class Job:
    """A run to train: the dataset that it writes, its stage, and the tokens that it sees; `mix` is the fingerprint that its mix will have, or that which is
    there."""

    name: str
    stage: dict[str, Any]
    tokens: int
    mix: str | None = None

    @property
    def _known(self) -> dict[str, str]:
        return {} if self.mix is None else {self.stage["data"]["manifest"]: self.mix}

    def _there(self, root: Path) -> bool:
        return manifests.exists(root / self.name) and (self.mix is not None or manifests.exists(root / self.stage["data"]["manifest"]))

    def fingerprint(self, root: Path) -> str:
        """What the finished run must have."""
        return stage_fingerprint(self.stage, stage_inputs(self.stage, root), root, known=self._known)

    def fresh(self, root: Path) -> bool:
        """Whether it is done, as it is now."""
        return self._there(root) and fresh(root, self.name, self.fingerprint(root))

    def trained(self, root: Path) -> bool:
        """Whether there is nothing to train: the run is done, though what it is measured on may have changed since."""
        if not self._there(root):
            return False
        made = manifests.load(root / self.name)
        return made.facts.get("training") == training_fingerprint(self.stage, root, self._known) and fresh(root, self.name, made.fingerprint)


class Rate(Progress):
    """Progress over runs: how many, tokens a second, time to go."""

    def line(self) -> str:
        """`swarm/sources 17/36 runs  31.2K tokens/s  eta 5:10`."""
        seconds = max(time.monotonic() - self.start, 1e-3)
        left = int(seconds / max(self.done, 1) * (self.total - self.done))
        return f"{self.what} {self.done}/{self.total} runs  {short(self.rows / seconds)} tokens/s  eta {left // 60}:{left % 60:02d}"


@dataclass
class Trainer:
    """Processes that train.

    Args:
        root: of all datasets.
        base: the project, whose `training` package is run.
        python: the interpreter.
        workers: processes at once; each takes one core.
    """

    root: Path
    base: Path
    python: str = sys.executable
    workers: int = 2
    _live: list[subprocess.Popen[str]] = field(default_factory=list, init=False)
    _stop: threading.Event = field(default_factory=threading.Event, init=False)

    def train(self, what: str, jobs: Sequence[Job], done: Callable[[Job, float], None]) -> None:
        """Train all jobs, in their order as processes become free.

        Args:
            what: the name in the lines of progress.
            done: called with each finished job and its seconds.
        Raises:
            Partial: a process ended; what is done is kept.
            DataError: a run made something else than was asked.
        """
        if not jobs:
            return
        queue, progress, guard = SimpleQueue[Job](), Rate(what, len(jobs)), threading.Lock()
        for job in jobs:
            queue.put(job)

        def finished(job: Job, seconds: float) -> None:
            with guard:
                done(job, seconds)
                progress.advance(job.tokens, 0)

        self._stop.clear()
        pool = ThreadPoolExecutor(min(self.workers, len(jobs)))
        try:
            running = [pool.submit(self._work, queue, finished) for _ in range(min(self.workers, len(jobs)))]
            wait(running, return_when=FIRST_EXCEPTION)
            self._stop.set()
            for one in running:
                one.result()
        finally:
            self._stop.set()
            for process in self._live:
                process.terminate()
            pool.shutdown()
            progress.close()

    def _work(self, queue: "SimpleQueue[Job]", finished: Callable[[Job, float], None]) -> None:
        process = self._start()
        assert process.stdin and process.stdout
        try:
            while not self._stop.is_set():
                try:
                    job = queue.get_nowait()
                except Empty:
                    break
                seconds = self._ask(process, process.stdin, process.stdout, job)
                finished(job, seconds)
        finally:
            with suppress(BrokenPipeError):  # of a process that died: it would hide what is raised, and look like a reader that has enough
                process.stdin.close()
            process.wait()
            process.stdout.close()

    def _start(self) -> subprocess.Popen[str]:
        path = os.pathsep.join(filter(None, [str(self.base), os.environ.get("PYTHONPATH", "")]))
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        command = [self.python, "-m", "training.cli", "many", "--root", str(self.root)]
        try:
            process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8")
        except OSError as error:
            raise EnvironmentFault(
                "swarm", f"cannot start {self.python}", got=error.strerror, expected="an interpreter", mend="mend `python` in the env"
            ) from error
        self._live.append(process)
        return process

    def _ask(self, process: subprocess.Popen[str], questions: IO[str], answers: IO[str], job: Job) -> float:
        """Have one run trained; its seconds."""
        try:
            questions.write(json.dumps({"stage": job.stage, "out": job.name}) + "\n")
            questions.flush()
            answer = answers.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            code = process.wait()
            raise Partial(
                job.name, "the run did not finish", got=f"exit {code}", expected="0", mend="the lines above say why; the same command goes on from what is done"
            )
        if not job.fresh(self.root):
            mend = "a file changed during the run; run again"
            raise DataError(job.name, "the run made something else", got=answer.strip()[:120], expected=job.fingerprint(self.root)[:16], mend=mend)
        return float(json.loads(answer)["seconds"])
