"""Strict YAML: unknown keys fail, all errors of a file are shown at once, and an env says where and how much, never what."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ByteSize, ConfigDict, Field, ValidationError

from dolma.core.errors import ConfigError, DolmaError, Errors

Model = TypeVar("Model", bound=BaseModel)


class Strict(BaseModel):
    """Base of every configuration: frozen, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Env(Strict):
    """Where a run reads and writes, and how much it may take."""

    root: str = Field(description="folder of all datasets, relative to the project or absolute")
    raw: str = Field(description="folder of the raw input, or a URL (s3://, gs://, hf://, https://, file://); `$DOLMA_DATA` means the data kit")
    engine: Literal["datatrove", "spark"] = "datatrove"
    workers: int = Field(default=2, ge=1, description="processes at work at once")
    tasks: int | None = Field(default=None, ge=1, description="tasks (partitions) a pass is cut into; one per unit when absent")
    limit: int | None = Field(default=None, ge=1, description="read only this many units of raw input; it selects, so it is in the fingerprint")
    scheduler: Literal["local", "slurm", "ray"] = "local"
    slurm: dict[str, str | int] = Field(default={}, description="options of the Slurm executor (time, partition, ...)")
    memory: ByteSize | None = Field(default=None, description="memory of one machine that a run may take (`64 GB`); what this one has when absent")
    disk: ByteSize | None = Field(default=None, description="room below `root` that a run may take (`2 TB`); what is free when absent")
    python: str | None = Field(default=None, description="interpreter for the training stages; this one when absent")


def read_yaml(path: Path, model: type[Model]) -> Model:
    """The file at `path`, checked against `model`.

    Raises:
        ConfigError: (or Errors with all of them) the file is absent, is not YAML, or has wrong or unknown keys.
    """
    return check(parse(path), model, str(path))


def parse(path: Path) -> Any:
    """The YAML value in a file; no tags, no aliases beyond plain YAML."""
    try:
        return _value(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        near = get_close_matches(path.name, [p.name for p in path.parent.glob("*.yaml")], n=1) if path.parent.is_dir() else []
        mend = f"did you mean {path.parent / near[0]}?" if near else "check the path"
        raise ConfigError(str(path), "no such file", got="nothing there", expected="a YAML file", mend=mend) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigError(where, "not valid YAML", got=getattr(error, "problem", error), expected="YAML", mend="mend the line") from error


def _value(text: str) -> Any:
    """The value of YAML text: libyaml reads it in an eighth of the time, PyYAML's own parser says more of what is wrong."""
    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError:
        return yaml.safe_load(text)


def check(value: Any, model: type[Model], where: str) -> Model:
    """`value` as a `model`, or all that is wrong with it at once."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        found: list[DolmaError] = [_explain(item, model, where) for item in error.errors()]
        raise (found[0] if len(found) == 1 else Errors(found)) from error


def _explain(item: Any, model: type[BaseModel], where: str) -> ConfigError:
    place = ".".join(str(part) for part in item["loc"])
    fields = _fields(model, item["loc"][:-1])
    if item["type"] == "extra_forbidden":
        near = get_close_matches(str(item["loc"][-1]), fields, n=1)
        mend = f"did you mean `{near[0]}`?" if near else "take it out, or write one of these"
        return ConfigError(where, f"unknown key `{place}`", got=item["loc"][-1], expected=f"one of {', '.join(fields) or 'no keys'}", mend=mend)
    if item["type"] == "missing":
        return ConfigError(where, f"`{place}` is missing", got="nothing", expected="a value", mend=f"add `{item['loc'][-1]}`")
    return ConfigError(where, f"`{place}`: {item['msg']}", got=repr(item.get("input"))[:120], expected=item["type"], mend="mend the value")


def _fields(model: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    for part in path:
        field = model.model_fields.get(str(part))
        inner = getattr(field, "annotation", None)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            model = inner
    return list(model.model_fields)
