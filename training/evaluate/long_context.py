"""Recall of facts from beyond the old context: what the long-context stage exists to move."""

from itertools import pairwise
from pathlib import Path

import torch

from dolma.core import manifest as manifests
from dolma.core.errors import DataError
from training.config import Recall
from training.evaluate.figure import Figure
from training.model import Olmo3
from training.tokens import Tokenizer

CHANCE = 0.1  # the facts are single digits


def evaluate(settings: Recall, model: Olmo3, tokenizer: Tokenizer, root: Path) -> list[Figure]:
    """The share of digits that are the most likely next token, over facts told more than `beyond` tokens before they are asked for."""
    rows = sorted(manifests.read(root / settings.data, ["key", "text"]).to_pylist(), key=lambda row: row["key"])[: settings.documents]
    right = asked = 0
    for row in rows:
        ids, places = asked_for(row["text"], tokenizer)
        if len(ids) > model.config.reach and model.config.yarn is not None:
            continue  # beyond what the model was stretched to
        far = [at for at, gap in places if gap > settings.beyond]
        if not far:
            continue
        with torch.no_grad():
            best = model(torch.tensor([ids]))[0].argmax(-1)
        right += sum(int(best[at - 1]) == ids[at] for at in far)
        asked += len(far)
    if asked == 0:
        raise DataError(settings.data, f"no fact is asked for after more than {settings.beyond} tokens", got="0", expected="1 or more", mend="more filler")
    return [Figure("recall", f"over {settings.beyond} tokens before", right / asked, asked, CHANCE)]


def asked_for(text: str, tokenizer: Tokenizer) -> tuple[list[int], list[tuple[int, int]]]:
    """Token ids of a document, and for each time that it asks for its fact: (place of the digit, tokens since the fact stood there before)."""
    ids = tokenizer.encode(text)
    digits = {tokenizer.encode(str(digit))[-1] for digit in range(10)}
    places = [at for at, token in enumerate(ids) if token in digits]
    if len(places) != sum(letter.isdigit() for letter in text):
        raise DataError("recall", "the digits of a document are not tokens of their own", got=len(places), expected="one token each", mend="split digits")
    return ids, [(at, at - before) for before, at in pairwise(places)]
