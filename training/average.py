"""Checkpoint soup: the mean of several checkpoints' weights (Olmo 3 report: 32B midtraining of two runs, 32B long context of the last three)."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from dolma.core import manifest as manifests
from dolma.core.errors import ConfigError, DataError
from dolma.core.files import sha256 as digest
from dolma.core.files import write_atomic
from dolma.core.manifest import File, Input, Manifest, canonical
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


def write(root: Path, chosen: Sequence[Path], name: str) -> None:
    """Write the mean of checkpoints as a run `name` below `root`, from which a stage can start (weights; an average has no moments).

    Args:
        chosen: folders of runs (their last checkpoint) or of checkpoints.
    """
    runs = [path.parent.parent if path.parent.name == "checkpoints" else path for path in chosen]
    parents = [manifests.load(run) for run in runs]
    if len({parent.facts["tokenizer"]["sha256"] for parent in parents}) > 1:
        raise DataError(name, "the runs have different tokenizers", got=[p.dataset for p in parents], expected="one tokenizer", mend="average like runs")
    state = mean([path if path.parent.name == "checkpoints" else checkpoint.folders(path)[-1] for path in chosen])
    out = root / name
    (out / manifests.NAME).unlink(missing_ok=True)
    write_atomic(out / "checkpoints" / "ba000000" / "model.safetensors", save(state))
    for file in ("model.json", "tokenizer.json"):
        write_atomic(out / file, (runs[0] / file).read_bytes())
    recipe = {"average": [str(path.relative_to(root)) for path in chosen]}
    inputs = [Input(name=parent.dataset, fingerprint=parent.fingerprint) for parent in parents]
    made_of = sha256(canonical({"recipe": recipe, "inputs": [item.model_dump() for item in inputs]})).hexdigest()
    names = ["checkpoints/ba000000/model.safetensors", "model.json", "tokenizer.json"]
    files = [File(name=file, rows=0, bytes=(out / file).stat().st_size, sha256=digest(out / file)) for file in names]
    manifests.save(
        out,
        Manifest(
            dataset=name,
            fingerprint=made_of,
            table="checkpoint",
            format="safetensors",
            rows=0,
            bytes=sum(file.bytes for file in files),
            files=files,
            facts=parents[0].facts,
            recipe=recipe,
            inputs=inputs,
        ),
    )
