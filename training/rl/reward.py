"""Rewards of answers: verified, or the coin toss of a control run that must not learn anything."""

import random

from training.config import Rlvr
from training.generate import Answer
from training.tokens import Tokenizer
from training.verifiers.registry import score


def response(answer: Answer, tokenizer: Tokenizer) -> str:
    """The text of an answer without its end-of-text token."""
    return tokenizer.decode(answer.tokens)


def reward(answer: Answer, row: dict[str, str], tokenizer: Tokenizer, settings: Rlvr, rng: random.Random) -> float:
    """The reward of one answer to the prompt in `row`; one that was cut off at `max_new` has given no answer: 0."""
    if settings.reward == "random":
        return settings.reward_scale * float(rng.random() < 0.5)
    return settings.reward_scale * (score(row["verifier"], response(answer, tokenizer), row["truth"]) if answer.ended else 0.0)
