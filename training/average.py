"""Checkpoint soup: the mean of several checkpoints' weights (Olmo 3 report: 32B midtraining of two runs, 32B long context of the last three)."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from dolma.core.errors import ConfigError, DataError
from training import checkpoint


def mean(folders: Sequence[Path]) -> dict[str, Tensor]:
    """The mean weights of checkpoints, summed in float64 so that their order does not matter to the last bit of float32.

    Raises:
        DataError: the checkpoints have different tensors.
    """
    if not folders:
        raise ConfigError("average", "nothing to average", got="0 checkpoints", expected="at least 1", mend="name checkpoints")
    first = checkpoint.weights(folders[0])
    total = {name: value.to(torch.float64) for name, value in first.items()}
    for folder in folders[1:]:
        other = checkpoint.weights(folder)
        for name in sorted(total.keys() | other.keys()):
            mine, theirs = (tuple(side[name].shape) if name in side else None for side in (total, other))
            if mine != theirs:
                raise DataError(str(folder), f"another model than {folders[0]}: {name}", got=theirs, expected=mine, mend="average runs of one model")
            total[name] += other[name]
    return {name: (value / len(folders)).to(first[name].dtype) for name, value in total.items()}


def last(run: Path, count: int) -> dict[str, Tensor]:
    """The mean of the last `count` checkpoints of a run."""
    found = checkpoint.folders(run)
    if len(found) < count:
        raise ConfigError(str(run), "too few checkpoints to average", got=len(found), expected=count, mend="lower `average`, or save more often")
    return mean(found[-count:])
