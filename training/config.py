"""A stage: a YAML that names a manifest, a model, an objective and a schedule. Facts of the data are read from its manifest, never restated."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from dolma.core.config import Strict, check, parse
from dolma.core.errors import ConfigError, DolmaError, Errors

LENGTH = re.compile(r"([0-9][0-9_]*(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)(tok|ba|ep|dur)")
RESTATED = ("sequence_tokens", "sequence_length", "seq_len", "max_seq_len", "context_length", "vocab", "vocab_size", "eos", "pad", "tokenizer_sha256")

Length = Annotated[str, Field(pattern=f"^{LENGTH.pattern}$", description="updates `200ba`, tokens `1.0e6tok`, epochs `2ep`, or a share of the stage `0.1dur`")]


class Data(Strict):
    """What is read: a mix manifest, or a dataset of MDS shards."""

    manifest: str
    tokenizer: str = Field(default="pool/tokenizer/tokenizer.json", description="checked against the hash in the manifest's facts")
    seed: int = Field(default=34521, description="order of the sequences")


class Init(Strict):
    """The stage before: its weights, and its optimiser moments; never its position in data or schedule (OLMo-core, `load_trainer_state=False`)."""

    run: str
    load: list[Literal["weights", "optimizer"]] = ["weights", "optimizer"]
    average: int = Field(default=1, ge=1, description="mean of the last so many checkpoints")

    @model_validator(mode="after")
    def _fits(self) -> "Init":
        if "weights" not in self.load or (self.average > 1 and "optimizer" in self.load):
            raise ValueError("`load` takes the weights, and moments only with `average: 1`: averaged weights have none")
        return self


Size = Literal["demo", "14M", "30M", "60M", "100M", "190M", "370M", "600M", "760M", "1B", "3B", "7B", "13B", "32B"]


class Dims(Strict):
    """A shape of its own in place of a preset."""

    d: int = Field(ge=2)
    layers: int = Field(ge=1)
    heads: int = Field(ge=1)
    kv_heads: int = Field(ge=1)
    ffn: int = Field(ge=1)
    window: int = Field(ge=1)

    @model_validator(mode="after")
    def _divides(self) -> "Dims":
        if self.d % (2 * self.heads) or self.heads % self.kv_heads:
            raise ValueError("`d` must be an even multiple of `heads`, and `heads` a multiple of `kv_heads`")
        return self


class Model(Strict):
    """A size (or dims) with new weights, or the model of another run."""

    size: Size | None = Field(default=None, description="a preset of training/model.py")
    dims: Dims | None = None
    init: Literal["random"] | Init
    yarn: float | None = Field(default=None, gt=1, description="context extension on the full layers")

    @model_validator(mode="after")
    def _one_source(self) -> "Model":
        if (self.size is not None) + (self.dims is not None) != (self.init == "random"):
            raise ValueError("`init: random` needs either `size` or `dims`; with `init: {run: ...}` the shape is that run's")
        return self


class Lm(Strict):
    """Next-token prediction."""

    kind: Literal["lm"]
    z_loss: float = Field(default=0.0, ge=0)
    doc_mask: bool = Field(default=False, description="attention stays within a document (long context and SFT)")
    mean: Literal["tokens", "sequences"] = Field(
        default="tokens", description="what counts the same: every token, or every sequence however few tokens of it are learnt"
    )


class Dpo(Strict):
    """Length-normalised direct preference optimisation against the initial weights."""

    kind: Literal["dpo"]
    beta: float = Field(gt=0)


class Rlvr(Strict):
    """Policy gradient on verified answers; the names are those of the Olmo 3 report, section 4.4.1."""

    kind: Literal["rlvr"]
    group: int = Field(default=8, ge=2, description="rollouts of a prompt")
    clip_low: float = 0.2
    clip_high: float = 0.272
    tis_cap: float = Field(default=2.0, description="cap of the ratio between trainer and generator")
    temperature: float = Field(default=1.0, gt=0)
    max_new: int = Field(default=48, ge=1, description="longest answer in tokens")
    minibatches: int = Field(default=1, ge=1, description="updates made of one batch of rollouts")
    reward: Literal["verified", "random"] = "verified"
    reward_scale: float = Field(default=1.0, gt=0)
    filter_zero: bool = Field(default=True, description="drop groups whose rewards are all equal")
    no_resampling_pass_rate: float | None = Field(default=None, description="prompts solved this often are not asked again")


Objective = Annotated[Lm | Dpo | Rlvr, Field(discriminator="kind")]


class Schedule(Strict):
    """Learning rate over the stage, as a share of the peak."""

    kind: Literal["constant", "linear", "cosine", "wsd"]
    warmup: Length = "0ba"
    final: float = Field(default=0.0, ge=0, le=1)
    horizon: Length | None = Field(default=None, description="where the curve ends; past the end of the stage it is cut")
    decay: Length = Field(default="0.1dur", description="last part of `wsd`")


class Skip(Strict):
    """Which updates are dropped as outliers (OLMo-core `SkipStepOptimizer`)."""

    window: int = Field(default=128, ge=2)
    least: int = Field(default=64, ge=2)
    sigmas: float = Field(default=6.0, gt=0)


class Optim(Strict):
    """AdamW; defaults are those of all Olmo 3 base stages."""

    lr: float = Field(gt=0)
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = Field(default=0.1, ge=0)
    clip: float = Field(default=1.0, gt=0)
    skip: Skip = Skip()
    schedule: Schedule


class Batch(Strict):
    """One update: tokens or sequences over all processes; `micro` sequences go through the model of a process at once."""

    tokens: int | None = Field(default=None, ge=1)
    sequences: int | None = Field(default=None, ge=1)
    micro: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _one_unit(self) -> "Batch":
        if (self.tokens is None) == (self.sequences is None):
            raise ValueError("give either `tokens` or `sequences`")
        return self


class Duration(Strict):
    """How long the stage is, and how often it is saved."""

    duration: Length
    save_every: Length


class BitsPerByte(Strict):
    """Negative log-likelihood of held-out documents in bits a UTF-8 byte, by source. A window never sees the one before it."""

    kind: Literal["bits_per_byte"]
    data: str = Field(description="a dataset of documents")
    length: int = Field(ge=2, description="tokens of a window")
    beyond: int = Field(default=0, ge=0, description="only tokens at least so far into their window count")
    max_bytes: int = Field(default=100_000, ge=1, description="text of each source that is measured, whole documents in the order of their keys")
    document_bytes: int | None = Field(default=None, ge=1, description="of each document only so many first bytes, so that no single one is a whole slice")
    together: bool = Field(default=False, description="all sources as one slice")


class Recall(Strict):
    """Share of facts that are predicted right when a document asks for them long after it told them."""

    kind: Literal["recall"]
    data: str = Field(description="documents of the step `facts`")
    beyond: int = Field(ge=0, description="only facts told more than so many tokens before")
    documents: int = Field(default=100, ge=1)


class Answers(Strict):
    """Verified answers to held-out prompts: greedy ones, or the mean reward of sampled ones."""

    kind: Literal["answers"]
    data: str = Field(description="a dataset of prompts, each with its verifier and the truth")
    prompts: int = Field(default=300, ge=1)
    max_new: int = Field(default=64, ge=1)
    temperature: float = Field(default=0.0, ge=0)
    samples: int = Field(default=1, ge=1, description="answers to each prompt")
    by: str | None = Field(default=None, description="column that makes a slice of each of its values")


class Preference(Strict):
    """Share of held-out pairs whose chosen answer has the higher mean log-probability a token."""

    kind: Literal["preference"]
    data: str = Field(description="a dataset of pairs")
    pairs: int = Field(default=300, ge=1)


Evaluation = Annotated[BitsPerByte | Recall | Answers | Preference, Field(discriminator="kind")]


class Stage(Strict):
    """One of the six stages."""

    stage: str
    seed: int = Field(default=1, description="initial weights and rollouts")
    data: Data
    model: Model
    objective: Objective
    optim: Optim
    batch: Batch
    length: Duration
    precision: Literal["fp32", "bf16"] = "bf16"
    evaluate: list[Evaluation] = []
    evaluate_first: bool = Field(default=True, description="take the figures before the first update too; the runs of a swarm all start alike")


def read_stage(path: Path, *, seed: int | None = None, changes: list[str] | None = None) -> tuple[Stage, dict[str, Any]]:
    """The stage in a YAML file, and its value as written: that is what a fingerprint is made of.

    Args:
        seed: takes the place of both seeds of the file.
        changes: `data.manifest=mix/web_only`: single values changed, as YAML.

    Raises:
        ConfigError: (or Errors with all of them) wrong or unknown keys, or a fact of the data restated.
    """
    value = parse(path)
    if not isinstance(value, dict):
        raise ConfigError(str(path), "not a stage", got=type(value).__name__, expected="a mapping", mend="start with `stage: NAME`")
    for change in [*(changes or []), *([f"seed={seed}", f"data.seed={seed}"] if seed is not None else [])]:
        _change(value, change)
    return checked(value, str(path)), value


def checked(value: dict[str, Any], where: str) -> Stage:
    """The stage in the value of a YAML file; errors as of `read_stage`, each with `where`."""
    found: list[DolmaError] = [
        ConfigError(where, f"`{place}` restates a fact of the data", expected="facts come from the manifest", mend=f"remove `{place}`")
        for place in _restated(value)
    ]
    try:
        stage = check(value, Stage, where)
    except DolmaError as error:
        raise Errors([*found, *(error.errors if isinstance(error, Errors) else [error])]) from error
    if found:
        raise Errors(found)
    return stage


def _change(value: dict[str, Any], change: str) -> None:
    import yaml

    place, mark, text = change.partition("=")
    if not mark:
        raise ConfigError("--set", "not KEY=VALUE", got=change, expected="such as data.manifest=mix/web_only", mend="write both")
    *path, last = place.split(".")
    for part in path:
        inner = value.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ConfigError("--set", f"`{part}` of {place} holds no keys", got=repr(inner), expected="a mapping", mend="set the whole value")
        value = inner
    value[last] = yaml.safe_load(text)


def _restated(value: Any, place: str = "") -> list[str]:
    """Take facts of the data out of `value`; returns where they stood."""
    if not isinstance(value, dict) or place == "evaluate":
        return []
    found = []
    for key in list(value):
        here = f"{place}.{key}" if place else str(key)
        if key in RESTATED:
            del value[key]
            found.append(here)
        else:
            found += _restated(value[key], here)
    return found


def updates(length: str, *, batch_tokens: int, epoch: int, total: int | None = None) -> int:
    """A length as a number of updates.

    Args:
        batch_tokens: tokens of one update.
        epoch: updates of one pass over the data.
        total: updates of the stage, for lengths such as `0.1dur`.
    """
    matched = LENGTH.fullmatch(length)
    assert matched, length
    amount, unit = float(matched[1].replace("_", "")), matched[2]
    if unit == "dur" and total is None:
        raise ConfigError("length.duration", "a stage cannot be a share of itself", got=length, expected="tok, ba or ep", mend="give an absolute length")
    return round(amount * {"ba": 1.0, "tok": 1 / batch_tokens, "ep": float(epoch), "dur": float(total or 0)}[unit])
