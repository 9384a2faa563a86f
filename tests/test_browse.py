"""`dolma inspect`: rows by condition, the quarantine with its places, and what was dropped."""

import json
from pathlib import Path

import pytest

from dolma import browse
from dolma.core import manifest as manifests
from dolma.core.errors import ConfigError, DataError
from dolma.runner import Run
from tests.built import build
from tests.engines.flow import RECIPES, write_env, write_raw, write_recipes


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("built"))


def test_first_gives_rows_that_meet_the_condition_in_file_order(root: Path) -> None:
    got = browse.first(root, "pool/documents", 3, "source = 'math' AND n_bytes > 1000", ["id", "n_bytes"])
    everything = manifests.read(root / "pool/documents").to_pylist()
    assert [row["id"] for row in got] == [row["id"] for row in everything if row["source"] == "math" and row["n_bytes"] > 1000][:3]
    assert set(got[0]) == {"id", "n_bytes"}


@pytest.mark.parametrize(("where", "columns"), [("sorce = 'math'", None), ("n_bytes", None), (None, ["nope"])])
def test_first_refuses_what_is_no_condition_or_column(root: Path, where: str | None, columns: list[str] | None) -> None:
    with pytest.raises(ConfigError):
        browse.first(root, "pool/documents", 1, where, columns)


def test_first_sends_shards_of_sequences_to_trace(root: Path) -> None:
    with pytest.raises(ConfigError, match="trace"):
        browse.first(root, "shard/pool", 1)


def test_quarantined_has_place_and_reason(root: Path) -> None:
    rows = list(browse.quarantined(root, manifests.load(root / "source/pdf/extract")))
    assert len(rows) == 7
    assert (rows[0].file, rows[0].offset, rows[0].step) == ("pdf/made_0.pdf", 0, "0:extract_pdf")
    assert all(row.reason for row in rows)


def test_show_cuts_long_values_and_puts_the_text_last() -> None:
    assert browse.show({"text": "a" * 50, "id": "x"}, 10) == "id: x\ntext: aaaaaaaaaa... (50 characters)"
    assert browse.show({"text": "a\nb"}, 0) == "text:\n  a\n  b"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flow")
    write_recipes(folder)
    write_raw(folder, files=2, rows=100)
    Run(write_env(folder), folder / "pipelines").run(["pool/first"])
    return folder


def test_dropped_gives_the_documents_that_a_rule_took(place: Path) -> None:
    counts = manifests.load(place / "build/env/pool/short").counts
    got = browse.dropped("pool/short", "long", place / "env.yaml", place / "pipelines", 1000)
    assert len(got) == counts["1:keep.dropped.long"] > 0
    assert all(one.row["n_chars"] >= 40 and one.looked_at == ["n_chars"] and one.rule.where == "n_chars < 40" for one in got)
    assert browse.dropped("pool/short", "long", place / "env.yaml", place / "pipelines", 2) == got[:2]


def test_dropped_can_be_narrowed_by_what_was_measured(place: Path) -> None:
    every = browse.dropped("pool/short", "long", place / "env.yaml", place / "pipelines", 1000)
    some = browse.dropped("pool/short", "long", place / "env.yaml", place / "pipelines", 1000, "n_chars > 49")
    assert some == [one for one in every if one.row["n_chars"] > 49] and 0 < len(some) < len(every)
    with pytest.raises(ConfigError, match="--where"):
        browse.dropped("pool/short", "long", place / "env.yaml", place / "pipelines", 1, "n_chars")


def test_dropped_by_a_tag_has_the_tag(place: Path) -> None:
    got = browse.dropped("pool/first", "copy", place / "env.yaml", place / "pipelines", 1000)
    assert len(got) == manifests.load(place / "build/env/pool/first").counts["0:keep.dropped.copy"] > 0
    assert all(one.row["copies"] is not None for one in got)
    assert not [path for path in (place / "build/env/pool/first").iterdir() if path.name == ".work"]


def test_dropped_refuses_an_unknown_reason_and_a_dataset_without_rules(place: Path) -> None:
    with pytest.raises(ConfigError, match="expected long"):
        browse.dropped("pool/short", "nope", place / "env.yaml", place / "pipelines", 1)
    with pytest.raises(ConfigError, match="expected a recipe with `keep`"):
        browse.dropped("pool/copies", "nope", place / "env.yaml", place / "pipelines", 1)


def test_dropped_refuses_when_the_recipe_is_no_longer_that_of_the_dataset(tmp_path: Path) -> None:
    pipelines, env = write_recipes(tmp_path), write_env(tmp_path)
    write_raw(tmp_path, files=1, rows=60)
    with pytest.raises(DataError, match="inputs are not there") as error:
        browse.dropped("pool/short", "long", env, pipelines, 1)
    assert "dolma run pool/short" in error.value.mend
    Run(env, pipelines).run(["source/read"])
    before = browse.dropped("pool/short", "long", env, pipelines, 100)  # what a run would drop can be seen before it
    Run(env, pipelines).run(["pool/short"])
    assert browse.dropped("pool/short", "long", env, pipelines, 100) == before
    steps = [{"set": {"columns": {"n_chars": "length(text)"}}}, {"keep": {"where": "n_chars < 30", "reason": "long"}}]
    write_recipes(tmp_path, {"pool/short": {**RECIPES["pool/short"], "steps": steps}})
    with pytest.raises(DataError, match="made otherwise") as error:
        browse.dropped("pool/short", "long", env, pipelines, 1)
    assert error.value.got == "the recipe changed" and "dolma run pool/short" in error.value.mend


def test_why_begins_with_the_rule_and_what_it_looked_at(place: Path) -> None:
    (one,) = browse.dropped("pool/short", "long", place / "env.yaml", place / "pipelines", 1)
    lines = browse.why(one, 12).splitlines()
    assert lines[0] == "dropped as long by 1:keep where not (n_chars < 40)"
    assert lines[1:3] == [f"n_chars: {one.row['n_chars']}", f"id: {one.row['id']}"]
    assert lines[-1] == f"text: {one.row['text'][:12]}... ({one.row['n_chars']} characters)"
    assert {line.partition(":")[0] for line in lines[1:]} == set(one.row)
    (some,) = browse.dropped("pool/short", "long", place / "env.yaml", place / "pipelines", 1, columns=["letter"])
    assert browse.why(some, 0).splitlines()[1:] == [f"letter: {one.row['letter']}"]
    with pytest.raises(ConfigError, match="no column nosuch"):
        browse.dropped("pool/short", "long", place / "env.yaml", place / "pipelines", 1, columns=["letter", "nosuch"])


def test_bytes_are_shown_and_written_as_text() -> None:
    assert browse.show({"content": b"<p>caf\xc3\xa9\xff"}, 0) == "content: <p>caf\u00e9\ufffd"
    assert json.loads(browse.as_json({"content": b"caf\xc3\xa9\xff", "n": 1.5, "x": None})) == {"content": "caf\u00e9\ufffd", "n": 1.5, "x": None}
