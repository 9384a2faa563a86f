"""Whole runs of a tiny model: hand-over, resume after a kill, what is checked before, export and average. Slow: Composer takes seconds to import."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from dolma.core import manifest as manifests
from dolma.core.errors import DataError
from dolma.core.files import lock
from tests.training.processes import finish, kill
from training import average, checkpoint
from training.cli import main
from training.export import compare, export

pytestmark = pytest.mark.slow
DIMS = {"d": 16, "layers": 4, "heads": 2, "kv_heads": 1, "ffn": 24, "window": 16}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """What runs here is compared bit by bit with what ran in a process of its own."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _stage(folder: Path, name: str, **changes: Any) -> Path:
    stage: dict[str, Any] = {
        "stage": name,
        "data": {"manifest": "mix/pretrain"},
        "model": {"dims": DIMS, "init": "random"},
        "objective": {"kind": "lm", "z_loss": 1e-5},
        "optim": {"lr": 0.01, "schedule": {"kind": "cosine", "warmup": "3ba", "final": 0.1}},
        "batch": {"sequences": 4},
        "length": {"duration": "30ba", "save_every": "10ba"},
        "precision": "fp32",
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**stage, **changes}))
    return path


def _logged(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "run.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "tokens_per_second"} for line in lines]


def _weights(run: Path) -> list[tuple[str, str]]:
    return [(file.name, file.sha256) for file in manifests.load(run).files]


def test_a_killed_run_resumes_to_the_same_losses_batches_and_weights(
    own_root: Path, tmp_path: Path, child: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = _stage(tmp_path, "pretrain", length={"duration": "90ba", "save_every": "20ba"})  # an epoch has 58 updates
    arguments = ["run", str(path), "--root", str(own_root), "--out"]
    assert main([*arguments, "train/whole"]) == 0
    whole, killed = own_root / "train/whole", own_root / "train/killed"
    kill("link", 2, [*arguments, "train/killed"], child)
    assert sorted(path.name for path in (killed / "_resume").glob("*.pt")) == ["ba20-rank0.pt", "ba40-rank0.pt"]  # two, and no link
    assert "resumes after update 40 of 90" in kill("update", 70, [*arguments, "train/killed"], child)
    assert len(_logged(killed)) == 70 and not manifests.exists(killed)
    assert "resumes after update 60 of 90" in finish([*arguments, "train/killed"], child)
    assert _logged(whole) == _logged(killed) and len(_logged(whole)) == 90
    assert _weights(whole) == _weights(killed)
    there = ["checkpoints", "manifest.json", "metrics.json", "model.json", "run.jsonl", "served", "tokenizer.json"]
    assert sorted(p.name for p in killed.iterdir() if p.name != ".lock") == there
    capsys.readouterr()
    assert main([*arguments, "train/killed"]) == 0 and "is fresh" in capsys.readouterr().err
    assert _logged(whole)[-1]["loss"] < _logged(whole)[0]["loss"] - 0.5


def test_a_run_killed_while_the_link_was_set_anew_goes_on_from_the_newer_checkpoint(tmp_path: Path) -> None:
    from training.run import _last_whole

    torch.save({"weights": torch.arange(4000)}, tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    (tmp_path / "ba80-rank0.pt").write_bytes(whole[:9000])
    assert _last_whole(tmp_path) == ""  # the first one was killed in the writing
    (tmp_path / "ba80-rank0.pt").write_bytes(whole)
    (tmp_path / "ba100-rank0.pt").write_bytes(whole)
    assert _last_whole(tmp_path) == "ba100-rank0.pt" and (tmp_path / "latest-rank0.pt").resolve() == tmp_path / "ba100-rank0.pt"
    (tmp_path / "ba120-rank0.pt").write_bytes(whole[:-1])
    assert _last_whole(tmp_path) == "ba100-rank0.pt"  # the link still names the one before
    for link in (False, True):  # what a power cut may leave: the newest is a part, and the link is gone, or names it
        (tmp_path / "latest-rank0.pt").unlink()
        if link:
            (tmp_path / "latest-rank0.pt").symlink_to("ba120-rank0.pt")
        assert _last_whole(tmp_path) == "ba100-rank0.pt" and (tmp_path / "latest-rank0.pt").resolve() == tmp_path / "ba100-rank0.pt"


def test_figures_are_taken_again_without_training_also_after_a_kill_and_of_a_stage_before(
    own_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: Callable[..., None]
) -> None:
    from training import run as runs

    texts: list[dict[str, object]] = [{"key": i, "source": "web", "text": "the cat sat on the mat, " * (i + 1)} for i in range(3)]
    table(own_root, "pool/tune", "document", texts)
    short = {"length": {"duration": "2ba", "save_every": "2ba"}, "evaluate_first": False}
    places = ["train/first", "train/second"]

    def run(number: int, size: int) -> int:
        evaluate = [{"kind": "bits_per_byte", "data": "pool/tune", "length": 16, "document_bytes": size}] if size else []
        start = {"init": {"run": places[0], "load": ["weights"]}} if number else {"dims": DIMS, "init": "random"}
        path = _stage(tmp_path, f"stage{number}", model=start, evaluate=evaluate, **short)
        return main(["run", str(path), "--root", str(own_root), "--out", places[number]])

    def times() -> list[int]:
        return [(own_root / name / "checkpoints/ba000002/model.safetensors").stat().st_mtime_ns for name in places]

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    assert run(0, 20) == run(1, 0) == 0
    before = times()
    with monkeypatch.context() as patched:
        patched.setattr(runs.manifests, "save", dies)  # the figures are there, and the manifest has those before
        assert run(0, 40) == 130
    figures = own_root / places[0] / "metrics.json"
    other = figures.read_bytes()
    assert run(0, 20) == 0 and figures.read_bytes() != other  # not fresh: the figures are of the run that was killed
    assert run(0, 40) == 0 and figures.read_bytes() == other
    for spoil in (figures.unlink, lambda: figures.write_bytes(other.swapcase())):
        spoil()
        assert run(0, 40) == 0 and figures.read_bytes() == other
    assert run(1, 0) == 0 and times() == before
    first, second = (manifests.load(own_root / name) for name in places)
    assert {one.name: one.fingerprint for one in second.inputs}[places[0]] == first.fingerprint


def test_what_a_killed_run_left_is_removed_under_the_lock_alone(own_root: Path, tmp_path: Path) -> None:
    arguments = ["run", str(_stage(tmp_path, "pretrain", length={"duration": "2ba", "save_every": "2ba"})), "--root", str(own_root)]
    assert main(arguments) == 0
    left = own_root / "train/pretrain/_resume"
    left.mkdir()
    with lock(own_root / "train/pretrain"):
        assert main(arguments) == 4 and left.exists()
    assert main(arguments) == 0 and not left.exists()


def test_a_run_killed_after_its_last_update_is_finished_and_two_at_once_are_refused(own_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from training import run as runs

    path = _stage(tmp_path, "pretrain", length={"duration": "6ba", "save_every": "3ba"})
    arguments = ["run", str(path), "--root", str(own_root), "--out", "train/late"]

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(runs, "_finish", dies)
        assert main(arguments) == 130
    assert not manifests.exists(own_root / "train/late")
    with lock(own_root / "train/late"):
        assert main(arguments) == 4
    trained = (own_root / "train/late/checkpoints/ba000006/model.safetensors").stat().st_mtime_ns
    with monkeypatch.context() as patched:
        patched.setattr(runs.manifests, "save", dies)  # all is hashed, and nothing says yet that it is done
        assert main(arguments) == 130
    assert main(arguments) == 0
    assert len(_logged(own_root / "train/late")) == 6 and manifests.load(own_root / "train/late").counts["updates"] == 6
    assert (own_root / "train/late/checkpoints/ba000006/model.safetensors").stat().st_mtime_ns == trained
    assert not (own_root / "train/late/_resume").exists()
    first = (own_root / "train/late/model.json").stat().st_mtime_ns
    assert main(arguments) == 0 and (own_root / "train/late/model.json").stat().st_mtime_ns == first
    assert main([*arguments, "--again"]) == 0 and (own_root / "train/late/model.json").stat().st_mtime_ns > first


def test_the_next_stage_takes_weights_and_moments_and_starts_its_own_schedule(own_root: Path, tmp_path: Path) -> None:
    assert main(["run", str(_stage(tmp_path, "pretrain")), "--root", str(own_root)]) == 0
    parent = own_root / "train/pretrain"
    linear = {"lr": 0.005, "schedule": {"kind": "linear", "final": 0.0}}
    next_ = _stage(tmp_path, "midtrain", model={"init": {"run": "train/pretrain"}}, optim=linear, length={"duration": "8ba", "save_every": "4ba"})
    assert main(["run", str(next_), "--root", str(own_root)]) == 0
    lines = _logged(own_root / "train/midtrain")
    assert [line["lr"] for line in lines] == pytest.approx([0.005 * (1 - i / 8) for i in range(8)])
    assert lines[0]["step"] == 1 and lines[0]["tokens"] == 4 * 64
    assert lines[0]["loss"] == pytest.approx(_logged(parent)[-1]["loss"], abs=0.6)
    moments = checkpoint._read(own_root / "train/midtrain/checkpoints/ba000008/moments.safetensors")
    assert float(moments["lm_head.weight.step"]) == 30 + 8
    assert [p.name for p in checkpoint.folders(parent)] == ["ba000010", "ba000020", "ba000030"]
    manifest = manifests.load(own_root / "train/midtrain")
    assert manifest.facts["quality_model"] == manifests.load(own_root / "mix/pretrain").facts["quality_model"] == {"sha256": "5" * 64, "good": "1"}
    assert [item.name for item in manifest.inputs] == ["mix/pretrain", "train/pretrain"] and manifest.counts == {"updates": 8, "tokens": 2048, "skipped": 0}

    stretched = _stage(
        tmp_path,
        "longctx",
        model={"init": {"run": "train/pretrain", "load": ["weights"], "average": 2}, "yarn": 4},
        objective={"kind": "lm", "doc_mask": True},
        length={"duration": "2ba", "save_every": "2ba"},
    )
    assert main(["run", str(stretched), "--root", str(own_root)]) == 0
    assert checkpoint.read_config(own_root / "train/longctx").yarn == 4
    moments = checkpoint._read(own_root / "train/longctx/checkpoints/ba000002/moments.safetensors")
    assert float(moments["lm_head.weight.step"]) == 2

    pairs = _stage(
        tmp_path,
        "dpo",
        data={"manifest": "shard/dpo"},
        model={"init": {"run": "train/midtrain", "load": ["weights"]}},
        objective={"kind": "dpo", "beta": 5},
        length={"duration": "3ep", "save_every": "1ep"},
        batch={"sequences": 8, "micro": 4},
        optim={**linear, "weight_decay": 0.0},
    )
    assert main(["run", str(pairs), "--root", str(own_root)]) == 0
    lines = _logged(own_root / "train/dpo")
    assert len(lines) == 18 and lines[0]["loss"] == pytest.approx(0.6931, abs=1e-3) and lines[-1]["loss"] < 0.6 and lines[-1]["prefers"] > 0.6

    gap = export(own_root / "train/longctx", tmp_path / "export")
    assert gap < 1e-4
    with pytest.raises(DataError, match="something already"):
        export(own_root / "train/longctx", tmp_path / "export")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(tmp_path / "export"), AutoModelForCausalLM.from_pretrained(tmp_path / "export")
    made = model.generate(**tokenizer("the cat", return_tensors="pt", return_token_type_ids=False), max_new_tokens=8, min_new_tokens=8, do_sample=False)
    assert made.shape[1] == len(tokenizer("the cat").input_ids) + 8 and isinstance(tokenizer.decode(made[0]), str)
    model.model.layers[2].mlp.up_proj.weight.data += 0.5
    with pytest.raises(DataError, match=r"first at model\.layers\.2"):
        compare(checkpoint.load(own_root / "train/longctx"), model, [torch.arange(10, 30)[None]])

    assert main(["average", "train/pretrain", "train/pretrain/checkpoints/ba000010", "--root", str(own_root), "--out", "train/soup"]) == 0
    folders = checkpoint.folders(parent)
    expected = (checkpoint.weights(folders[0])["lm_head.weight"] + checkpoint.weights(folders[2])["lm_head.weight"]) / 2
    torch.testing.assert_close(checkpoint.load(own_root / "train/soup").lm_head.weight.data, expected)
    torch.testing.assert_close(average.last(parent, 1)["lm_head.weight"], checkpoint.weights(folders[2])["lm_head.weight"])


def test_killed_rollouts_go_on_with_the_same_prompts_answers_and_rewards(own_root: Path, tmp_path: Path, child: dict[str, str]) -> None:
    assert main(["run", str(_stage(tmp_path, "pretrain", length={"duration": "4ba", "save_every": "4ba"})), "--root", str(own_root)]) == 0
    path = _stage(
        tmp_path,
        "rlvr",
        data={"manifest": "shard/rlvr"},
        model={"init": {"run": "train/pretrain", "load": ["weights"]}},
        objective={"kind": "rlvr", "group": 4, "max_new": 8, "minibatches": 2, "reward": "random"},
        batch={"sequences": 3},
        length={"duration": "36ba", "save_every": "9ba"},  # after an odd number of updates a batch of the round waits in the checkpoint
    )
    arguments = ["run", str(path), "--root", str(own_root), "--out"]
    assert main([*arguments, "train/whole"]) == 0
    kill("update", 31, [*arguments, "train/killed"], child)
    assert "resumes after update 27 of 36" in finish([*arguments, "train/killed"], child)
    whole, killed = own_root / "train/whole", own_root / "train/killed"
    assert _logged(whole) == _logged(killed) and len(_logged(whole)) == 36
    assert _weights(whole) == _weights(killed)
    assert all(0 <= line["reward"] <= 1 and line["informative"] > 0.3 for line in _logged(whole))


def test_it_runs_below_composers_launcher(own_root: Path, tmp_path: Path, child: dict[str, str]) -> None:
    path = _stage(tmp_path, "pretrain", length={"duration": "4ba", "save_every": "2ba"})
    command = [sys.executable, "-m", "composer.cli.launcher", "-n", "1", "-m", "training.cli", "run", str(path), "--root", str(own_root)]
    done = subprocess.run(command, env=child, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert len(_logged(own_root / "train/pretrain")) == 4
