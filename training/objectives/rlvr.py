"""Policy gradient on verified answers, as in OlmoRL (Olmo 3 report, section 4.4.1; Open Instruct `grpo_utils`)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.config import Rlvr

LARGEST_LOG = 10.0  # the log-difference of the two generators is clamped to it before it is exponentiated


def token_logs(model: nn.Module, tokens: Tensor, temperature: float) -> Tensor:
    """Log-probability of each token but the first given those before it, at the temperature of the sampling: [batch, time - 1], in nats."""
    logits = model(tokens)[:, :-1].float() / temperature
    return -F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none").view_as(tokens[:, 1:])


def loss(model: nn.Module, batch: dict[str, Tensor], settings: Rlvr) -> tuple[Tensor, dict[str, Tensor]]:
    """-sum(min(old / sampler, cap) * min(r A, clip(r, 1 - low, 1 + high) A)) over all response tokens of the batch, divided by their number.

    r = policy / old, where `old` is the policy before the first update on these rollouts and `sampler` the one that drew them. No KL term.

    Args:
        batch: `tokens` and `mask` (1 on response tokens) [batch, time]; `old` and `sampler` log-probabilities [batch, time - 1]; `advantage` [batch].

    Returns:
        the loss, and `clipped` (share of tokens at the clip), `ratio` (mean r), `drift` (mean of |old - sampler|, in nats).
    """
    mask = batch["mask"][:, 1:].float()
    count = mask.sum().clamp(min=1)
    gain = batch["advantage"][:, None].float()
    ratio = (token_logs(model, batch["tokens"], settings.temperature) - batch["old"]).exp()
    held = ratio.clamp(1 - settings.clip_low, 1 + settings.clip_high)
    mismatch = batch["old"] - batch["sampler"]
    truncated = mismatch.clamp(-LARGEST_LOG, LARGEST_LOG).exp().clamp(max=settings.tis_cap)
    surrogate = truncated * torch.minimum(ratio * gain, held * gain)
    said = {
        "clipped": ((held * gain < ratio * gain) * mask).sum() / count,
        "ratio": (ratio * mask).sum() / count,
        "drift": (mismatch.abs() * mask).sum() / count,
    }
    return -(surrogate * mask).sum() / count, {name: value.detach() for name, value in said.items()}


def weight(batch: dict[str, Tensor]) -> int:
    """Response tokens: what a micro-batch counts in the mean of its batch."""
    return int(batch["mask"][:, 1:].sum())
