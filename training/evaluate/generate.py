"""Verified answers to held-out prompts, greedy or sampled."""

from collections import defaultdict
from pathlib import Path

import torch

from dolma.core import manifest as manifests
from training.config import Answers
from training.evaluate.figure import Figure
from training.generate import Answer, generate
from training.model import Olmo3
from training.rl.reward import response
from training.tokens import Tokenizer
from training.verifiers.registry import score
from training.verifiers.text import in_template

BATCH = 64  # prompts that are answered at once


def evaluate(settings: Answers, model: Olmo3, tokenizer: Tokenizer, root: Path) -> list[Figure]:
    """Greedy: `in_template` and `exact`, the share of answers that verify. Sampled: `reward`, the same share over all samples, before any sharpening.

    An answer that does not end within `max_new` tokens counts as wrong in both.
    """
    columns = ["key", "prompt", "verifier", "truth", *([settings.by] if settings.by else [])]
    rows = sorted(manifests.read(root / settings.data, columns).to_pylist(), key=lambda row: row["key"])[: settings.prompts]
    rows = [row for row in rows for _ in range(settings.samples)]
    generator = torch.Generator().manual_seed(0)
    form, values = list[float](), defaultdict[str, list[float]](list)
    for at in range(0, len(rows), BATCH):
        part = rows[at : at + BATCH]
        prompts = [tokenizer.chat(row["prompt"]) for row in part]
        options = {"eos": tokenizer.eos, "pad": tokenizer.pad, "max_new": settings.max_new, "temperature": settings.temperature}
        for row, answer in zip(part, generate(model, prompts, generator=generator, **options), strict=True):
            text = response(answer, tokenizer)
            form.append(float(answer.ended and in_template(text)))
            value = _score(answer, text, row)
            values["all"].append(value)
            if settings.by:
                values[str(row[settings.by])].append(value)
    name = "reward" if settings.temperature else "exact"
    found = [Figure(name, part, sum(got) / len(got), len(got)) for part, got in values.items()]
    return found if settings.temperature else [Figure("in_template", "all", sum(form) / len(form), len(form)), *found]


def _score(answer: Answer, text: str, row: dict[str, str]) -> float:
    return score(row["verifier"], text, row["truth"]) if answer.ended else 0.0
