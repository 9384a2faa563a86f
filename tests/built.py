"""A finished build in miniature: datasets, manifests, logs and metrics as a run leaves them, for the tests of everything that reads them."""

import json
import math
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dolma.core import manifest as manifests
from dolma.core.files import sha256
from dolma.core.manifest import File, Input, Manifest

SOURCES = {"web": (1202, 640), "pdf": (55, 41), "code": (824, 790), "math": (2100, 2060), "wiki": (430, 420)}
DROPPED = {
    "web": {
        "not_html": 30,
        "not_english": 299,
        "length": 88,
        "symbols": 17,
        "repetition": 61,
        "few_stop_words": 55,
        **{f"repeated_{n}grams": n - 3 for n in range(5, 7)},
        **{f"top_{n}gram": 1 for n in range(2, 9)},
    },
    "pdf": {"no_text": 7},
    "code": {"generated": 34},
    "math": {"no_solution": 40},
    "wiki": {"length": 10},
}
QUARANTINED = {"pdf": 7}
TOPICS = {"science": 9, "software-dev": 8, "health": 4, "literature": 4, "games": 3, "history": 2, "law": 2, "religion": 1, "politics": 1}


def dataset(root: Path, name: str, table: pa.Table | None, *, kind: str = "document", quarantine: pa.Table | None = None, **more: Any) -> Manifest:
    """Write a dataset of one Parquet shard with its manifest."""
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    files = list(more.pop("files", []))
    if table is not None:
        files = [_shard(folder, "00000.parquet", table)]
    aside = [_shard(folder, "_quarantine/map-00000.parquet", quarantine)] if quarantine is not None else []
    made = Manifest(
        dataset=name,
        fingerprint=f"{random.Random(name).getrandbits(256):064x}",
        table=kind,
        files=files,
        quarantine=aside,
        rows=sum(f.rows for f in files),
        tokens=sum(f.tokens for f in files),
        bytes=sum(f.bytes for f in files),
        **more,
    )
    manifests.save(folder, made)
    return made


def _shard(folder: Path, name: str, table: pa.Table) -> File:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return File(name=name, rows=table.num_rows, bytes=path.stat().st_size, sha256=sha256(path))


def build(root: Path, *, stages: bool = True, big: bool = False) -> Path:
    """A whole build below `root`; `big` gives the 24 topics and 20 vigintiles of a real pool."""
    random.seed(7)
    for source in SOURCES:
        _source(root, source)
    _pool(root)
    _cells(root, big)
    if stages:
        _stages(root)
    return root


def _documents(source: str, count: int) -> pa.Table:
    lengths = [int(random.lognormvariate({"web": 8, "pdf": 10.5, "code": 8.6, "math": 6, "wiki": 9}[source], 0.9)) + 40 for _ in range(count)]
    return pa.table(
        {
            "id": [f"{source}-{i}" for i in range(count)],
            "key": pa.array([hash_of(f"{source}-{i}") for i in range(count)], pa.int64()),
            "source": [source] * count,
            "url": [f"https://example.com/{source}/{i}" for i in range(count)],
            "text": pa.array([f"text of document {i} <script>alert({i})</script>" for i in range(count)], pa.large_string()),
            "file": [f"{source}/part-{i % 3}.gz" for i in range(count)],
            "offset": pa.array(range(count), pa.int64()),
            "lang": [random.choices(["en", "de", "fr"], [96, 3, 1])[0] if source == "pdf" else "en" for _ in range(count)],
            "n_bytes": pa.array(lengths, pa.int32()),
        }
    )


def hash_of(text: str) -> int:
    """The key of a document id, as the corpus makes it."""
    from dolma.core.schema import keys

    return keys(pa.array([text]))[0].as_py()


