"""The loss of OlmoRL: against a loop, its gradient on policy, the asymmetric clip, the cap, and the normalisation over tokens."""

import math

import pytest
import torch
from torch import Tensor, nn

from training.config import Rlvr
from training.objectives.rlvr import loss, token_logs, weight

SETTINGS = Rlvr(kind="rlvr")


class Fixed(nn.Module):
    """A policy whose logits are parameters: [batch, time, vocab]."""

    def __init__(self, *shape: int, seed: int = 0) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.logits


def _batch(model: Fixed, mask: list[list[int]], advantage: list[float], shift: float = 0.0, mismatch: float = 0.0) -> dict[str, Tensor]:
    """A batch whose ratio is e^shift everywhere, and whose old policy is e^mismatch times as likely as the sampler."""
    tokens = torch.randint(0, model.logits.shape[-1], model.logits.shape[:2], generator=torch.Generator().manual_seed(5))
    old = token_logs(model, tokens, 1.0).detach() - shift
    return {"tokens": tokens, "mask": torch.tensor(mask), "old": old, "sampler": old - mismatch, "advantage": torch.tensor(advantage)}


def test_it_equals_a_loop_over_the_tokens() -> None:
    model = Fixed(3, 6, 11)
    batch = _batch(model, [[0, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1], [0, 1, 0, 0, 0, 0]], [0.7, -0.5, 0.1])
    noise = torch.Generator().manual_seed(9)
    batch["old"] = batch["old"] + 0.4 * torch.randn(batch["old"].shape, generator=noise)
    batch["sampler"] = batch["old"] + 0.8 * torch.randn(batch["old"].shape, generator=noise)
    value, said = loss(model, batch, SETTINGS)
    total = count = clipped = 0.0
    for i in range(3):
        for t in range(5):
            if batch["mask"][i, t + 1]:
                log = float(torch.log_softmax(model.logits[i, t], -1)[batch["tokens"][i, t + 1]])
                r, a = math.exp(log - float(batch["old"][i, t])), float(batch["advantage"][i])
                held = min(max(r, 0.8), 1.272)
                total += min(math.exp(float(batch["old"][i, t] - batch["sampler"][i, t])), 2.0) * min(r * a, held * a)
                clipped += held * a < r * a
                count += 1
    assert float(value.detach()) == pytest.approx(-total / count, rel=1e-5)
    assert float(said["clipped"]) == pytest.approx(clipped / count) and clipped
    assert weight(batch) == count == 8


def test_on_policy_its_gradient_is_that_of_the_policy_gradient() -> None:
    model, twin = Fixed(2, 5, 7), Fixed(2, 5, 7)
    batch = _batch(model, [[0, 1, 1, 1, 1], [0, 0, 1, 1, 0]], [0.5, -0.5])
    loss(model, batch, SETTINGS)[0].backward()
    logs = token_logs(twin, batch["tokens"], 1.0)
    (-(logs * batch["advantage"][:, None] * batch["mask"][:, 1:]).sum() / 6).backward()
    assert model.logits.grad is not None and twin.logits.grad is not None
    torch.testing.assert_close(model.logits.grad, twin.logits.grad)


@pytest.mark.parametrize(
    ("ratio", "advantage", "moves"), [(1.25, 1.0, True), (1.3, 1.0, False), (0.7, 1.0, True), (0.85, -1.0, True), (0.75, -1.0, False), (1.5, -1.0, True)]
)
def test_the_clip_stops_only_what_goes_too_far_in_its_own_direction(ratio: float, advantage: float, moves: bool) -> None:
    model = Fixed(1, 3, 5)
    loss(model, _batch(model, [[0, 1, 1]], [advantage], shift=math.log(ratio)), SETTINGS)[0].backward()
    assert model.logits.grad is not None and (float(model.logits.grad.abs().sum()) > 0) is moves


@pytest.mark.parametrize(("mismatch", "factor"), [(0.0, 1.0), (math.log(1.5), 1.5), (3.0, 2.0), (50.0, 2.0), (-50.0, math.exp(-10))])
def test_importance_of_the_sampler_is_capped(mismatch: float, factor: float) -> None:
    model = Fixed(1, 4, 5)
    value, said = loss(model, _batch(model, [[0, 1, 1, 1]], [1.0], mismatch=mismatch), SETTINGS)
    assert float(value.detach()) == pytest.approx(-factor, rel=1e-4)
    assert float(said["drift"]) == pytest.approx(abs(mismatch), abs=1e-4)


def test_every_token_counts_the_same_whatever_its_answer() -> None:
    model = Fixed(2, 5, 5)
    value, _ = loss(model, _batch(model, [[0, 1, 1, 1, 1], [0, 1, 0, 0, 0]], [1.0, -1.0]), SETTINGS)
    assert float(value.detach()) == pytest.approx(-(4 - 1) / 5)
