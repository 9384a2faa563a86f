"""Stage files: strict, every error at once, no fact of the data restated."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from dolma.core.errors import ConfigError, Errors
from dolma.core.graph import stage_inputs
from training.cli import main
from training.config import read_stage
from training.plan import name_of, plan

STAGES = sorted((Path(__file__).parents[2] / "pipelines" / "train").glob("*.yaml"))
GOOD: dict[str, Any] = {
    "stage": "pretrain",
    "data": {"manifest": "mix/pretrain"},
    "model": {"size": "demo", "init": "random"},
    "objective": {"kind": "lm"},
    "optim": {"lr": 0.01, "schedule": {"kind": "constant"}},
    "batch": {"sequences": 4},
    "length": {"duration": "8ba", "save_every": "4ba"},
}


def _write(folder: Path, **changes: Any) -> Path:
    path = folder / "stage.yaml"
    path.write_text(yaml.safe_dump({**GOOD, **changes}))
    return path


@pytest.mark.parametrize("path", STAGES, ids=lambda p: p.stem)
def test_stage_files_of_the_flow_are_valid(path: Path) -> None:
    stage, _ = read_stage(path)
    assert stage.stage == path.stem and name_of(path) == f"train/{path.stem}"


def test_all_errors_are_shown_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _write(tmp_path, btach={"sequences": 4}, batch={}, objective={"kind": "lmm"}, data={"manifest": "mix/pretrain", "sequence_tokens": 256})
    with pytest.raises(Errors) as error:
        read_stage(path)
    text = str(error.value)
    assert "`btach`" in text and "did you mean `batch`?" in text and "`objective`" in text and "`tokens` or `sequences`" in text
    assert "`data.sequence_tokens` restates a fact of the data" in text
    assert main(["plan", str(path), "--root", str(tmp_path)]) == 2 and "did you mean" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["vocab", "model.vocab_size", "batch.sequence_length", "data.tokenizer_sha256"])
def test_a_restated_fact_is_refused(tmp_path: Path, place: str) -> None:
    with pytest.raises(Errors, match="restates a fact") as error:
        read_stage(_write(tmp_path), changes=[f"{place}=5"])
    assert error.value.code == 2


@pytest.mark.parametrize(
    "model", [{"init": "random"}, {"size": "demo", "init": {"run": "a"}}, {"size": "2B", "init": "random"}, {"size": "demo", "init": "random", "yarn": 1}]
)
def test_a_model_has_one_source(tmp_path: Path, model: dict[str, Any]) -> None:
    with pytest.raises((ConfigError, Errors)):
        read_stage(_write(tmp_path, model=model))


def test_values_and_seeds_are_changed_from_the_command_line(tmp_path: Path) -> None:
    stage, value = read_stage(_write(tmp_path), seed=7, changes=["optim.lr=1.0e-3", "data.manifest=mix/other"])
    assert (stage.seed, stage.data.seed, stage.optim.lr, stage.data.manifest) == (7, 7, 1e-3, "mix/other") and value["seed"] == 7
    with pytest.raises(ConfigError):
        read_stage(_write(tmp_path), changes=["optim"])


def test_a_plan_counts_updates_and_sees_what_it_needs(root: Path, tmp_path: Path) -> None:
    path = _write(tmp_path, length={"duration": "2ep", "save_every": "1024tok"}, batch={"tokens": 512})
    stage, value = read_stage(path)
    made = plan(stage, value, root, "train/x")
    assert (made.sequences, made.epoch, made.updates, made.save_every) == (8, (90 + 125 + 20) // 8, 58, 2)
    assert not made.fresh() and not made.folder.exists()
    assert stage_inputs({"data": {"manifest": "mix/pretrain", "tokenizer": "pool/tokenizer/tokenizer.json"}, "evaluate": [{"data": "shard/dpo"}]}, root) == [
        "mix/pretrain",
        "shard/dpo",
    ]
    assert plan(*read_stage(path), root, "train/y").fingerprint == made.fingerprint
    assert plan(*read_stage(path, seed=2), root, "train/x").fingerprint != made.fingerprint


def test_a_batch_that_does_not_fit_is_a_config_error(root: Path, tmp_path: Path) -> None:
    for batch in ({"tokens": 100}, {"sequences": 10_000}):
        with pytest.raises(ConfigError):
            plan(*read_stage(_write(tmp_path, batch=batch)), root, "train/x")
