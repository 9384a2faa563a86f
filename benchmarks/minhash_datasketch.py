"""Near duplicates from texts to survivors: our recipes on the embedded engine against datasketch with shingles made in Python."""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.minhash_survivors import SCHEME, Components, agree, ours, prepare, read, shingles, write_kept
from benchmarks.pair import Pair, Peer

BANDS, ROWS = 26, 11


def theirs(inputs: Path, out: Path) -> None:
    from datasketch import MinHash, MinHashLSH

    index, found = MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS)), Components()
    rows: list[int] = []

    def sets() -> Iterator[list[bytes]]:
        for row, (name, text) in enumerate(read(inputs)):
            found.names.append(name)
            if made := shingles(text):
                rows.append(row)
                yield [shingle.encode() for shingle in made]

    for sketch in MinHash.generator(sets(), num_perm=BANDS * ROWS, seed=1):
        found.join(rows[-1], index.query(sketch))
        index.insert(rows[-1], sketch, check_duplication=False)
    write_kept(out, found)


PAIR = Pair(
    name="minhash/datasketch",
    peer=Peer("datasketch"),
    ours=ours,
    theirs=theirs,
    prepare=prepare(BANDS, ROWS, "id"),
    agree=agree,
    size=240_000_000,
    note=f"Texts to ids of survivors, word 5-grams, {BANDS} bands x {ROWS} rows on both sides, one worker. Ours: mark_minhash, cluster_edges, keep as recipes "
    "on the embedded engine, Parquet to Parquet, with the hashes and ledgers of a run. Theirs: shingles of `\\w+` in lower case in Python, MinHash by "
    "update_batch with its default hash (sha1) and permutations made once, MinHashLSH in memory, union-find in Python, JSON lines to ids. "
    f"{SCHEME} Values of 32 bits on both sides; `\\w` has `_` in words, word rule v1 has not.",
)
