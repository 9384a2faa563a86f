"""What an objective reads and minimises: batches, a loss, and the weight of a micro-batch."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from training import data
from training.config import Dpo, Lm, Rlvr
from training.model import Olmo3
from training.objectives import dpo, lm
from training.plan import Plan
from training.tokens import Tokenizer

Batch = dict[str, Tensor]


@dataclass
class Feed:
    """An objective tied to its data.

    Args:
        batches: a fresh pass over the data each time it is iterated.
        loss: (model, batch) to (loss, figures for run.jsonl).
        weight: what a micro-batch counts in the mean over its batch.
        rows: the open Streaming dataset, whose shared memory is this run's.
        carried: the object whose state autoresume keeps beside Streaming's.
    """

    batches: Iterable[Batch]
    loss: Callable[[nn.Module, Batch], tuple[Tensor, dict[str, Any]]]
    weight: Callable[[Batch], int]
    rows: Any
    carried: Any = None


def build(plan: Plan, tokenizer: Tokenizer, model: Olmo3, place: tuple[int, int]) -> Feed:
    """The feed of a stage for one process.

    Args:
        model: holds the initial weights: DPO takes its reference from them, RLVR draws rollouts from it.
        place: the rank of this process, and how many there are.
    """
    objective, each = plan.stage.objective, plan.sequences // place[1]
    rows = data.open_rows(plan.source, batch=each, seed=plan.stage.data.seed, update=plan.sequences)
    dtype = torch.bfloat16 if plan.stage.precision == "bf16" else None
    match objective:
        case Lm():
            collate = partial(lm.collate, settings=objective, eos=tokenizer.eos, pad=tokenizer.pad)
            return Feed(_loader(rows, each, collate), lambda m, b: lm.loss(m, b, objective), lambda b: lm.weight(b, objective), rows)
        case Dpo():
            with torch.autocast(next(model.parameters()).device.type, dtype=dtype, enabled=dtype is not None):  # as the policy is computed
                table = _reference(rows, model, plan.sequences, tokenizer.pad)

            def pairs(batch: list[dict[str, Any]]) -> Batch:
                made = dpo.collate(batch, tokenizer.pad)
                return {**made, "reference": table[made["index"]]}

            return Feed(_loader(rows, each, pairs), lambda m, b: dpo.loss(m, b, objective), lambda b: len(b["index"]), rows)
        case Rlvr():
            return _rollouts(plan, objective, tokenizer, model, rows, each, place)


def _loader(rows: Any, batch: int, collate: Callable[[list[dict[str, Any]]], Batch]) -> DataLoader[Any]:
    return DataLoader(rows, batch_size=batch, collate_fn=collate, num_workers=0, drop_last=True)


def _reference(rows: Any, model: nn.Module, batch: int, pad: int) -> Tensor:
    def batches() -> Iterable[Batch]:
        for at in range(0, rows.num_samples, batch):
            yield dpo.collate([rows[i] for i in range(at, min(at + batch, rows.num_samples))], pad)

    training = model.training
    table = dpo.reference(model.eval(), batches(), rows.num_samples)
    model.train(training)
    return table


def _rollouts(plan: Plan, objective: Rlvr, tokenizer: Tokenizer, model: Olmo3, rows: Any, each: int, place: tuple[int, int]) -> Feed:
    from training.objectives import rlvr
    from training.rl.rollout import Rollouts

    prompts = [rows[i] for i in range(rows.num_samples)]
    dtype = torch.bfloat16 if plan.stage.precision == "bf16" else None
    rollouts = Rollouts(model, prompts, tokenizer, objective, each=each, seed=plan.stage.seed, dtype=dtype, place=place)

    def loss(policy: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Any]]:
        value, said = rlvr.loss(policy, batch, objective)
        return value, {**said, **rollouts.said}

    return Feed(rollouts, loss, rlvr.weight, rows, rollouts)


def tokens(batch: Batch) -> int:
    """Tokens that go through the model for a batch."""
    return sum(batch[name].numel() for name in ("tokens", *dpo.SIDES) if name in batch)
