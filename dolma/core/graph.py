"""All recipes and stages of a pipelines folder as one graph: who needs whom, in which order, and what is stale."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa

from dolma.core import config, manifest
from dolma.core.errors import ConfigError, DolmaError, Errors
from dolma.core.recipe import STREAMS, Compiled, Recipe, compile, parse

NOT_RECIPES = ("env", "jobs", "swarm")  # folders of a pipelines folder that hold no recipes


@dataclass(frozen=True)
class Stage:
    """A training stage as the corpus side sees it: its name, its file, and the datasets and stages that it reads."""

    name: str
    file: Path
    value: dict[str, Any]
    needs: tuple[str, ...]


class Graph:
    """The recipes and stages below a folder; each is compiled once, when it is first asked for."""

    def __init__(self, pipelines: Path) -> None:
        self.pipelines = pipelines
        self.files = {
            str(path.relative_to(pipelines).with_suffix("")): path
            for path in sorted(pipelines.rglob("*.yaml"))
            if path.relative_to(pipelines).parts[0] not in NOT_RECIPES
        }
        if not self.files:
            raise ConfigError(
                str(pipelines), "no recipes here", got="0 YAML files", expected="at least 1", mend="give the folder that holds source/, pool/, mix/ ..."
            )
        self._compiled: dict[str, Compiled | Stage] = {}
        self._open: list[str] = []

    def __getitem__(self, name: str) -> Compiled | Stage:
        if name not in self.files:
            near = get_close_matches(name, list(self.files), n=1)
            raise ConfigError(
                str(self.pipelines),
                f"no recipe makes `{name}`",
                got=name,
                expected=f"one of {len(self.files)} recipes",
                mend=f"did you mean `{near[0]}`?" if near else "add its YAML",
            )
        if name in self._open:
            raise self._circle((*self._open, name))
        if name not in self._compiled:
            self._open.append(name)
            try:
                self._compiled[name] = self._compile(name)
            finally:
                self._open.pop()
        return self._compiled[name]

    def _circle(self, trail: tuple[str, ...]) -> ConfigError:
        way = trail[trail.index(trail[-1]) :]
        return ConfigError(str(self.files[way[-1]]), f"recipes need one another in a circle: {' -> '.join(way)}", mend="cut the circle")

    def _compile(self, name: str) -> Compiled | Stage:
        value, where = config.parse(self.files[name]), str(self.files[name])
        if isinstance(value, dict) and "stage" in value:
            return Stage(name, self.files[name], value, tuple(dict.fromkeys(self.stage_needs(value, where))))
        return compile(name, parse(name, value, where), where, self._schema)

    def _schema(self, name: str) -> pa.Schema:
        node = self[name]
        if isinstance(node, Stage):
            raise ConfigError(str(node.file), f"`{name}` is a stage, not a table", mend="name a dataset")
        return STREAMS if node.recipe.format == "mds" else node.schema

    def stage_needs(self, value: Any, where: str) -> Iterable[str]:
        """Datasets named under `data`, `init` and `evaluate` of a stage file, wherever they stand."""
        named = [value.get("data"), value.get("evaluate")]
        initial = (value.get("model") or {}).get("init") if isinstance(value.get("model"), dict) else None
        if isinstance(initial, dict) and "run" in initial:
            self.dataset(initial["run"], where)
            yield initial["run"]
        for text in _strings(named):
            if text in self.files:
                yield text
            elif "/" in text and (owner := self._owner(text)):
                yield owner

    def _owner(self, path: str) -> str | None:
        parts = path.split("/")
        return next((name for n in range(len(parts), 0, -1) if (name := "/".join(parts[:n])) in self.files), None)

    def dataset(self, path: str, where: str) -> str:
        """The dataset that `path` (`pool/cuts`, `pool/tokenizer/tokenizer.json`) belongs to."""
        owner = self._owner(path)
        if owner is None:
            near = get_close_matches(path, list(self.files), n=1)
            raise ConfigError(
                where,
                f"no recipe makes `{path}`",
                got=path,
                expected=f"one of {len(self.files)} recipes",
                mend=f"did you mean `{near[0]}`?" if near else "add its YAML, or mend the name",
            )
        return owner

    def needs(self, name: str) -> tuple[str, ...]:
        """The datasets and stages that must exist before `name`."""
        node = self[name]
        if isinstance(node, Stage):
            return node.needs
        return tuple(dict.fromkeys(self.dataset(path, str(self.files[name])) for path in node.needs))

    def order(self, targets: Iterable[str]) -> list[str]:
        """`targets` and all that they need, each after what it needs; every error of every file at once.

        Raises:
            ConfigError: (or Errors) something in one of these files cannot be run as written.
        """
        done: dict[str, None] = {}
        errors: dict[str, DolmaError] = {}

        def visit(name: str, trail: tuple[str, ...]) -> None:
            if name in done:
                return
            try:
                if name in trail:
                    raise self._circle((*trail, name))
                for need in self.needs(name):
                    visit(need, (*trail, name))
            except DolmaError as error:
                errors.setdefault(str(error), error)
            done[name] = None

        for target in targets:
            visit(target, ())
        if errors:
            found = [one for error in errors.values() for one in (error.errors if isinstance(error, Errors) else (error,))]
            unique = list({str(one): one for one in found}.values())
            raise unique[0] if len(unique) == 1 else Errors(unique)
        return list(done)

    def targets(self, names: Iterable[str]) -> list[str]:
        """Datasets meant by command-line words: the pipelines folder, a folder in it, a YAML file, or a dataset's name."""
        found: dict[str, None] = {}
        for name in names:
            path = Path(name)
            if path.exists() and path.resolve().is_relative_to(self.pipelines.resolve()):
                inside = path.resolve().relative_to(self.pipelines.resolve())
                name = str(inside if path.is_dir() else inside.with_suffix(""))
            hits = [one for one in self.files if name == "." or one == name or one.startswith(name.rstrip("/") + "/")]
            if not hits:
                self[name]
            found.update(dict.fromkeys(hits))
        return list(found)


