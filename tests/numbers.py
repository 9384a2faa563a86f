"""A flow over three columns of numbers with a rule each, small enough for numpy to say what the rules take."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from dolma import rules
from dolma.replay import replay
from dolma.runner import Run
from tests.engines.flow import write_env, write_recipes

LIMITS = {"a": 70, "b": 60, "c": 80}  # a rule keeps what is below
ROWS = 400
READ = {
    "read": {"jsonl": {"files": "*.jsonl", "columns": {"id": "string", "text": "large_string", "a": "int64", "b": "int64", "c": "int64"}}},
    "table": "rows",
    "steps": [],
}
THREE: dict[str, Any] = {
    "input": "source/numbers",
    "table": "rows",
    "steps": [
        {"keep": {"where": "a < 70", "reason": "a"}},
        {"set": {"columns": {"twice": "b * 2"}}},
        {"keep": {"where": "twice < 120", "reason": "b"}},
        {"select": {"columns": ["id", "text", "c"]}},
        {"keep": {"where": "c < 80", "reason": "c"}},
    ],
}


def numbers() -> dict[str, np.ndarray]:
    made = np.random.default_rng(11).integers(0, 100, (3, ROWS))
    return {"a": made[0], "b": made[1], "c": made[2]}


def write(folder: Path) -> Path:
    """The flow, run, below `folder`: four files of a hundred documents, the text of document n has n % 7 characters."""
    (folder / "raw").mkdir()
    values = numbers()
    for file in range(4):
        rows = [{"id": f"doc{n}", "text": "é" * (n % 7), **{name: int(values[name][n]) for name in values}} for n in range(file * 100, file * 100 + 100)]
        (folder / f"raw/{file}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_recipes(folder, {"source/numbers": READ, "pool/three": THREE})
    Run(write_env(folder), folder / "pipelines").run(["."])
    return folder


def weighed(place: Path, *texts: str, name: str = "pool/three", limit: int | None = None, save: bool = False) -> rules.Weighed:
    """The rules of one recipe of the flow, with other conditions."""
    with replay(name, place / "env.yaml", place / "pipelines", limit) as again:
        return rules.weigh(again, texts, place / "build/env" if save else None)
