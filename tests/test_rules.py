"""What rules take, against numpy over the same numbers; other thresholds against the runs that they would be."""

import json
import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma import rules, sql
from dolma.core import manifest as manifests
from dolma.core.errors import ConfigError, DataError, Errors
from dolma.core.schema import keys
from dolma.replay import Measured, Rule
from dolma.runner import Run
from dolma.verify import verify
from tests.engines.flow import write_env, write_recipes
from tests.numbers import LIMITS, READ, ROWS, THREE, numbers, weighed, write


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("rules"))


def test_rules_take_first_alone_and_only_what_numpy_says(place: Path) -> None:
    values, found = numbers(), weighed(place)
    gone = np.array([values[name] >= limit for name, limit in LIMITS.items()])
    chars = np.arange(ROWS) % 7
    for n, weight in enumerate(found.weights):
        first = gone[n] & ~gone[:n].any(axis=0)
        assert (weight.first, weight.first_chars) == (first.sum(), chars[first].sum())
        assert weight.alone == gone[n].sum() and weight.only == (gone[n] & (gone.sum(axis=0) == 1)).sum() and weight.unmeasured == 0
    kept = ~gone.any(axis=0)
    assert (found.documents, found.kept, found.kept_chars) == (ROWS, kept.sum(), chars[kept].sum()) and (found.units, found.of) == (4, 4)
    assert found.cpu > 0 and manifests.load(place / "build/env/pool/three").rows == found.kept


@pytest.mark.parametrize("texts", [("a: a < 90",), ("b: twice < 60",), ("c: c < 10",), ("a: a < 95", "2:keep: twice < 80", "c: c <> 3")])
def test_another_threshold_gives_what_a_run_with_it_gives(place: Path, tmp_path: Path, texts: tuple[str, ...]) -> None:
    found = weighed(place, *texts)
    changed = json.loads(json.dumps(THREE))
    for text in texts:
        reason, _, where = text.removeprefix("2:keep: ").partition(": ") if not text.startswith("2:keep") else ("b", "", text.removeprefix("2:keep: "))
        next(s["keep"] for s in changed["steps"] if s.get("keep", {}).get("reason") == reason)["where"] = where
    write_recipes(tmp_path, {"source/numbers": READ, "pool/three": changed})
    (tmp_path / "raw").symlink_to(place / "raw")
    Run(write_env(tmp_path), tmp_path / "pipelines").run(["pool/three"])
    now, then = (manifests.read(folder / "build/env/pool/three")["id"].to_pylist() for folder in (place, tmp_path))
    counts = manifests.load(tmp_path / "build/env/pool/three").counts
    assert [w.then for w in found.weights] == [counts.get(f"{w.rule.step}.dropped.{w.rule.reason}", 0) for w in found.weights]
    assert (found.kept, found.kept_then) == (len(now), len(then))
    for moved, ids in ((found.gained, set(then) - set(now)), (found.lost, set(now) - set(then))):
        assert moved.documents == len(ids) and moved.chars == sum(int(i.removeprefix("doc")) % 7 for i in ids)
        assert set(moved.ids) <= ids and len(moved.ids) == min(3, len(ids))


def test_saved_measures_answer_other_thresholds_in_sql(place: Path) -> None:
    found, values = weighed(place, save=True), numbers()
    root = place / "build/env"
    assert verify(root, "measures/pool/three").errors == ()
    query = "SELECT dropped_by, count(*) AS n, sum(chars)::BIGINT AS chars FROM measures_pool_three GROUP BY ALL"
    got = {row["dropped_by"]: (row["n"], row["chars"]) for row in sql.query(root, query).to_pylist()}
    assert got == {None: (found.kept, found.kept_chars), **{w.rule.reason: (w.first, w.first_chars) for w in found.weights}}
    query = "SELECT count(*) AS n FROM measures_pool_three WHERE (fails = [] OR fails = ['b']) AND twice < 60"
    then = (values["a"] < 70) & (values["c"] < 80) & (values["b"] < 30)
    assert sql.query(root, query).to_pylist() == [{"n": then.sum()}] and weighed(place, "b: twice < 60").kept_then == then.sum()
    query = "SELECT r.reason, count(*) AS n FROM measures_pool_three, unnest(fails) AS r(reason) GROUP BY ALL"
    assert {row["reason"]: row["n"] for row in sql.query(root, query).to_pylist()} == {w.rule.reason: w.alone for w in found.weights}
    assert "text" not in manifests.read(root / "measures/pool/three").column_names
    assert weighed(place, save=True).kept == found.kept and Run(place / "env.yaml", place / "pipelines").run(["."]) == 0


