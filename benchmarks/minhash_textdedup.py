"""Near duplicates from texts to survivors: our recipes on the embedded engine against text-dedup's command."""

import os
from pathlib import Path

from benchmarks.minhash_survivors import SCHEME, SHINGLE, agreement, ours, prepare
from benchmarks.pair import Pair, Peer

BANDS, ROWS = 26, 11


def theirs(inputs: Path, out: Path) -> None:
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(out / "home")}
    from text_dedup.minhash import main

    given = {
        "path": "json",
        "data_files": inputs / "texts" / "texts.jsonl",
        "split": "train",
        "cache_dir": out / "cache",
        "output": out / "kept",
        "column": "text",
        "ngram": SHINGLE,
        "num_perm": BANDS * ROWS,
        "b": BANDS,
        "r": ROWS,
        "num_proc": 1,
    }
    main([f"--{name}={value}" for name, value in given.items()], standalone_mode=False)


def agree(inputs: Path, ours: Path, theirs: Path) -> str:
    """Survivors of both; theirs lie in Arrow streams."""
    import pyarrow as pa

    kept = [name for path in sorted((theirs / "kept").glob("*.arrow")) for name in pa.ipc.open_stream(path.read_bytes()).read_all()["id"].to_pylist()]
    return agreement(ours, kept)


PAIR = Pair(
    name="minhash/text-dedup",
    peer=Peer("text-dedup", packages=("text-dedup==0.4.0",)),
    ours=ours,
    theirs=theirs,
    prepare=prepare(BANDS, ROWS, "id, text"),
    agree=agree,
    size=480_000_000,
    note=f"Texts to survivors, word 5-grams, {BANDS} bands x {ROWS} rows on both sides, one worker. Ours: mark_minhash, cluster_edges and keep as recipes "
    "on the embedded engine, Parquet to Parquet, with the hashes and ledgers of a run. Theirs: `text_dedup.minhash` with its defaults (sha1, "
    "hash_bits 64 of which 32 are used) and one process, JSON lines to a dataset of `datasets`, whose caches it fills on the way, in an environment of "
    "its own. It splits at every `\\W`, so punctuation makes empty words, and drops texts under 5 words; ours keeps them. "
    f"{SCHEME}",
)
