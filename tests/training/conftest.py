"""A small flow to train on: a tokenizer, packed shards, pairs, a mix; made once a session."""

import os
import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dolma.core import manifest as manifests
from dolma.core.files import sha256
from dolma.core.manifest import File, Manifest

SPECIAL = ["<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"]
LENGTH = 64
PACKED = {"tokens": "ndarray:uint32", "doc_lens": "ndarray:int32", "doc_keys": "ndarray:int64"}
PAIRS = {name: f"ndarray:{kind}" for side in ("chosen", "rejected") for name, kind in ((side, "uint32"), (f"{side}_mask", "uint8"))}


def write_dataset(root: Path, name: str, streams: Mapping[str, Sequence[Mapping[str, object]]], columns: dict[str, str], facts: dict[str, object]) -> None:
    """MDS shards with a manifest."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from streaming import MDSWriter
    files = []
    for stream, rows in streams.items():
        with MDSWriter(out=str(root / name / stream), columns=columns) as out:
            for row in rows:
                out.write(row)
        for path in sorted((root / name / stream).iterdir()):
            count = len(rows) if path.suffix == ".mds" else 0
            files.append(File(name=f"{stream}/{path.name}", rows=count, bytes=path.stat().st_size, sha256=sha256(path), extra={"stream": stream}))
    _save(root, name, "sequence", "mds", files, facts)


def write_table(root: Path, name: str, table: str, rows: list[dict[str, object]], **facts: object) -> None:
    """A Parquet dataset with a manifest."""
    path = root / name / "00000.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    _save(root, name, table, "parquet", [File(name=path.name, rows=len(rows), bytes=path.stat().st_size, sha256=sha256(path))], facts)


def _save(root: Path, name: str, table: str, form: str, files: list[File], facts: dict[str, object]) -> None:
    rows, size = sum(file.rows for file in files), sum(file.bytes for file in files)
    fingerprint = "".join(file.sha256[:8] for file in files)
    manifests.save(root / name, Manifest(dataset=name, fingerprint=fingerprint, table=table, format=form, rows=rows, bytes=size, files=files, facts=facts))


def _packed(stream: random.Random, count: int) -> list[dict[str, np.ndarray]]:
    rows = []
    for _ in range(count):
        cut, start, pace = stream.randint(10, 50), stream.randint(10, 200), stream.randint(1, 3)
        tokens = (start + pace * np.arange(LENGTH)) % 200 + 10  # counting in steps: something to learn
        tokens[cut - 1] = 0
        rows.append({"tokens": tokens.astype(np.uint32), "doc_lens": np.array([cut, LENGTH - cut], np.int32), "doc_keys": np.arange(2)})
    return rows


def _pairs(stream: random.Random, count: int) -> list[dict[str, np.ndarray]]:
    rows = []
    for _ in range(count):
        start, n = stream.randint(10, 150), stream.randint(6, 12)
        prompt = start + np.arange(8)
        good, bad = start + 8 + np.arange(n), np.array([stream.randint(10, 200) for _ in range(stream.randint(6, 12))])
        row = {}
        for side, answer in (("chosen", good), ("rejected", bad)):
            row[side] = np.concatenate([prompt, answer, [0]]).astype(np.uint32)
            row[f"{side}_mask"] = np.array([0] * 8 + [1] * (len(answer) + 1), np.uint8)
        rows.append(row)
    return rows


def _prompts(path: Path) -> list[dict[str, object]]:
    from training.tokens import Tokenizer

    tokenizer = Tokenizer.load(path)
    texts = [f"Copy: {'abcdefgh'[i % 8]} {'stuvwxyz'[i % 7]}" for i in range(40)]
    return [{"prompt": np.array(tokenizer.chat(text), np.uint32), "verifier": "exact", "truth": text.removeprefix("Copy: ")} for text in texts]


def make_root(root: Path) -> Path:
    """The whole small flow below `root`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    bpe.train_from_iterator(["the cat sat on the mat and the dog sat on the log"] * 3, trainer)
    path = root / "pool" / "tokenizer" / "tokenizer.json"
    path.parent.mkdir(parents=True)
    bpe.save(str(path))
    facts: dict[str, object] = {"sequence_tokens": LENGTH, "tokenizer": {"sha256": sha256(path), "vocab_size": bpe.get_vocab_size(), "eos": 0, "pad": 1}}
    stream = random.Random(3)
    write_dataset(root, "shard/pool", {"web/a/1": _packed(stream, 90), "web/b/2": _packed(stream, 50), "code/all/0": _packed(stream, 40)}, PACKED, facts)
    write_dataset(root, "shard/dpo", {"pairs": _pairs(stream, 48)}, PAIRS, facts)
    columns = {"prompt": "ndarray:uint32", "verifier": "str", "truth": "str"}
    write_dataset(root, "shard/rlvr", {"prompts": _prompts(path)}, columns, {**facts, "sequence_tokens": 48})
    rates = {"web/a/1": 1.0, "web/b/2": 2.5, "code/all/0": 0.5}
    rows: list[dict[str, object]] = [{"dataset": "shard/pool", "stream": name, "repeats": rate, "sequences": 0, "tokens": 0} for name, rate in rates.items()]
    write_table(root, "mix/pretrain", "mix", rows, quality_model={"sha256": "5" * 64, "good": "1"})
    return root


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small flow; tests that write take `own_root`."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    return make_root(tmp_path_factory.mktemp("flow"))


@pytest.fixture(scope="session")
def child(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a trainer in a process of its own; what the first one compiles, the others read."""
    from tests.training.processes import environment

    return environment(tmp_path_factory.mktemp("compiled"))


@pytest.fixture
def own_root(root: Path, tmp_path: Path) -> Path:
    """A copy of the small flow to write to."""
    from shutil import copytree

    return Path(copytree(root, tmp_path / "root"))


@pytest.fixture
def table() -> Callable[[Path, str, str, list[dict[str, object]]], None]:
    """Writes a Parquet dataset with a manifest."""
    return write_table
