"""Preference optimisation against its closed form."""

import math

import numpy as np
import pytest
import torch

from training.config import Dpo
from training.model import Olmo3, of_size
from training.objectives import dpo


def _rows(count: int = 3) -> list[dict[str, object]]:
    rng = np.random.default_rng(4)
    rows = []
    for i in range(count):
        row: dict[str, object] = {"index": i}
        for side in dpo.SIDES:
            n = int(rng.integers(6, 12))
            row[side], row[f"{side}_mask"] = rng.integers(2, 100, n).astype(np.uint32), np.array([0] * 4 + [1] * (n - 4), np.uint8)
        rows.append(row)
    return rows


def test_loss_is_log_two_at_the_reference() -> None:
    model = Olmo3(of_size("demo", 128, d=16, layers=2, ffn=24), seed=1)
    batch = dpo.collate(_rows(), 1)
    batch["reference"] = dpo.reference(model, [batch], 3)
    loss, said = dpo.loss(model, batch, Dpo(kind="dpo", beta=5))
    assert float(loss) == pytest.approx(math.log(2), abs=1e-5) and float(said["margin"]) == pytest.approx(0, abs=1e-6)


def test_loss_equals_its_closed_form_with_length_normalised_log_probabilities() -> None:
    model = Olmo3(of_size("demo", 128, d=16, layers=2, ffn=24), seed=1)
    rows, beta = _rows(), 5.0
    batch = {**dpo.collate(rows, 1), "reference": torch.tensor([[-4.0, -4.1], [-5.0, -4.8], [-4.9, -4.95]])}
    expected = []
    with torch.no_grad():
        for row, (chosen, rejected) in zip(rows, batch["reference"].tolist(), strict=True):
            means = []
            for side in dpo.SIDES:
                tokens = torch.from_numpy(np.asarray(row[side]).astype(np.int64))[None]
                p = torch.log_softmax(model(tokens)[0].double(), -1)
                means.append(float(sum(p[t - 1, tokens[0, t]] for t in range(4, tokens.shape[1]))) / (tokens.shape[1] - 4))
            expected.append(math.log1p(math.exp(-beta * ((means[0] - chosen) - (means[1] - rejected)))))
    loss, _ = dpo.loss(model, batch, Dpo(kind="dpo", beta=beta))
    assert float(loss) == pytest.approx(sum(expected) / 3, rel=1e-4)


def test_one_step_raises_the_chosen_over_the_rejected() -> None:
    model = Olmo3(of_size("demo", 128, d=16, layers=2, ffn=24), seed=1)
    batch = dpo.collate(_rows(), 1)
    batch["reference"] = dpo.reference(model, [batch], 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    dpo.loss(model, batch, Dpo(kind="dpo", beta=5))[0].backward()
    optimizer.step()
    assert float(dpo.loss(model, batch, Dpo(kind="dpo", beta=5))[1]["margin"]) > 0
