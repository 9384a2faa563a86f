"""The runner: what is fresh, stale, missing or blocked and why; what a change makes again; what it refuses."""

import json
import random
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dolma.core import manifest
from dolma.core.errors import DataError, EnvironmentFault, Errors, Partial
from dolma.core.graph import stage_fingerprint
from dolma.engines import worker
from dolma.publish import publish
from dolma.runner import Run, plan
from dolma.verify import verify
from tests.engines.flow import RECIPES, write_env, write_raw, write_recipes


def states(place: Path, env: str = "env") -> dict[str, tuple[str, str]]:
    return {line.dataset: (line.state, line.reason) for line in plan(["."], place / f"{env}.yaml", pipelines=place / "pipelines")}


def run(place: Path, *targets: str) -> int:
    return Run(place / "env.yaml", place / "pipelines").run(targets or ["."])


def tree(place: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in place.rglob("*") if path.is_file()}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The flow of the engines' tests, nothing run."""
    write_recipes(tmp_path)
    write_raw(tmp_path, files=2, rows=60)
    write_env(tmp_path)
    return tmp_path


def test_before_the_first_run_the_first_is_missing_and_the_rest_waits(place: Path) -> None:
    assert states(place) == {
        "source/read": ("missing", "not made yet"),
        "pool/short": ("blocked", "needs source/read"),
        "pool/copies": ("blocked", "needs pool/short"),
        "pool/first": ("blocked", "needs pool/short, pool/copies"),
        "pool/count": ("blocked", "needs pool/first"),
    }


def test_plan_writes_nothing(place: Path) -> None:
    before = tree(place)
    states(place)
    assert tree(place) == before
    run(place)
    before = tree(place)
    (place / "raw/part-0.jsonl.gz").open("ab").write(b"\0")
    before[str(place / "raw/part-0.jsonl.gz")] = tree(place)[str(place / "raw/part-0.jsonl.gz")]
    assert states(place)["source/read"][0] == "stale" and tree(place) == before


def test_after_a_run_all_is_fresh_and_a_second_run_makes_nothing(place: Path) -> None:
    assert run(place) == 5
    before = tree(place)
    assert set(states(place).values()) == {("fresh", "")}
    assert run(place) == 0 and tree(place) == before


def change(place: Path, name: str, **keys: Any) -> None:
    write_recipes(place, {name: {**RECIPES[name], **keys}})


def test_reasons_say_what_changed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(place)
    change(place, "pool/short", steps=[{"set": {"columns": {"n_chars": "length(text)"}}}, {"keep": {"where": "n_chars < 30", "reason": "long"}}])
    got = states(place)
    assert got["pool/short"] == ("stale", "the recipe changed") and got["source/read"] == ("fresh", "")
    assert got["pool/copies"] == ("blocked", "needs pool/short") and got["pool/count"] == ("blocked", "needs pool/first")
    change(place, "pool/short")
    monkeypatch.setattr("dolma.engines.units.WRITER", "v1000")
    assert states(place)["source/read"] == ("stale", "a step, the writer or the env's limit changed")
    monkeypatch.undo()
    with open(place / "raw/part-1.jsonl.gz", "ab") as file:
        file.write(b"\x1f\x8b")
    assert states(place)["source/read"] == ("stale", "part-1.jsonl.gz changed")
    (place / "raw/part-1.jsonl.gz").unlink()
    assert states(place)["source/read"] == ("stale", "part-1.jsonl.gz changed")


def test_an_upgrade_of_a_package_makes_stale_what_hangs_on_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change(place, "pool/short", steps=[*RECIPES["pool/short"]["steps"], {"tag_language": {}}])
    versions = {"py3langid": "0.3.0"}
    monkeypatch.setattr("dolma.core.recipe._installed", versions.get)
    run(place, "pool/first")
    assert manifest.load(place / "build/env/pool/short").code["packages"] == versions
    assert manifest.load(place / "build/env/source/read").code["packages"] == {}
    versions["py3langid"] = "0.4.0"
    assert states(place)["pool/short"] == ("stale", "py3langid was 0.3.0, is 0.4.0")
    assert states(place)["source/read"] == ("fresh", "") and states(place)["pool/first"][0] == "blocked"
    run(place, "pool/first")
    assert states(place)["pool/short"] == states(place)["pool/first"] == ("fresh", "")


