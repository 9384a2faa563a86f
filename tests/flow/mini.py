"""The real recipes over a small gathered corpus: where it lies, how it is run, and what of two runs must be the same."""

import json
import shutil
from pathlib import Path
from typing import Any

import yaml

from dolma.core import manifest

PIPELINES = Path(__file__).parents[2] / "pipelines"
WEB = ("source/web/extract", "source/web/filter")
OTHERS = ("source/pdf/extract", "source/code/extract", "source/code/filter", "source/math/extract", "source/wiki/extract")
POOL = (
    "pool/candidates",
    "pool/exact",
    "pool/edges",
    "pool/components",
    "pool/verified",
    "pool/strict",
    "pool/clusters",
    "pool/near",
    "pool/pairs",
    "pool/unique",
)
ENDS = ("pool/unique", "pool/pairs")  # what needs all of POOL


def write_env(folder: Path, name: str, **settings: object) -> Path:
    """An env over the gathered corpus in `folder`/raw, with a root of its own name."""
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"root": str(folder / name), "raw": str(folder / "raw"), "workers": 1, **settings}))
    return path


def take_over(folder: Path, name: str, datasets: tuple[str, ...], source: str = "one") -> None:
    """Copy finished datasets of one run into the root of another: what a test is not about is not made again."""
    for dataset in datasets:
        shutil.copytree(folder / source / dataset, folder / name / dataset)


def manifests(folder: Path, name: str, datasets: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """The manifests of a run. The commit is left out: somebody may commit between two runs of a test session."""
    found = {dataset: json.loads((folder / name / dataset / manifest.NAME).read_bytes()) for dataset in datasets}
    for one in found.values():
        del one["code"]["commit"]
    return found
