"""From labels or a published model to scores, and from scores to cuts, by the recipes of pipelines/README.md: the card travels, the edges do not depend on
the engine, and a model or edges that are not the ones meant are refused."""

import json
import random
import re
import shutil
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import yaml

from dolma.core import manifest
from dolma.core.errors import DataError
from dolma.runner import Run
from dolma.sql import connect
from tests.flow.mini import PIPELINES
from tests.text.lid import train
from training import data

TOPICS = (  # WebOrganizer's 24, as their labels are written
    "adult_content art_and_design crime_and_law education_and_jobs electronics_and_hardware entertainment fashion_and_beauty finance_and_business "
    "food_and_dining games health history_and_geography home_and_hobbies industrial literature politics religion science_math_and_technology social_life "
    "software software_development sports_and_fitness transportation travel_and_tourism"
).split()
ZEROS = "0" * 64


def recipes() -> dict[str, str]:
    text = (PIPELINES / "README.md").read_text().split("## Scores of others", 1)[1].split("\n## ", 1)[0]
    return {match[1]: match[0] for match in re.finditer(r"# pipelines/(\S+)\.yaml\n.*?(?=```)", text, re.DOTALL)}


def words(label: str, rng: random.Random) -> str:
    return " ".join(rng.choices([*(f"{label[:9]}{n}" for n in range(15)), "the", "of", "and"], k=12))


def labelled(labels: list[str], count: int) -> list[tuple[str, str]]:
    rng = random.Random(len(labels))
    return [(words(label, rng), label) for _ in range(count) for label in labels]


def write(folder: Path, name: str, rows: list[dict]) -> None:
    path = folder / "raw" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def lay(folder: Path, **more: str | dict) -> Run:
    """Recipes and an env below `folder`; in names `__` stands for `/`."""
    for name, value in more.items():
        path = folder / "pipelines" / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value if isinstance(value, str) else yaml.safe_dump(value, sort_keys=False))
    (folder / "env.yaml").write_text(yaml.safe_dump({"root": str(folder / "out"), "raw": str(folder / "raw"), "workers": 1}))
    return Run(folder / "env.yaml", folder / "pipelines")


