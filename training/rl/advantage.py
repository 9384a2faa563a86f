"""What an answer is better by than its group."""

import torch
from torch import Tensor


def centred(rewards: Tensor) -> Tensor:
    """Reward minus the mean of its group, without division by the deviation (Olmo 3 report, section 4.4.1): [prompts, group] to the same shape."""
    return rewards - rewards.mean(-1, keepdim=True)


def informative(rewards: Tensor) -> Tensor:
    """Which groups teach anything: those whose rewards are not all equal. [prompts, group] to [prompts]."""
    return torch.any(rewards != rewards[:, :1], -1)
