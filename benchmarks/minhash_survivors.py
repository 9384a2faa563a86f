"""What the rows `minhash/*` share: our recipes from texts to survivors, a peer's components, and how far survivors agree. Peers' environments import it."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from string import ascii_letters, ascii_lowercase, ascii_uppercase

from benchmarks import corpus

SHINGLE = 5
SCHEME = (
    "Ours throws each shingle into one slot of the signature and only slots left empty take the minimum over all shingles, where MinHash takes that for every "
    "slot: the same chance to meet, by a test of the hits against the formula."
)
KEY = "(hash(id) >> 1)::BIGINT"
Prepare = Callable[[Path, int], str]


def prepare(bands: int, rows: int, columns: str) -> Prepare:
    """A pair's `prepare`: texts as JSON lines for the peer, as the dataset `texts` below `made` for ours, and our recipes beside them.

    Where the corpus is shorter than the size, its texts come again with each letter turned into another: exact deduplication comes before MinHash, so there
    are no copies but those of the corpus (8 % of the data kit's texts).

    Args:
        columns: of the survivors: `id, text` beside a tool that writes a filtered dataset, `id` beside a library that gives names.
    """
    recipes = {
        "texts": f"read: {{jsonl: {{files: texts/texts.jsonl, columns: {{id: string, text: large_string}}, required: [id, text]}}}}\ntable: rows\n"
        f'steps: [{{set: {{columns: {{key: "{KEY}"}}}}}}]',
        "edges": f"input: texts\ntable: edge\nsteps: [{{mark_minhash: {{shingle: {SHINGLE}, bands: {bands}, rows: {rows}, seed: 1}}}}]",
        "clusters": "input: edges\ntable: tag\nsteps: [{cluster_edges: {}}]",
        "unique": "input: texts\ntags: {clusters: [cluster]}\ntable: rows\n"
        'steps: [{keep: {where: "cluster IS NULL OR cluster = key", reason: near_duplicate}}, '
        f"{{select: {{columns: [{columns}]}}}}]",
    }

    def write(folder: Path, size: int) -> str:
        described = corpus.write(folder, size) + _turned(folder / "texts" / "texts.jsonl")
        (folder / "recipes").mkdir()
        for name, text in recipes.items():
            (folder / "recipes" / f"{name}.yaml").write_text(text + "\n")
        _run(folder, folder / "made", "texts")
        return described

    return write


def _turned(path: Path) -> str:
    """Move the ASCII letters of each turn by one place more in the alphabet: words as long and as frequent, and hardly a shingle of the turns before."""
    tables = [str.maketrans(ascii_letters, "".join(case[n:] + case[:n] for case in (ascii_lowercase, ascii_uppercase))) for n in range(26)]
    made, turn = path.with_suffix(".turned"), 0
    with path.open(encoding="utf-8") as lines, made.open("w", encoding="utf-8") as out:
        for line in lines:
            row = json.loads(line)
            turn = int(row["id"].rpartition("-")[2])
            out.write(json.dumps({**row, "text": row["text"].translate(tables[turn % 26])}, ensure_ascii=False) + "\n")
    made.replace(path)
    return ", each turn with the ASCII letters one place further in the alphabet than the one before" if turn else ""


def _run(inputs: Path, root: Path, target: str) -> None:
    from dolma.runner import run

    root.mkdir(exist_ok=True)
    env = root / "env.yaml"
    env.write_text(json.dumps({"root": str(root), "raw": str(inputs), "engine": "datatrove", "workers": 1}))  # JSON is YAML
    run([target], env, pipelines=inputs / "recipes")


def ours(inputs: Path, out: Path) -> None:
    """`dolma run unique` over a finished dataset of texts: bands, edges, clusters, survivors; hashes and ledgers of a run included.

    What an earlier run remembers of raw files comes with the dataset: they are not hashed again.
    """
    (out / "texts").symlink_to(inputs / "made" / "texts")
    (out / ".raw.json").symlink_to(inputs / "made" / ".raw.json")
    _run(inputs, out, "unique")


def read(inputs: Path) -> Iterator[tuple[str, str]]:
    """(id, text) of each text, for a peer that reads nothing itself."""
    with (inputs / "texts" / "texts.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield row["id"], row["text"]


WORD = re.compile(r"\w+")


def shingles(text: str) -> set[str]:
    """The runs of words in lower case, as users of a MinHash library make them; a text of fewer words is one shingle, one without words has none."""
    words = WORD.findall(text.lower())
    return {" ".join(words[start : start + SHINGLE]) for start in range(max(1, len(words) - SHINGLE + 1))} if words else set()


class Components:
    """Union-find over row numbers; a component is named by its first row. `names` holds the id of every row."""

    def __init__(self) -> None:
        self.parent: dict[int, int] = {}
        self.names: list[str] = []

    def first(self, row: int) -> int:
        while (up := self.parent.get(row, row)) != row:
            self.parent[row] = self.parent.get(up, up)
            row = up
        return row

    def join(self, row: int, others: Iterable[int]) -> None:
        for other in others:
            one, two = self.first(row), self.first(other)
            self.parent[max(one, two)] = min(one, two)


def write_kept(out: Path, found: Components) -> None:
    """The ids of the survivors, as JSON lines in `out/kept`."""
    (out / "kept").mkdir()
    with (out / "kept" / "kept.jsonl").open("w", encoding="utf-8") as kept:
        kept.writelines(json.dumps({"id": name}) + "\n" for row, name in enumerate(found.names) if found.first(row) == row)


def agree(inputs: Path, ours: Path, theirs: Path) -> str:
    """Survivors of both, theirs from JSON lines in `kept`."""
    return agreement(ours, [json.loads(line)["id"] for path in sorted((theirs / "kept").iterdir()) for line in path.open(encoding="utf-8")])


def agreement(ours: Path, kept: list[str]) -> str:
    """Which document of a cluster stays is each tool's choice, so clusters are compared: theirs should keep just one of each of ours."""
    from dolma.core import manifest

    texts = manifest.read(ours / "texts", ["id", "key"])
    tags = manifest.read(ours / "clusters", ["key", "cluster"])
    cluster_of = dict(zip(tags["key"].to_pylist(), tags["cluster"].to_pylist(), strict=True))
    name_of = dict(zip(texts["key"].to_pylist(), texts["id"].to_pylist(), strict=True))
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