def test_a_condition_that_has_no_value_for_a_row_names_recipe_rule_and_row(place: Path) -> None:
    change(place, "pool/short", steps=[{"keep": {"where": "right(text, 1)::INTEGER >= 0", "reason": "no_digit"}}])
    with pytest.raises(Errors) as error:
        run(place, "pool/short")
    first = error.value.errors[0]
    assert first.where == "pool/short/00000: keep no_digit" and "`right(text, 1)::INTEGER >= 0` has no value" in first.what
    assert "and much more of it" in str(first.got) and "id = 'doc0'" in str(first.got) and "part-0.jsonl.gz" in str(first.got)


def test_an_input_that_was_made_anew_makes_stale_what_reads_it(place: Path) -> None:
    run(place)
    change(place, "source/read", steps=[{"tag_test_key": {}}, {"keep": {"where": "text <> '' AND key % 2 = 0", "reason": "empty"}}])
    run(place, "source/read")
    assert states(place)["pool/short"] == ("stale", "source/read changed")
    assert run(place) == 4 and set(states(place).values()) == {("fresh", "")}


def test_a_change_that_is_taken_back_is_fresh_again_only_by_the_fingerprint(place: Path) -> None:
    run(place)
    first = manifest.load(place / "build/env/pool/count")
    change(place, "pool/short", steps=[{"set": {"columns": {"n_chars": "length(text)"}}}, {"keep": {"where": "n_chars < 18", "reason": "long"}}])
    run(place)
    assert manifest.load(place / "build/env/pool/count").fingerprint != first.fingerprint
    change(place, "pool/short")
    run(place)
    assert manifest.load(place / "build/env/pool/count") == first


def test_force_makes_what_is_fresh(place: Path) -> None:
    run(place, "source/read")
    folder = place / "build/env/source/read"
    before, inodes = manifest.load(folder), {path.stat().st_ino for path in folder.glob("*.parquet")}
    assert Run(place / "env.yaml", place / "pipelines").run(["source/read"], force=True) == 1
    assert manifest.load(folder) == before and len((folder / "run.jsonl").read_text().splitlines()) == 2
    assert {path.stat().st_ino for path in folder.glob("*.parquet")}.isdisjoint(inodes)


@pytest.mark.parametrize("harm", ["gone", "cut"])
def test_a_dataset_whose_files_are_not_whole_is_stale_and_mended(place: Path, harm: str) -> None:
    run(place)
    shard = next((place / "build/env/pool/short").glob("*.parquet"))
    whole = shard.read_bytes()
    shard.unlink() if harm == "gone" else shard.write_bytes(whole[:-1])
    state, reason = states(place)["pool/short"]
    assert state == "stale" and shard.name in reason
    assert run(place) == 1 and shard.read_bytes() == whole