def _source(root: Path, source: str) -> None:
    entered, out = SOURCES[source]
    bad = QUARANTINED.get(source, 0)
    lost = DROPPED[source]
    counts = {f"read:{source}.in": entered, f"read:{source}.out": entered, f"0:extract_{source}.in": entered, f"0:extract_{source}.out": entered - bad}
    if bad:
        counts[f"0:extract_{source}.quarantined"] = bad
    left = entered - bad
    for i, (reason, n) in enumerate(lost.items(), 1):
        counts |= {f"{i}:keep.in": left, f"{i}:keep.out": left - n, f"{i}:keep.dropped.{reason}": n}
        left -= n
    assert left == out, (source, left, out)
    aside = None
    if bad:
        reasons = [
            "encrypted: a password is needed",
            "damaged: no page tree <b>",
            "damaged: cut short",
            "encrypted: a password is needed",
            "over the memory limit",
            "damaged",
            "damaged",
        ]
        aside = pa.table(
            {
                "unit": ["00000"] * bad,
                "file": [f"pdf/made_{i}.pdf" for i in range(bad)],
                "offset": pa.array([0] * bad, pa.int64()),
                "id": [f"made_{i}.pdf" for i in range(bad)],
                "step": ["0:extract_pdf"] * bad,
                "reason": reasons[:bad],
                "row": pa.array([b""] * bad, pa.large_binary()),
            }
        )
    dataset(root, f"source/{source}/extract", _documents(source, out), counts=counts, quarantine=aside, recipe={"input": None, "table": "document"})


def _pool(root: Path) -> None:
    extracts = [f"source/{s}/extract" for s in SOURCES]
    everything = manifests.read(root / extracts[0])
    everything = pa.concat_tables([manifests.read(root / name) for name in extracts])
    n = everything.num_rows
    dataset(root, "pool/candidates", everything, counts={"0:select.in": n, "0:select.out": n}, recipe={"input": extracts}, inputs=_inputs(extracts))
    exact = set(random.sample(range(n), 160))
    near = set(random.sample(sorted(set(range(n)) - exact), 210))
    tag = pa.table({"origin": pa.array(sorted(exact), pa.int64()), "key": pa.array([1] * 160, pa.int64()), "exact_of": pa.array([2] * 160, pa.int64())})
    dataset(root, "pool/exact", tag, kind="tag", recipe={"input": "pool/candidates"}, inputs=_inputs(["pool/candidates"]))
    kept = everything.take(pa.array([i for i in range(n) if i not in exact | near]))
    counts = {
        "0:keep.in": n,
        "0:keep.out": n - 160,
        "0:keep.dropped.exact_duplicate": 160,
        "1:keep.in": n - 160,
        "1:keep.out": n - 370,
        "1:keep.dropped.near_duplicate": 210,
    }
    recipe = {"input": "pool/candidates", "tags": {"pool/exact": ["exact_of"]}}
    dataset(root, "pool/unique", kept, counts=counts, recipe=recipe, inputs=_inputs(["pool/candidates", "pool/exact"]))
    n = kept.num_rows
    dataset(root, "pool/documents", kept, counts={"0:tag_topic.in": n, "0:tag_topic.out": n}, recipe={"input": "pool/unique"}, inputs=_inputs(["pool/unique"]))


def _inputs(names: list[str]) -> list[Input]:
    return [Input(name=name, fingerprint="0" * 64) for name in names]


def _cells(root: Path, big: bool) -> None:
    topics = TOPICS if big else dict(list(TOPICS.items())[:3])
    if big:
        more = (
            "finance",
            "food",
            "home",
            "sports",
            "travel",
            "art",
            "education",
            "hardware",
            "software",
            "industrial",
            "transport",
            "social",
            "fashion",
            "adult",
            "entertainment",
        )
        topics = {**topics, **dict.fromkeys(more, 1)}
    files, mix = [], []
    for topic, weight in topics.items():
        for v in range(1, 21):
            rows = max(0, int(random.gauss(weight * 6, weight)))
            if rows:
                files.append(_stream("web", topic, v, rows))
                x = max(0.0, (v - 8) / 12)
                mix.append(_share(files[-1], min(7.0, 6.6 * x**1.6 * math.exp(0.3 * x) * (0.4 + weight / 9)) if v > 8 else 0.0))
    for source, rows in {"pdf": 700, "code": 900, "math": 300, "wiki": 160}.items():
        files.append(_stream(source, "all", 0, rows))
        mix.append(_share(files[-1], {"pdf": 1.3, "code": 3.1, "math": 4.464, "wiki": 0.676}[source]))
    dataset(root, "shard/pool", None, kind="sequence", format="mds", files=files, facts={"sequence_tokens": 256}, recipe={"input": "pool/cells"})
    dataset(root, "mix/pretrain", pa.Table.from_pylist(mix), kind="mix", recipe={"input": "shard/pool"}, inputs=_inputs(["shard/pool"]))
    for name, rates in {"midtrain": (0.6, 1.0, 3, 6, 0.4), "longctx": (0.5, 4, 1, 1, 1)}.items():
        rate = dict(zip(SOURCES, rates, strict=True))
        rows = [_share(file, rate[file.extra["source"]]) for file in files]
        dataset(root, f"mix/{name}", pa.Table.from_pylist(rows), kind="mix", recipe={"input": "shard/pool"}, inputs=_inputs(["shard/pool"]))


