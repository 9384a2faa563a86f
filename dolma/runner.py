"""Walks the graph: for each stale dataset, passes of units through an engine, then the manifest; for each stale stage, a subprocess."""

import gc
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dolma.core import counts, manifest
from dolma.core.config import Env, read_yaml
from dolma.core.errors import DataError, DolmaError, EnvironmentFault, Errors, Partial
from dolma.core.files import disk_errors, lock, sha256, write_atomic
from dolma.core.graph import Graph, Stage, stage_fingerprint
from dolma.core.log import Progress, logger
from dolma.core.manifest import File, Input, Manifest
from dolma.core.recipe import Compiled
from dolma.engines import cost, fit, records, sizes, stations, trial, worker
from dolma.engines.plan import Plan, Record
from dolma.engines.units import build
from dolma.io.raw import is_url

gc.freeze()  # what is imported stays: the search for cycles, one in the shortest run, passes over it (.02 CPU s)
log = logger(__name__)
State = Literal["fresh", "stale", "missing", "blocked"]


@dataclass(frozen=True)
class PlanLine:
    """What a run would do with one dataset, what its shuffles and reduces take, and why they cannot fit, or may not."""

    dataset: str
    state: State
    reason: str
    size: sizes.Size | None = None
    faults: tuple[DolmaError, ...] = ()
    doubts: tuple[str, ...] = ()


class Run:
    """A graph, an env, and the engine that the env names."""

    def __init__(self, env_file: Path, pipelines: Path) -> None:
        stations.declare()
        self.env = read_yaml(env_file, Env)
        self.base = pipelines.resolve().parent
        self.root = self._place(self.env.root)
        self.raw = self.env.raw if is_url(self.env.raw) else self._place(self.env.raw)
        self.graph = Graph(pipelines)

    def _place(self, text: str) -> Path:
        if text.startswith("$DOLMA_DATA"):
            kit = os.environ.get("DOLMA_DATA") or self.base.parent / "shared" / "data"
            text = str(kit) + text.removeprefix("$DOLMA_DATA")
        return (self.base / text).resolve()

    def state(self, name: str, remember: bool = False) -> tuple[State, str, Plan | str | None]:
        """Whether a dataset is fresh, why not, and the plan that would make it (a fingerprint for a stage); writes only when it may `remember` hashes."""
        missing = [need for need in self.graph.needs(name) if not manifest.exists(self.root / need)]
        if missing:
            return "blocked", f"needs {', '.join(missing)}", None
        node = self.graph[name]
        folder = self.root / name
        if isinstance(node, Stage):
            made: Plan | str = stage_fingerprint(node.value, node.needs, self.root)
            fingerprint = str(made)
        else:
            made = build(node, self.graph, self.env, self.root, self.raw, remember)
            fingerprint = made.fingerprint
        if not manifest.exists(folder):
            return "missing", "not made yet", made
        there = manifest.load(folder)
        if there.fingerprint == fingerprint:
            lost = _lost(folder, there)
            return ("stale", lost, made) if lost else ("fresh", "", made)
        return "stale", _why(there, node, made), made

    def plan(self, targets: Iterable[str]) -> list[PlanLine]:
        """One line a dataset in the order of a run; nothing is written."""
        lines: list[PlanLine] = []
        moving: set[str] = set()
        sizing, room = sizes.Sizing(self.graph, self.env, self.root), self.room()
        for name in self.graph.order(self.graph.targets(targets)):
            needs = [need for need in self.graph.needs(name) if need in moving]
            state, reason, made = self.state(name) if not needs else ("blocked", f"needs {', '.join(needs)}", None)
            if state == "fresh":
                lines.append(PlanLine(name, state, reason))
                continue
            moving.add(name)
            size = sizing.of(name, made if isinstance(made, Plan) else None)
            asked = (name, size, room, self.env, self.root / name) if size else None
            faults, doubts = (tuple(fit.faults(*asked)), tuple(fit.doubts(*asked))) if asked else ((), ())
            lines.append(PlanLine(name, state, reason, size, (*faults, *trial.refusals(made, self.graph[name])), doubts))
        return lines

    def room(self) -> fit.Room:
        """The memory and the disk that a run may take."""
        return fit.room(self.env, self.root)

    def run(self, targets: Iterable[str], force: bool = False) -> int:
        """Make every stale dataset and stage; the number of those made."""
        order = self.graph.order(self.graph.targets(targets))
        made = 0
        start = time.monotonic()
        engine = _engine(self.env)
        try:
            for place, name in enumerate(order, 1):
                state, reason, plan = self.state(name, remember=True)
                if state == "fresh" and not force:
                    continue
                if plan is None:
                    raise DataError(name, f"cannot be made: {reason}", mend="this is a fault of the order; report it")
                log.info("[%d/%d] %s  (%s)  %s elapsed", place, len(order), name, reason or "forced", _clock(time.monotonic() - start))
                if isinstance(plan, Plan):
                    node = self.graph[name]
                    assert isinstance(node, Compiled)
                    size = sizes.Sizing(self.graph, self.env, self.root).of(name, plan)
                    fit.weigh(name, size, self.env, self.root)
                    Dataset(plan, node, engine).make(again=state == "fresh")
                else:
                    self._stage(name, plan, again=state == "fresh")
                made += 1
        finally:
            engine.close()
        return made

    def _stage(self, name: str, fingerprint: str, again: bool = False) -> None:
        """Run a training stage in a process of its own: this package never imports torch. One process needs no launcher, which loads Composer to start it."""
        node = self.graph[name]
        assert isinstance(node, Stage)
        python = self.env.python or sys.executable
        command = [python, "-m", "training.cli", "run", str(node.file), "--root", str(self.root), "--out", name]
        command += ["--again"] if again else []
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(self.base), os.environ.get("PYTHONPATH", "")]))}
        try:
            code = subprocess.call(command, env=environment)
        except OSError as error:
            raise EnvironmentFault(name, f"cannot start {python}", got=error.strerror, expected="an interpreter", mend="mend `python` in the env") from error
        if code or not manifest.exists(self.root / name):
            raise Partial(
                name,
                "the stage did not finish",
                got=f"exit {code}",
                expected="0",
                mend="its lines above say why; the same command resumes from its last checkpoint",
            )
        got = manifest.load(self.root / name).fingerprint
        if got != fingerprint:
            raise DataError(
                name, "the stage made something else", got=got[:16], expected=fingerprint[:16], mend="the stage file changed during the run; run again"
            )


