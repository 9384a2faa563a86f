"""Every YAML of the flow compiles, every step is used, and the way of the data stands in pipelines/README.md."""

import itertools
import os
import re
import subprocess
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


def test_the_flow_is_told_one_line_a_recipe_in_its_order(graph: Graph) -> None:
    lines = re.findall(r"^- `([^`]+)`: \S", (PIPELINES / "README.md").read_text(), re.MULTILINE)
    others = [f"{path.parent.name}/{path.stem}" for folder in ("env", "swarm") for path in (PIPELINES / folder).glob("*.yaml")]
    assert sorted(lines) == sorted([*graph.files, *others])
    assert not [(need, name) for name in graph.files for need in graph.needs(name) if lines.index(need) > lines.index(name)]


def test_the_readme_names_every_key_of_an_env() -> None:
    text = (PIPELINES / "README.md").read_text()
    assert not [key for key in Env.model_fields if f"`{key}`" not in text]


JOB = PIPELINES / "jobs" / "spark.sh"


def submitted(folder: Path, *arguments: str) -> list[str]:
    """What the job script gives to spark-submit, by a stand-in that says it."""
    submit = folder / "spark-submit"
    submit.write_text('#!/bin/bash\nprintf "%s\\n" "$PYTHONPATH" "$@"\n')
    submit.chmod(0o755)
    environment = {"PATH": os.environ["PATH"], "PYSPARK_PYTHON": str(folder / "python")}
    done = subprocess.run(["bash", str(JOB), *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_the_spark_job_runs_the_command_line_with_the_options_of_each(tmp_path: Path) -> None:
    path, *given = submitted(tmp_path, "--master", "yarn", "--num-executors", "4", "--", "pool/unique", "--env", "my env.yaml")
    program = given.index(str(ROOT / "dolma" / "cli.py"))
    assert path == str(ROOT) and (ROOT / "dolma" / "cli.py").read_text().rstrip().endswith("sys.exit(main())")
    assert given[program + 1 :] == ["run", "--env", "spark", "pool/unique", "--env", "my env.yaml"]
    assert given[program - 4 : program] == ["--master", "yarn", "--num-executors", "4"] and "local[*]" not in given
    assert f"spark.executorEnv.PYTHONPATH={ROOT}" in given


def test_the_spark_job_runs_on_one_machine_without_options(tmp_path: Path) -> None:
    _, *given = submitted(tmp_path, "pool/unique")
    assert given[given.index("--master") + 1] == "local[*]"
    assert given[-4:] == ["run", "--env", "spark", "pool/unique"]


def test_every_step_and_parameter_has_words(graph: Graph) -> None:
    assert not [name for name, step in REGISTRY.items() if not step.doc]
