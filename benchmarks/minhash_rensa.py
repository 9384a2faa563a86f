"""Near duplicates from texts to survivors: our recipes on the embedded engine against rensa with shingles made in Python."""

from pathlib import Path

from benchmarks.minhash_survivors import SCHEME, Components, agree, ours, prepare, read, shingles, write_kept
from benchmarks.pair import Pair, Peer

BANDS, ROWS = 26, 11


def theirs(inputs: Path, out: Path) -> None:
    from rensa import RMinHash, RMinHashLSH

    index, found = RMinHashLSH(threshold=0.8, num_perm=BANDS * ROWS, num_bands=BANDS), Components()
    for row, (name, text) in enumerate(read(inputs)):
        found.names.append(name)
        if made := shingles(text):
            sketch = RMinHash(num_perm=BANDS * ROWS, seed=1)
            sketch.update(list(made))
            found.join(row, index.query(sketch))
            index.insert(row, sketch)
    write_kept(out, found)


PAIR = Pair(
    name="minhash/rensa",
    peer=Peer("rensa"),
    ours=ours,
    theirs=theirs,
    prepare=prepare(BANDS, ROWS, "id"),
    agree=agree,
    size=480_000_000,
    note=f"Texts to ids of survivors, word 5-grams, {BANDS} bands x {ROWS} rows on both sides, one worker. Ours: mark_minhash, cluster_edges, keep as recipes "
    "on the embedded engine, Parquet to Parquet, with the hashes and ledgers of a run. Theirs: shingles of `\\w+` in lower case in Python, RMinHash, "
    "RMinHashLSH, union-find in Python, JSON lines to ids. Most of its time goes into shingles as Python strings, which ours, from the bytes "
    f"of a text to its signature, does without. {SCHEME} Both have values of 32 bits; `\\w` has `_` in words, "
    "word rule v1 has not.",
)