class Dataset:
    """Makes one dataset: passes through the engine, records read back, ledger checked, manifest last."""

    def __init__(self, plan: Plan, compiled: Compiled, engine: Any) -> None:
        self.plan, self.compiled, self.engine = plan, compiled, engine
        self.folder = Path(plan.folder)
        self.attempt = f"{time.time_ns():x}"

    def make(self, again: bool = False) -> Manifest:
        """The manifest of the finished dataset.

        Args:
            again: do every unit anew, whatever is there.
        Raises:
            DolmaError: units failed, the ledger does not balance, or too much was quarantined. What is done is kept.
        """
        start = time.monotonic()
        with disk_errors(self.folder), lock(self.folder):
            self._assets()
            if again:
                shutil.rmtree(self.folder / ".records", ignore_errors=True)
            (self.folder / manifest.NAME).unlink(missing_ok=True)
            path = self.folder / ".work" / "plan.json"
            write_atomic(path, manifest.canonical(self.plan.model_dump()))
            done: dict[str, list[Record]] = {}
            native = hasattr(self.engine, "shuffle")
            for one in self.plan.passes:
                if one.kind == "scatter" and native:
                    continue
                done[one.kind] = self._pass(path, one.kind)
            if native and "gather" in done:
                scatter = next(p for p in self.plan.passes if p.kind == "scatter")
                found = [records.record(self.plan, worker.NATIVE, unit) for unit in scatter.units]
                done["scatter"] = [record for record in found if record is not None]
            costs = cost.collect(self.folder, [record for found in done.values() for record in found])
            made = self._commit(done)
            seconds = time.monotonic() - start
            line = {"attempt": self.attempt, "fingerprint": made.fingerprint, "seconds": round(seconds, 2), "finished": time.time()}
            cost.log(self.folder, {**line, "engine": type(self.engine).__name__.lower(), "families": cost.families(self.compiled), **costs})
        lost = ", ".join(f"{reason} {rows:,}" for reason, rows in counts.dropped(made.counts).items())
        log.info("  %s: %s rows in %d files%s, %.1f s", made.dataset, f"{made.rows:,}", len(made.files), f" ({lost})" if lost else "", seconds)
        for groups, rows in counts.chunked(made.counts):
            log.info("  %s: %s group%s in chunks (%s rows)", made.dataset, f"{groups:,}", "" if groups == 1 else "s", f"{rows:,}")
        return made

    def _assets(self) -> None:
        """Refuse a model, tokenizer or table of a step whose bytes are not those of its manifest: a cut model kills or hangs the library that reads it."""
        root = Path(self.plan.root)
        for asset in {value for bound in self.compiled.bound for value in bound.assets.values()}:
            owner = next(one["name"] for one in self.plan.inputs if asset == one["name"] or asset.startswith(one["name"] + "/"))
            made = manifest.load(root / owner)
            files = [file for file in (*made.files, *made.assets) if asset in (owner, f"{owner}/{file.name}")]
            if not files:
                raise DataError(asset, f"{owner} has no such file", got=asset, expected=", ".join(f.name for f in made.assets), mend="mend the recipe")
            for file in files:
                path = manifest.shard(root / owner, file)
                if (got := sha256(path)) != file.sha256:
                    mend = f"delete {owner}/{manifest.NAME} and run again"
                    raise DataError(str(path), "file differs from its manifest", got=got[:16], expected=file.sha256[:16], mend=mend)

    def _pass(self, path: Path, kind: str) -> list[Record]:
        """Run the units of one pass that have no valid record, then read all records."""
        one = next(p for p in self.plan.passes if p.kind == kind)
        intact = records.intact_record
        todo = [index for index, unit in enumerate(one.units) if intact(self.plan, kind, unit) is None]
        failed: list[DolmaError] = []
        progress = Progress(f"{self.plan.dataset} {kind}", len(one.units))
        progress.done = len(one.units) - len(todo)
        for index, error in self._results(path, kind, todo):
            if error is not None:
                failed.append(error)
            unit = one.units[index]
            progress.advance(sum(s.file.rows for s in unit.inputs), sum(s.bytes for s in unit.inputs))
        progress.close()
        found = [records.record(self.plan, kind, unit) for unit in one.units]
        if failed:
            raise failed[0] if len(failed) == 1 else Errors(failed)
        missing = [unit.name for unit, got in zip(one.units, found, strict=True) if got is None]
        if missing:
            raise Partial(
                self.plan.dataset,
                f"{len(missing)} units of pass {kind} left no record",
                got=", ".join(missing[:5]),
                expected="a record each",
                mend="run the same command again: it resumes",
            )
        return [record for record in found if record is not None]

    def _results(self, path: Path, kind: str, todo: list[int]) -> Iterable[tuple[int, DolmaError | None]]:
        if not todo:
            return ()
        if kind == "gather" and hasattr(self.engine, "shuffle"):
            return self.engine.shuffle(path, todo, self.attempt)
        if kind == "reduce" and self.compiled.final and (native := getattr(self.engine, self.compiled.final.step.distributed or "-", None)):
            return native(path, self.attempt)
        return self.engine.run(path, kind, todo, self.attempt)

    def _commit(self, done: dict[str, list[Record]]) -> Manifest:
        """Check the ledger of the whole dataset, clear what is not part of it, and write the manifest."""
        final = self.plan.passes[-1].kind
        files = sorted((f for r in done[final] for f in r.files), key=lambda f: f.name)
        aside = sorted((f for rs in done.values() for r in rs for f in r.quarantine), key=lambda f: f.name)
        assets = [f for r in done[final] for f in r.assets]
        merged = counts.merge(r.counts for rs in done.values() for r in rs)
        self._check(merged, files, aside)
        facts = {**self.plan.facts}
        for bound in self.compiled.bound:
            facts.update(bound.facts(Path(self.plan.root)))
        if self.compiled.final and self.compiled.final.step.facts and assets:
            facts.update({"assets": {f.name: f.sha256 for f in assets}})
        made = Manifest(
            dataset=self.plan.dataset,
            fingerprint=self.plan.fingerprint,
            table=self.compiled.recipe.table,
            format=self.compiled.recipe.format,
            rows=sum(f.rows for f in files),
            tokens=sum(f.tokens for f in files),
            bytes=sum(f.bytes for f in files),
            files=files,
            assets=assets,
            quarantine=aside,
            counts=merged,
            facts=facts,
            recipe=self.compiled.resolved(),
            inputs=[Input.model_validate(i) for i in self.plan.inputs],
            code=code(self.compiled),
        )
        keep = {Path(f.name).parts[0] for f in (*files, *assets, *aside)} | {"run.jsonl", ".lock", ".records", ".work"}
        for path in self.folder.iterdir():
            if path.name not in keep:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for kind in (self.folder / ".records").iterdir():
            if kind.name != final:
                shutil.rmtree(kind)
        manifest.save(self.folder, made)
        shutil.rmtree(self.folder / ".work", ignore_errors=True)
        return made

    def _check(self, merged: dict[str, int], files: list[File], aside: list[File]) -> None:
        where = self.plan.dataset
        counts.check(merged, where, whole=True)
        label = self.compiled.final.label if self.compiled.final else None
        last = [numbers["out"] for numbers in counts.steps(merged).values() if "out" in numbers]
        if label is None and last and last[-1] != sum(f.rows for f in files):
            raise DataError(
                where,
                "the shards do not hold the rows of the last step",
                got=sum(f.rows for f in files),
                expected=last[-1],
                mend="delete the dataset's folder and run again",
            )
        quarantined = sum(f.rows for f in aside)
        first = next((numbers["in"] for numbers in counts.steps(merged).values() if "in" in numbers), 0)
        if quarantined > self.compiled.recipe.quarantine * max(first, 1):
            raise DataError(
                where,
                "too many rows cannot be read",
                got=f"{quarantined} of {first} ({quarantined / max(first, 1):.1%})",
                expected=f"at most {self.compiled.recipe.quarantine:.1%}",
                mend=f"read {self.folder}/_quarantine, mend the input, or raise `quarantine` in the recipe",
            )


