"""A fingerprint changes with each thing that decides bytes, and with nothing else."""

import copy
import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dolma.core import manifest
from dolma.core.step import REGISTRY
from dolma.engines import units
from dolma.engines.plan import Plan
from dolma.runner import Run
from tests.engines.flow import RECIPES, write_env, write_raw, write_recipes


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Recipes, raw files and an env, nothing run."""
    write_recipes(tmp_path)
    write_raw(tmp_path, files=3, rows=4)
    write_env(tmp_path)
    return tmp_path


def plan(place: Path, name: str = "source/read", env: str = "env") -> Plan:
    made = Run(place / f"{env}.yaml", place / "pipelines").state(name)[2]
    assert isinstance(made, Plan)
    return made


def recipe(place: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    value = copy.deepcopy(RECIPES["source/read"])
    change(value)
    write_recipes(place, {"source/read": value})


CHANGES: dict[str, Callable[[Path], Any]] = {
    "a parameter": lambda place: recipe(place, lambda r: r["steps"][1]["keep"].update(where="text <> 'x'")),
    "a reason": lambda place: recipe(place, lambda r: r["steps"][1]["keep"].update(reason="blank")),
    "one step more": lambda place: recipe(place, lambda r: r["steps"].append({"keep": {"where": "true", "reason": "none"}})),
    "the order of steps": lambda place: recipe(place, lambda r: r["steps"].reverse()),
    "a parameter of the reader": lambda place: recipe(place, lambda r: r["read"]["jsonl"].update(batch_rows=7)),
    "which files": lambda place: recipe(place, lambda r: r["read"]["jsonl"].update(files="part-[01].jsonl.gz")),
    "how files are joined": lambda place: recipe(place, lambda r: r.update(unit_bytes=10_000)),
    "the format": lambda place: recipe(place, lambda r: r.update(format="mds")),
    "a byte of a raw file": lambda place: (place / "raw/part-1.jsonl.gz").open("ab").write(b"\0"),
    "the name of a raw file": lambda place: os.replace(place / "raw/part-1.jsonl.gz", place / "raw/part-9.jsonl.gz"),
    "a raw file more": lambda place: (place / "raw/part-7.jsonl.gz").write_bytes((place / "raw/part-1.jsonl.gz").read_bytes()),
    "a raw file less": lambda place: (place / "raw/part-1.jsonl.gz").unlink(),
    "the limit": lambda place: write_env(place, limit=1),
}  # fmt: skip


@pytest.mark.parametrize("what", list(CHANGES))
def test_what_decides_bytes_is_in_the_fingerprint(place: Path, what: str) -> None:
    if what == "the order of steps":
        recipe(place, lambda r: r["steps"].insert(0, {"keep": {"where": "id <> ''", "reason": "no_id"}}))
        before = plan(place).fingerprint
        recipe(place, lambda r: r["steps"].insert(1, {"keep": {"where": "id <> ''", "reason": "no_id"}}))
        assert plan(place).fingerprint != before
        return
    before = plan(place).fingerprint
    CHANGES[what](place)
    assert plan(place).fingerprint != before


def test_versions_of_steps_and_of_the_writer_are_in_the_fingerprint(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {plan(place).fingerprint}
    for name in ("keep", "jsonl"):
        with monkeypatch.context() as patch:
            patch.setitem(REGISTRY, name, dataclasses.replace(REGISTRY[name], version=1000))
            made.add(plan(place).fingerprint)
    monkeypatch.setattr(units, "WRITER", "v1000")
    made.add(plan(place).fingerprint)
    assert len(made) == 4


DECLARED = {
    "extract_html": {"resiliparse"},
    "extract_wiki": {"mwparserfromhell"},
    "tag_language": {"py3langid"},
    "warc": {"fastwarc"},
    "tag_topic": {"fasttext", "fasttext-numpy2-wheel"},
    "tag_quality": {"fasttext", "fasttext-numpy2-wheel"},
    "train_classifier": {"fasttext", "fasttext-numpy2-wheel"},
    **{name: {"tokenizers"} for name in ("train_tokenizer", "encode", "encode_marked", "encode_chat", "encode_pair", "encode_prompt")},
}


@pytest.mark.parametrize("name", DECLARED)
def test_steps_say_whose_version_changes_what_they_give(name: str) -> None:
    found = REGISTRY[name]
    assert DECLARED[name] <= {*found.packages(found.params.model_construct(**{k: f.default for k, f in found.params.model_fields.items()}))}


def test_a_pdf_hangs_on_the_engines_that_read_it() -> None:
    found = REGISTRY["extract_pdf"]
    assert found.packages(found.params(engine="pdfium")) == ("pypdfium2",)
    assert found.packages(found.params(engine="pymupdf", second="pdfium")) == ("pymupdf", "pypdfium2")


def test_versions_of_packages_are_in_the_fingerprint(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe(place, lambda r: r["steps"].append({"tag_language": {}}))
    versions = {"py3langid": "0.3.0"}
    monkeypatch.setattr("dolma.core.recipe._installed", versions.get)
    made = []
    for version in ("0.3.0", "0.4.0", None, "0.3.0"):
        versions["py3langid"] = version  # type: ignore[assignment]
        made.append(plan(place).fingerprint)
    assert len(set(made)) == 3 and made[0] == made[3]


def test_inputs_and_buckets_are_in_the_fingerprint(place: Path) -> None:
    Run(place / "env.yaml", place / "pipelines").run(["pool/short"])
    made = [plan(place, "pool/copies")]
    write_recipes(place, {"pool/copies": {**RECIPES["pool/copies"], "buckets": 4}})
    made.append(plan(place, "pool/copies"))
    assert [one.buckets for one in made] == [3, 4]
    folder = place / "build/env/pool/short"
    manifest.save(folder, manifest.load(folder).model_copy(update={"fingerprint": "another"}))
    made.append(plan(place, "pool/copies"))
    assert len({one.fingerprint for one in made}) == 3


SAME: dict[str, Callable[[Path], Any]] = {
    "engine": lambda place: write_env(place, engine="spark"),
    "workers": lambda place: write_env(place, workers=7),
    "tasks": lambda place: write_env(place, tasks=2),
    "scheduler": lambda place: write_env(place, scheduler="slurm", slurm={"time": "1:00:00"}),
    "python": lambda place: write_env(place, python="another"),
    "root": lambda place: write_env(place, root="elsewhere"),
    "where the raw files lie": lambda place: (os.rename(place / "raw", place / "raw2"), write_env(place, raw="raw2")),
    "a limit that leaves all": lambda place: write_env(place, limit=100),
    "when a raw file was written": lambda place: os.utime(place / "raw/part-1.jsonl.gz", (1, 1)),
    "a raw file that no glob takes": lambda place: (place / "raw/notes.txt").write_text("x"),
    "comments, and keys in another order": lambda place: (place / "pipelines/source/read.yaml").write_text(
        "# why\n" + yaml.safe_dump({"uses": ["tests.engines.flow"], **RECIPES["source/read"]}, sort_keys=True)
    ),
    "a default that is spelt out": lambda place: recipe(place, lambda r: r.update(unit_bytes=0, format="parquet", tags={})),
}


@pytest.mark.parametrize("what", list(SAME))
def test_where_and_how_much_is_not_in_the_fingerprint(place: Path, what: str) -> None:
    before = plan(place)
    SAME[what](place)
    after = plan(place)
    assert after.fingerprint == before.fingerprint
    assert [after.task("map", unit) for unit in after.passes[0].units] == [before.task("map", unit) for unit in before.passes[0].units]


def test_a_record_is_of_one_unit_of_one_fingerprint(place: Path) -> None:
    made = plan(place)
    one, two = made.passes[0].units[:2]
    tasks = {made.task("map", one), made.task("map", two), made.task("scatter", one), made.task("map", one.model_copy(update={"bucket": 1}))}
    tasks.add(made.model_copy(update={"fingerprint": "x"}).task("map", one))
    assert len(tasks) == 5


def test_raw_files_are_read_again_when_their_size_or_time_changed(place: Path) -> None:
    Run(place / "env.yaml", place / "pipelines").run(["source/read"])
    cache = place / "build/env/.raw.json"
    known = json.loads(cache.read_bytes())
    path = place / "raw/part-0.jsonl.gz"
    known[str(path)][2] = "remembered"
    cache.write_text(json.dumps(known))
    shas = {one["name"]: one["fingerprint"] for one in plan(place).inputs}
    assert shas["part-0.jsonl.gz"] == "remembered"
    os.utime(path, (1, 1))
    assert {one["name"]: one["fingerprint"] for one in plan(place).inputs}["part-0.jsonl.gz"] != "remembered"


def test_a_group_step_over_rows_with_an_origin_keeps_what_it_points_to(place: Path) -> None:
    write_recipes(place, {"pool/again": {"input": "pool/copies", "table": "rows", "steps": [{"count_test_marks": {}}]}})
    Run(place / "env.yaml", place / "pipelines").run(["pool/again"])
    short, copies, again = (manifest.load(place / "build/env" / name).facts.get("origin") for name in ("pool/short", "pool/copies", "pool/again"))
    assert short is None and copies is not None and again == copies
