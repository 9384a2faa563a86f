"""Bits per byte of held-out documents: comparable across tokenizers, and smooth where accuracy is all or nothing (spec of the evaluation, section 1)."""

import math
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dolma.core import manifest as manifests
from dolma.core.errors import DataError
from training.config import BitsPerByte
from training.evaluate.figure import Figure
from training.model import Olmo3
from training.tokens import Tokenizer

BATCH_TOKENS = 8192  # of one forward pass: logits of 2,048 entries then take 64 MB


def evaluate(settings: BitsPerByte, model: Olmo3, tokenizer: Tokenizer, root: Path) -> list[Figure]:
    """One figure a source, or one over all."""
    found = []
    made = manifests.load(root / settings.data).fingerprint
    for source, (windows, documents) in _slices(settings.model_dump_json(), root, made, tokenizer.path, tokenizer.sha256).items():
        bits, size = _bits(model, windows, tokenizer, settings.beyond)
        found.append(Figure("bits_per_byte", source + (f", beyond {settings.beyond} tokens" if settings.beyond else ""), bits / size, documents))
    if not found:
        raise DataError(settings.data, "no document is long enough to measure", got="0", expected=f"over {settings.beyond} tokens", mend="take other documents")
    return found


@lru_cache(8)  # the runs of a swarm in one process measure the same texts
def _slices(text: str, root: Path, fingerprint: str, tokenizer: Path, sha: str) -> dict[str, tuple[list[list[int]], int]]:
    """Of each slice the windows that count, short ones first, and the number of its documents; `text` is the settings as JSON."""
    settings, reader = BitsPerByte.model_validate_json(text), Tokenizer.load(tokenizer)
    found = dict[str, tuple[list[list[int]], int]]()
    for source, texts in _texts(settings, root).items():
        windows = [window for text in texts for window in _windows(reader.encode(text), reader.eos, settings.length) if len(window) > settings.beyond + 1]
        if windows:
            found[source] = (sorted(windows, key=len), len(texts))
    return found


def _texts(settings: BitsPerByte, root: Path) -> dict[str, list[str]]:
    rows: list[dict[str, Any]] = manifests.read(root / settings.data, ["key", "source", "text"]).to_pylist()
    texts: dict[str, list[str]] = {}
    sizes: dict[str, int] = {}
    for row in sorted(rows, key=lambda row: (row["source"], row["key"])):
        source = "all" if settings.together else row["source"]
        if sizes.get(row["source"], 0) < settings.max_bytes:
            text = row["text"].encode()[: settings.document_bytes].decode(errors="ignore")
            sizes[row["source"]] = sizes.get(row["source"], 0) + len(text.encode())
            texts.setdefault(source, []).append(text)
    return texts


def _windows(ids: list[int], eos: int, length: int) -> Iterator[list[int]]:
    """Every token is predicted once: a window starts with the last token of the one before, the first one with end-of-text."""
    tokens = [eos, *ids]
    for at in range(0, len(ids), length):
        yield tokens[at : at + length + 1]


@torch.no_grad()
def _bits(model: Olmo3, windows: list[list[int]], tokenizer: Tokenizer, beyond: int) -> tuple[float, int]:
    """(bits of all counted tokens, their bytes)."""
    sizes = torch.tensor(tokenizer.sizes)
    bits, size = 0.0, 0
    at = 0
    while at < len(windows):
        part = windows[at : at + max(1, BATCH_TOKENS // len(windows[min(at + 63, len(windows) - 1)]))]
        at += len(part)
        tokens, counted = _batch(part, beyond)
        logits = model(tokens[:, :-1]).float()
        loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none").view_as(counted)
        bits += float((loss * counted).sum(dtype=torch.float64)) / math.log(2)
        size += int((sizes[tokens[:, 1:]] * counted).sum())
    return bits, size


def _batch(windows: list[list[int]], beyond: int) -> tuple[Tensor, Tensor]:
    """Tokens [windows, time + 1], padded on the right, and which predictions count [windows, time]."""
    width = max(map(len, windows))
    tokens = torch.tensor([window + [0] * (width - len(window)) for window in windows])
    place = torch.arange(width - 1)[None]
    lengths = torch.tensor([len(window) - 1 for window in windows])[:, None]
    return tokens, (place >= beyond) & (place < lengths)