def code(compiled: Compiled) -> dict[str, Any]:
    """What made a dataset, for information: step versions, package versions, and the git commit."""
    import pyarrow

    from dolma import __version__

    return {
        "dolma": __version__,
        "pyarrow": pyarrow.__version__,
        "commit": _commit(),
        "packages": compiled.packages,
        "steps": {bound.step.name: bound.step.version for bound in compiled.bound},
    }


def _commit() -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None


def _lost(folder: Path, there: Manifest) -> str:
    """The first file of a finished dataset that is missing or has another length."""
    try:
        for file in (*there.files, *there.assets, *there.quarantine):
            manifest.shard(folder, file)
    except DataError as error:
        return f"{Path(error.where).name}: {error.got}, expected {error.expected}"
    return ""


def _why(there: Manifest, node: Compiled | Stage, made: Plan | str) -> str:
    if isinstance(node, Stage) or isinstance(made, str):
        return "the stage, its data or its parent changed"
    if there.recipe != json.loads(manifest.canonical(node.resolved())):
        return "the recipe changed"
    old, new = {i.name: i.fingerprint for i in there.inputs}, {i["name"]: i["fingerprint"] for i in made.inputs}
    moved = [name for name in new if old.get(name) != new[name]] or [name for name in old if name not in new]
    if moved:
        return f"{moved[0]} changed"
    return _upgraded(there.code, node) or "a step, the writer or the env's limit changed"


def _upgraded(code: dict[str, Any], node: Compiled) -> str:
    """The first package of a step that is another version than the one that made the dataset."""
    then, now = code.get("packages"), node.packages
    if then is None:  # made before manifests said which
        return ""
    changed = [f"{name} was {then.get(name) or 'not installed'}, is {now.get(name) or 'not installed'}" for name in now if then.get(name) != now[name]]
    return changed[0] if changed else ""


def _engine(env: Env) -> Any:
    if env.engine == "spark":
        from dolma.engines.spark import Spark

        return Spark(env)
    from dolma.engines.datatrove import Datatrove

    return Datatrove(env)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def run(targets: list[str], env_file: Path, *, pipelines: Path, force: bool = False) -> int:
    """Make all that is stale among `targets` and what they need; how many were made."""
    return Run(env_file, pipelines).run(targets, force)


def plan(targets: list[str], env_file: Path, *, pipelines: Path) -> list[PlanLine]:
    """What `run` would do; nothing is written."""
    return Run(env_file, pipelines).plan(targets)


__all__ = ["PlanLine", "Run", "plan", "run"]
