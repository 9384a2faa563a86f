"""One command from a YAML to a proposal: what is there and fresh is not made again, and a killed swarm goes on with the next run."""

import json
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dolma.console import short
from dolma.core import manifest as manifests
from dolma.core.errors import ConfigError, DataError
from dolma.core.log import logger
from dolma.core.manifest import Manifest
from dolma.mix import regress
from dolma.mix.conditional import Frozen, check, expand, freeze, supply
from dolma.mix.conditional import as_table as rounds_table
from dolma.mix.swarm import designs, natural
from dolma.runner import Run
from dolma.swarm import config, results
from dolma.swarm.mixes import Planned, Supply
from dolma.swarm.train import Job, Trainer

log = logger(__name__)
TIMES = "runs.jsonl"


@dataclass(frozen=True)
class Outlook:
    """What a swarm would train; `measured` runs are trained, and only their figures are to be taken again."""

    runs: int
    heldout: int
    todo: int
    measured: int
    tokens: int
    seconds: float | None
    domains: dict[str, float]

    def rows(self) -> list[list[object]]:
        """What `--plan` prints of it: names and values."""
        minutes = "unknown until a run is trained" if self.seconds is None else f"{self.seconds / 60:.1f} min"
        counts = [["runs", self.runs], ["of them held out", self.heldout], ["to train", self.todo], ["to measure again", self.measured]]
        return [*counts, ["tokens to train", short(self.tokens)], ["about", minutes]]


