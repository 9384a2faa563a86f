"""Which of two answers a model finds likelier."""

from pathlib import Path

import torch

from dolma.core import manifest as manifests
from training.config import Preference
from training.evaluate.figure import Figure
from training.model import Olmo3
from training.objectives import dpo
from training.tokens import Tokenizer

BATCH = 32  # pairs of one forward pass
CHANCE = 0.5


@torch.no_grad()
def evaluate(settings: Preference, model: Olmo3, tokenizer: Tokenizer, root: Path) -> list[Figure]:
    """`prefers_chosen`, the share of pairs whose chosen answer has the higher mean log-probability a token (a tie counts half); `margin`, by how much on
    average, in nats a token: what the objective widens, also in pairs that were ordered rightly before.
    """
    rows = sorted(manifests.read(root / settings.data, ["key", "prompt", *dpo.SIDES]).to_pylist(), key=lambda row: row["key"])[: settings.pairs]
    wins = margin = 0.0
    for at in range(0, len(rows), BATCH):
        part = []
        for index, row in enumerate(rows[at : at + BATCH]):
            prompt, pair = tokenizer.chat(row["prompt"]), dict[str, object]()
            for side in dpo.SIDES:
                answer = [*tokenizer.encode(row[side]), tokenizer.eos]
                pair |= {side: prompt + answer, f"{side}_mask": [0] * len(prompt) + [1] * len(answer)}
            part.append({**pair, "index": index})
        logs = dpo.both(model, dpo.collate(part, tokenizer.pad))
        margin += float((logs[:, 0] - logs[:, 1]).sum())
        wins += float((logs[:, 0] > logs[:, 1]).float().sum() + 0.5 * (logs[:, 0] == logs[:, 1]).float().sum())
    return [Figure("prefers_chosen", "all", wins / len(rows), len(rows), CHANCE), Figure("margin", "all", margin / len(rows), len(rows))]
