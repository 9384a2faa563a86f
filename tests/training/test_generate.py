"""Answers do not depend on what else is in the batch, and their log-probabilities are those of a plain forward pass."""

import pytest
import torch

from training.generate import generate
from training.model import ModelConfig, Olmo3

CONFIG = ModelConfig(vocab=40, d=16, layers=4, heads=2, kv_heads=1, ffn=24, window=6, context=64)
PROMPTS = [[5, 6, 7], [9], [3, 4, 5, 6, 7, 8, 9, 10, 11], [2, 2]]


@pytest.fixture(scope="module")
def model() -> Olmo3:
    made = Olmo3(CONFIG, seed=1)
    for parameter in made.parameters():
        if parameter.ndim > 1:
            parameter.data *= 8  # far from uniform, so that the most likely token is not decided by rounding
    return made.eval()


@torch.no_grad()
def _alone(model: Olmo3, prompt: list[int], max_new: int, eos: int) -> list[int]:
    tokens = list(prompt)
    for _ in range(max_new):
        tokens.append(int(model(torch.tensor([tokens]))[0, -1].argmax()))
        if tokens[-1] == eos:
            break
    return tokens[len(prompt) :]


def test_greedy_answers_equal_those_without_batch_and_cache(model: Olmo3) -> None:
    first = [_alone(model, prompt, 20, -1) for prompt in PROMPTS]
    for eos in (-1, first[0][4], first[2][0]):  # nobody ends, and some end early so that the cache shrinks
        made = generate(model, PROMPTS, eos=eos, pad=0, max_new=20)
        assert [one.tokens for one in made] == [_alone(model, prompt, 20, eos) for prompt in PROMPTS]
        assert [one.ended for one in made] == [eos in one.tokens for one in made]


@torch.no_grad()
def test_log_probabilities_are_those_of_the_sampling_distribution(model: Olmo3) -> None:
    made = generate(model, PROMPTS, eos=-1, pad=0, max_new=8, temperature=1.5, generator=torch.Generator().manual_seed(3))
    for prompt, one in zip(PROMPTS, made, strict=True):
        logs = torch.log_softmax(model(torch.tensor([prompt + one.tokens]))[0] / 1.5, -1)
        expected = [float(logs[len(prompt) - 1 + i, token]) for i, token in enumerate(one.tokens)]
        assert one.logs == pytest.approx(expected, abs=1e-4)


def test_draws_follow_the_distribution_and_the_seed(model: Olmo3) -> None:
    def draw(seed: int) -> list[int]:
        made = generate(model, [[5, 6, 7]] * 4000, eos=-1, pad=0, max_new=1, temperature=1.0, generator=torch.Generator().manual_seed(seed))
        return [one.tokens[0] for one in made]

    drawn = draw(1)
    assert drawn == draw(1) != draw(2)
    with torch.no_grad():
        p = torch.softmax(model(torch.tensor([[5, 6, 7]]))[0, -1], -1)
    share = torch.bincount(torch.tensor(drawn), minlength=40) / 4000
    assert float((share - p).abs().max()) < 5 * 0.5 / 4000**0.5