class Swarming:
    """A swarm in an env."""

    def __init__(self, name: str, env_file: Path, pipelines: Path) -> None:
        self.settings, self.file = config.read(name, pipelines)
        self.name, self.pipelines = f"swarm/{self.file.stem}", pipelines
        self.flow = Run(env_file, pipelines)
        self.root = self.flow.root
        config.stage(self.settings, pipelines, "")  # refuses a proxy that is no stage

    def needs(self) -> list[str]:
        """The datasets of recipes that the swarm reads."""
        stage = config.stage(self.settings, self.pipelines, self.settings.shards)
        return list(dict.fromkeys([self.settings.shards, *self.flow.graph.stage_needs(stage, str(self.file))]))

    @cached_property
    def supply(self) -> Supply:
        """What there is of each domain."""
        return Supply(self.root, self.settings.shards)

    @cached_property
    def rounds(self) -> list[Frozen]:
        """The mixes of earlier rounds."""
        found = []
        for one in self.settings.rounds:
            ratios = one.ratios
            if one.swarm is not None:
                ratios = {row["domain"]: row["share"] for row in _shares(self.root, one.swarm)}
            found.append(freeze(one.name, ratios or {}))
        check(found)
        return found

    @cached_property
    def domains(self) -> list[str]:
        """The domains of this round; those of the shards are there and do not overlap.

        Raises:
            ConfigError: (or Errors with all of them) a domain has no tokens, or is part of another.
        """
        frozen = {one.name: one for one in self.rounds}
        names: list[str] = []
        for name in self.settings.domains:
            source = name.removesuffix("/*")
            names += [f"{source}/{topic}" for topic in self.supply.topics(source)] or [source] if name.endswith("/*") else [name]
        leaves = [part for name in names for part in self._leaves(name, frozen)]
        self.supply.check(leaves, str(self.file))
        return names

    def _leaves(self, name: str, frozen: dict[str, Frozen]) -> list[str]:
        return [leaf for part in frozen[name].ratios for leaf in self._leaves(part, frozen)] if name in frozen else [name]

    @cached_property
    def tokens(self) -> dict[str, int]:
        """What there is of each domain of the shards that the swarm names."""
        frozen = {one.name: one for one in self.rounds}
        return {leaf: self.supply.tokens(leaf) for name in self.domains for leaf in self._leaves(name, frozen)}

    def tokens_of(self, name: str) -> int:
        """What there is of a domain of this round, all parts of a virtual one together."""
        frozen = {one.name: one for one in self.rounds}
        return sum(self.tokens[leaf] for leaf in self._leaves(name, frozen))

    @cached_property
    def available(self) -> np.ndarray:
        """Tokens of each domain for caps, shape (domains,): a virtual one has what its scarcest part allows."""
        known: dict[str, float] = dict(self.tokens)
        for one in self.rounds:
            known[one.name] = supply(known, one)
        return np.array([known[name] for name in self.domains], float)

    @cached_property
    def prior(self) -> np.ndarray:
        """Natural shares of the domains, shape (domains,); a virtual domain has those of its parts together."""
        sizes = np.array([self.tokens_of(name) for name in self.domains], float)
        return natural(self.domains, sizes, self.settings.design)

    @cached_property
    def weights(self) -> np.ndarray:
        """The mixes, shape (runs, domains); the last ones are held out."""
        design = self.settings.design.model_copy(update={"runs": self.settings.runs, "prior": dict(zip(self.domains, self.prior.tolist(), strict=True))})
        return designs(self.domains, self.available, self.settings.proposal.tokens, design)

    @cached_property
    def shares(self) -> list[dict[str, float]]:
        """The mix of each run by domains of the shards, virtual ones taken apart, without those of weight 0."""
        names, shares = expand(self.domains, self.weights, self.rounds)
        return [{name: float(share) for name, share in zip(names, row, strict=True) if share > 0} for row in shares]

    @cached_property
    def planned(self) -> list[Planned]:
        """What each run is served.

        Raises:
            ConfigError: a run asks more of a domain than it has, or is less than a sequence.
        """
        tokens = self.settings.proxy.tokens
        short = [(one, number) for number, shares in enumerate(self.shares) for one in self.supply.short(tokens, shares)]
        if short:
            one, number = min(short, key=lambda found: found[0].tokens)
            runs = len({number for _, number in short})
            more = f"; {runs - 1} more runs ask too much of some domain" if runs > 1 else ""
            raise one.error(f"{self.file}: run {number:03d}", "proxy.tokens", more)
        made = []
        for number, shares in enumerate(self.shares):
            try:
                made.append(self.supply.planned(tokens, shares))
            except ConfigError as error:
                where, mend = f"{self.file}: run {number:03d}", "raise `proxy.tokens`"
                raise ConfigError(where, error.what, got=error.got, expected=error.expected, mend=mend) from error
        return made

    @cached_property
    def served(self) -> np.ndarray:
        """Shares as they are served, in whole sequences, shape (runs, domains): what the losses are of, where a weight is of a fraction of a sequence.

        Raises:
            ConfigError: no run of the design is served anything of a domain, so no law could tell of it.
        """
        frozen = {one.name: one for one in self.rounds}
        leaves = [self._leaves(name, frozen) for name in self.domains]
        rows = []
        for planned in self.planned:
            cells: dict[str, int] = {}
            for source, topic, tokens in zip(*(planned.rows.column(name).to_pylist() for name in ("source", "topic", "tokens")), strict=True):
                for name in (source, f"{source}/{topic}"):
                    cells[name] = cells.get(name, 0) + tokens
            rows.append([sum(cells.get(leaf, 0) for leaf in some) for some in leaves])
        amounts = np.array(rows, float)
        design = slice(0, self.settings.design.runs)
        if (none := np.flatnonzero(amounts[design].sum(0) == 0)).size:
            most = self.weights[design, none[0]].max()
            what = f"no run is served a sequence of `{self.domains[none[0]]}`"
            got, expected = f"at most {most * self.settings.proxy.tokens:,.0f} tokens in a run", f"half a sequence of {self.supply.width:,.0f} tokens"
            raise ConfigError(str(self.file), what, got=got, expected=expected, mend="raise `proxy.tokens` or its share (`design.minimum`), or leave it out")
        return amounts / amounts.sum(1, keepdims=True)

    def jobs(self) -> list[Job]:
        """One job a run; its mix need not be there yet."""
        _ = self.served  # refuses before anything is trained
        return [self._job(number, planned) for number, planned in enumerate(self.planned)]

    def _job(self, number: int, planned: Planned) -> Job:
        stage = config.stage(self.settings, self.pipelines, f"{self.name}/mixes/{number:03d}")
        return Job(f"{self.name}/runs/{number:03d}", stage, self.settings.proxy.tokens, planned.fingerprint)

    def mixes(self) -> None:
        """Write the mix of each run that is not there as it must be."""
        for number, (shares, planned) in enumerate(zip(self.shares, self.planned, strict=True)):
            self.supply.write(f"{self.name}/mixes/{number:03d}", self.settings.proxy.tokens, shares, planned)

    def outlook(self) -> Outlook:
        """What a run would train; writes nothing.

        Raises:
            DataError: the datasets that it reads are not all there and fresh.
        """
        self._ready()
        jobs = self.jobs()
        todo, measured = self._todo(jobs)
        tokens, each = sum(job.tokens for job in todo), self._seconds()
        seconds = None if each is None else each * len(todo) / min(self.flow.env.workers, max(len(todo), 1))
        prior = dict(zip(self.domains, self.prior.tolist(), strict=True))
        return Outlook(len(jobs), self.settings.heldout, len(todo), len(measured), tokens, seconds, prior)

    def _todo(self, jobs: list[Job]) -> tuple[list[Job], list[Job]]:
        """Runs to train, and runs that are trained and only to be measured again."""
        stale = [job for job in jobs if not job.fresh(self.root)]
        trained = {job.name: job.trained(self.root) for job in stale}
        return [job for job in stale if not trained[job.name]], [job for job in stale if trained[job.name]]

    def _ready(self) -> None:
        stale = [line.dataset for line in self.flow.plan(self.needs()) if line.state != "fresh"]
        if stale:
            mend = f"dolma run {' '.join(self.needs())}, or the swarm without --plan makes them"
            raise DataError(self.name, "what the swarm reads is not made yet", got=f"stale: {', '.join(stale[:5])}", expected="fresh datasets", mend=mend)

    def _seconds(self) -> float | None:
        """Seconds of a run like these, from the log of those that are done."""
        path = self.root / self.name / TIMES
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
        rates = [line["seconds"] / line["tokens"] for line in lines if line["seconds"] > 0]
        return float(np.median(rates)) * self.settings.proxy.tokens if rates else None

    def run(self) -> results.Proposal:
        """Everything up to the proposal.

        Raises:
            DolmaError: of data, settings or training; what is done is kept, and the same command goes on.
        """
        self.flow.run(self.needs())
        jobs = self.jobs()
        self.mixes()
        todo, measured = self._todo(jobs)
        again = f", {len(measured)} to measure again" if measured else ""
        log.info("%s: %d runs, %d of them to train%s", self.name, self.settings.runs, len(todo), again)
        env = self.flow.env
        trainer = Trainer(self.root, self.flow.base, python=env.python or sys.executable, workers=env.workers)
        timed = {job.name for job in todo}
        trainer.train(self.name, [*measured, *todo], lambda job, seconds: self._log(job, seconds) if job.name in timed else None)
        return self.conclude()

    def _log(self, job: Job, seconds: float) -> None:
        with open(self.root / self.name / TIMES, "a", encoding="utf-8") as file:
            file.write(json.dumps({"run": job.name, "tokens": job.tokens, "seconds": seconds}) + "\n")

    def conclude(self) -> results.Proposal:
        """Laws and proposal from the finished runs, each written as a dataset: results, fit, heldout, proposal, tasks, shares, rounds."""
        settings, jobs = self.settings, self.jobs()
        runs = [job.name for job in jobs]
        tasks, losses = results.losses(self.root, runs)
        keep = results.Keeper(self.root, self.name, {"swarm": settings.model_dump(mode="json")})
        made = [manifests.load(self.root / run) for run in runs]
        table = keep.write("results", results.table(runs, settings.heldout, self.domains, self.served, tasks, losses), made)
        train, test = slice(0, settings.design.runs), slice(settings.design.runs, None)
        names: dict[str, Any] = {"domains": self.domains, "tasks": tasks}
        fit = regress.fit(self.served[train], losses[train], law=settings.law, **names)
        folds = min(settings.folds, settings.design.runs)
        if settings.design.runs * (folds - 1) // folds > len(self.domains):  # each fold must leave enough runs for a law
            checked = regress.heldout(self.served[train], losses[train], law=settings.law, folds=folds, tasks=tasks)
            keep.write("folds", checked, [table])
        else:
            log.warning("%s: too few runs to check the laws by cross-validation", self.name)
        if settings.heldout:
            keep.write("heldout", results.foretold(fit, self.served[test], losses[test]), [table])
        source: Manifest = table
        if settings.law in ("log_linear", "linear"):
            source = keep.write("fit", fit.as_table(), [table])
        found = results.propose(fit, self.prior, self.available, settings.proposal, settings.design)
        facts = {"mean": found.mean, "prior_mean": found.prior_mean, "kl": found.divergence, "gap": found.gap, "target": settings.proposal.tokens}
        keep.write("proposal", found.as_table(), [source], **facts)
        keep.write("tasks", found.tasks_table(), [source])
        keep.write("shares", results.shares(found, self.rounds, self.tokens, settings.proposal.tokens), [source])
        if self.rounds:
            keep.write("rounds", rounds_table(self.rounds), [source])
        return found


