"""Figures on held-out data: against sums made by hand, and against models that know everything or nothing."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dolma.core.errors import DataError
from training.config import Answers, BitsPerByte, Preference, Recall
from training.evaluate import choice, generate, long_context
from training.evaluate.bits_per_byte import _windows
from training.evaluate.long_context import asked_for
from training.evaluate.registry import evaluate
from training.generate import Answer
from training.model import ModelConfig, Olmo3
from training.objectives.lm import log_probabilities
from training.tokens import Tokenizer

Table = Callable[[Path, str, str, list[dict[str, object]]], None]
TEXTS = {"web": ["the cat sat on the mat", "the dog, ø and 東京 " * 9], "code": ["def f(x):\n    return 12 * x\n" * 12]}


@pytest.fixture
def tokenizer(own_root: Path) -> Tokenizer:
    return Tokenizer.load(own_root / "pool/tokenizer/tokenizer.json")


@pytest.fixture
def model(tokenizer: Tokenizer) -> Olmo3:
    return Olmo3(ModelConfig(vocab=tokenizer.vocab, d=16, layers=4, heads=2, kv_heads=1, ffn=24, window=8, context=64), seed=2).eval()


def _documents(own_root: Path, table: Table) -> None:
    rows: list[dict[str, object]] = [{"key": i, "source": source, "text": text} for source, texts in TEXTS.items() for i, text in enumerate(texts)]
    table(own_root, "pool/heldout", "document", rows)


def test_bytes_of_tokens_add_up_to_the_bytes_of_the_text(tokenizer: Tokenizer) -> None:
    for text in (*TEXTS["web"], *TEXTS["code"], "", "\x00\n\t🙂", "<|endoftext|>"):
        assert sum(tokenizer.sizes[i] for i in tokenizer.encode(text)) == len(text.encode())
    assert tokenizer.sizes[tokenizer.eos] == 0


@torch.no_grad()
@pytest.mark.parametrize("beyond", [0, 7])
def test_bits_per_byte_equal_a_sum_by_hand(own_root: Path, table: Table, model: Olmo3, tokenizer: Tokenizer, beyond: int) -> None:
    _documents(own_root, table)
    found = {
        one.slice.partition(",")[0]: one
        for one in evaluate(BitsPerByte(kind="bits_per_byte", data="pool/heldout", length=16, beyond=beyond), model, tokenizer, own_root)
    }
    for source, texts in TEXTS.items():
        bits = size = 0.0
        for text in texts:
            for window in _windows(tokenizer.encode(text), tokenizer.eos, 16):
                logs = torch.log_softmax(model(torch.tensor([window[:-1]]))[0], -1)
                for at in range(beyond, len(window) - 1):
                    bits -= float(logs[at, window[at + 1]]) / math.log(2)
                    size += tokenizer.sizes[window[at + 1]]
        assert found[source].value == pytest.approx(bits / size, rel=1e-5) and found[source].n == len(texts)
        if not beyond:
            assert size == sum(len(text.encode()) for text in texts)


def test_all_sources_as_one_slice_and_a_limit_on_each(own_root: Path, table: Table, model: Olmo3, tokenizer: Tokenizer) -> None:
    _documents(own_root, table)
    options: dict[str, Any] = {"kind": "bits_per_byte", "data": "pool/heldout", "length": 16}
    (one,) = evaluate(BitsPerByte(**options, together=True), model, tokenizer, own_root)
    assert (one.slice, one.n) == ("all", 3)
    assert [found.n for found in evaluate(BitsPerByte(**options, max_bytes=5), model, tokenizer, own_root)] == [1, 1]
    with pytest.raises(DataError, match="long enough"):
        evaluate(BitsPerByte(kind="bits_per_byte", data="pool/heldout", length=2000, beyond=1999), model, tokenizer, own_root)


class Oracle(nn.Module):
    """Knows every next token but one kind."""

    def __init__(self, config: ModelConfig, blind: int = -1) -> None:
        super().__init__()
        self.config, self.blind = config, blind

    def forward(self, tokens: Tensor) -> Tensor:
        logits = torch.zeros(*tokens.shape, self.config.vocab)
        logits[:, :-1].scatter_(-1, tokens[:, 1:, None], 9.0)
        if self.blind >= 0:
            logits[..., self.blind] = -1.0
        return logits


def _fact_text(filler: int) -> str:
    return f"The code is 7. {'The cat sat on the mat. ' * filler}Again, the code is 7. The dog sat on the log. Again, the code is 7."


def test_facts_are_found_with_their_distance(tokenizer: Tokenizer) -> None:
    ids, places = asked_for(_fact_text(5), tokenizer)
    assert [tokenizer.decode([ids[at]]) for at, _ in places] == ["7", "7"]
    gap = [len(tokenizer.encode(text)) for text in (f". {'The cat sat on the mat. ' * 5}Again, the code is ", ". The dog sat on the log. Again, the code is ")]
    assert [distance for _, distance in places] == [n + 1 for n in gap]


def test_recall_counts_only_what_was_told_long_before(own_root: Path, table: Table, tokenizer: Tokenizer) -> None:
    table(
        own_root,
        "facts",
        "document",
        [{"key": i, "text": _fact_text(filler).replace("7", digit)} for i, (filler, digit) in enumerate([(1, "7"), (30, "7"), (40, "3")])],
    )
    config = ModelConfig(vocab=tokenizer.vocab, d=16, layers=2, heads=2, kv_heads=2, ffn=24, window=8, context=2048)
    settings = Recall(kind="recall", data="facts", beyond=100)
    for blind, value in ((-1, 1.0), (tokenizer.encode("7")[0], 0.5)):
        (one,) = long_context.evaluate(settings, Oracle(config, blind), tokenizer, own_root)  # pyright: ignore
        assert (one.n, one.chance, one.value) == (2, 0.1, value)
    with pytest.raises(DataError, match="no fact"):
        long_context.evaluate(Recall(kind="recall", data="facts", beyond=5000), Oracle(config), tokenizer, own_root)  # pyright: ignore


def test_answers_are_verified_and_must_end(own_root: Path, table: Table, model: Olmo3, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[dict[str, object]] = [{"key": i, "kind": "ab"[i % 2], "prompt": str(i), "verifier": "number", "truth": str(i)} for i in range(6)]
    table(own_root, "prompts", "prompt", rows)
    said = ["<think>\nx\n</think>\n\n0", "1", "<think>\nx\n</think>\n\n9", "3", "4", "5"]
    made = [Answer([*tokenizer.encode(text), tokenizer.eos], [], i != 5) for i, text in enumerate(said)]

    def answers(_: Olmo3, prompts: list[list[int]], **__: object) -> list[Answer]:
        return [one for prompt in prompts for i, one in enumerate(made) if tokenizer.chat(str(i)) == prompt]

    monkeypatch.setattr(generate, "generate", answers)
    found = generate.evaluate(Answers(kind="answers", data="prompts", by="kind"), model, tokenizer, own_root)
    assert [(one.metric, one.slice, one.value, one.n) for one in found] == [
        ("in_template", "all", 2 / 6, 6),
        ("exact", "all", 4 / 6, 6),
        ("exact", "a", 2 / 3, 3),
        ("exact", "b", 2 / 3, 3),
    ]
    (one,) = generate.evaluate(Answers(kind="answers", data="prompts", temperature=1.0, samples=3, prompts=4), model, tokenizer, own_root)
    assert (one.metric, one.value, one.n) == ("reward", 3 / 4, 12)


@torch.no_grad()
def test_preference_compares_mean_log_probabilities_of_the_answers(own_root: Path, table: Table, model: Olmo3, tokenizer: Tokenizer) -> None:
    pairs = [("the cat", "on the mat", "q#!"), ("dog", "sat", "sat sat sat"), ("a", "same", "same"), ("b", "log 12", "the")]
    rows: list[dict[str, object]] = [{"key": i, "prompt": p, "chosen": c, "rejected": r} for i, (p, c, r) in enumerate(pairs)]
    table(own_root, "pairs", "pair", rows)
    wins = margin = 0.0
    for prompt, chosen, rejected in pairs:
        logs = []
        for answer in (chosen, rejected):
            head, tail = tokenizer.chat(prompt), [*tokenizer.encode(answer), tokenizer.eos]
            logs.append(float(log_probabilities(model, torch.tensor([head + tail]), torch.tensor([[0] * len(head) + [1] * len(tail)]))))
        margin += logs[0] - logs[1]
        wins += (logs[0] > logs[1]) + 0.5 * (chosen == rejected)
    one, two = choice.evaluate(Preference(kind="preference", data="pairs"), model, tokenizer, own_root)
    assert (one.value, one.n, one.chance) == (wins / 4, 4, 0.5)
    assert two.value == pytest.approx(margin / 4, rel=1e-4) and two.metric == "margin"