def test_measures_of_a_dataset_that_was_made_anew_are_named(place: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_recipes(tmp_path, {"source/numbers": READ, "pool/three": THREE})
    (tmp_path / "raw").symlink_to(place / "raw")
    run = Run(write_env(tmp_path), tmp_path / "pipelines")
    run.run(["."])
    weighed(tmp_path, save=True)
    caplog.clear()
    query = "SELECT count(*) AS n FROM measures_pool_three"
    package = logging.getLogger("dolma")
    package.addHandler(caplog.handler)  # the command line's set-up stops lines from reaching the root logger
    try:
        assert sql.query(run.root, query).to_pylist() == [{"n": ROWS}] and not caplog.records
        write_recipes(tmp_path, {"pool/three": {**THREE, "steps": THREE["steps"][1:]}})
        Run(tmp_path / "env.yaml", tmp_path / "pipelines").run(["."])
        caplog.clear()
        sql.query(run.root, query)
    finally:
        package.removeHandler(caplog.handler)
    assert any("measures/pool/three is of an earlier pool/three" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("text", ["nope: a < 1", "a", "a:", "a < 1", "a: a", "a: none < 1", "a: random() < 1", "c: a < 1"])  # `a` is gone at rule c
def test_what_if_refuses_what_is_no_rule_or_condition(place: Path, text: str) -> None:
    with pytest.raises(ConfigError) as error:
        weighed(place, text)
    assert error.value.where.startswith("--what-if")
    with pytest.raises(Errors):
        weighed(place, text, "nope: 1 = 1")


def test_two_rules_of_one_reason_are_told_apart_by_their_labels(place: Path) -> None:
    steps = [{"keep": {"where": "a < 70", "reason": "high"}}, {"keep": {"where": "b < 60", "reason": "high"}}]
    write_recipes(place, {"pool/twice": {**THREE, "steps": steps}})
    with pytest.raises(ConfigError, match="0:keep, 1:keep"):
        weighed(place, "high: a < 1", name="pool/twice")
    found = weighed(place, "1:keep: b < 1", name="pool/twice")  # never run: what it would do
    assert found.changes == {"1:keep": "b < 1"} and found.kept_then == ((numbers()["a"] < 70) & (numbers()["b"] < 1)).sum()


def test_a_replay_that_differs_from_the_ledger_is_refused(place: Path) -> None:
    folder = place / "build/env/pool/three"
    honest = manifests.load(folder)
    try:
        manifests.save(folder, honest.model_copy(update={"counts": {**honest.counts, "0:keep.dropped.a": 3}}))
        with pytest.raises(DataError, match="otherwise than in the run"):
            weighed(place)
    finally:
        manifests.save(folder, honest)


@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=30))
def test_first_losses_and_the_kept_are_all(masks: list[list[bool]]) -> None:
    now = np.array(masks, np.int8).T.copy()
    rows = now.shape[1]
    reached = np.stack([now.all(axis=0), now.all(axis=0)])
    ids = pa.array([f"d{n}" for n in range(rows)])
    batch = pa.record_batch({"id": ids, "key": keys(ids)})
    one = Measured(rows, batch, np.arange(rows), now, now, np.ones_like(now, np.int64), reached, np.zeros(rows, bool))
    found = rules.Weighed("d", [rules.Weight(Rule(str(n), str(n), "")) for n in range(3)], {}, 1, 1)
    found.add(one)
    assert found.documents == found.kept + sum(w.first for w in found.weights) and found.gained.documents == found.lost.documents == 0
    assert all(w.only <= w.first <= w.alone and w.first == w.then == w.first_chars for w in found.weights)


def test_the_table_names_the_change_and_its_effect(place: Path) -> None:
    text = rules.text(weighed(place, "a: a < 90"))
    assert "a < 70 -> a < 90" in text and "first then" in text and "for example" in text
    assert "first then" not in rules.text(weighed(place))
