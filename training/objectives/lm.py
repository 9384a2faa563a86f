"""Next-token prediction with z-loss: pretraining, midtraining, long context and SFT."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.config import Lm
from training.data import documents

IGNORE = -100


def collate(rows: list[dict[str, Any]], settings: Lm, eos: int, pad: int) -> dict[str, Tensor]:
    """Batch of sequences.

    Returns:
        `tokens` [batch, time]; `labels` [batch, time], the next token or -100 where no loss is taken (padding, masked tokens, the first token of a
        document when attention stays within documents); `docs` [batch, time] with `doc_mask`; `index` [batch].
    """
    tokens = np.stack([row["tokens"] for row in rows]).astype(np.int64)
    loss = tokens != pad
    for kept, row in zip(loss, rows, strict=True):
        if "loss_mask" in row:  # a mix may hold streams with a mask and streams without
            kept &= row["loss_mask"].astype(bool)
    batch = {"tokens": torch.from_numpy(tokens), "index": torch.tensor([row["index"] for row in rows])}
    if settings.doc_mask:
        docs = np.stack([documents(row["tokens"], row.get("doc_lens"), eos) for row in rows])
        loss[:, 1:] &= docs[:, 1:] == docs[:, :-1]
        batch["docs"] = torch.from_numpy(docs)
    labels = np.full_like(tokens, IGNORE)
    labels[:, :-1] = np.where(loss[:, 1:], tokens[:, 1:], IGNORE)
    return {**batch, "labels": torch.from_numpy(labels)}


def loss(model: nn.Module, batch: dict[str, Tensor], settings: Lm) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean over the labelled tokens of -log p + z_loss * (log Z)^2, in nats; with `mean: sequences` the mean over sequences of their own means.

    Source of the z-loss: PaLM (Chowdhery et al. 2022, section 5) with the weight 1e-5 of Olmo 3.

    Returns:
        the loss, and `lm` (the cross-entropy part), `z` (mean of (log Z)^2).
    """
    logits = model(batch["tokens"], batch.get("docs")).float().flatten(0, 1)
    labels = batch["labels"].flatten()
    share = shares(batch["labels"], settings).flatten()
    log_z = torch.logsumexp(logits, -1)
    picked = logits.gather(-1, labels.clamp(min=0)[:, None])[:, 0]
    cross = ((log_z - picked) * share).sum()
    square = (log_z.square() * share).sum()
    return cross + settings.z_loss * square, {"lm": cross.detach(), "z": square.detach()}


def shares(labels: Tensor, settings: Lm) -> Tensor:
    """What each token counts in the loss of a batch: [batch, time], summing to 1 (to 0 where nothing is labelled)."""
    kept = (labels != IGNORE).float()
    if settings.mean == "sequences":
        kept = kept / kept.sum(-1, keepdim=True).clamp(min=1)
    return kept / kept.sum().clamp(min=1)


def weight(batch: dict[str, Tensor], settings: Lm) -> int:
    """Labelled tokens, or sequences that have any: what a micro-batch counts in the mean of its batch."""
    kept = batch["labels"] != IGNORE
    return int(kept.any(-1).sum() if settings.mean == "sequences" else kept.sum())


def log_probabilities(model: nn.Module, tokens: Tensor, mask: Tensor) -> Tensor:
    """Mean log-probability of the masked tokens of each row given what stands before them.

    Args:
        tokens: [batch, time].
        mask: [batch, time], 1 on the tokens that count.

    Returns:
        [batch], in nats a token.
    """
    logits = model(tokens)[:, :-1].float()
    picked = -F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none").view_as(tokens[:, 1:])
    counted = mask[:, 1:].to(picked.dtype)
    return (picked * counted).sum(-1) / counted.sum(-1).clamp(min=1)
