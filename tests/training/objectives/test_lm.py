"""The language-model loss against numpy, and where it is taken."""

import numpy as np
import pytest
import torch
from torch import nn

from training.config import Lm
from training.objectives import lm


class Fixed(nn.Module):
    """Gives the same logits whatever it reads."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, tokens: torch.Tensor, docs: torch.Tensor | None = None) -> torch.Tensor:
        return self.logits


def _row(tokens: list[int], **more: list[int]) -> dict[str, object]:
    return {"tokens": np.array(tokens, np.uint32), "index": 0, **{k: np.array(v) for k, v in more.items()}}


def test_loss_equals_ten_lines_of_numpy() -> None:
    rng = np.random.default_rng(1)
    logits, tokens = rng.normal(size=(2, 5, 7)).astype(np.float32), rng.integers(2, 7, (2, 5))
    tokens[1, 3:] = 1
    batch = lm.collate([_row(list(row)) for row in tokens], Lm(kind="lm"), 0, 1)
    loss, said = lm.loss(Fixed(torch.from_numpy(logits)), batch, Lm(kind="lm", z_loss=0.1))
    cross, square, n = 0.0, 0.0, 0
    for b in range(2):
        for t in range(4):
            if tokens[b, t + 1] != 1:
                z = np.log(np.exp(logits[b, t].astype(np.float64)).sum())
                cross, square, n = cross + z - logits[b, t, tokens[b, t + 1]], square + z**2, n + 1
    assert n == 6 and lm.weight(batch, Lm(kind="lm")) == 6
    assert float(loss) == pytest.approx(cross / n + 0.1 * square / n, rel=1e-5)
    assert float(said["lm"]) == pytest.approx(cross / n, rel=1e-5) and float(said["z"]) == pytest.approx(square / n, rel=1e-5)


def test_with_a_mean_over_sequences_each_counts_the_same_however_few_tokens_it_teaches() -> None:
    rng = np.random.default_rng(2)
    model, rows = (
        Fixed(torch.from_numpy(rng.normal(size=(3, 5, 7)).astype(np.float32))),
        [_row([2, 3, 4, 5, 6]), _row([2, 3, 4, 5, 6], loss_mask=[0, 0, 0, 1, 0])],
    )
    settings = Lm(kind="lm", mean="sequences")
    batch = lm.collate([*rows, _row([2, 3, 4, 5, 6], loss_mask=[0] * 5)], settings, 0, 1)
    own = [float(lm.loss(Fixed(model.logits[i : i + 1]), lm.collate([row], settings, 0, 1), Lm(kind="lm"))[0]) for i, row in enumerate(rows)]
    assert float(lm.loss(model, batch, settings)[0]) == pytest.approx(sum(own) / 2, rel=1e-5)
    assert lm.weight(batch, settings) == 2 and lm.weight(batch, Lm(kind="lm")) == 5


def test_labels_leave_out_padding_masked_tokens_and_first_tokens_of_documents() -> None:
    row = _row([5, 6, 0, 7, 8, 0, 1, 1], loss_mask=[0, 1, 1, 1, 0, 1, 0, 0], doc_lens=[3, 3])
    masked = lm.collate([row], Lm(kind="lm", doc_mask=True), 0, 1)
    assert masked["labels"].tolist() == [[6, 0, -100, -100, 0, -100, -100, -100]]
    assert masked["docs"].tolist() == [[0, 0, 0, 1, 1, 1, -1, -1]]
    whole = lm.collate([row], Lm(kind="lm"), 0, 1)
    assert whole["labels"].tolist() == [[6, 0, 7, -100, 0, -100, -100, -100]] and "docs" not in whole


def test_streams_with_and_without_a_mask_share_a_batch() -> None:
    rows = [_row([5, 6, 7, 8]), _row([5, 6, 7, 8], loss_mask=[0, 0, 0, 1])]
    assert lm.collate(rows, Lm(kind="lm"), 0, 1)["labels"].tolist() == [[6, 7, 8, lm.IGNORE], [lm.IGNORE, lm.IGNORE, 8, lm.IGNORE]]
    assert lm.collate(rows[::-1], Lm(kind="lm"), 0, 1)["labels"].tolist() == [[lm.IGNORE, lm.IGNORE, 8, lm.IGNORE], [6, 7, 8, lm.IGNORE]]


def test_documents_are_counted_at_end_of_text_without_lengths() -> None:
    batch = lm.collate([_row([5, 0, 6, 7, 0, 8])], Lm(kind="lm", doc_mask=True), 0, 1)
    assert batch["docs"].tolist() == [[0, 0, 1, 1, 1, 2]]


def test_a_batch_without_labels_has_loss_zero_not_nan() -> None:
    batch = lm.collate([_row([5, 1, 1])], Lm(kind="lm"), 0, 1)
    loss, _ = lm.loss(Fixed(torch.zeros(1, 3, 7)), batch, Lm(kind="lm"))
    assert float(loss) == 0.0


def test_log_probabilities_are_means_over_the_masked_tokens() -> None:
    tokens, mask = torch.tensor([[2, 3, 4, 1]]), torch.tensor([[0, 0, 1, 1]])
    logits = torch.randn(1, 4, 7, generator=torch.Generator().manual_seed(1))
    p = torch.log_softmax(logits, -1)
    assert float(lm.log_probabilities(Fixed(logits), tokens, mask)) == pytest.approx(float(p[0, 1, 4] + p[0, 2, 1]) / 2, rel=1e-5)
