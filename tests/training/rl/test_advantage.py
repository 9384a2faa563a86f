"""Centred advantages, and groups that teach nothing."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from training.rl.advantage import centred, informative


def test_by_example() -> None:
    rewards = torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    assert centred(rewards).tolist() == [[0.75, -0.25, -0.25, -0.25], [0.0] * 4, [0.0] * 4]
    assert informative(rewards).tolist() == [True, False, False]


@given(st.lists(st.lists(st.floats(0, 10, width=32), min_size=8, max_size=8), min_size=1, max_size=4))
def test_a_group_sums_to_nothing_and_keeps_its_differences(values: list[list[float]]) -> None:
    rewards = torch.tensor(values, dtype=torch.float64)
    gain = centred(rewards)
    torch.testing.assert_close(gain.sum(-1), torch.zeros(len(values), dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(gain - gain[:, :1], rewards - rewards[:, :1])
    assert informative(rewards).tolist() == [len(set(group)) > 1 for group in values]
