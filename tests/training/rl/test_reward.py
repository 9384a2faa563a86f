"""Rewards: verified, scaled, nothing for an answer that was cut off, and the coin of the control."""

import random
from pathlib import Path

import pytest

from training.config import Rlvr
from training.generate import Answer
from training.rl.reward import reward
from training.tokens import Tokenizer

ROW = {"verifier": "number", "truth": "7"}


def _answer(tokenizer: Tokenizer, text: str, ended: bool = True) -> Answer:
    tokens = [*tokenizer.encode(text), *([tokenizer.eos] if ended else [])]
    return Answer(tokens, [0.0] * len(tokens), ended)


@pytest.mark.parametrize(
    ("text", "ended", "value"), [("<think>\n3 + 4 = 7\n</think>\n\n7", True, 10.0), ("7", True, 10.0), ("8", True, 0.0), ("7", False, 0.0)]
)
def test_verified(root: Path, text: str, ended: bool, value: float) -> None:
    tokenizer = Tokenizer.load(root / "pool/tokenizer/tokenizer.json")
    settings = Rlvr(kind="rlvr", reward_scale=10)
    assert reward(_answer(tokenizer, text, ended), ROW, tokenizer, settings, random.Random(1)) == value


def test_the_control_does_not_look_at_the_answer(root: Path) -> None:
    tokenizer = Tokenizer.load(root / "pool/tokenizer/tokenizer.json")
    settings, rng = Rlvr(kind="rlvr", reward="random"), random.Random(1)
    for text in ("7", "8"):
        assert 800 < sum(reward(_answer(tokenizer, text), ROW, tokenizer, settings, rng) for _ in range(2000)) < 1200
