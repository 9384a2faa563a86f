"""What a swarm found, as datasets that `dolma sql` reads: losses of its runs, laws of the tasks, how well these foretell, and the mix that they propose."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dolma.core.errors import DataError
from dolma.core.graph import fingerprint
from dolma.core.manifest import Input, Manifest
from dolma.mix import regress
from dolma.mix.conditional import Frozen, expand
from dolma.mix.limits import limit
from dolma.mix.propose import Proposal, optimise, simulate
from dolma.mix.swarm import Design
from dolma.swarm.config import Search
from dolma.swarm.mixes import store

VERSION = 1  # raise it when the same runs give other laws or another proposal
SHARES = {"domain": pa.string(), "share": pa.float64(), "tokens": pa.int64(), "repeats": pa.float64()}


def losses(root: Path, runs: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Tasks, and the loss of each run in each, shape (runs, tasks): the figures of metrics.json that are bits per byte.

    Raises:
        DataError: a run has no such figure, two of the same name, or others than the first run.
    """
    tasks: list[str] = []
    found = []
    for run in runs:
        rows = [row for row in json.loads((root / run / "metrics.json").read_bytes())["rows"] if row["metric"] == "bits_per_byte"]
        names = [row["slice"] for row in rows]
        tasks = tasks or names
        if not names or names != tasks or len(set(names)) != len(names):
            mend = "let `evaluate` of the proxy's stage give each slice once"
            raise DataError(
                f"{run}/metrics.json", "a run has one loss of each task", got=", ".join(names), expected=", ".join(tasks) or "bits per byte", mend=mend
            )
        found.append([row["after"] for row in rows])
    return tasks, np.array(found, float)


def table(runs: Sequence[str], heldout: int, domains: Sequence[str], weights: np.ndarray, tasks: Sequence[str], values: np.ndarray) -> pa.Table:
    """One row a run: its dataset, whether it is held out, and structs `weights` (by domain) and `losses` (by task)."""
    many = len(runs)
    return pa.table(
        {
            "run": pa.array(runs, pa.string()),
            "heldout": pa.array([number >= many - heldout for number in range(many)], pa.bool_()),
            "weights": pa.StructArray.from_arrays([pa.array(column) for column in weights.T], names=list(domains)),
            "losses": pa.StructArray.from_arrays([pa.array(column) for column in values.T], names=list(tasks)),
        }
    )


def foretold(fit: regress.Fit, weights: np.ndarray, values: np.ndarray) -> pa.Table:
    """How well a fit foretells runs beyond it, in the form of `regress.heldout`; the last row, task NULL, is of the mean over tasks."""
    said = fit.predict(weights)
    seen, said = (np.concatenate([part, part.mean(1, keepdims=True)], axis=1) for part in (values, said))
    rows = [
        {
            "task": task,
            "law": fit.law,
            "runs": len(weights),
            "spearman": regress.correlation(regress.ranks(a), regress.ranks(b)),
            "pearson": regress.correlation(a, b),
            "error": float(np.abs(a - b).mean()),
        }
        for task, a, b in zip([*fit.tasks, None], seen.T, said.T, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=pa.schema(list(regress.HELDOUT.items())))


def propose(fit: regress.Fit, prior: np.ndarray, tokens: np.ndarray, search: Search, design: Design) -> Proposal:
    """The mix that is best under the laws, within the caps of what there is.

    Args:
        prior, tokens: natural shares, and tokens of each domain, shape (domains,).
        design: of the runs: what it holds fixed stays so, since no run tells what another weight would do; and with `below: raise` its least weight.
    """
    lowest = design.minimum if design.below == "raise" else 0.0
    limits = limit(list(fit.domains), tokens, search.tokens, repeats=search.repeats, minimum=lowest, held=design.held, where="proposal")
    how: dict[str, Any] = {"limits": limits, "importance": search.importance, "kl": search.kl}
    return optimise(fit, prior, **how) if search.method == "exact" else simulate(fit, prior, seed=search.seed, **how)


def shares(proposal: Proposal, rounds: Sequence[Frozen], tokens: Mapping[str, int], target: int) -> pa.Table:
    """One row a domain of the shards, virtual ones taken apart: its share of the mix, its tokens there, and its repeats."""
    names, weights = expand(proposal.domains, proposal.weights, rounds)
    rows = [
        {"domain": name, "share": float(weight), "tokens": round(weight * target), "repeats": float(weight * target / tokens[name])}
        for name, weight in zip(names, weights, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=pa.schema(list(SHARES.items())))


def rounded(values: Mapping[str, float], places: int = 4) -> dict[str, float]:
    """Shares that can be read, without those that are 0, and sum to exactly 1: the largest takes what rounding leaves."""
    units = {name: round(value * 10**places) for name, value in values.items()}
    largest = max(units, key=lambda name: units[name])
    units[largest] += 10**places - sum(units.values())
    return {name: count / 10**places for name, count in units.items() if count}


class Keeper:
    """Writes the datasets of one swarm."""

    def __init__(self, root: Path, folder: str, recipe: dict[str, Any]) -> None:
        self.root, self.folder, self.recipe = root, folder, recipe

    def write(self, name: str, table: pa.Table, inputs: Sequence[Manifest], **facts: Any) -> Manifest:
        """The dataset `name` of the swarm; its fingerprint is that of its rows and all that they came from."""
        origin = [Input(name=one.dataset, fingerprint=one.fingerprint) for one in inputs]
        print_ = fingerprint(
            {"recipe": self.recipe, "inputs": [one.model_dump() for one in origin], "version": VERSION, "part": name, "rows": table.to_pylist()}
        )
        return store(self.root, f"{self.folder}/{name}", table, "rows", print_, recipe=self.recipe, inputs=origin, facts=facts)
