"""The graph of recipes and stages: who needs whom, circles, and all that is wrong at once."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from dolma.core import manifest
from dolma.core.errors import ConfigError, Errors
from dolma.core.graph import Graph, Stage, stage_fingerprint, training_fingerprint
from dolma.core.manifest import Manifest
from dolma.engines.plan import load_steps
from tests.engines.flow import write_recipes

READ = {"read": {"jsonl": {"files": "*.gz", "columns": {"id": "string", "text": "large_string"}}}, "table": "rows"}
MODEL = {"train_classifier": {"label": "id"}}


def graph(folder: Path, recipes: dict[str, Any]) -> Graph:
    """A graph of recipes (dicts), stages (dicts with `stage`) and files (text)."""
    load_steps()
    for name, value in recipes.items():
        if isinstance(value, dict) and "stage" not in value:
            write_recipes(folder, {name: value})
            continue
        path = folder / "pipelines" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value if isinstance(value, str) else yaml.safe_dump(value))
    return Graph(folder / "pipelines")


def test_assets_of_steps_are_needed_by_their_dataset(tmp_path: Path) -> None:
    topic = {"input": "a/read", "table": "rows", "steps": [{"tag_topic": {"model": "a/model/model.bin"}}]}
    made = graph(tmp_path, {"a/read": READ, "a/model": {**READ, "table": "model", "steps": [MODEL]}, "b/topic": topic})
    assert made.needs("b/topic") == ("a/read", "a/model")
    assert made.order(["b/topic"]) == ["a/read", "a/model", "b/topic"]


def test_a_stage_needs_its_data_its_parent_and_what_it_is_measured_on(tmp_path: Path) -> None:
    stage = {"stage": "sft", "data": {"manifest": "a/read"}, "model": {"init": {"run": "train/one"}}, "evaluate": [{"loss": {"data": "a/held/model.bin"}}]}
    made = graph(tmp_path, {"a/read": READ, "a/held": READ, "train/one": {"stage": "pretrain"}, "train/two": stage})
    node = made["train/two"]
    assert isinstance(node, Stage) and set(node.needs) == {"a/read", "train/one", "a/held"}
    assert made.order(["train/two"])[-1] == "train/two"


@pytest.mark.parametrize("path", ["a/raed", "a/raed/model.bin"])
def test_unknown_datasets_are_named_with_the_nearest(tmp_path: Path, path: str) -> None:
    wrong = {
        "b/input": {"input": path, "table": "rows"},
        "b/tags": {"input": "a/read", "tags": {path: ["x"]}, "table": "rows"},
        "b/asset": {"input": "a/read", "table": "rows", "steps": [{"tag_topic": {"model": path}}]},
        "b/stage": {"stage": "sft", "model": {"init": {"run": path}}},
    }
    made = graph(tmp_path, {"a/read": READ, **wrong})
    for name in wrong:
        with pytest.raises(ConfigError, match=f"no recipe makes `{path}`") as error:
            made.order([name])
        assert "a/read" in error.value.mend or path.endswith(".bin")


def test_a_circle_of_stages_is_named(tmp_path: Path) -> None:
    stages = {f"train/{a}": {"stage": a, "model": {"init": {"run": f"train/{b}"}}} for a, b in ("xy", "yz", "zx")}
    with pytest.raises(ConfigError, match="train/x -> train/y -> train/z -> train/x"):
        graph(tmp_path, stages).order(["train/x"])


def test_a_circle_through_an_asset_is_named(tmp_path: Path) -> None:
    topic = {"input": "a/read", "table": "rows", "steps": [{"tag_topic": {"model": "b/model/model.bin"}}]}
    made = graph(tmp_path, {"a/read": READ, "b/topic": topic, "b/model": {"input": "b/topic", "table": "model", "steps": [MODEL]}})
    with pytest.raises(ConfigError, match="b/topic -> b/model -> b/topic"):
        made.order(["b/topic"])


def test_a_recipe_that_reads_itself_is_a_circle(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a/x -> a/x"):
        graph(tmp_path, {"a/x": {"input": "a/x", "table": "rows"}}).order(["a/x"])


def test_all_errors_of_several_files_come_at_once(tmp_path: Path) -> None:
    made = graph(
        tmp_path,
        {
            "a/read": {"read": {"jsonl": {"file": "*.gz", "colums": {}}}, "table": "rows", "steps": [{"keap": {}}]},
            "b/two": {"input": "a/none", "table": "rows", "steps": [{"selct": {}}, {"keep": {"where": "true", "raeson": "x"}}]},
            "c/three": "input: [",
            "d/four": "read: {",
            "e/five": {"input": "a/read", "tabel": "rows"},
        },
    )
    with pytest.raises(Errors) as error:
        made.order(made.targets(["."]))
    text = str(error.value)
    words = ("`file`", "`colums`", "`keap`", "`a/none`", "`selct`", "`raeson`", "c/three.yaml:1", "d/four.yaml:1", "`tabel`")
    assert [word for word in words if text.count(word) != 1] == []
    assert error.value.code == 2


def test_a_broken_file_does_not_stop_what_does_not_need_it(tmp_path: Path) -> None:
    made = graph(tmp_path, {"a/read": READ, "b/broken": "input: ["})
    assert made.order(["a/read"]) == ["a/read"]


def test_a_stage_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`train/x` is a stage"):
        graph(tmp_path, {"train/x": {"stage": "x"}, "b/y": {"input": "train/x", "table": "rows"}}).order(["b/y"])


def test_targets_are_folders_files_and_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = graph(tmp_path, {"a/read": READ, "a/b/x": READ, "env/e": READ, "jobs/j": READ})
    monkeypatch.chdir(tmp_path)
    assert made.targets(["pipelines"]) == made.targets(["."]) == ["a/b/x", "a/read"]
    assert made.targets(["pipelines/a/read.yaml", "a/read"]) == ["a/read"]
    assert made.targets(["a/b"]) == made.targets(["pipelines/a/b/"]) == ["a/b/x"]
    with pytest.raises(ConfigError):
        made.targets(["a/rea"])


def test_a_folder_without_recipes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no recipes here"):
        Graph(tmp_path)


def test_a_stage_is_its_yaml_its_inputs_and_its_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def input(fingerprint: str) -> None:
        manifest.save(tmp_path / "a/x", Manifest(dataset="a/x", fingerprint=fingerprint, table="rows", rows=0, bytes=0, files=[]))

    input("one")
    value = {"stage": "sft", "optim": {"lr": 1e-3}, "seed": 1}
    first = stage_fingerprint(value, ["a/x"], tmp_path)
    assert stage_fingerprint(dict(reversed(value.items())), ["a/x", "a/x"], tmp_path) == first
    changed = [stage_fingerprint({**value, "optim": {"lr": 2e-3}}, ["a/x"], tmp_path), stage_fingerprint(value, ["a/x"], tmp_path, seed=2)]
    changed.append(stage_fingerprint(value, [], tmp_path))
    monkeypatch.setattr("dolma.core.graph.TRAINING_VERSION", 10_000)
    changed.append(stage_fingerprint(value, ["a/x"], tmp_path))
    monkeypatch.undo()
    input("two")
    changed.append(stage_fingerprint(value, ["a/x"], tmp_path))
    assert len({first, *changed}) == 6


def test_the_training_of_a_stage_follows_the_weights_of_the_run_before_and_not_its_figures(tmp_path: Path) -> None:
    def before(fingerprint: str, **facts: str) -> str:
        more = {"table": "checkpoint", "rows": 0, "bytes": 0, "files": [], "facts": facts}
        manifest.save(tmp_path / "train/one", Manifest(dataset="train/one", fingerprint=fingerprint, **more))
        return training_fingerprint({"stage": "sft", "model": {"init": {"run": "train/one", "load": ["weights"]}}, "evaluate": [fingerprint]}, tmp_path)

    first = before("a", training="x")
    assert before("b", training="x") == first != before("a", training="y")
    assert before("a") != before("b")  # an average, or older than that fact