def _strings(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def stage_inputs(value: dict[str, Any], root: Path) -> list[str]:
    """The datasets below `root` that a stage names under `data`, `model.init` and `evaluate`; a file in a dataset stands for the dataset."""
    found = dict[str, None]()
    for text in _strings([value.get("data"), value.get("evaluate"), (value.get("model") or {}).get("init")]):
        parts = text.split("/")
        owners = ("/".join(parts[:n]) for n in range(len(parts), 0, -1))
        if owner := next((name for name in owners if manifest.exists(root / name)), None):
            found[owner] = None
    return list(found)


def fingerprint(value: Any) -> str:
    """sha256 of the canonical JSON of everything that decides a dataset's bytes."""
    return sha256(manifest.canonical(value)).hexdigest()


TRAINING_VERSION = 1  # raise it when a change in `training` changes what a stage computes


def stage_fingerprint(value: dict[str, Any], needs: Iterable[str], root: Path, seed: int | None = None, known: Mapping[str, str] | None = None) -> str:
    """The fingerprint of a stage: its YAML, the fingerprints of all that it reads, its seed and the version of the training code.

    Args:
        known: fingerprints that datasets will have, in place of those that are there.
    """
    prints = dict(known or {})
    inputs = {name: prints.get(name) or manifest.load(root / name).fingerprint for name in sorted({*needs, *prints})}
    return fingerprint({"stage": value, "inputs": inputs, "seed": seed, "version": TRAINING_VERSION})


def training_fingerprint(value: dict[str, Any], root: Path, known: Mapping[str, str] | None = None) -> str:
    """The same without what a stage and those before it are measured on: equal for stages whose weights are equal, so that a change there costs figures
    and no training."""
    trained = {key: one for key, one in value.items() if key not in ("evaluate", "evaluate_first")}
    before = {name: manifest.load(root / name).facts.get("training") for name in stage_inputs({"model": value.get("model")}, root)}
    prints = {name: one for name, one in before.items() if one} | dict(known or {})
    return stage_fingerprint(trained, stage_inputs(trained, root), root, known=prints)


__all__ = ["Compiled", "Graph", "Recipe", "Stage", "fingerprint", "stage_fingerprint", "stage_inputs", "training_fingerprint"]
