"""The ledger of every dataset of a small flow, added up by the test's own arithmetic."""

from collections import defaultdict
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dolma import cli
from dolma.core import manifest
from dolma.core.manifest import Manifest
from tests.flow.mini import OTHERS, PIPELINES, POOL, WEB, take_over, write_env

REASONS = ("dropped.", "quarantined")


@pytest.fixture(scope="module")
def whole(one: Path) -> Path:
    """The root of a flow from raw pages to shards and mixes; what the other tests made is taken over."""
    take_over(one, "ledger", (*WEB, *OTHERS, *POOL))
    # mix/pretrain needs more web text than a small corpus has, and refuses
    targets = ["source", "pool", "shard", "mix/longctx"]
    assert cli.main(["run", *targets, "--env", str(write_env(one, "ledger")), "--pipelines", str(PIPELINES)]) == 0
    return one / "ledger"


def made(root: Path) -> dict[str, Manifest]:
    return {str(path.parent.relative_to(root)): manifest.load(path.parent) for path in sorted(root.rglob(manifest.NAME))}


def steps(counts: dict[str, int]) -> dict[str, dict[str, int]]:
    """Counts of each step that takes and gives rows, in the order of the recipe: `3:keep.dropped.short` is what step 3 dropped as short."""
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for key, value in counts.items():
        label, _, what = key.partition(".")
        found[label][what] = value
    order = sorted(found, key=lambda label: int(label.split(":")[0]) if label[0].isdigit() else -1)
    return {label: found[label] for label in order if "in" in found[label]}


def lost(numbers: dict[str, int]) -> int:
    return sum(value for what, value in numbers.items() if what.startswith(REASONS))


@pytest.mark.slow
def test_every_dataset_balances(whole: Path) -> None:
    found = made(whole)
    recipes = {str(path.relative_to(PIPELINES).with_suffix("")) for folder in ("source", "pool", "shard") for path in (PIPELINES / folder).rglob("*.yaml")}
    assert recipes <= set(found)
    for name, one in found.items():
        line = steps(one.counts)
        assert line, name
        before = None
        for label, numbers in line.items():
            assert numbers["in"] == numbers["out"] + lost(numbers), f"{name} {label}: {numbers}"
            assert before is None or numbers["in"] == before, f"{name} {label} takes {numbers['in']}, the step before gave {before}"
            before = numbers["out"]
        first, last = next(iter(line.values())), before
        everything = sum(lost(numbers) for numbers in line.values())
        assert first["in"] == last + everything, name
        inputs = [found[other.name] for other in one.inputs if other.name in found and other.name in one.recipe["input"]] if one.recipe["input"] else []
        if inputs and all(other.format == "parquet" for other in inputs):
            assert first["in"] == sum(other.rows for other in inputs), f"{name} did not read all rows of its inputs"
        assert sum(file.rows for file in one.quarantine) == sum(numbers.get("quarantined", 0) for numbers in line.values()), name
        if not has_final(one):
            assert one.rows == last, f"{name} holds {one.rows} rows, its last step gave {last}"


def has_final(one: Manifest) -> bool:
    """Whether a group or reduce step makes the rows: then they are not the documents that came in."""
    return any(key.endswith((".scattered", ".rows_in")) for key in one.counts)


@pytest.mark.slow
def test_the_shards_hold_the_rows_that_the_manifests_count(whole: Path) -> None:
    for name, one in made(whole).items():
        files = [file for file in (*one.files, *one.quarantine) if file.name.endswith(".parquet")]
        assert sum(pq.read_metadata(whole / name / file.name).num_rows for file in files) == sum(file.rows for file in files), name
        assert sum(file.rows for file in one.files) == one.rows


@pytest.mark.slow
def test_a_group_pass_loses_no_row_between_its_two_halves(whole: Path) -> None:
    groups = {name: one.counts for name, one in made(whole).items() if any(key.endswith(".scattered") for key in one.counts)}
    assert {"pool/exact", "pool/edges", "pool/verified", "pool/near", "shard/pool", "shard/long"} <= set(groups)
    for name, counts in groups.items():
        (scattered,) = [value for key, value in counts.items() if key.endswith(".scattered")]
        (gathered,) = [value for key, value in counts.items() if key.endswith(".gathered")]
        assert scattered == gathered, name
        assert scattered > 0 or name == "pool/strict", name  # no cluster of this corpus has 500 documents


@pytest.mark.slow
def test_what_the_deduplication_dropped_is_what_it_marked(whole: Path) -> None:
    found = made(whole)
    drops = found["pool/unique"].counts
    marks = manifest.read(whole / "pool/near").to_pylist()
    exact = {row["key"] for row in manifest.read(whole / "pool/exact").to_pylist() if row["exact_of"] is not None}
    near = {row["key"] for row in marks if row["near_of"] is not None}
    assert (drops["0:keep.dropped.exact_duplicate"], drops["1:keep.dropped.near_duplicate"]) == (len(exact), len(near))
    assert found["pool/unique"].rows == found["pool/candidates"].rows - len(exact) - len(near)
