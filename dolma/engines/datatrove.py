"""The engine `datatrove`: its executors, our units. On one machine under a pool of our own that survives a worker's death; Slurm and Ray as they are.

The stock local pool hangs for ever when a worker is killed, stops at the first failure, and its completions name ranks, not work. So it only
carries ranks here; what is done is read from shard records, and each unit's error comes back as a value.
"""

import ctypes
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from dolma.core.config import Env
from dolma.core.errors import DataError, DolmaError, EnvironmentFault, Partial
from dolma.engines.worker import try_unit

Result = tuple[int, DolmaError | None]


def _start(parent: int) -> None:
    """A worker ignores Ctrl+C (the parent stops it) and dies with its parent, so that a killed run leaves no orphan at work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)


def _task(path: str, kind: str, indices: Sequence[int], attempt: str) -> list[Result]:
    return [(index, error) for index, _, error in (try_unit(path, kind, index, attempt) for index in indices)]


class Datatrove:
    """Runs units in processes of this machine, or hands them to Slurm or Ray."""

    def __init__(self, env: Env) -> None:
        self.env = env
        self.pool: ProcessPoolExecutor | None = None

    def run(self, path: Path, kind: str, indices: Sequence[int], attempt: str) -> Iterator[Result]:
        """Run these units of a pass, in any order; (index, error or None) as they finish. May lose some: the caller reads the records."""
        if self.env.scheduler != "local":
            yield from self._submit(path, kind, indices, attempt)
            return
        tasks = [list(part) for part in _cut(indices, self.env.tasks or len(indices))]
        if self.env.workers == 1:
            for task in tasks:
                yield from _task(str(path), kind, task, attempt)
            return
        try:
            lost = yield from self._pooled(path, kind, tasks, attempt)
        except (KeyboardInterrupt, GeneratorExit):
            self.close(kill=True)
            raise
        for index in (one for task in lost for one in task):
            yield self._alone(path, kind, index, attempt)

    def _pooled(self, path: Path, kind: str, tasks: list[list[int]], attempt: str) -> Iterator[Result]:
        """Run tasks in the pool; returns the tasks whose worker died."""
        if self.pool is None:
            self.pool = self._fresh(self.env.workers)
        waiting: dict[Future[list[Result]], list[int]] = {self.pool.submit(_task, str(path), kind, task, attempt): task for task in tasks}
        lost = []
        for future in as_completed(waiting):
            try:
                yield from future.result()
            except BrokenProcessPool:
                lost.append(waiting[future])
        if lost:
            self.close(kill=True)
        return lost

    def _alone(self, path: Path, kind: str, index: int, attempt: str) -> Result:
        """A unit in a process of its own, so that the one that kills its worker is found and the others go on."""
        with self._fresh(1) as pool:
            try:
                return pool.submit(_task, str(path), kind, [index], attempt).result()[0]
            except BrokenProcessPool:
                return index, DataError(
                    f"{path.parent.parent.name} {kind} {index}",
                    "this unit kills its worker",
                    got="a dead process (out of memory, or a crash in native code)",
                    expected="a record",
                    mend="give the machine more memory or cut the input into smaller units; the other units are kept",
                )

    def _fresh(self, workers: int) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start, initargs=(os.getpid(),))

    def close(self, kill: bool = False) -> None:
        """Stop the workers; with `kill` at once."""
        pool, self.pool = self.pool, None
        if pool is None:
            return
        if kill:
            for process in list((pool._processes or {}).values()):
                process.kill()
        pool.shutdown(wait=True, cancel_futures=True)

    def _submit(self, path: Path, kind: str, indices: Sequence[int], attempt: str) -> Iterator[Result]:
        """Hand the units to datatrove's Slurm or Ray executor. Slurm returns at submission: the run ends with 5 and the same command goes on later."""
        executor, step = _executor(self.env, path, kind, indices, attempt)
        if self.env.scheduler == "slurm" and (failed := [result for result in step.results() if result[1] is not None]):
            for index, _ in failed:  # told once: the same command then submits these units again
                _errors(path, kind).joinpath(f"{index}.json").unlink()
            yield from failed
            return
        executor.run()
        if self.env.scheduler == "slurm":
            raise Partial(
                f"{path.parent.parent}",
                f"{len(indices)} units of pass {kind} are submitted to Slurm",
                mend="run the same command again when the jobs have ended: it resumes",
            )
        yield from step.results()


def _cut(indices: Sequence[int], tasks: int) -> Iterator[Sequence[int]]:
    """Indices dealt out to tasks, every task non-empty."""
    tasks = min(tasks, len(indices))
    for rank in range(tasks):
        yield indices[rank::tasks]


def _executor(env: Env, path: Path, kind: str, indices: Sequence[int], attempt: str) -> tuple[Any, Any]:
    """datatrove's executor with one pipeline block: the units of its rank."""
    try:
        from datatrove.executor import RayPipelineExecutor, SlurmPipelineExecutor
        from datatrove.pipeline.base import PipelineStep
    except ImportError as error:
        raise EnvironmentFault(f"engine datatrove, scheduler {env.scheduler}", "datatrove is not installed", mend="pip install 'dolma-flow[web]'") from error

    class Units(PipelineStep):
        """Runs the units of its rank; errors stand in files, since executors lose them."""

        name = "dolma units"

        def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Any:
            for index in indices[rank::world_size]:  # what an earlier attempt said does not hold for this one
                _errors(path, kind).joinpath(f"{index}.json").unlink(missing_ok=True)
            for index, error in _task(str(path), kind, indices[rank::world_size], attempt):
                if error is not None:
                    _errors(path, kind).joinpath(f"{index}.json").write_text(json.dumps(str(error)))
            yield from ()

        def results(self) -> Iterator[Result]:
            for index in indices:
                file = _errors(path, kind) / f"{index}.json"
                text = json.loads(file.read_text()) if file.is_file() else None
                yield index, DataError(f"{kind} {index}", text, mend="mend the input; the other units are kept") if text else None

    units = Units()
    logs = str(path.parent / "datatrove" / attempt)
    if env.scheduler == "ray":
        return RayPipelineExecutor([units], tasks=min(env.tasks or len(indices), len(indices)), workers=env.workers, logging_dir=logs), units
    options = {"time": "04:00:00", "partition": "cpu", "qos": "normal", **env.slurm}
    tasks = min(env.tasks or len(indices), len(indices))
    return SlurmPipelineExecutor([units], tasks=tasks, workers=env.workers, job_name=f"dolma-{kind}", logging_dir=logs, **options), units  # type: ignore[arg-type]


def _errors(path: Path, kind: str) -> Path:
    folder = path.parent / "errors" / kind
    folder.mkdir(parents=True, exist_ok=True)
    return folder
