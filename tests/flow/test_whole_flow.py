"""The whole graph on a small corpus: from raw files to the report, six stages among it, and back from a sequence to its page."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from dolma import cli
from dolma.core import manifest as manifests
from dolma.core.graph import Graph, Stage
from dolma.core.schema import keys
from dolma.io import mds
from dolma.report.figures import STAGES
from dolma.trace import trace
from tests.flow.mini import OTHERS, PIPELINES, POOL, WEB, take_over, write_env

pytestmark = pytest.mark.slow
TOKENS = {"pretrain": 60_000, "midtrain": 24_000, "midtrain_web_only": 12_000, "midtrain_no_carry_over": 24_000, "longctx": 48_000}
ROWS = {"facts": 60, "facts_heldout": 6, "problems": 200, "heldout": 24, "contrasts": 64, "contrasts_heldout": 16, "prompts": 40, "prompts_heldout": 8}


def _edit(path: Path, edit: Any) -> None:
    value = yaml.safe_load(path.read_text())
    edit(value)
    path.write_text(yaml.safe_dump(value, sort_keys=False))


def _smaller(folder: Path) -> Path:
    """The recipes with less of everything: the same steps, stages and figures."""
    pipelines = Path(shutil.copytree(PIPELINES, folder / "pipelines"))
    for name, tokens in TOKENS.items():
        _edit(pipelines / f"mix/{name}.yaml", lambda v, n=tokens: v["steps"][0]["plan_mix"].update(tokens=n))
    for name, count in ROWS.items():
        _edit(pipelines / f"source/tasks/{name}.yaml", lambda v, n=count: next(iter(v["read"].values())).update(count=n))
    _edit(pipelines / "mix/midtrain.yaml", lambda v: v["steps"][0]["plan_mix"].update(best={}))  # so few PDFs have no best cell
    _edit(pipelines / "pool/tokenizer.yaml", lambda v: v["steps"][-1]["train_tokenizer"].update(vocab_size=400))
    for path in (pipelines / "train").glob("*.yaml"):
        _edit(path, _short)
    return pipelines


def _short(stage: dict[str, Any]) -> None:
    stage["length"] = {"duration": "6ba", "save_every": "3ba"}
    stage["batch"] = {"sequences": 2}
    if stage["model"]["init"] == "random":
        stage["model"] = {"dims": {"d": 16, "layers": 4, "heads": 2, "kv_heads": 2, "ffn": 24, "window": 64}, "init": "random"}
    if stage["objective"]["kind"] == "rlvr":
        stage["objective"] |= {"group": 4, "max_new": 8, "minibatches": 1, "reward": "random"}
    for item in stage.get("evaluate", []):
        item |= {key: value for key, value in {"max_bytes": 2_000, "max_new": 6, "prompts": 6, "documents": 2, "pairs": 6}.items() if key in item}


@pytest.fixture(scope="module")
def flow(one: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    env = write_env(one, "whole")
    take_over(one, "whole", (*WEB, *OTHERS, *POOL))
    pipelines = _smaller(folder)
    assert cli.main(["run", str(pipelines), "--env", str(env), "--pipelines", str(pipelines)]) == 0
    return folder


def test_all_that_the_graph_names_is_made_and_fresh(flow: Path, one: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = Graph(flow / "pipelines")
    assert not [name for name in graph.files if not manifests.exists(one / "whole" / name)]
    arguments = ["--env", str(one / "whole.yaml"), "--pipelines", str(flow / "pipelines")]
    assert cli.main(["run", *arguments]) == 0 and "everything is fresh" in capsys.readouterr().err
    assert cli.main(["verify", *arguments]) == 0 and "broken" not in capsys.readouterr().out


def test_each_stage_starts_from_the_one_before_and_has_its_figures(flow: Path, one: Path) -> None:
    graph, before = Graph(flow / "pipelines"), None
    for name in STAGES:
        node, folder = graph[f"train/{name}"], one / "whole" / "train" / name
        assert isinstance(node, Stage)
        made = manifests.load(folder)
        assert made.counts["updates"] == 6 and [path.name for path in sorted((folder / "checkpoints").iterdir())] == ["ba000003", "ba000006"]
        if before is not None:
            assert (before.dataset, before.fingerprint) in [(one.name, one.fingerprint) for one in made.inputs]
        rows = json.loads((folder / "metrics.json").read_bytes())["rows"]
        assert rows and all(row["before"] is not None and row["after"] is not None and row["n"] for row in rows)
        assert len((folder / "run.jsonl").read_text().splitlines()) == 6
        before = made


def test_the_report_shows_every_stage(flow: Path, one: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    arguments = ["--env", str(one / "whole.yaml"), "--pipelines", str(flow / "pipelines")]
    assert cli.main(["report", "--out", str(page), *arguments]) == 0
    text = page.read_text()
    assert "6 of 6" in text and "not run yet" not in text and "not finished yet" not in text
    figures = [row for name in STAGES for row in json.loads((one / "whole/train" / name / "metrics.json").read_bytes())["rows"]]
    assert text.count('class="dumbbell"') == len(figures)


def test_a_sequence_that_was_served_leads_back_to_its_page(flow: Path, one: Path) -> None:
    root = one / "whole"
    mix = manifests.read(root / "mix/pretrain").to_pylist()
    stream = max((row for row in mix if row["source"] == "web"), key=lambda row: row["repeats"])["stream"]
    rows = list(mds.read(root / "shard/pool", stream))
    pieces = trace(root, "shard/pool", stream, 0)
    assert sum(piece.tokens for piece in pieces) == len(rows[0]["tokens"])
    documents = manifests.read(root / "source/web/extract").to_pylist()
    for piece in pieces:
        page = next(row for row in documents if row["id"] == piece.document["id"])
        assert (page["file"], page["offset"], page["url"]) == tuple(piece.document[name] for name in ("file", "offset", "url"))
        assert keys(manifests.pa.array([page["id"]]))[0].as_py() in rows[0]["doc_keys"].tolist()
        assert (one / "raw" / page["file"]).is_file()