def facts(folder: Path, name: str) -> dict:
    return manifest.load(folder / "out" / name).facts


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with classifiers as others publish them: 24 topics, whole and quantised, and hq against cc."""
    folder = tmp_path_factory.mktemp("models")
    settings = {"minn": 0, "maxn": 0, "dim": 16, "bucket": 100, "epoch": 60}
    train(folder / "topic.bin", labelled(TOPICS, 12), **settings)
    train(folder / "topic.ftz", labelled(TOPICS, 12), squeeze=True, **settings)
    train(folder / "quality.bin", labelled(["hq", "cc"], 40), **settings)
    return folder


def adopt(folder: Path, models: Path, name: str, file: str = "topic.bin", **more: object) -> dict:
    """The README's recipe for a published model, which lies in `models`; its own step's parameters replaced by `more`."""
    (folder / "raw" / "models").mkdir(parents=True, exist_ok=True)
    content = (models / name).read_bytes()
    (folder / "raw" / "models" / file).write_bytes(content)
    recipe = yaml.safe_load(recipes()["pool/topic_published"].replace(ZEROS, sha256(content).hexdigest()))
    recipe["read"]["parts"]["files"] = f"models/{file}"
    recipe["steps"][0]["import_classifier"] |= more
    return recipe


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Path:
    """A pool whose topics are scored by a model that was trained here, and its quality by a published one; cut and put into cells."""
    folder = tmp_path_factory.mktemp("scored")
    write(folder, "labels.jsonl", [{"text": text, "topic": topic} for text, topic in labelled(TOPICS[:3], 60)])
    texts = [f"{text} {more}" for (text, _), (more, _) in zip(labelled(TOPICS[:3], 40), labelled(["hq", "cc"], 60), strict=True)]
    write(folder, "documents.jsonl", [{"id": f"d{n}", "source": "web", "text": text, "n_tokens": 10 + n % 5} for n, text in enumerate(texts)])
    columns = {"id": "string", "source": "string", "text": "large_string", "n_tokens": "int32"}
    train_step = {"train_classifier": {"label": "topic", "dim": 16, "buckets": 100, "epochs": 40}}
    topic = {"read": {"jsonl": {"files": "labels.jsonl", "columns": {"text": "large_string", "topic": "string"}}}, "table": "model", "steps": [train_step]}
    documents = {
        "read": {"jsonl": {"files": "documents.jsonl", "columns": columns}},
        "table": "rows",
        "steps": [{"tag_topic": {"model": "pool/topic_model/model.bin"}}, {"tag_quality": {"model": "pool/quality_published/model.bin", "good": "hq"}}],
    }
    tokens = {"input": "pool/documents", "table": "rows", "steps": [{"select": {"columns": ["id", "source", "topic", "quality", "n_tokens"]}}]}
    cells = {"input": "pool/tokens", "table": "rows", "steps": [{"tag_vigintile": {"cuts": "pool/cuts"}}, {"tag_cell": {}}]}
    made = recipes()
    quality = adopt(folder, models, "quality.bin", "quality.bin", metrics={"accuracy": 0.9}, settings={"dim": 16})
    parts = {"pool__topic_model": topic, "pool__quality_published": quality, "pool__documents": documents, "pool__tokens": tokens, "pool__cells": cells}
    lay(folder, **parts, pool__bins=made["pool/bins"], pool__cuts=made["pool/cuts"]).run(["."])
    return folder


def test_the_card_of_each_model_travels_with_its_scores_to_all_that_is_made_from_them(scored: Path) -> None:
    for name in ("pool/documents", "pool/tokens", "pool/bins", "pool/cuts", "pool/cells"):
        topic, quality = facts(scored, name)["topic_model"], facts(scored, name)["quality_model"]
        assert (topic, quality) == (facts(scored, "pool/documents")["topic_model"], facts(scored, "pool/documents")["quality_model"])
    model = manifest.load(scored / "out" / "pool/topic_model")
    assert topic["sha256"] == sha256((scored / "out/pool/topic_model/model.bin").read_bytes()).hexdigest() and topic["fingerprint"] == model.fingerprint
    labels = sha256((scored / "raw/labels.jsonl").read_bytes()).hexdigest()
    assert topic["trained_on"]["inputs"] == [{"name": "labels.jsonl", "sha256": labels}] and topic["trained_on"]["rows"] == 180
    assert topic["settings"]["epochs"] == 40 and topic["classes"] == TOPICS[:3]
    rows = {row["name"]: row["value"] for row in manifest.read(scored / "out/pool/topic_model").to_pylist()}
    assert topic["metrics"] == pytest.approx({name: rows[name] for name in ("n_train", "n_heldout", "accuracy", "f1.macro")}, abs=1e-6)
    assert rows["accuracy"] == 1 and rows["support.art_and_design"] > 3 and rows["precision.art_and_design"] == rows["recall.art_and_design"] == 1
    assert quality["trained_on"]["said"] == "address of its card, or words" and quality["metrics"] == {"accuracy": 0.9} and quality["good"] == "hq"


def test_the_trail_from_a_mix_and_its_stage_ends_at_the_classifiers(scored: Path, tmp_path: Path) -> None:
    shutil.copytree(scored, tmp_path / "copy")
    model = "pool/tokenizer/tokenizer.json"
    bpe = {"input": "pool/documents", "table": "model", "steps": [{"train_tokenizer": {"vocab_size": 300, "max_bytes": 100_000}}]}
    steps = [{"encode": {"tokenizer": model}}, {"tag_vigintile": {"cuts": "pool/cuts"}}, {"tag_cell": {}}]
    steps += [{"set": {"columns": {"key": "CAST(substr(id, 2) AS BIGINT)"}}}, {"pack": {"length": 8, "tokenizer": model}}]
    shard = {"input": "pool/documents", "table": "sequence", "format": "mds", "steps": steps}
    mix = {"input": "shard/pool", "table": "mix", "steps": [{"plan_mix": {"tokens": 64, "shares": {"web": 1.0}, "upsampling": {}}}]}
    lay(tmp_path / "copy", pool__tokenizer=bpe, shard__pool=shard, mix__web=mix).run(["pool/tokenizer", "shard", "mix"])
    cards = {name: facts(scored, "pool/cells")[name] for name in ("topic_model", "quality_model")}
    assert cards["quality_model"]["sha256"] == sha256((scored / "out/pool/quality_published/model.bin").read_bytes()).hexdigest()
    read = data.find(tmp_path / "copy" / "out", "mix/web").facts
    for found in (facts(tmp_path / "copy", "shard/pool"), facts(tmp_path / "copy", "mix/web"), read):
        assert {name: found.get(name) for name in cards} == cards


def test_sql_reads_the_cards(scored: Path) -> None:
    with connect(scored / "out") as connection:
        said = connection.execute("SELECT facts->'topic_model'->'metrics'->>'accuracy' FROM manifests WHERE dataset = 'pool/cells'").fetchall()
        assert said == [("1.0",)]
        assert connection.execute("SELECT value FROM pool_topic_model WHERE name = 'f1.macro'").fetchall() == [(1.0,)]


def test_scores_by_two_models_are_not_put_together(scored: Path, models: Path, tmp_path: Path) -> None:
    (tmp_path / "raw").symlink_to(scored / "raw")
    columns = {"text": "large_string"}
    base = {"read": {"jsonl": {"files": "documents.jsonl", "columns": columns}}, "table": "rows"}
    parts: dict = {}
    for name, model in (("a", "topic.bin"), ("b", "topic.ftz")):
        parts[f"{name}__model"] = adopt(tmp_path, models, model, f"{name}.bin")
        parts[f"{name}__documents"] = {**base, "steps": [{"tag_topic": {"model": f"{name}/model/model.bin"}}]}
    run = lay(tmp_path, **parts, both={"input": ["a/documents", "b/documents"], "table": "rows"})
    with pytest.raises(DataError, match="inputs disagree on `topic_model`"):
        run.run(["both"])


@pytest.mark.parametrize("harm", ["model", "card"])
def test_a_model_that_is_not_the_one_of_its_manifest_or_card_scores_nothing(scored: Path, tmp_path: Path, harm: str) -> None:
    shutil.copytree(scored, tmp_path / "copy")
    place = tmp_path / "copy" / "out" / "pool/topic_model"
    path = place / {"model": "model.bin", "card": "card.json"}[harm]
    if harm == "model":
        content = bytearray(path.read_bytes())
        content[-20] ^= 1
        path.write_bytes(content)
    else:
        card = json.loads(path.read_bytes())
        path.write_text(json.dumps({**card, "sha256": ZEROS}, sort_keys=True, separators=(",", ":")) + "\n")
    (tmp_path / "copy" / "out" / "pool/documents" / manifest.NAME).unlink()
    with pytest.raises(DataError, match={"model": "file differs from its manifest", "card": "the card of another model"}[harm]) as error:
        lay(tmp_path / "copy").run(["pool/documents"])
    assert str(path) in str(error.value) and not (tmp_path / "copy" / "out" / "pool/documents" / manifest.NAME).exists()


@pytest.mark.parametrize("name", ["topic.bin", "topic.ftz"])
def test_a_published_model_of_24_topics_loads_by_its_path_and_hash(tmp_path: Path, models: Path, name: str) -> None:
    recipe = adopt(tmp_path, models, name, name, classes=TOPICS[::-1], metrics={"f1.macro": 0.8})
    read = {"jsonl": {"files": "d.jsonl", "columns": {"text": "large_string", "truth": "string"}}}
    run = lay(tmp_path, model=recipe, documents={"read": read, "table": "rows", "steps": [{"tag_topic": {"model": "model/model.bin"}}]})
    write(tmp_path, "d.jsonl", [{"text": text, "truth": topic} for text, topic in labelled(TOPICS, 2)])
    assert run.run(["."]) == 2
    assert manifest.read(tmp_path / "out/model").to_pylist() == [{"name": "classes", "value": 24.0}, {"name": "f1.macro", "value": 0.8}]
    assert (tmp_path / "out/model/model.bin").read_bytes() == (models / name).read_bytes()
    rows = manifest.read(tmp_path / "out/documents").to_pylist()
    assert sum(row["topic"] == row["truth"] for row in rows) >= 46 and {row["topic"] for row in rows} <= set(TOPICS)
    assert facts(tmp_path, "documents")["topic_model"]["sha256"] == sha256((models / name).read_bytes()).hexdigest()


@pytest.mark.parametrize("case", ["hash", "classes", "cut", "two", "none"])
def test_a_file_that_is_not_the_published_model_is_refused_with_both_sides(tmp_path: Path, models: Path, case: str) -> None:
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "topic.bin").write_bytes((models / "topic.bin").read_bytes()[: {"none": 0}.get(case, -9)])
    more: dict = {"hash": {"sha256": ZEROS}, "classes": {"classes": ["hq", "cc"]}}.get(case, {})
    recipe = adopt(tmp_path, tmp_path / "cut" if case in ("cut", "none") else models, "topic.bin", **more)
    if case == "two":
        (tmp_path / "raw/models/other.bin").write_bytes(b"another")
        recipe["read"]["parts"]["files"] = "models/*.bin"
    with pytest.raises(DataError) as error:
        lay(tmp_path, model=recipe).run(["."])
    got, found = sha256((models / "topic.bin").read_bytes()).hexdigest(), error.value
    what = {"hash": "this is another file", "classes": "not the classes", "two": "a model is one file"}.get(case, "cannot read the classifier")
    assert what in found.what and not (tmp_path / "out/model" / manifest.NAME).exists()
    assert {"hash": (got, ZEROS), "classes": (", ".join(TOPICS), "cc, hq")}.get(case, (found.got, found.expected)) == (found.got, found.expected)
    assert "models/" in str(found)


SCORES = {"source": "string", "topic": "string", "quality": "float32", "n_tokens": "int32", "split": "string"}


def write_scores(folder: Path, files: int, rows: int = 900) -> None:
    rng = np.random.default_rng(5)
    quality = np.where(rng.random(rows) < 0.3, np.round(rng.random(rows), 1), rng.beta(0.5, 2, rows)).astype(np.float32)
    made = [
        {"source": "web", "topic": TOPICS[n % 5], "quality": None if n % 50 == 0 else float(q), "n_tokens": int(t), "split": "tune" if n % 20 == 1 else "train"}
        for n, (q, t) in enumerate(zip(quality, rng.lognormal(6, 1, rows), strict=True))
    ]
    for part in range(files):
        write(folder, f"scores-{part}.jsonl", made[part * rows // files : (part + 1) * rows // files])


def cut(folder: Path, files: int, buckets: int = 3, target: str = ".", **settings: object) -> Path:
    """The README's histogram and cuts of scores that come in `files` files, and exact cuts of the same."""
    write_scores(folder, files)
    made = recipes()
    exact = made["pool/cuts"].replace("input: pool/bins", "input: pool/tokens")
    tokens = {"read": {"jsonl": {"files": "scores-*.jsonl", "columns": SCORES}}, "table": "rows"}
    bins = made["pool/bins"].replace("65_536", "2_000") + f"buckets: {buckets}\n"
    cells = {"input": "pool/tokens", "table": "rows", "steps": [{"tag_vigintile": {"cuts": "pool/cuts"}}, {"tag_cell": {}}]}
    lay(folder, pool__tokens=tokens, pool__bins=bins, pool__cuts=made["pool/cuts"], pool__exact=exact, pool__cells=cells)
    (folder / "env.yaml").write_text(yaml.safe_dump({"root": str(folder / "out"), "raw": str(folder / "raw"), "workers": 1, **settings}))
    Run(folder / "env.yaml", folder / "pipelines").run([target])
    return folder / "out"


