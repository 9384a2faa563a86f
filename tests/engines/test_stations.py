"""A run imports the modules of the steps that its recipes name; what a message or a list says of the others is as if all were there."""

import json
import pkgutil
import subprocess
import sys
from collections import defaultdict
from importlib import import_module
from pathlib import Path

import pytest

import dolma
from dolma.core.step import REGISTRY
from dolma.engines.plan import load_steps
from dolma.engines.stations import STEPS

ROOT = Path(__file__).parents[2]


def python(folder: Path, script: str) -> str:
    """What a process of its own prints."""
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False, env={"PYTHONPATH": f"{ROOT}:{folder}"})
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Three recipes, one of which wants a kernel, and the file that they read."""
    recipes = {
        "texts": "{read: {jsonl: {files: texts.jsonl, columns: {text: large_string}}}, table: rows, steps: [{tag_length: {}}]}",
        "long": '{input: texts, table: rows, steps: [{keep: {where: "n_chars > 3", reason: short}}]}',
        "words": "{input: texts, table: rows, steps: [{tag_heuristics: {}}]}",
    }
    (tmp_path / "recipes").mkdir()
    for name, text in recipes.items():
        (tmp_path / "recipes" / f"{name}.yaml").write_text(text)
    (tmp_path / "texts.jsonl").write_text('{"text": "one two"}\n{"text": "no"}\n')
    (tmp_path / "env.yaml").write_text(json.dumps({"root": "made", "raw": ".", "workers": 1}))
    return tmp_path


def test_the_list_is_what_the_modules_register() -> None:
    for found in pkgutil.walk_packages(dolma.__path__, "dolma."):
        import_module(found.name)
    there = defaultdict(set)
    for name, step in REGISTRY.items():
        if step.fn.__module__.startswith("dolma."):
            there[step.fn.__module__].add(name)
    assert there == {module: set(names.split()) for module, names in STEPS.items()}


def test_a_run_imports_what_its_recipes_name(project: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from dolma.runner import run
print(run(["long"], Path("env.yaml"), pipelines=Path("recipes")))
print(*[module for module in {[*STEPS, "numba", "dolma.kernels"]!r} if module in sys.modules])
"""
    assert python(project, script).splitlines() == ["2", "dolma.table dolma.io.jsonl dolma.tag.length"]


def test_messages_know_the_steps_that_nobody_imported(project: Path) -> None:
    script = """
from pathlib import Path
from dolma.core.errors import ConfigError
from dolma.core.graph import Graph
from dolma.engines import stations

stations.declare()
for steps in ("[{tag_hueristics: {}}]", "[{tag_cell: {}}]"):
    Path("recipes/long.yaml").write_text("{input: texts, table: rows, steps: " + steps + "}")
    try:
        Graph(Path("recipes"))["long"]
    except ConfigError as error:
        print(str(error).replace("\\n", " "))
"""
    unknown, missing = python(project, script).splitlines()
    steps = [step for step in load_steps().values() if step.fn.__module__ in STEPS and step.kind != "reader"]
    assert "did you mean `tag_heuristics`?" in unknown and f"expected one of {len(steps)} steps" in unknown
    assert "put `extract_code` or " in missing


@pytest.mark.parametrize("first", ["plug_in", "dolma.engines.stations"])
def test_a_plug_in_cannot_take_the_name_of_a_step_that_is_not_imported(project: Path, first: str) -> None:
    (project / "plug_in.py").write_text('from dolma.core.step import step\n\n@step()\ndef tag_length(batch):\n    """Not ours."""\n    return batch\n')
    script = f"""
from importlib import import_module
try:
    import_module({first!r})
    import_module("dolma.engines.stations").declare()
    import_module("plug_in")
except AssertionError as error:
    print(error)
"""
    assert python(project, script) == "two steps are called tag_length"
