"""What a swarm is, as its YAML says it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from dolma.core.config import Strict, parse, read_yaml
from dolma.core.errors import ConfigError
from dolma.mix.regress import Name as Law
from dolma.mix.swarm import Design

Share = Annotated[float, Field(ge=0, le=1)]


class Proxy(Strict):
    """The runs of a swarm: one stage, on another mix each."""

    stage: str = Field(description="a stage file below the pipelines folder, without `.yaml`")
    tokens: int = Field(ge=1, description="of each run; they take the place of `length.duration`")
    set: dict[str, Any] = Field(default={}, description="values in place of the stage file's, such as {optim: {lr: 0.01}}")


class Round(Strict):
    """A mix of an earlier round as one virtual domain: the proposal of another swarm, or ratios."""

    name: str
    swarm: str | None = None
    ratios: dict[str, Share] | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.swarm is None) == (self.ratios is None):
            raise ValueError("give either `swarm` or `ratios`")
        return self


class Search(Strict):
    """The search for the best mix under the laws (spec of the mix, section 3, step 5)."""

    method: Literal["exact", "simulation"] = "exact"
    tokens: int = Field(ge=1, description="of the mix that is looked for; caps follow from it")
    repeats: float = Field(default=4.0, gt=0, description="most copies of a domain; 4 to 7 published")
    kl: float = Field(default=0.05, ge=0, description="price of a nat away from the natural mix, in bits per byte")
    importance: dict[str, float] | None = Field(default=None, description="of tasks; all the same when absent")
    seed: int = Field(default=0, ge=0, description="of a simulation")


class Swarm(Strict):
    """One swarm: pipelines/swarm/NAME.yaml."""

    shards: str = Field(description="the sharded dataset that mixes are made of")
    domains: list[str] = Field(min_length=2, description="`source`, `source/topic`, `source/*` (each of its topics), or the name of a round")
    rounds: list[Round] = Field(default=[], description="mixes found before, in their order, each one domain here")
    design: Design
    heldout: int = Field(default=0, ge=0, description="runs beyond those of the design, to check the laws on")
    proxy: Proxy
    law: Law = "log_linear"
    folds: int = Field(default=5, ge=2, description="of the cross-validation of the laws")
    proposal: Search

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(set(self.domains)) != len(self.domains):
            raise ValueError("a domain is named twice")
        if unused := [one.name for one in self.rounds if one.name not in self.domains and not any(one.name in (r.ratios or {}) for r in self.rounds)]:
            raise ValueError(f"rounds that no domain names: {', '.join(unused)}")
        return self

    @property
    def runs(self) -> int:
        """All runs, those held out last."""
        return self.design.runs + self.heldout


def read(name: str, pipelines: Path) -> tuple[Swarm, Path]:
    """A swarm by its name (`sources`: pipelines/swarm/sources.yaml) or its file, and that file.

    Raises:
        ConfigError: (or Errors with all of them) the file is absent, or has wrong or unknown keys.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else pipelines / "swarm" / f"{name.removeprefix('swarm/')}.yaml"
    return read_yaml(path, Swarm), path


def stage(settings: Swarm, pipelines: Path, mix: str) -> dict[str, Any]:
    """The stage of one run: that of the file with the swarm's changes, on `mix`.

    Raises:
        ConfigError: there is no such file, or it is no stage.
    """
    path = pipelines / f"{settings.proxy.stage}.yaml"
    value = parse(path)
    if not isinstance(value, dict) or "stage" not in value:
        raise ConfigError(str(path), "not a stage", got=type(value).__name__, expected="a mapping with `stage`", mend="name a stage file in `proxy.stage`")
    fixed = {"data": {"manifest": mix}, "length": {"duration": f"{settings.proxy.tokens}tok"}}
    return _over(_over(value, settings.proxy.set), fixed)


def _over(value: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`value` with `changes` in it, mappings merged."""
    made = dict(value)
    for key, change in changes.items():
        made[key] = _over(made[key], change) if isinstance(made.get(key), dict) and isinstance(change, dict) and not _other(made[key], change) else change
    return made


def _other(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether `new` is another kind than `old` (a schedule of another `kind`), and so takes its place whole."""
    return "kind" in new and new["kind"] != old.get("kind")
