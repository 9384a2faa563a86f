"""Weights and optimiser moments on disk, as safetensors: nothing that is loaded from another run can carry code.

RUN/model.json                         shape of the model
RUN/checkpoints/ba000100/model.safetensors
RUN/checkpoints/ba000512/{model,moments}.safetensors     the last one has the moments for the next stage
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from dolma.core.errors import DataError
from dolma.core.files import write_atomic
from training.model import ModelConfig, Olmo3

MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def _whole(tensor: Tensor) -> Tensor:
    tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return tensor.detach().cpu().contiguous()


def write(run: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> Path:
    """Save the weights after `step` updates (and the moments with an optimiser); returns the checkpoint's folder."""
    folder = run / "checkpoints" / f"ba{step:06}"
    write_atomic(folder / "model.safetensors", save({name: _whole(p) for name, p in model.state_dict().items()}))
    if optimizer is not None:
        moments = {f"{name}.{key}": _whole(optimizer.state[p][key]) for name, p in model.named_parameters() if p in optimizer.state for key in MOMENTS}
        write_atomic(folder / "moments.safetensors", save(moments))
    return folder


def write_config(run: Path, config: ModelConfig) -> None:
    """Save the shape of the model of a run."""
    write_atomic(run / "model.json", (json.dumps(config.as_dict(), indent=1) + "\n").encode())


def read_config(run: Path) -> ModelConfig:
    """The shape of the model of a run."""
    try:
        return ModelConfig(**json.loads((run / "model.json").read_bytes()))
    except (OSError, json.JSONDecodeError, TypeError) as error:
        raise DataError(str(run / "model.json"), "no readable model there", got=str(error), expected="what a stage wrote", mend="run that stage") from error


def folders(run: Path) -> list[Path]:
    """Checkpoints of a run, oldest first."""
    found = sorted((run / "checkpoints").glob("ba*/model.safetensors"))
    if not found:
        raise DataError(str(run), "the run has no checkpoints", got="0", expected="at least 1", mend="run that stage")
    return [path.parent for path in found]


def weights(folder: Path) -> dict[str, Tensor]:
    """The weights of a checkpoint."""
    return _read(folder / "model.safetensors")


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(str(path), "not a readable checkpoint", got=str(error), expected="safetensors", mend="run that stage again") from error


def fill(model: Olmo3, state: dict[str, Tensor], where: str) -> None:
    """Put weights into a model.

    Raises:
        DataError: names or shapes differ; the first difference is named.
    """
    ours = model.state_dict()
    for name in sorted(ours.keys() | state.keys()):
        mine, theirs = (tuple(side[name].shape) if name in side else None for side in (ours, state))
        if mine != theirs:
            raise DataError(where, f"weights do not fit the model at {name}", got=theirs, expected=mine, mend="use the model.json that belongs to them")
    model.load_state_dict(state)


def fill_moments(optimizer: torch.optim.Optimizer, model: nn.Module, folder: Path) -> None:
    """Put the moments of a checkpoint into a new optimiser; its settings and its learning rate stay its own."""
    if not (folder / "moments.safetensors").is_file():
        mend = "`load: [weights]`: an average, and a checkpoint in the middle of a run, have no moments"
        raise DataError(str(folder), "no optimiser moments there", got="no file", expected="moments.safetensors", mend=mend)
    state = _read(folder / "moments.safetensors")
    for name, p in model.named_parameters():
        if f"{name}.step" in state:
            kept: dict[str, Any] = {key: state[f"{name}.{key}"].clone() for key in MOMENTS}
            optimizer.state[p] = {key: value if key == "step" else value.to(p) for key, value in kept.items()}


def load(run: Path, at: Path | None = None) -> Olmo3:
    """The model of a run, at its last checkpoint or at the folder `at`, in evaluation mode."""
    model = Olmo3(read_config(run))
    folder = at or folders(run)[-1]
    fill(model, weights(folder), str(folder))
    return model.eval()
