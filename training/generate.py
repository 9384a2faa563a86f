"""Answers of a model: batched, left-padded, with a cache of keys and values; for rollouts and for evaluation."""

from dataclasses import dataclass

import torch
from torch import Tensor

from training.model import Cache, Olmo3

SHRINK = 0.75  # the cache is copied to the rows still open when fewer than this share are: each copy costs as much as some steps


@dataclass(frozen=True)
class Answer:
    """One answer: its token ids, the log-probability of each under the sampling distribution, and whether it ended by itself (with end-of-text)."""

    tokens: list[int]
    logs: list[float]
    ended: bool


@torch.no_grad()
def generate(
    model: Olmo3, prompts: list[list[int]], *, eos: int, pad: int, max_new: int, temperature: float = 0.0, generator: torch.Generator | None = None
) -> list[Answer]:
    """One answer to each prompt.

    Args:
        prompts: token ids.
        max_new: longest answer in tokens, the end-of-text token included.
        temperature: of the sampling; 0 takes the most likely token.
        generator: of the draws, on the model's device.
    """
    device = next(model.parameters()).device
    tokens, docs = _padded(prompts, pad, device)
    cache = Cache(len(prompts), tokens.shape[1] + max_new, model.config, device=device)
    rows, done = torch.arange(len(prompts), device=device), torch.zeros(len(prompts), dtype=torch.bool, device=device)
    made = torch.full((len(prompts), max_new), pad, device=device)
    logs = torch.zeros(len(prompts), max_new, device=device)
    logits = model(tokens, docs, cache)[:, -1]
    for step in range(max_new):
        chosen, log = _choose(logits.float(), temperature, generator)
        made[rows[~done], step], logs[rows[~done], step] = chosen[~done], log[~done]
        done = done | (chosen == eos)
        if done.all():
            break
        if (~done).float().mean() < SHRINK:
            cache.select(~done)
            rows, chosen, done = rows[~done], chosen[~done], done[~done]
        if step + 1 < max_new:
            logits = model(chosen[:, None], torch.ones_like(chosen[:, None]), cache)[:, -1]
    return [_answer(ids, log, eos) for ids, log in zip(made.tolist(), logs.tolist(), strict=True)]


def _padded(prompts: list[list[int]], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    width = max(map(len, prompts))
    tokens = torch.tensor([[pad] * (width - len(p)) + p for p in prompts], device=device)
    docs = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device)  # the padding is a document of its own
    return tokens, docs


def _choose(logits: Tensor, temperature: float, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """The next token of each row and its log-probability."""
    logs = torch.log_softmax(logits / (temperature or 1.0), -1)
    chosen = torch.multinomial(logs.exp(), 1, generator=generator)[:, 0] if temperature else logs.argmax(-1)
    return chosen, logs.gather(-1, chosen[:, None])[:, 0]


def _answer(ids: list[int], logs: list[float], eos: int) -> Answer:
    ended = eos in ids
    length = ids.index(eos) + 1 if ended else len(ids)
    return Answer(ids[:length], logs[:length], ended)