def test_what_an_earlier_run_left_of_a_shuffle_is_not_read(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise DataError("gather", "fails", mend="none: a test")

    with monkeypatch.context() as patched:
        patched.setitem(worker.PASSES, "gather", fails)
        with pytest.raises((DataError, Errors)):
            run(place)
    assert len(list((place / "build/env/pool/copies/.work/shuffle").glob("*.arrow"))) == 2
    (place / "raw/part-1.jsonl.gz").unlink()
    run(place)
    assert set(states(place).values()) == {("fresh", "")}


def test_a_quarantine_over_its_share_is_refused_and_says_where_the_rows_are(place: Path) -> None:
    change(place, "source/read", quarantine=0.001)
    with pytest.raises(DataError, match="too many rows cannot be read") as error:
        run(place, "source/read")
    assert error.value.got == "1 of 121 (0.8%)" and error.value.expected == "at most 0.1%" and error.value.code == 3
    folder = place / "build/env/source/read"
    assert not manifest.exists(folder) and list((folder / "_quarantine").glob("*.parquet")) and "_quarantine" in error.value.mend
    change(place, "source/read", quarantine=0.01)
    assert run(place, "source/read") == 1


def test_a_stray_file_in_a_dataset_is_cleared(place: Path) -> None:
    run(place, "source/read")
    folder = place / "build/env/source/read"
    (folder / "00099.parquet").write_bytes(b"left by an older plan")
    change(place, "source/read", quarantine=0.3)
    run(place, "source/read")
    assert not (folder / "00099.parquet").exists() and verify(place / "build/env", "source/read").errors == ()


def test_nan_of_a_step_is_refused_with_its_column(place: Path) -> None:
    steps = [{"set": {"columns": {"score": "1.5::FLOAT"}}}, {"set": {"columns": {"score": "'nan'::FLOAT"}}}]
    change(place, "pool/short", steps=steps)
    with pytest.raises(Errors, match="column score holds NaN") as error:
        run(place, "pool/short")
    assert {one.where for one in error.value.errors} == {f"pool/short/{n:05d}: 1:set" for n in range(2)}
    change(place, "pool/short", steps=steps[1:])
    with pytest.raises(Errors, match="column score holds NaN"):
        run(place, "pool/short")


# A flow of its own from text to a mix: the smallest that packs.
MIXED = {
    "source/text": {
        "read": {"jsonl": {"files": "*.jsonl", "columns": {"id": "string", "source": "string", "text": "large_string"}}},
        "table": "rows",
        "steps": [],
    },
    "pool/tokenizer": {"input": "source/text", "table": "model", "steps": [{"train_tokenizer": {"vocab_size": 300, "max_bytes": 20_000}}]},
    "pool/cells": {
        "input": "source/text",
        "table": "rows",
        "steps": [
            {"encode": {"tokenizer": "pool/tokenizer/tokenizer.json"}},
            {"set": {"columns": {"topic": "NULL::VARCHAR", "vigintile": "0::INTEGER", "key": "substr(id, 2)::BIGINT"}}},
            {"tag_cell": {}},
        ],
    },
    "shard/pool": {
        "input": "pool/cells",
        "table": "sequence",
        "format": "mds",
        "steps": [{"pack": {"length": 16, "tokenizer": "pool/tokenizer/tokenizer.json"}}],
    },
    "mix/pretrain": {"input": "shard/pool", "table": "mix", "steps": [{"plan_mix": {"tokens": 3000, "shares": {"web": 0.5, "code": 0.5}}}]},
}  # fmt: skip


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    pytest.importorskip("streaming")
    write_recipes(tmp_path, MIXED)
    write_env(tmp_path)
    words = random.Random(1)
    (tmp_path / "raw").mkdir()
    lines = [{"id": f"d{n}", "source": ("web", "code")[n % 2], "text": " ".join(words.choices("one two three four five".split(), k=30))} for n in range(80)]
    (tmp_path / "raw/a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def test_changing_a_share_of_a_mix_rewrites_no_shard(mixed: Path) -> None:
    root = mixed / "build/env"
    assert run(mixed) == 5
    assert verify(root, "shard/pool").errors == ()
    before, rates = tree(root / "shard"), manifest.read(root / "mix/pretrain").column("repeats").to_pylist()
    write_recipes(mixed, {"mix/pretrain": {**MIXED["mix/pretrain"], "steps": [{"plan_mix": {"tokens": 3000, "shares": {"web": 0.75, "code": 0.25}}}]}})
    assert {name: state for name, (state, _) in states(mixed).items() if state != "fresh"} == {"mix/pretrain": "stale"}
    assert run(mixed) == 1
    assert tree(root / "shard") == before
    assert manifest.read(root / "mix/pretrain").column("repeats").to_pylist() != rates


def test_a_planned_mix_can_be_published(mixed: Path) -> None:
    run(mixed)
    root = mixed / "build/env"
    mix = manifest.read(root / "mix/pretrain")
    made = publish(root, "mix/pretrain", mixed / "out")
    assert any(rate != int(rate) for rate in mix.column("repeats").to_pylist())
    assert abs(made.rows - sum(mix.column("sequences").to_pylist())) <= mix.num_rows
    assert manifest.load(mixed / "out").facts["sequence_tokens"] == 16


def test_a_damaged_asset_is_found_before_a_step_reads_it(mixed: Path) -> None:
    run(mixed, "pool/tokenizer")
    path = mixed / "build/env/pool/tokenizer/tokenizer.json"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"one", b"eno", 1))
    with pytest.raises(DataError, match="differs from its manifest") as error:
        run(mixed, "pool/cells")
    assert error.value.where == str(path) and not manifest.exists(mixed / "build/env/pool/cells")
    path.write_bytes(whole[:-2])  # another length is seen without reading it: the tokenizer is made again
    run(mixed, "pool/cells")
    assert path.read_bytes() == whole


