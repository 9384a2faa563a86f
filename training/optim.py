"""SkipStepAdamW and learning-rate schedules."""

import math
from collections import deque
from collections.abc import Callable, Iterable
from statistics import fmean, pstdev
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from training.config import Optim, Schedule


class SkipStepAdamW(torch.optim.AdamW):
    """AdamW that clips, and drops the update of a step whose loss or gradient norm is an outlier.

    A step is dropped when its loss or its gradient norm is above mean + `sigmas` standard deviations of the last `window` steps, once `least` of them
    are known. Dropped steps enter the history too, so a lasting change of level is accepted after a while.
    Source: OLMo-core `SkipStepAdamW`; Olmo 3 report, table 34 (6 sigmas, 128 steps).

    Args:
        clip: largest gradient norm; larger ones are scaled down to it.
        window: steps of history.
        least: steps of history needed before a step can be dropped.
        sigmas: standard deviations above the mean.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        lr: float,
        betas: tuple[float, float],
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        clip: float = 1.0,
        window: int = 128,
        least: int = 64,
        sigmas: float = 6.0,
    ) -> None:
        super().__init__(groups, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
        self.clip, self.least, self.sigmas = clip, least, sigmas
        self.losses: deque[float] = deque(maxlen=window)
        self.norms: deque[float] = deque(maxlen=window)
        self.loss, self.rate, self.grad_norm, self.skipped, self.skips = math.nan, lr, 0.0, False, 0

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One update, or none. `closure` computes the gradients and returns the loss; without it the loss is not watched."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        norm, value = self._norm(), math.nan if loss is None else _over_ranks(float(loss))
        self.loss, self.rate, self.grad_norm = value, self.param_groups[0]["lr"], norm
        self.skipped = not math.isfinite(norm) or self._outlier(norm, self.norms) or self._outlier(value, self.losses)
        self.skips += self.skipped
        if math.isfinite(norm):
            self.norms.append(norm)
        if math.isfinite(value):
            self.losses.append(value)
        if self.skipped:
            return loss
        if norm > self.clip:
            for p in self._with_gradient():
                assert p.grad is not None
                p.grad.mul_(self.clip / (norm + 1e-6))
        super().step()
        return loss

    def _with_gradient(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"] if p.grad is not None]

    def _norm(self) -> float:
        norm = torch.nn.utils.get_total_norm([p.grad for p in self._with_gradient() if p.grad is not None])
        return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)

    def _outlier(self, value: float, history: deque[float]) -> bool:
        return len(history) >= self.least and value > fmean(history) + self.sigmas * pstdev(history)

    def history(self) -> dict[str, Any]:
        """What autoresume must carry beside the moments."""
        return {"losses": list(self.losses), "norms": list(self.norms), "skips": self.skips}

    def load_history(self, state: dict[str, Any]) -> None:
        """Take over a `history`."""
        self.losses.extend(state["losses"])
        self.norms.extend(state["norms"])
        self.skips = state["skips"]


def _over_ranks(value: float) -> float:
    """The mean over processes: every one of them must come to the same decision."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1):
        return value
    device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
    mean = torch.tensor(value, device=device)
    torch.distributed.all_reduce(mean)
    return float(mean) / torch.distributed.get_world_size()


def adamw(model: nn.Module, settings: Optim) -> SkipStepAdamW:
    """The optimiser of a stage: no weight decay on the input embedding (OLMo-core scripts; the head and the norms decay)."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    plain = [p for name, p in named if not name.endswith("embed_tokens.weight")]
    embedding = [p for name, p in named if name.endswith("embed_tokens.weight")]
    groups = [{"params": plain, "weight_decay": settings.weight_decay}, {"params": embedding, "weight_decay": 0.0}]
    skip = settings.skip
    return SkipStepAdamW(
        groups, lr=settings.lr, betas=settings.betas, eps=settings.eps, clip=settings.clip, window=skip.window, least=skip.least, sigmas=skip.sigmas
    )


def multiplier(schedule: Schedule, step: int, total: int, length: Callable[[str], int]) -> float:
    """What the peak learning rate is multiplied with at `step`.

    Kinds after a linear warm-up from 0: `constant`; `linear` and `cosine` from 1 to `final`; `wsd` (warm-up, stable, decay: Hu et al. 2024) stays at 1 and
    goes linearly to `final` over the last `decay`. `horizon` is where a linear or cosine curve would end: the run may stop before it, which truncates the
    curve (the 7B model stopped at half of a cosine over 5T tokens).

    Args:
        step: 0 for the first update.
        total: updates of the stage.
        length: turns a length such as `100ba`, `1e6tok` or `0.1dur` into updates.
    """
    warm = length(schedule.warmup)
    if step < warm:
        return (step + 1) / (warm + 1)  # never 0: the first update would be lost
    end = length(schedule.horizon) if schedule.horizon else total
    if schedule.kind == "wsd":
        warm = end - length(schedule.decay)
    done = min(max((step - warm) / max(end - warm, 1), 0.0), 1.0)
    match schedule.kind:
        case "constant":
            return 1.0
        case "cosine":
            return schedule.final + (1 - schedule.final) * (1 + math.cos(math.pi * done)) / 2
        case _:
            return schedule.final + (1 - schedule.final) * (1 - done)
