"""Rollouts: their batches, the groups left out, active sampling, solved prompts, and a state that continues to the same batches."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from training.config import Rlvr
from training.generate import Answer
from training.model import ModelConfig, Olmo3
from training.objectives.rlvr import loss
from training.rl import rollout
from training.rl.rollout import Rollouts
from training.tokens import Tokenizer


@pytest.fixture(scope="module")
def tokenizer(root: Path) -> Tokenizer:
    return Tokenizer.load(root / "pool/tokenizer/tokenizer.json")


@pytest.fixture
def model(tokenizer: Tokenizer) -> Olmo3:
    return Olmo3(ModelConfig(vocab=tokenizer.vocab, d=16, layers=2, heads=2, kv_heads=2, ffn=24, window=8, context=64), seed=1)


def _prompts(tokenizer: Tokenizer, count: int = 20) -> list[dict[str, Any]]:
    texts = ["Copy: " + "abcdefghij"[i % 10] * (1 + i % 3) for i in range(count)]
    return [{"index": i, "prompt": np.array(tokenizer.chat(t), np.uint32), "verifier": "exact", "truth": t[6:]} for i, t in enumerate(texts)]


def _open(model: Olmo3, tokenizer: Tokenizer, *, each: int = 3, seed: int = 1, place: tuple[int, int] = (0, 1), **settings: Any) -> Rollouts:
    options = {"kind": "rlvr", "group": 4, "max_new": 6, "reward": "random", **settings}
    return Rollouts(model, _prompts(tokenizer), tokenizer, Rlvr.model_validate(options), each=each, seed=seed, place=place)


def _take(source: Rollouts, count: int) -> list[dict[str, torch.Tensor]]:
    batches = iter(source)
    return [next(batches) for _ in range(count)]


def _same(one: list[dict[str, torch.Tensor]], two: list[dict[str, torch.Tensor]]) -> bool:
    return all(a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a) for a, b in zip(one, two, strict=True))


def test_a_batch_holds_prompts_answers_and_both_log_probabilities(model: Olmo3, tokenizer: Tokenizer) -> None:
    source = _open(model, tokenizer)
    for batch in _take(source, 3):
        n, width = batch["tokens"].shape
        assert n == 12 and batch["old"].shape == batch["sampler"].shape == (n, width - 1)
        torch.testing.assert_close(batch["advantage"].view(3, 4).sum(-1), torch.zeros(3), atol=1e-6, rtol=0)
        assert batch["advantage"].view(3, 4).abs().sum(-1).min() > 0  # groups with equal rewards are left out
        answered = batch["mask"][:, 1:].bool()
        torch.testing.assert_close(batch["old"][answered], batch["sampler"][answered], atol=1e-4, rtol=0)
        for row, mask, index in zip(batch["tokens"], batch["mask"], batch["index"].tolist(), strict=True):
            prompt = _prompts(tokenizer)[index]["prompt"].astype(int).tolist()
            assert row[: len(prompt)].tolist() == prompt and int(mask[: len(prompt)].sum()) == 0 < int(mask.sum()) <= 6
        value, said = loss(model, batch, source.settings)
        assert float(said["ratio"]) == pytest.approx(1, abs=1e-3) and abs(float(value.detach())) < 1
    assert 0.3 < source.said["reward"] < 0.7 and 0 < source.said["informative"] <= 1


def test_one_round_gives_so_many_batches_from_the_same_policy(model: Olmo3, tokenizer: Tokenizer) -> None:
    source = _open(model, tokenizer, minibatches=2)
    first, second = _take(source, 2)
    model.lm_head.weight.data += 0.5 * torch.randn(model.lm_head.weight.shape, generator=torch.Generator().manual_seed(1))
    answered = second["mask"][:, 1:].bool()
    torch.testing.assert_close(second["old"][answered], second["sampler"][answered], atol=1e-4, rtol=0)
    assert not set(first["index"].tolist()) & set(second["index"].tolist())
    assert float(loss(model, second, source.settings)[1]["ratio"]) != pytest.approx(1, abs=1e-3)


def test_a_state_continues_to_the_same_batches(model: Olmo3, tokenizer: Tokenizer) -> None:
    source = _open(model, tokenizer, minibatches=2)
    _take(source, 3)
    kept = io.BytesIO()
    torch.save(source.state_dict(), kept)
    kept.seek(0)
    expected = _take(source, 4)
    other = _open(model, tokenizer, minibatches=2, seed=99)
    other.load_state_dict(torch.load(kept, weights_only=True))
    assert _same(_take(other, 4), expected)
    assert not _same(_take(_open(model, tokenizer, minibatches=2), 4), expected)


def test_groups_without_signal_are_replaced_until_the_round_is_full(model: Olmo3, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    right = {index: index % 2 for index in range(20)}  # odd prompts: one right answer of four; even ones: none

    def reward(answer: Answer, row: dict[str, Any], *_: Any) -> float:
        seen[row["index"]] = seen.get(row["index"], 0) + 1
        return float(right[row["index"]] and seen[row["index"]] % 4 == 1)

    seen: dict[int, int] = {}
    monkeypatch.setattr(rollout, "reward", reward)
    source = _open(model, tokenizer, reward="verified")
    (batch,) = _take(source, 1)
    assert len(batch["tokens"]) == 12 and all(index % 2 for index in batch["index"].tolist())
    assert source.said["reward"] == pytest.approx(sum(right[i] / 4 * n / 4 for i, n in seen.items()) / (sum(seen.values()) / 4))
    assert source.said["informative"] < 1


def test_a_policy_that_never_scores_gives_a_batch_that_moves_nothing(model: Olmo3, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout, "reward", lambda *_: 0.0)
    source = _open(model, tokenizer, reward="verified")
    (batch,) = _take(source, 1)
    value, _ = loss(model, batch, source.settings)
    value.backward()
    assert all(p.grad is None or float(p.grad.abs().max()) == 0 for p in model.parameters()) and source.said["reward"] == 0


def test_solved_prompts_are_not_asked_again(model: Olmo3, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def reward(answer: Answer, row: dict[str, Any], *_: Any) -> float:
        asked.append(row["index"])
        return float(row["index"] < 10 or len(asked) % 2)

    monkeypatch.setattr(rollout, "reward", reward)
    _take(_open(model, tokenizer, reward="verified", no_resampling_pass_rate=0.875), 30)
    assert {asked.count(i) for i in range(10)} == {4} and min(asked.count(i) for i in range(10, 20)) > 4


def test_processes_take_their_own_prompts(model: Olmo3, tokenizer: Tokenizer) -> None:
    seen = [{int(i) for batch in _take(_open(model, tokenizer, place=(rank, 2)), 8) for i in batch["index"]} for rank in range(2)]
    assert not seen[0] & seen[1] and len(seen[0]) > 5 < len(seen[1])


def test_a_policy_learns_what_is_rewarded_and_nothing_from_a_coin(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rewarded: an answer that begins with an even token. The coin has the same share of rewards and teaches no such thing."""
    shares = {}
    for name in ("verified", "random"):
        policy = Olmo3(ModelConfig(vocab=tokenizer.vocab, d=16, layers=2, heads=2, kv_heads=2, ffn=24, window=8, context=64), seed=1)
        if name == "verified":
            monkeypatch.setattr(rollout, "reward", lambda answer, *_: float(answer.tokens[0] % 2 == 0))
        else:
            monkeypatch.undo()
        source = _open(policy, tokenizer, each=8, reward=name, max_new=2)
        optimizer = torch.optim.Adam(policy.parameters(), lr=0.01)
        for batch in _take_training(source, policy, optimizer, 45):
            assert torch.isfinite(batch["old"]).all()
        made = rollout.generate(policy, [row["prompt"].astype(int).tolist() for row in source.prompts] * 5, eos=-1, pad=1, max_new=1, temperature=1.0)
        shares[name] = sum(one.tokens[0] % 2 == 0 for one in made) / len(made)
    assert shares["verified"] > 0.9 and 0.25 < shares["random"] < 0.75


def _take_training(source: Rollouts, policy: Olmo3, optimizer: torch.optim.Optimizer, count: int) -> list[dict[str, torch.Tensor]]:
    taken = []
    for batch in source:
        optimizer.zero_grad()
        loss(policy, batch, source.settings)[0].backward()
        optimizer.step()
        taken.append(batch)
        if len(taken) == count:
            return taken
    return taken