def bytes_of(out: Path, name: str) -> list[str]:
    return [file.sha256 for file in manifest.load(out / name).files]


@pytest.fixture(scope="module")
def cuts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cut(tmp_path_factory.mktemp("cuts"), 3)


def test_cuts_of_a_histogram_are_the_same_bytes_for_any_files_buckets_and_tasks(cuts: Path, tmp_path: Path) -> None:
    for number, (files, buckets, tasks) in enumerate([(1, 1, 1), (7, 4, 2)]):
        other = cut(tmp_path / str(number), files, buckets, tasks=tasks)
        for name in ("pool/cuts", "pool/exact"):
            assert bytes_of(other, name) == bytes_of(cuts, name)


@pytest.mark.spark
def test_spark_makes_the_same_histogram_and_the_same_cuts(cuts: Path, tmp_path: Path, spark: object) -> None:
    other = cut(tmp_path, 3, target="pool/cuts", engine="spark", tasks=2)
    for name in ("pool/bins", "pool/cuts"):
        assert (other / name / manifest.NAME).read_bytes() == (cuts / name / manifest.NAME).read_bytes()


def test_a_shard_sends_a_row_for_each_bin_and_not_for_each_document(cuts: Path) -> None:
    made = manifest.load(cuts / "pool/bins")
    sent, taken = made.counts["0:bin_quality.scattered"], made.counts["0:bin_quality.rows_in"]
    assert taken == 900 and made.rows <= sent < 700 and made.facts["quality_bins"] == {"bins": 2000, "low": 0.0, "high": 1.0}
    assert made.tokens == sum(
        row["n_tokens"] for row in manifest.read(cuts / "pool/tokens").to_pylist() if row["quality"] is not None and row["split"] == "train"
    )