def _stream(source: str, topic: str, vigintile: int, rows: int) -> File:
    stream = f"00000/{source}/{topic}/{vigintile:02d}"
    extra = {"source": source, "topic": topic, "vigintile": vigintile}
    return File(name=f"{stream}/shard.00000.mds", rows=rows, tokens=rows * 256, bytes=rows * 1100, sha256="0" * 64, extra=extra)


def _share(file: File, repeats: float) -> dict[str, Any]:
    served = int(file.rows * repeats)
    return {"dataset": "shard/pool", "stream": file.name.rpartition("/")[0], "repeats": repeats, "sequences": served, "tokens": served * 256}


def _row(metric: str, slice: str, before: float | None, after: float, n: int, chance: float | None = None) -> dict[str, Any]:
    return {"metric": metric, "slice": slice, "before": before, "after": after, "n": n, "chance": chance}


METRICS = {
    "pretrain": [
        _row("bits_per_byte", s, b, a, 40)
        for s, b, a in (("web", 7.91, 2.615), ("pdf", 7.95, 2.71), ("code", 8.02, 3.24), ("math", 7.8, 2.9), ("wiki", 7.93, 2.525))
    ],
    "midtrain": [
        _row("bits_per_byte", s, b, a, 40)
        for s, b, a in (
            ("web", 2.615, 2.586),
            ("code", 3.24, 3.07),
            ("math", 2.9, 2.32),
            ("arithmetic", 2.1, 0.27),
            ("web, control: web only", 2.615, 2.583),
            ("code, control: web only", 3.24, 3.41),
        )
    ],
    "longctx": [
        _row("recall", "gap over 256", 0.0, 0.29, 400, 0.1),
        _row("recall", "gap under 256", 0.31, 0.33, 400, 0.1),
        _row("bits_per_byte", "beyond 256", 2.61, 2.73, 60),
    ],
    "sft": [_row("in_template", "heldout", 0.0, 1.0, 300), _row("exact_answer", "heldout", 0.0, 0.53, 300)],
    "dpo": [_row("prefers_chosen", "heldout", 0.5, 0.8, 320, 0.5), _row("exact_answer", "heldout", 0.53, 0.53, 300)],
    "rlvr": [_row("reward", "sorting", 0.18, 0.52, 256), _row("accuracy", "sorting", 0.11, 0.47, 256), _row("reward", "random reward", 0.18, 0.17, 256)],
}


def _stages(root: Path) -> None:
    tokens = {"pretrain": 1_000_000, "midtrain": 350_000, "longctx": 400_000, "sft": 600_000, "dpo": 120_000, "rlvr": 300_000}
    for stage, rows in METRICS.items():
        folder = root / "train" / stage
        made = dataset(root, f"train/{stage}", None, kind="checkpoint", format="safetensors", recipe={"stage": stage}, counts={"updates": 240})
        manifests.save(folder, made.model_copy(update={"tokens": tokens[stage]}))
        (folder / "metrics.json").write_text(json.dumps({"stage": stage, "rows": rows}))
        start, end = {"pretrain": (7.6, 4.1), "midtrain": (4.2, 3.5), "longctx": (4.0, 3.6), "sft": (3.2, 0.4), "dpo": (0.69, 0.42), "rlvr": (0.02, 0.015)}[
            stage
        ]
        lines = []
        for step in range(1, 241):
            loss = end + (start - end) * math.exp(-step / 45) + random.gauss(0, 0.06 * abs(end))
            line: dict[str, Any] = {"step": step, "tokens": tokens[stage] * step // 240, "loss": loss, "lr": 1e-3}
            if stage == "rlvr":
                line["reward"] = min(1.0, max(0.0, 0.16 + 0.4 * (1 - math.exp(-step / 90)) + random.gauss(0, 0.05)))
            lines.append(json.dumps(line))
        (folder / "run.jsonl").write_text("\n".join(lines) + '\n{"step": 241, "lo')
