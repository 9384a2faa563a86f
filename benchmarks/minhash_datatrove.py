"""Near duplicates from texts to survivors: our recipes on the embedded engine against DataTrove's four MinHash stages."""

from pathlib import Path

from benchmarks.minhash_survivors import SCHEME, SHINGLE, agree, ours, prepare
from benchmarks.pair import Pair
from benchmarks.peers import DATATROVE

BANDS, ROWS = 14, 8  # DataTrove's defaults


def theirs(inputs: Path, out: Path) -> None:
    """The four stages in one process, without the executor: its processes would import everything again."""
    from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter

    config = MinhashConfig(n_grams=SHINGLE, num_buckets=BANDS, hashes_per_bucket=ROWS)
    places = {name: str(out / name) for name in ("signatures", "pairs", "clusters", "kept")}
    MinhashDedupSignature(places["signatures"], config=config).run(JsonlReader(str(inputs / "texts")).run())
    for bucket in range(BANDS):
        MinhashDedupBuckets(places["signatures"], places["pairs"], config=config).run(None, bucket, BANDS)
    MinhashDedupCluster(places["pairs"], places["clusters"], config=config).run()
    kept = MinhashDedupFilter(places["clusters"]).run(JsonlReader(str(inputs / "texts")).run())
    for _ in JsonlWriter(places["kept"], compression=None).run(kept):
        pass


PAIR = Pair(
    name="minhash/datatrove",
    peer=DATATROVE,
    ours=ours,
    theirs=theirs,
    prepare=prepare(BANDS, ROWS, "id, text"),
    agree=agree,
    size=240_000_000,
    note=f"Texts to survivors, word {SHINGLE}-grams, {BANDS} bands x {ROWS} rows on both sides, one worker. Ours: mark_minhash, cluster_edges and keep "
    "as recipes on the embedded engine, Parquet to Parquet, with the hashes and ledgers of a run. Theirs: the four MinHash stages in one process "
    "without their executor, JSON lines to JSON lines, no compression, in an environment without torch; its words are spaCy's, in lower case, "
    f"without punctuation, numbers as 0. {SCHEME} Ours has 32-bit hashes, theirs its default of 64 bits; a text under 5 words has no signature with theirs "
    "and one shingle with ours.",
)
