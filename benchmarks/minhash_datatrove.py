"""Near duplicates from texts to survivors: our recipes on the embedded engine against DataTrove's four MinHash stages."""

import json
from pathlib import Path

from benchmarks import corpus
from benchmarks.pair import Pair
from benchmarks.peers import DATATROVE

SHINGLE, BANDS, ROWS = 5, 14, 8  # DataTrove's defaults
KEY = "(hash(id) >> 1)::BIGINT"
RECIPES = {
    "texts": f"read: {{jsonl: {{files: texts/texts.jsonl, columns: {{id: string, text: large_string}}, required: [id, text]}}}}\ntable: rows\n"
    f'steps: [{{set: {{columns: {{key: "{KEY}"}}}}}}]',
    "edges": f"input: texts\ntable: edge\nsteps: [{{mark_minhash: {{shingle: {SHINGLE}, bands: {BANDS}, rows: {ROWS}, seed: 1}}}}]",
    "clusters": "input: edges\ntable: tag\nsteps: [{cluster_edges: {}}]",
    "unique": "input: texts\ntags: {clusters: [cluster_first]}\ntable: rows\n"
    'steps: [{keep: {where: "coalesce(cluster_first, true)", reason: near_duplicate}}, {select: {columns: [id, text]}}]',
}


def prepare(folder: Path, size: int) -> str:
    """The texts as JSON lines for the peer, and as the dataset `texts` below `made` for ours."""
    described = corpus.write(folder, size)
    (folder / "recipes").mkdir()
    for name, text in RECIPES.items():
        (folder / "recipes" / f"{name}.yaml").write_text(text + "\n")
    _run(folder, folder / "made", "texts")
    return described


def _run(inputs: Path, root: Path, target: str) -> None:
    from dolma.runner import run

    root.mkdir(exist_ok=True)
    env = root / "env.yaml"
    env.write_text(json.dumps({"root": str(root), "raw": str(inputs), "engine": "datatrove", "workers": 1}))  # JSON is YAML
    run([target], env, pipelines=inputs / "recipes")


def ours(inputs: Path, out: Path) -> None:
    """`dolma run unique` over a finished dataset of texts: bands, edges, clusters, survivors; hashes and ledgers of a run included."""
    (out / "texts").symlink_to(inputs / "made" / "texts")
    _run(inputs, out, "unique")


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


def agree(inputs: Path, ours: Path, theirs: Path) -> str:
    """Survivors of both. Which document of a cluster stays is each tool's choice, so clusters are compared: theirs should keep just one of each of ours."""
    from dolma.core import manifest

    texts = manifest.read(ours / "texts", ["id", "key"])
    tags = manifest.read(ours / "clusters", ["key", "cluster"])
    cluster_of = dict(zip(tags["key"].to_pylist(), tags["cluster"].to_pylist(), strict=True))
    name_of = dict(zip(texts["key"].to_pylist(), texts["id"].to_pylist(), strict=True))
    kept = [json.loads(line)["id"] for path in sorted((theirs / "kept").iterdir()) for line in path.open(encoding="utf-8")]
    left = dict.fromkeys(cluster_of.values(), 0)
    there = set(kept)
    alone = alone_kept = 0
    for key, name in name_of.items():
        if key in cluster_of:
            left[cluster_of[key]] += name in there
        else:
            alone, alone_kept = alone + 1, alone_kept + (name in there)
    same = sum(count == 1 for count in left.values())
    rows = manifest.load(ours / "unique").rows
    return (
        f"Of {len(name_of):,} texts ours keeps {rows:,}, theirs {len(kept):,}; theirs keeps just one text of {same:,} of our {len(left):,} clusters, "
        f"and {alone_kept:,} of the {alone:,} texts that ours finds alone."
    )


PAIR = Pair(
    name="minhash/datatrove",
    peer=DATATROVE,
    ours=ours,
    theirs=theirs,
    prepare=prepare,
    agree=agree,
    size=15_000_000,
    note=f"Texts to survivors, word {SHINGLE}-grams, {BANDS} bands x {ROWS} rows on both sides, one worker. Ours: mark_minhash, cluster_edges and keep "
    "as recipes on the embedded engine, Parquet to Parquet, with the hashes and ledgers of a run. Theirs: the four MinHash stages in one process "
    "without their executor, JSON lines to JSON lines, no compression, in an environment without torch; its words are spaCy's, in lower case, "
    "without punctuation, numbers as 0. Ours has 32-bit hashes, theirs its default of 64 bits; a text under 5 words has no signature with theirs "
    "and one shingle with ours.",
)
