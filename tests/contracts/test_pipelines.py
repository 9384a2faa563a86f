"""Every YAML of the flow compiles, every step is used, and the way of the data stands in pipelines/README.md."""

import itertools
from pathlib import Path

import pytest

from dolma.core.config import Env, read_yaml
from dolma.core.graph import Graph, Stage
from dolma.core.step import REGISTRY
from dolma.engines.plan import load_steps

ROOT = Path(__file__).parents[2]
PIPELINES = ROOT / "pipelines"
STAGES = ["train/pretrain", "train/midtrain", "train/longctx", "train/sft", "train/dpo", "train/rlvr"]


@pytest.fixture(scope="module")
def graph() -> Graph:
    load_steps()
    return Graph(PIPELINES)


def test_the_whole_graph_compiles(graph: Graph) -> None:
    order = graph.order(graph.targets(["."]))
    assert [name for name in order if name in STAGES] == STAGES


def test_each_stage_starts_from_the_one_before(graph: Graph) -> None:
    for before, after in itertools.pairwise(STAGES):
        node = graph[after]
        assert isinstance(node, Stage) and before in node.needs


def test_every_step_is_used_by_a_recipe_or_a_test(graph: Graph) -> None:
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    used = {bound.step.name for name in graph.files if not isinstance(node := graph[name], Stage) for bound in node.bound}
    assert not [name for name, step in REGISTRY.items() if step.fn.__module__.startswith("dolma") and name not in used and name not in tests]


def test_envs_are_valid() -> None:
    for path in (PIPELINES / "env").glob("*.yaml"):
        read_yaml(path, Env)


def test_the_flow_is_told_one_line_a_recipe(graph: Graph) -> None:
    text = (PIPELINES / "README.md").read_text()
    assert not [name for name in graph.files if f"`{name}`" not in text]


def test_every_step_and_parameter_has_words(graph: Graph) -> None:
    assert not [name for name, step in REGISTRY.items() if not step.doc]
