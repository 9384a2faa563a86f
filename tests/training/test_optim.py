"""The skip rule, clipping, decay groups, and schedules by their formulas."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.config import Optim, Schedule, Skip, updates
from training.model import Olmo3, of_size
from training.optim import SkipStepAdamW, adamw, multiplier


def _one(p: torch.nn.Parameter, **settings_: float) -> SkipStepAdamW:
    return SkipStepAdamW([{"params": [p]}], lr=0.1, betas=(0.9, 0.95), **settings_)  # pyright: ignore


def _step(optimizer: SkipStepAdamW, p: torch.nn.Parameter, gradient: float, loss: float = 1.0) -> bool:
    def closure() -> float:
        p.grad = torch.full_like(p, gradient)
        return loss

    optimizer.step(closure)
    return optimizer.skipped


def test_without_outliers_it_equals_adamw_with_clipped_gradients() -> None:
    ours, theirs = (torch.nn.Parameter(torch.ones(3)) for _ in range(2))
    one, two = _one(ours, weight_decay=0.1, clip=1.0), torch.optim.AdamW([theirs], lr=0.1, betas=(0.9, 0.95), weight_decay=0.1)
    for i in range(20):
        _step(one, ours, 0.2 * i)
        theirs.grad = torch.full_like(theirs, 0.2 * i)
        torch.nn.utils.clip_grad_norm_([theirs], 1.0)
        two.step()
    torch.testing.assert_close(ours.data, theirs.data, atol=1e-6, rtol=0)
    assert one.skips == 0 and one.grad_norm == pytest.approx(0.2 * 19 * math.sqrt(3), rel=1e-5)


@pytest.mark.parametrize(("gradient", "loss"), [(50.0, 1.0), (1.0, 50.0), (math.nan, 1.0)])
def test_an_outlier_in_norm_or_loss_changes_nothing(gradient: float, loss: float) -> None:
    p = torch.nn.Parameter(torch.ones(1))
    optimizer = _one(p, least=8, window=16)
    for i in range(10):
        assert not _step(optimizer, p, 1.0 + 0.1 * (i % 2), 1.0 + 0.1 * (i % 2))
    before, moments = p.data.clone(), optimizer.state[p]["exp_avg"].clone()
    assert _step(optimizer, p, gradient, loss)
    assert torch.equal(p.data, before) and torch.equal(optimizer.state[p]["exp_avg"], moments) and optimizer.skips == 1
    assert not _step(optimizer, p, 1.05, 1.05)


def test_nothing_is_skipped_before_there_is_enough_history() -> None:
    p = torch.nn.Parameter(torch.ones(1))
    optimizer = _one(p, least=64)
    assert not any(_step(optimizer, p, 1.0 + 0.01 * (i % 3)) for i in range(63))
    assert not _step(optimizer, p, 1000.0)


def test_the_threshold_is_six_deviations_above_the_mean() -> None:
    p = torch.nn.Parameter(torch.ones(1))
    history = [1.0, 3.0] * 32
    for value, skipped in ((2 + 6 * 1.0 - 0.01, False), (2 + 6 * 1.0 + 0.01, True)):
        optimizer = _one(p)
        optimizer.load_history({"losses": history, "norms": [1.0] * 64, "skips": 0})
        assert _step(optimizer, p, 1.0, value) is skipped


def test_history_survives_a_restart() -> None:
    p = torch.nn.Parameter(torch.ones(1))
    one, two = _one(p), _one(p)
    for i in range(70):
        _step(one, p, 1.0 + 0.01 * (i % 3), 2.0)
    two.load_history(one.history())
    assert two.history() == one.history() and _step(two, p, 100.0, 2.0)


def test_only_the_input_embedding_does_not_decay() -> None:
    model = Olmo3(of_size("demo", 128, d=16, layers=2, ffn=24))
    optimizer = adamw(model, Optim(lr=1e-3, schedule=Schedule(kind="constant"), skip=Skip()))
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert {name for name, p in model.named_parameters() if decays[id(p)] == 0} == {"model.embed_tokens.weight"}
    assert len(decays) == len(list(model.parameters()))


def _length(total: int) -> Callable[[str], int]:
    return lambda text: updates(text, batch_tokens=100, epoch=50, total=total)


def _curve(total: int, **schedule: object) -> list[float]:
    made = Schedule.model_validate(schedule)
    return [multiplier(made, i, total, _length(total)) for i in range(total)]


def test_schedules_have_their_shapes() -> None:
    assert _curve(4, kind="constant") == [1, 1, 1, 1]
    assert _curve(4, kind="linear", final=0.0) == pytest.approx([1, 0.75, 0.5, 0.25])
    assert _curve(6, kind="linear", warmup="2ba") == pytest.approx([1 / 3, 2 / 3, 1, 0.75, 0.5, 0.25])
    assert _curve(4, kind="cosine", final=0.1) == pytest.approx([0.1 + 0.9 * (1 + math.cos(math.pi * i / 4)) / 2 for i in range(4)])
    assert _curve(8, kind="wsd", decay="0.5dur") == pytest.approx([1, 1, 1, 1, 1, 0.75, 0.5, 0.25])


def test_a_cosine_with_a_later_horizon_is_cut_where_the_released_model_was() -> None:
    curve = Schedule(kind="cosine", warmup="2000ba", final=0.1, horizon="1192092ba")
    at = multiplier(curve, 597_046, 597_046, _length(597_046))
    assert 3e-4 * at == pytest.approx(1.65e-4, rel=2e-3)  # Olmo 3 7B: the midpoint of its cosine


@given(st.sampled_from(["constant", "linear", "cosine", "wsd"]), st.integers(1, 60), st.integers(0, 10), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_a_schedule_stays_between_zero_and_the_peak(kind: str, total: int, warm: int, final: float) -> None:
    values = _curve(total, kind=kind, warmup=f"{warm}ba", final=final)
    assert all(0 < v <= 1 + 1e-9 for v in values[:warm]) and all(0 <= v <= 1 + 1e-9 for v in values)
    assert all(a >= b - 1e-9 for a, b in zip(values[warm:], values[warm + 1 :], strict=False))


def test_lengths_become_updates() -> None:
    assert [_length(200)(text) for text in ("7ba", "1.0e4tok", "2ep", "0.1dur", "1_000tok")] == [7, 100, 100, 20, 10]
