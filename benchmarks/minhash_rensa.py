"""Near duplicates from texts to survivors: our recipes on the embedded engine against rensa with shingles made in Python."""

from pathlib import Path

from benchmarks.minhash_survivors import Components, agree, ours, prepare, read, shingles, write_kept
from benchmarks.pair import Pair, Peer

BANDS, ROWS = 26, 11


def theirs(inputs: Path, out: Path) -> None:
    from rensa import RMinHash, RMinHashLSH

    index, found = RMinHashLSH(threshold=0.8, num_perm=BANDS * ROWS, num_bands=BANDS), Components()
    for row, (_, text) in enumerate(read(inputs)):
        if made := shingles(text):
            sketch = RMinHash(num_perm=BANDS * ROWS, seed=1)
            sketch.update(list(made))
            found.join(row, index.query(sketch))
            index.insert(row, sketch)
    write_kept(inputs, out, found)


PAIR = Pair(
    name="minhash/rensa",
    peer=Peer("rensa"),
    ours=ours,
    theirs=theirs,
    prepare=prepare(BANDS, ROWS),
    agree=agree,
    size=120_000_000,
    note=f"Texts to survivors, word 5-grams, {BANDS} bands x {ROWS} rows on both sides, one worker. Ours: mark_minhash, cluster_edges and keep as recipes "
    "on the embedded engine, Parquet to Parquet, with the hashes and ledgers of a run. Theirs: shingles of `\\w+` in lower case in Python, RMinHash, "
    "RMinHashLSH, union-find in Python, JSON lines to JSON lines. rensa's Rust kernel alone is as fast as our kernel: what differs is that its shingles "
    "must first exist as Python strings, where ours come straight from the text's bytes. Both have minima of 32 bits (rensa's slots are not independent, "
    "ours are); `\\w` has `_` in words, word rule v1 has not.",
)
