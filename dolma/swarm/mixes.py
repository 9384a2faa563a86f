"""The domains of a sharded dataset, and mixes of them as datasets that a stage reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from dolma.core import manifest as manifests
from dolma.core.errors import ConfigError, DolmaError, Errors
from dolma.core.files import lock, sha256, write_atomic
from dolma.core.graph import fingerprint
from dolma.core.manifest import File, Input, Manifest
from dolma.io import mds
from dolma.mix.plan import Upsampling, plan_mix

VERSION = 2  # raise it when what is trained on the same streams and repeats changes


@dataclass(frozen=True)
class Planned:
    """A mix that is not written yet: its rows, and its fingerprint, which is of what it serves and not of where that stands."""

    rows: pa.Table
    fingerprint: str


@dataclass(frozen=True)
class Short:
    """A domain that cannot give its tokens of a mix: `tokens` of the whole mix would be few enough."""

    domain: str
    wanted: int
    available: int
    repeats: float
    tokens: int

    def error(self, where: str, field: str, more: str = "") -> ConfigError:
        """The refusal; `field` says the tokens of the whole mix."""
        copies = f" ({self.wanted / self.available:.2f} copies)" if self.available else ""
        got, expected = f"{self.wanted:,} tokens from {self.available:,}{copies}", f"at most {self.repeats * self.available:,.0f} ({self.repeats:g} copies)"
        mend = f"`{field}` of at most {self.tokens:,}, more data, or a smaller share of `{self.domain}`"
        return ConfigError(where, f"`{self.domain}` cannot give what this mix asks of it{more}", got=got, expected=expected, mend=mend)


class Supply:
    """What a sharded dataset has of each domain: the rows of `mds.streams` in the order of their cells, whatever folders these were packed to."""

    def __init__(self, root: Path, shards: str) -> None:
        self.root, self.shards = root, shards
        self.manifest = manifests.at(root, shards)
        self.contents = manifests.contents(self.manifest)
        self.schema, self.rows = (table := mds.streams(root / shards, shards)).schema, sorted(table.to_pylist(), key=_cell)
        self.width = self.manifest.facts.get("sequence_tokens") or sum(row["tokens"] for row in self.rows) / max(sum(row["sequences"] for row in self.rows), 1)

    def topics(self, source: str) -> list[str]:
        """The topics of a source, sorted."""
        return sorted({row["topic"] for row in self.rows if row["source"] == source and row["topic"]})

    def of(self, domain: str) -> list[dict[str, Any]]:
        """The streams of `source` or `source/topic`."""
        source, _, topic = domain.partition("/")
        return [row for row in self.rows if row["source"] == source and (not topic or row["topic"] == topic)]

    def tokens(self, domain: str) -> int:
        """Tokens of a domain; 0 if there is none."""
        return sum(row["tokens"] for row in self.of(domain))

    def check(self, domains: Sequence[str], where: str) -> None:
        """Refuse domains that are empty or overlap, all at once."""
        known = sorted({row["source"] for row in self.rows})
        errors: list[DolmaError] = [
            ConfigError(
                where,
                f"`{self.shards}` has nothing of the domain `{name}`",
                got="0 tokens",
                expected=f"one of {', '.join(known)}, or source/topic",
                mend="mend its name",
            )
            for name in domains
            if not self.tokens(name)
        ]
        errors += [
            ConfigError(where, f"`{name}` is part of `{source}`", got="both", expected="one", mend="leave one out")
            for name in domains
            if (source := name.partition("/")[0]) != name and source in domains
        ]
        if errors:
            raise errors[0] if len(errors) == 1 else Errors(errors)

    def plan(
        self, tokens: int, shares: Mapping[str, float], *, upsampling: Upsampling | None = None, best: Mapping[str, int] | None = None, repeats: float = 7.0
    ) -> pa.Table:
        """One row a stream that is served (schema of `plan_mix`, and `content`), each domain planned by itself, in the order of their names and cells.

        A domain that gets less than half a sequence is not served.

        Args:
            tokens: of the whole mix.
            shares: of domains, sum 1.
            upsampling, best: as of `plan_mix`; `best` by source.
            repeats: most copies of a domain.
        Raises:
            ConfigError: (or Errors with all of them) a domain has not enough, or no domain gets half a sequence.
        """
        if upsampling is None and not best and (short := self.short(tokens, shares, repeats)):
            errors = [one.error(f"mix of {self.shards}", "tokens") for one in short]
            raise errors[0] if len(errors) == 1 else Errors(errors)
        parts = []
        for domain, share in sorted(shares.items()):
            if round((wanted := round(share * tokens)) / self.width) < 1:
                continue
            rows = self.of(domain)
            places = {f"{place:06}": row["stream"] for place, row in enumerate(rows)}  # equals are told apart by their cell, not by their folder
            batch = pa.RecordBatch.from_pylist([{**row, "stream": place} for place, row in zip(places, rows, strict=True)], schema=self.schema)
            source = domain.partition("/")[0]
            lowest = {source: best[source]} if best and source in best else None
            made = plan_mix(iter([batch]), folder=Path(), tokens=wanted, shares={source: 1.0}, upsampling=upsampling, best=lowest, max_repeats=repeats)
            made = made.filter(pa.compute.field("repeats") > 0)
            streams = [places[place] for place in made.column("stream").to_pylist()]
            made = made.set_column(made.schema.get_field_index("stream"), "stream", pa.array(streams, pa.string()))
            parts.append(made.append_column("content", pa.array([self.contents[one] for one in streams], pa.string())))
        if not parts:
            got, expected = f"{tokens:,} tokens over {len(shares)} domains", f"half a sequence of {self.width:,.0f} tokens for one of them at least"
            raise ConfigError(f"mix of {self.shards}", "it would be empty", got=got, expected=expected, mend="more tokens, or shorter sequences")
        return pa.concat_tables(parts)

    def short(self, tokens: int, shares: Mapping[str, float], repeats: float = 7.0) -> list[Short]:
        """Domains that cannot give their share of `tokens` in so many copies."""
        asked = [(name, round(share * tokens), self.tokens(name), share) for name, share in shares.items()]
        return [Short(name, wanted, there, repeats, int(repeats * there / share)) for name, wanted, there, share in asked if wanted > repeats * there]

    def planned(self, tokens: int, shares: Mapping[str, float], **how: Any) -> Planned:
        """The mix as `plan` makes it. Its fingerprint is of the sequences that are served, in their order, and how often: shards that were packed anew with the
        same documents in these domains give the same."""
        rows = self.plan(tokens, shares, **how)
        served = [[row["content"], row["repeats"]] for row in rows.select(["content", "repeats"]).to_pylist()]
        facts = {key: self.manifest.facts.get(key) for key in ("sequence_tokens", "tokenizer")}
        return Planned(rows, fingerprint({"mix": served, "facts": facts, "version": VERSION}))

    def write(self, name: str, tokens: int, shares: Mapping[str, float], planned: Planned | None = None, **how: Any) -> Manifest:
        """The mix as the dataset `name`, tied to the shards that are there now; written only when it is not there as it must be."""
        recipe = {"mix": {"tokens": tokens, "shares": dict(shares), **{key: _plain(value) for key, value in how.items() if value is not None}}}
        inputs = [Input(name=self.shards, fingerprint=self.manifest.fingerprint)]
        planned = planned or self.planned(tokens, shares, **how)
        if fresh(self.root, name, planned.fingerprint):
            there = manifests.load(self.root / name)
            if there.inputs == inputs and there.recipe == recipe:
                return there
        return store(self.root, name, planned.rows, "mix", planned.fingerprint, recipe=recipe, inputs=inputs)


def _cell(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["source"] or "", row["topic"] or "", row["vigintile"] or 0, row["lang"] or "", row["stream"]


def _plain(value: Any) -> Any:
    return value.model_dump() if isinstance(value, Upsampling) else dict(value) if isinstance(value, Mapping) else value


def fresh(root: Path, name: str, print_: str) -> bool:
    """Whether a finished dataset with this fingerprint is there, its files with it."""
    if not manifests.exists(root / name):
        return False
    there = manifests.load(root / name)
    lengths = [(root / name / file.name, file.bytes) for file in there.files]
    return there.fingerprint == print_ and all(path.is_file() and path.stat().st_size == size for path, size in lengths)


def store(root: Path, name: str, table: pa.Table, kind: str, print_: str, **more: Any) -> Manifest:
    """Write a small table as the dataset `name`: one Parquet shard, the manifest last."""
    import pyarrow.parquet as pq

    folder = root / name
    with lock(folder):
        (folder / manifests.NAME).unlink(missing_ok=True)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        write_atomic(folder / "00000.parquet", sink.getvalue().to_pybytes())
        path = folder / "00000.parquet"
        tokens = sum(table.column("tokens").to_pylist()) if kind == "mix" else 0
        file = File(name=path.name, rows=table.num_rows, tokens=tokens, bytes=path.stat().st_size, sha256=sha256(path))
        made = Manifest(dataset=name, fingerprint=print_, table=kind, rows=file.rows, tokens=tokens, bytes=file.bytes, files=[file], **more)
        manifests.save(folder, made)
    return made
