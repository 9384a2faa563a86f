"""What a stage will do, worked out without torch: its data, its length in updates, and the fingerprint that says whether it is fresh."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dolma.core import manifest as manifests
from dolma.core.errors import ConfigError, DataError
from dolma.core.files import sha256
from dolma.core.graph import stage_fingerprint, stage_inputs, training_fingerprint
from dolma.core.manifest import Manifest
from training import data
from training.config import Init, Stage, updates

METRICS = "metrics.json"


@dataclass(frozen=True)
class Plan:
    """A stage with everything resolved.

    Args:
        sequences: rows of one update, over all processes.
        batch_tokens: tokens of one update.
        epoch: updates of one pass over the data.
        updates: updates of the stage.
        save_every: updates between two checkpoints.
        training: the fingerprint without what the stage is measured on.
    """

    stage: Stage
    root: Path
    name: str
    source: data.Source
    parent: Manifest | None
    sequences: int
    batch_tokens: int
    epoch: int
    updates: int
    save_every: int
    fingerprint: str
    training: str

    @property
    def folder(self) -> Path:
        """Where the stage writes."""
        return self.root / self.name

    def fresh(self) -> bool:
        """Whether a finished run with this fingerprint is there, its files with it.

        The figures are hashed: a run killed while they were taken again may have left others, and they are small.
        """
        return self._there(lambda made: made.fingerprint == self.fingerprint, figures=True)

    def trained(self) -> bool:
        """Whether a finished run with these weights is there, whatever it was measured on and whether or not its figures are there."""
        return self._there(lambda made: made.facts.get("training") == self.training, figures=False)

    def _there(self, fits: Callable[[Manifest], bool], *, figures: bool) -> bool:
        if not manifests.exists(self.folder):
            return False
        manifest = manifests.load(self.folder)
        try:
            if not fits(manifest):
                return False
            for file in manifest.files:
                if file.name != METRICS:
                    manifests.shard(self.folder, file)
                elif figures and sha256(manifests.shard(self.folder, file)) != file.sha256:
                    return False
            return True
        except DataError:
            return False

    def length(self, text: str) -> int:
        """A length of the stage file in updates."""
        return updates(text, batch_tokens=self.batch_tokens, epoch=self.epoch, total=self.updates)

    def summary(self) -> dict[str, Any]:
        """What `dolma-train plan` prints."""
        return {
            "run": self.name,
            "stage": self.stage.stage,
            "data": self.source.name,
            "rows": self.source.rows,
            "updates": self.updates,
            "sequences": self.sequences,
            "tokens": self.updates * self.batch_tokens,
            "epochs": round(self.updates / max(self.epoch, 1), 3),
            "save_every": self.save_every,
            "parent": self.parent.dataset if self.parent else None,
            "fingerprint": self.fingerprint,
            "fresh": self.fresh(),
            "trained": self.trained(),
        }


def name_of(path: Path) -> str:
    """The dataset that a stage file writes: its path below `pipelines`, or `train/NAME` elsewhere."""
    parts = path.resolve().with_suffix("").parts
    return "/".join(parts[len(parts) - parts[::-1].index("pipelines") :]) if "pipelines" in parts else f"train/{path.stem}"


def plan(stage: Stage, value: dict[str, Any], root: Path, name: str, *, hashes: bool = False) -> Plan:
    """Resolve a stage against the datasets below `root`; writes nothing.

    Args:
        value: the stage as its YAML has it.
        hashes: read every shard and compare its hash; otherwise sizes only.

    Raises:
        ConfigError: lengths or batches that do not fit the data.
        DataError: data or the run before is missing or does not fit.
    """
    source = data.find(root, stage.data.manifest, hashes=hashes)
    init = stage.model.init
    parent = manifests.at(root, init.run) if isinstance(init, Init) else None
    if parent is not None:
        _fits(parent, source)
    width = source.sequence_tokens if stage.batch.tokens or "tok" in stage.length.duration + stage.length.save_every else source.facts.get("sequence_tokens", 1)
    sequences = stage.batch.sequences or int(stage.batch.tokens or 0) // width
    if sequences < 1 or (stage.batch.tokens or 0) % width:
        raise ConfigError(name, "`batch.tokens` is no whole number of sequences", got=stage.batch.tokens, expected=f"a multiple of {width}", mend="change it")
    epoch = source.rows // sequences
    if epoch < 1:
        raise ConfigError(name, "one batch is larger than the data", got=f"{sequences} sequences", expected=f"at most {source.rows}", mend="a smaller batch")
    total = max(updates(stage.length.duration, batch_tokens=sequences * width, epoch=epoch), 1)
    every = max(updates(stage.length.save_every, batch_tokens=sequences * width, epoch=epoch, total=total), 1)
    print_ = stage_fingerprint(value, stage_inputs(value, root), root)
    return Plan(stage, root, name, source, parent, sequences, sequences * width, epoch, total, every, print_, training_fingerprint(value, root))


def _fits(parent: Manifest, source: data.Source) -> None:
    theirs, ours = (parent.facts.get("tokenizer") or {}).get("sha256"), (source.facts.get("tokenizer") or {}).get("sha256")
    if theirs != ours:
        raise DataError(
            source.name,
            f"another tokenizer made this data than that of {parent.dataset}",
            got=str(ours)[:16],
            expected=str(theirs)[:16],
            mend="train the stages before again on data of the same tokenizer",
        )
