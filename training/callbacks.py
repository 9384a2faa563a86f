"""What happens around the updates: run.jsonl and progress, checkpoints, and state that autoresume must carry. Imports Composer: import it late."""

import json
import math
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from composer import Callback, Logger, State

from dolma.core.files import write_atomic
from dolma.core.log import logger
from training import checkpoint, served
from training.model import Olmo3
from training.optim import SkipStepAdamW

log = logger("train")


class Carried(Protocol):
    """Something with a state that belongs to the position in the run."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Carry(Callback):
    """Puts the history of the optimiser, the token count and the state of a rollout source into Composer's checkpoint."""

    def __init__(self, optimizer: SkipStepAdamW, seen: dict[str, int], feed: Carried | None = None) -> None:
        self.optimizer, self.seen, self.feed = optimizer, seen, feed

    def state_dict(self) -> dict[str, Any]:
        return {"history": self.optimizer.history(), "seen": dict(self.seen), "feed": self.feed.state_dict() if self.feed else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimizer.load_history(state["history"])
        self.seen.update(state["seen"])
        if self.feed:
            self.feed.load_state_dict(state["feed"])


class Rate(Callback):
    """Sets the learning rate of each update from its number (Composer's own schedulers step before the count does, so one value would come twice)."""

    def __init__(self, optimizer: SkipStepAdamW, peak: float, share: Callable[[int], float]) -> None:
        self.optimizer, self.peak, self.share = optimizer, peak, share

    def batch_start(self, state: State, logger: Logger) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.peak * self.share(state.timestamp.batch.value)


class Save(Callback):
    """Writes the weights every so many updates, and the moments with the last ones."""

    def __init__(self, run: Path, model: Olmo3, optimizer: SkipStepAdamW, every: int, total: int) -> None:
        self.run_folder, self.model, self.optimizer, self.every, self.total = run, model, optimizer, every, total

    def batch_end(self, state: State, logger: Logger) -> None:
        step = state.timestamp.batch.value
        if step == self.total or step % self.every == 0:
            checkpoint.write(self.run_folder, step, self.model, self.optimizer if step == self.total else None)


class Serve(Callback):
    """Notes the rows of each update, whatever becomes of it, and writes them before each checkpoint.

    Args:
        rows: of one update over all processes.
        answers: rows of a batch that one row of the data gives (rollouts of a prompt).
    """

    def __init__(self, record: served.Record, every: int, total: int, rows: int, answers: int = 1) -> None:
        self.record, self.every, self.total, self.answers = record, every, total, answers
        self.most = max(served.GROUP // rows, 1)

    def fit_start(self, state: State, logger: Logger) -> None:
        self.record.resume(state.timestamp.batch.value)

    def batch_start(self, state: State, logger: Logger) -> None:
        self.record.add(state.timestamp.batch.value + 1, state.batch["index"][:: self.answers].cpu().numpy())

    def batch_end(self, state: State, logger: Logger) -> None:
        step = state.timestamp.batch.value
        if step == self.total or step % self.every == 0 or step % self.most == 0:
            self.record.flush()


class Watch(Callback):
    """Writes one line a step to run.jsonl, and progress with rate and time to go to the log."""

    def __init__(self, path: Path, stage: str, total: int, optimizer: SkipStepAdamW, seen: dict[str, int], said: dict[str, Any]) -> None:
        self.path, self.stage, self.total, self.optimizer, self.seen, self.said = path, stage, total, optimizer, seen, said
        self.start = self.spoken = self.before = time.monotonic()
        self.first, self.tokens = 0, 0
        self.live = sys.stderr.isatty()
        self.index = 0

    def fit_start(self, state: State, logger: Logger) -> None:
        self.first = state.timestamp.batch.value
        kept = [line for line in _lines(self.path) if line.get("step", 0) <= self.first]  # what was logged after the last checkpoint is done again
        write_atomic(self.path, "".join(json.dumps(line) + "\n" for line in kept).encode())
        if self.first:
            log.info("%s resumes after update %d of %d", self.stage, self.first, self.total)
        self.start = self.spoken = self.before = time.monotonic()
        self.tokens = self.seen["tokens"]

    def batch_start(self, state: State, logger: Logger) -> None:
        self.index = zlib.crc32(repr(state.batch["index"].tolist()).encode())

    def batch_end(self, state: State, logger: Logger) -> None:
        now, step = time.monotonic(), state.timestamp.batch.value
        rate = (self.seen["tokens"] - self.tokens) / max(now - self.before, 1e-6)
        self.before, self.tokens = now, self.seen["tokens"]
        line = {
            "step": step,
            "tokens": self.seen["tokens"],
            "loss": self.optimizer.loss,
            "lr": self.optimizer.rate,
            "grad_norm": self.optimizer.grad_norm,
            "skipped": self.optimizer.skipped,
            "batch": f"{self.index:08x}",
            **{name: float(value) for name, value in self.said.items()},
            "tokens_per_second": round(rate, 1),
        }
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in line.items()}) + "\n")
        self._speak(step, now)

    def _speak(self, step: int, now: float) -> None:
        pause = 0.5 if self.live else 30
        if now - self.spoken < pause and step != self.total:
            return
        self.spoken = now
        left = (now - self.start) / (step - self.first) * (self.total - step)
        rate = (step - self.first) / (now - self.start)
        text = f"{self.stage} {step}/{self.total}  loss {self.optimizer.loss:.3f}  {rate:.1f} updates/s  eta {int(left) // 60}:{int(left) % 60:02d}"
        if self.live:
            sys.stderr.write(f"\r\x1b[K{text}" + ("\n" if step == self.total else ""))
            sys.stderr.flush()
        else:
            log.info(text)


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:  # the last line of a killed run
            break
    return found