def test_cells_hold_the_tokens_that_the_cuts_say_and_differ_from_exact_ones_by_no_more_than_they_say(cuts: Path) -> None:
    held: dict[tuple[str, int], int] = {}
    for row in manifest.read(cuts / "pool/cells").to_pylist():
        if row["vigintile"] and row["split"] == "train":
            held[row["topic"], row["vigintile"]] = held.get((row["topic"], row["vigintile"]), 0) + row["n_tokens"]
    rows = manifest.read(cuts / "pool/cuts").to_pylist()
    assert held == {(row["topic"], row["vigintile"]): row["tokens"] for row in rows}
    exact = {(row["topic"], row["vigintile"]): row["tokens"] for row in manifest.read(cuts / "pool/exact").to_pylist()}
    off = [(abs(row["tokens"] - exact.get((row["topic"], row["vigintile"]), 0)), row["off"]) for row in rows]
    assert all(real <= said for real, said in off) and max(said for _, said in off) > 0


def test_published_edges_take_the_place_of_computed_ones(cuts: Path, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    edges = [(7, 0.0), (8, 0.2), (12, 0.4), (20, 0.9)]  # some are joined, others are not there
    write(tmp_path, "cuts/published.jsonl", [{"source": "web", "topic": TOPICS[0], "vigintile": v, "edge": edge} for v, edge in edges])
    write_scores(tmp_path, 1)
    tokens = {"read": {"jsonl": {"files": "scores-*.jsonl", "columns": SCORES}}, "table": "rows", "steps": [{"tag_vigintile": {"cuts": "pool/cuts_published"}}]}
    run = lay(tmp_path, pool__cuts_published=recipes()["pool/cuts_published"], cells=tokens)
    run.run(["."])
    for row in manifest.read(tmp_path / "out/cells").to_pylist():
        known = row["topic"] == TOPICS[0] and row["quality"] is not None
        assert row["vigintile"] == (max(v for v, edge in edges if edge <= row["quality"]) if known else 0)
    write(tmp_path, "cuts/published.jsonl", [{"source": "web", "topic": TOPICS[0], "vigintile": v, "edge": edge} for v, edge in ((7, 0.5), (8, 0.2))])
    with pytest.raises(DataError, match="no buckets of web/adult_content"):
        run.run(["."])
