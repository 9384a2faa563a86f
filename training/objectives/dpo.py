"""Length-normalised direct preference optimisation (`dpo_norm` of Open Instruct; Olmo 3 report, section 4.3)."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.config import Dpo
from training.objectives.lm import log_probabilities

SIDES = ("chosen", "rejected")


def collate(rows: list[dict[str, Any]], pad: int) -> dict[str, Tensor]:
    """Batch of pairs: `chosen`, `rejected` [batch, time] and their `_mask`s, padded on the right to one length; `index` [batch]."""
    length = max(len(row[side]) for row in rows for side in SIDES)
    batch = {"index": torch.tensor([row["index"] for row in rows])}
    for side in SIDES:
        tokens, mask = np.full((len(rows), length), pad, np.int64), np.zeros((len(rows), length), np.int64)
        for i, row in enumerate(rows):
            tokens[i, : len(row[side])], mask[i, : len(row[side])] = row[side], row[f"{side}_mask"]
        batch[side], batch[f"{side}_mask"] = torch.from_numpy(tokens), torch.from_numpy(mask)
    return batch


def both(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Mean log-probability a token of both answers of each pair: [batch, 2], in nats."""
    tokens = torch.cat([batch[side] for side in SIDES])
    mask = torch.cat([batch[f"{side}_mask"] for side in SIDES])
    return log_probabilities(model, tokens, mask).view(2, -1).T


@torch.no_grad()
def reference(model: nn.Module, batches: Iterable[dict[str, Tensor]], rows: int) -> Tensor:
    """What `both` gives under the initial weights, computed once: [rows, 2] by `index`."""
    table = torch.zeros(rows, 2)
    for batch in batches:
        table[batch["index"]] = both(model, batch).float()
    return table


def loss(model: nn.Module, batch: dict[str, Tensor], settings: Dpo) -> tuple[Tensor, dict[str, Tensor]]:
    """-log sigmoid(beta * ((pi_c - ref_c) - (pi_r - ref_r))), with mean log-probabilities a token; `reference` [batch, 2] stands in the batch.

    Returns:
        the loss, and `margin` (what is in the sigmoid, over beta), `prefers` (share of pairs with a positive margin), `chosen` (mean pi_c - ref_c).
    """
    gain = both(model, batch) - batch["reference"]
    margin = gain[:, 0] - gain[:, 1]
    said = {"margin": margin.mean(), "prefers": (margin > 0).float().mean(), "chosen": gain[:, 0].mean()}
    return -F.logsigmoid(settings.beta * margin).mean(), {k: v.detach() for k, v in said.items()}