def _shares(root: Path, name: str) -> list[dict[str, Any]]:
    name = name.removeprefix("swarm/")
    if not manifests.exists(root / "swarm" / name / "shares"):
        raise DataError(f"swarm/{name}", "this swarm is not finished", got="no shares", expected="a proposal", mend=f"`dolma swarm {name}` makes or resumes it")
    return manifests.read(root / "swarm" / name / "shares").to_pylist()


def proposed(root: Path, name: str) -> dict[str, float]:
    """The shares that a finished swarm proposes, by domain, rounded to four places, sum 1.

    Raises:
        DataError: it is not finished.
    """
    return results.rounded({row["domain"]: row["share"] for row in _shares(root, name)})


def block(shares: dict[str, float]) -> str:
    """Shares as YAML for a recipe of `plan_mix`: by source, and topics of a source below it."""
    import yaml

    sources: dict[str, float] = {}
    topics: dict[str, dict[str, float]] = {}
    for name, share in shares.items():
        source, _, topic = name.partition("/")
        sources[source] = sources.get(source, 0.0) + share
        if topic:
            topics.setdefault(source, {})[topic] = share
    made: dict[str, Any] = {"shares": results.rounded(sources)}
    if topics:
        made["topics"] = {source: results.rounded({t: s / sum(some.values()) for t, s in some.items()}) for source, some in topics.items()}
    return yaml.safe_dump(made, sort_keys=False, default_flow_style=None, width=150)