def test_an_asset_that_its_dataset_does_not_hold_is_refused(mixed: Path) -> None:
    steps = [{"encode": {"tokenizer": "pool/tokenizer/tokeniser.json"}}]
    write_recipes(mixed, {"pool/cells": {**MIXED["pool/cells"], "steps": steps}})
    with pytest.raises(DataError, match="pool/tokenizer has no such file") as error:
        run(mixed, "pool/cells")
    assert error.value.expected == "tokenizer.json"


def stage(place: Path, script: str) -> Path:
    """A stage, and in place of the training's interpreter a script that is run with its command line."""
    path = place / "pipelines/train/one.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump({"stage": "one", "data": {"manifest": "source/read"}}))
    fake = place / "python"
    fake.write_text(f"#!{sys.executable}\n{script}\n")
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    return write_env(place, python=str(fake))


FINISH = """
import sys
sys.path.insert(0, {project!r})
from pathlib import Path
from dolma.core import manifest
from dolma.core.manifest import Manifest
root, name = (sys.argv[sys.argv.index(flag) + 1] for flag in ("--root", "--out"))
manifest.save(Path(root) / name, Manifest(dataset=name, fingerprint={fingerprint!r}, table="checkpoint", rows=0, bytes=0, files=[]))
"""


@pytest.mark.parametrize(("script", "got"), [("raise SystemExit(7)", "exit 7"), ("", "exit 0"), ("import os; os.kill(os.getpid(), 9)", "exit -9")])
def test_a_stage_whose_process_fails_or_leaves_nothing_is_partial(place: Path, script: str, got: str) -> None:
    stage(place, script)
    with pytest.raises(Partial, match="the stage did not finish") as error:
        run(place, "train/one")
    assert (error.value.where, error.value.got, error.value.code) == ("train/one", got, 5) and "resumes" in error.value.mend
    assert states(place)["source/read"] == ("fresh", "") and states(place)["train/one"] == ("missing", "not made yet")


def test_a_stage_that_finishes_is_fresh_until_its_data_or_its_file_changes(place: Path) -> None:
    stage(place, "raise SystemExit(7)")
    with pytest.raises(Partial):
        run(place, "train/one")
    value = yaml.safe_load((place / "pipelines/train/one.yaml").read_text())
    fingerprint = stage_fingerprint(value, ["source/read"], place / "build/env")
    (place / "python").write_text(f"#!{sys.executable}\n" + FINISH.format(project=str(Path(__file__).parents[1]), fingerprint=fingerprint))
    assert run(place, "train/one") == 1 and run(place, "train/one") == 0
    (place / "pipelines/train/one.yaml").write_text(yaml.safe_dump({**value, "seed": 2}))
    assert states(place)["train/one"] == ("stale", "the stage, its data or its parent changed")


def test_a_stage_that_made_something_else_is_refused(place: Path) -> None:
    stage(place, FINISH.format(project=str(Path(__file__).parents[1]), fingerprint="other"))
    with pytest.raises(DataError, match="made something else"):
        run(place, "train/one")


def test_a_stage_that_fails_beside_a_manifest_is_partial(place: Path) -> None:
    stage(place, FINISH.format(project=str(Path(__file__).parents[1]), fingerprint="other") + "raise SystemExit(7)")
    with pytest.raises(Partial) as error:
        run(place, "train/one")
    assert error.value.got == "exit 7"


def test_an_interpreter_that_is_not_there_is_a_fault_of_the_environment(place: Path) -> None:
    stage(place, "")
    (place / "python").unlink()
    with pytest.raises(EnvironmentFault, match="cannot start") as error:
        run(place, "train/one")
    assert error.value.code == 4
