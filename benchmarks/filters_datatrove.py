"""Filtered pages: our recipe `source/web/filter_fineweb` from its Gopher measures on, against the four filters of DataTrove that it decides like."""

from pathlib import Path

from benchmarks import heuristics_datatrove
from benchmarks.pair import Pair
from benchmarks.peers import DATATROVE

RECIPE = Path(__file__).parents[1] / "pipelines" / "source" / "web" / "filter_fineweb.yaml"


def ours(inputs: Path, out: Path) -> None:
    """The texts that are left, C4's lines taken out, with their measures."""
    import pyarrow.parquet as pq
    import yaml

    from dolma import table  # noqa: F401 - registers `keep`
    from dolma.core.step import REGISTRY
    from dolma.filter import fineweb  # noqa: F401
    from dolma.io import tables

    steps = [next(iter(step.items())) for step in yaml.safe_load(RECIPE.read_text())["steps"]]
    names = [name for name, _ in steps]
    steps = steps[names.index("tag_gopher") : names.index("select")]
    for number, batch in enumerate(pq.ParquetFile(inputs / "texts.parquet").iter_batches(batch_size=1024)):
        for name, arguments in steps:
            made = REGISTRY[name].fn(batch, **arguments)
            batch = batch.filter(made) if name == "keep" else made
        tables.write([batch], batch.schema, out / f"{number:05d}.parquet", f"{number:05d}.parquet")


def agree(inputs: Path, ours: Path, theirs: Path) -> str:
    """How many texts both keep."""
    import pyarrow.parquet as pq

    kept = sum(pq.ParquetFile(path).metadata.num_rows for path in ours.glob("*.parquet"))
    other = sum(1 for path in theirs.iterdir() for _ in path.open("rb"))
    return f"Ours keeps {kept:,} texts, theirs {other:,}: with one word rule they keep the same (tests/filter/test_fineweb.py)."


PAIR = Pair(
    name="filters/datatrove",
    peer=DATATROVE,
    ours=ours,
    theirs=heuristics_datatrove.theirs,
    prepare=heuristics_datatrove.prepare,
    agree=agree,
    size=heuristics_datatrove.SIZE,
    note="The same filters on both sides: Gopher repetition, Gopher quality, C4 (its lines edited) and FineWeb, in this order, a page that one drops not seen "
    "by the next. Ours: the steps of source/web/filter_fineweb without engine, Parquet to Parquet, word rule v1. Theirs: as in heuristics/datatrove.",
)
