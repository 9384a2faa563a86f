"""From web archives to filtered documents: our recipes against DataTrove's FineWeb recipe, each with the extractor that it chooses."""

import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks import archives
from benchmarks.pair import Pair
from benchmarks.peers import DATATROVE

SIZE = 100_000_000  # bytes of archives: four times the kit's, where our start-up is under a tenth
PATIENCE = 30  # seconds for a page of DataTrove's extractor. Its default of 1 is wall time: on a busy machine pages vanish (design/peers.md 1)
ROOT = Path(__file__).parents[1]
TARGET = "source/web/filter"


def prepare(folder: Path, size: int) -> str:
    """The archives, once for both."""
    return archives.write(folder, size)


def ours(inputs: Path, out: Path) -> None:
    """`dolma run source/web/filter` from the archives on: the recipes of `pipelines`, one worker, hashes and ledgers of a run included."""
    from dolma.runner import run

    env = out / "env.yaml"
    env.write_text(json.dumps({"root": str(out), "raw": str(inputs), "engine": "datatrove", "workers": 1}))  # JSON is YAML
    run([TARGET], env, pipelines=ROOT / "pipelines")


def theirs(inputs: Path, out: Path) -> None:
    """With Trafilatura, the recipe's extractor."""
    import importlib.metadata  # noqa: F401 - datatrove 0.9 looks for it without importing it

    from datatrove.pipeline.extractors import Trafilatura

    flow(inputs, out, Trafilatura(favour_precision=True, timeout=PATIENCE))


def flow(inputs: Path, out: Path, extractor: Any) -> None:
    """The steps of DataTrove's examples/fineweb.py without its language filter, in one process; its extractor starts a second one."""
    from datatrove.pipeline.filters import C4QualityFilter, FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter, URLFilter
    from datatrove.pipeline.readers import WarcReader
    from datatrove.pipeline.writers import JsonlWriter

    documents = WarcReader(str(inputs / "web"), glob_pattern="*.warc.gz").run()
    filters = (GopherRepetitionFilter(), GopherQualityFilter(), C4QualityFilter(filter_no_terminal_punct=False), FineWebQualityFilter())
    for step in (URLFilter(), extractor, *filters, JsonlWriter(str(out / "kept"), compression=None)):
        documents = step.run(documents, 0, 1)
    for _ in documents:
        pass
    children = os.times()
    cost = {"extractor": children.children_user + children.children_system, "rest": time.process_time()}
    (out / "cost.json").write_text(json.dumps({**cost, "pages": extractor.stats["total"].total, "texts": extractor.stats["forwarded"].total}))


def agree(inputs: Path, ours: Path, theirs: Path) -> str:
    """Documents of both, and what share of each side's seconds is spent in extraction (of ours: where the run measured its steps)."""
    from dolma.core import manifest

    cost = json.loads((theirs / "cost.json").read_text())
    kept = sum(1 for path in (theirs / "kept").iterdir() for _ in path.open("rb"))
    extracted, filtered = (manifest.load(ours / name).rows for name in ("source/web/extract", TARGET))
    share = cost["extractor"] / (cost["extractor"] + cost["rest"])
    spent = Counter[str]()
    for name in ("source/web/extract", TARGET):
        spent += steps(ours / name)
    whole = sum(spent.values())
    own = sum(value for label, value in spent.items() if "extract_html" in label)
    said = f"{own / whole:.0%} of ours (of the {whole:.1f} CPU s of its steps)" if whole else "not measured in ours"
    return (
        f"Ours: {extracted:,} texts, {filtered:,} documents; theirs: {cost['texts']:,} texts of {cost['pages']:,} pages, {kept:,} documents. "
        f"Share spent in extraction: {said}, {share:.0%} of theirs (its extractor's process)."
    )


def steps(folder: Path) -> Counter[str]:
    """CPU seconds by step of the run that made a dataset, from its `run.jsonl`; nothing where it did not measure them."""
    spent = Counter[str]()
    for unit in json.loads((folder / "run.jsonl").read_text().splitlines()[-1]).get("measured", {}).values():
        spent.update(unit["cpu"])
    return spent


PAIR = Pair(
    name="web/datatrove",
    peer=DATATROVE,
    ours=ours,
    theirs=theirs,
    prepare=prepare,
    agree=agree,
    size=SIZE,
    note="Web archives (WARC, gzip) to filtered documents, one worker. Ours: `dolma run source/web/filter`, the recipes source/web/extract and "
    "source/web/filter with all their steps (language too), Parquet, with the hashes and ledgers of a run. Theirs: the recipe of examples/fineweb.py "
    "(WarcReader, URLFilter with its lists, Trafilatura with favour_precision, GopherRepetition, GopherQuality, C4Quality without the rule on final "
    f"punctuation, FineWebQuality) without its language filter, which needs a download, and without an executor, JSON lines, no compression, "
    f"{PATIENCE} s a page in place of 1 s of wall time.",
)
