"""The domains of a sharded dataset, and mixes of them as datasets that a stage reads."""

from collections.abc import Mapping, Sequence
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

VERSION = 1  # raise it when the same settings give other rows


class Supply:
    """What a sharded dataset has of each domain: the rows of `mds.streams`."""

    def __init__(self, root: Path, shards: str) -> None:
        self.root, self.shards = root, shards
        self.manifest = manifests.load(root / shards)
        self.schema, self.rows = (table := mds.streams(root / shards)).schema, table.to_pylist()

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
        """One row a stream that is served (schema of `plan_mix`), each domain planned by itself.

        Args:
            tokens: of the whole mix.
            shares: of domains, sum 1.
            upsampling, best: as of `plan_mix`; `best` by source.
            repeats: most copies of a domain.
        """
        parts = []
        for domain, share in shares.items():
            if (wanted := round(share * tokens)) < 1:
                continue
            batch = pa.RecordBatch.from_pylist(self.of(domain), schema=self.schema)
            source = domain.partition("/")[0]
            lowest = {source: best[source]} if best and source in best else None
            made = plan_mix(iter([batch]), folder=Path(), tokens=wanted, shares={source: 1.0}, upsampling=upsampling, best=lowest, max_repeats=repeats)
            parts.append(made.filter(pa.compute.field("repeats") > 0))
        return pa.concat_tables(parts)

    def write(self, name: str, tokens: int, shares: Mapping[str, float], **how: Any) -> Manifest:
        """The mix as the dataset `name`; written only when it is not there as it must be."""
        recipe = {"mix": {"tokens": tokens, "shares": dict(shares), **{key: _plain(value) for key, value in how.items() if value is not None}}}
        inputs = [Input(name=self.shards, fingerprint=self.manifest.fingerprint)]
        print_ = fingerprint({"recipe": recipe, "inputs": [one.model_dump() for one in inputs], "version": VERSION, "plan_mix": plan_mix.version})
        if fresh(self.root, name, print_):
            return manifests.load(self.root / name)
        return store(self.root, name, self.plan(tokens, shares, **how), "mix", print_, recipe=recipe, inputs=inputs)


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
