"""A finished build whose pool is real: documents with topics and quality, packed by the real step into MosaicML shards, mixed, and read by a logged run."""

import json
from pathlib import Path
from zlib import crc32

import numpy as np
import pyarrow as pa

from dolma.core import manifest as manifests
from dolma.io import mds
from dolma.mix.plan import Upsampling, plan_mix
from dolma.pool.cells import tag_cell
from dolma.shard.pack import pack
from tests import built

LENGTH, BATCH, UPDATES, SEED = 64, 4, 40, 17
SHARES = {"mix/pretrain": {"web": 0.5, "code": 0.3, "wiki": 0.2}, "mix/midtrain": {"code": 0.6, "math": 0.4}}


def build(root: Path, tokenizer: str) -> Path:
    """The build of `tests.built` with a pool, shards, two mixes and a pretraining log that agree with each other."""
    built.build(root)
    for name in ("mix/pretrain", "mix/midtrain", "mix/longctx", "shard/pool"):
        (root / name / manifests.NAME).unlink()
    cells = _documents(root)
    _shards(root, cells, tokenizer)
    for name, shares in SHARES.items():
        made = plan_mix(
            iter(mds.streams(root / "shard/pool").to_batches()), folder=root, tokens=40_000, shares=shares, upsampling=Upsampling(), max_repeats=7.0
        )
        built.dataset(root, name, made, kind="mix", recipe={"input": "shard/pool"}, facts={"sequence_tokens": LENGTH})
    _run(root)
    return root


def _documents(root: Path) -> pa.Table:
    """Add topic, quality and lengths to the pool's documents; write and return the same rows as tokens with their cell."""
    known = manifests.load(root / "pool/documents")
    rows = manifests.read(root / "pool/documents")
    draw, n = np.random.default_rng(3), rows.num_rows
    web = np.array([source == "web" for source in rows["source"].to_pylist()])
    lengths = rows["n_bytes"].to_numpy()
    quality, topics = draw.beta(2, 2, n), draw.choice(["art", "law"], n)
    more = {"topic": pa.array(topics, mask=~web), "quality": pa.array(quality, pa.float64(), mask=~web), "n_chars": pa.array(lengths - 7, pa.int32())}
    for name, column in more.items():
        rows = rows.append_column(name, column)
    built.dataset(root, "pool/documents", rows, counts=known.counts, recipe=known.recipe, inputs=known.inputs)
    rows = rows.append_column("vigintile", pa.array(np.where(web, 4 * np.minimum((quality * 5).astype(int) + 1, 5), 0), pa.int32()))
    tokens = pa.array([draw.integers(10, 300, length // 100 + 1) for length in lengths], pa.large_list(pa.uint32()))
    rows = rows.append_column("tokens", tokens).append_column("n_tokens", pa.array([len(one) for one in tokens], pa.int32()))
    batch = tag_cell(rows.select(["id", "key", "source", "topic", "vigintile", "n_tokens", "tokens"]).combine_chunks().to_batches()[0])
    cells = pa.Table.from_batches([batch]).sort_by([("cell_key", "ascending"), ("key", "ascending")])
    built.dataset(root, "pool/cells", cells, kind="tokens", recipe={"input": "pool/documents"})
    return cells


def _shards(root: Path, cells: pa.Table, tokenizer: str) -> None:
    starts = np.flatnonzero(np.diff(cells["cell_key"].to_numpy(), prepend=-1))
    packed, counts = pack(cells.combine_chunks().to_batches()[0], starts, cont=False, length=LENGTH, tokenizer=tokenizer)
    files = mds.write(iter([packed]), root / "shard/pool")
    named = {f"0:pack.{name}": number for name, number in {"rows_in": cells.num_rows, "rows_out": packed.num_rows, **counts}.items()}
    built.dataset(root, "shard/pool", None, kind="sequence", format="mds", files=files, counts=named, recipe={"input": "pool/cells"})


def _run(root: Path) -> None:
    """The log and the record of pretraining as the trainer writes them, over the rows that Streaming serves for that mix and seed."""
    from training import served
    from training.data import find, forget, open_rows, shared_memory, version

    folder = root / "train/pretrain"
    source = find(root, "mix/pretrain")
    rows = open_rows(source, batch=BATCH, seed=SEED, update=BATCH)
    record = served.Record(folder / "_parts", source.opened, True, lambda mine: [mine])
    order, lines = iter(rows), []
    for step in range(1, UPDATES + 1):
        index = [int(next(order)["index"]) for _ in range(BATCH)]
        line = {"step": step, "tokens": step * BATCH * LENGTH, "loss": 2 + 4 / step, "lr": 1e-3, "batch": f"{crc32(repr(index).encode()):08x}"}
        lines.append(json.dumps(line))
        record.add(step, np.array(index))
    order.close()
    forget(shared_memory(rows))
    (folder / "run.jsonl").write_text("\n".join(lines) + '\n{"step": 41, "lo')
    record.flush()
    known = manifests.load(folder)
    files = [*known.files, *served.write(folder / "_parts", source.opened, folder)]
    recipe = {"stage": "pretrain", "data": {"manifest": "mix/pretrain", "seed": SEED}, "objective": {"kind": "lm"}, "batch": {"sequences": BATCH}}
    more = {"recipe": recipe, "tokens": UPDATES * BATCH * LENGTH, "files": files, "bytes": sum(file.bytes for file in files)}
    inputs = [manifests.Input(name=source.name, fingerprint=source.fingerprint)]
    manifests.save(folder, known.model_copy(update={**more, "counts": {"updates": UPDATES}, "inputs": inputs, "code": {"streaming": version()}}))
