"""Heuristic measures of pages: ours against the taggers of the Dolma toolkit."""

from pathlib import Path

from benchmarks import heuristics_datatrove
from benchmarks.heuristics_datatrove import SIZE, ours
from benchmarks.pair import Pair
from benchmarks.peers import DOLMA


def prepare(folder: Path, size: int) -> str:
    """The same texts as JSON lines below `documents`, the toolkit's layout, and as Parquet for ours."""
    described = heuristics_datatrove.prepare(folder, size)
    (folder / "documents").mkdir()
    (folder / "documents" / "texts.jsonl").symlink_to(folder / "texts" / "texts.jsonl")
    return described


# -I: the toolkit's package is called `dolma` like ours, which PYTHONPATH would put in its place
TAG = ("{python}", "-I", "-m", "dolma.cli", "tag", "--documents", "{inputs}/documents/*.jsonl", "--destination", "{out}", "--experiment", "bench")

PAIR = Pair(
    name="heuristics/dolma",
    peer=DOLMA,
    ours=ours,
    theirs=(*TAG, "--taggers", "gopher_v2", "c4_v2", "--processes", "1"),
    prepare=prepare,
    size=3 * SIZE,
    note="Ours as in heuristics/datatrove. Theirs: `dolma tag` with the taggers gopher_v2 and c4_v2 and one process (it starts a second one, which imports "
    "all again), JSON lines to JSON lines of attributes without the text, no compression, in an environment of its own. Both measure every page and "
    "decide nothing; the two sides' measures are alike, not the same (c4_v2 looks for words of a list, ours also has FineWeb's and more n-grams).",
)
