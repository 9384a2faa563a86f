"""Many runs in one process, for the proxies of a swarm: they take seconds each, and Composer takes ten to start.

What a run makes does not depend on the runs before it in the process: its seeds are its own (tests/training/test_many.py).
"""

import gc
import json
import logging
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dolma.core.config import Strict, check
from dolma.core.errors import ConfigError
from dolma.core.log import logger
from training.config import checked
from training.plan import plan


class Asked(Strict):
    """One line of the input: the value of a stage file, and the dataset to write."""

    stage: dict[str, Any]
    out: str


def train(root: Path, lines: Iterable[str]) -> None:
    """Train the run of each JSON line as it comes, and answer each with a JSON line on stdout: `run`, `tokens`, `seconds` (0 if it was fresh).

    Raises:
        DolmaError: a line or its run is wrong; runs before it are done.
    """
    from training.run import run

    logger("train").setLevel(logging.WARNING)  # who asks says how far all of them are
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
        for line in filter(str.strip, lines):
            asked, start = check(_parsed(line), Asked, "dolma-train many"), time.monotonic()
            resolved = plan(checked(asked.stage, asked.out), asked.stage, root, asked.out)
            trained = run(resolved)
            gc.collect()  # an open dataset holds shared memory until it is collected
            said = {"run": asked.out, "tokens": resolved.updates * resolved.batch_tokens, "seconds": round(time.monotonic() - start, 3) if trained else 0}
            answers.write(json.dumps(said) + "\n")
            answers.flush()


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise ConfigError("dolma-train many", "a line is not JSON", got=line[:80].strip(), expected='{"stage": ..., "out": ...}', mend="mend it") from error
