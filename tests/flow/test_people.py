"""What people ask of the real recipes: the rules run again take what the run took, and the queries of the help have answers."""

import json
from pathlib import Path

import pytest

from dolma import arguments, cli, costs, rules, sql
from dolma.core import counts as ledger
from dolma.core import manifest
from dolma.engines import cost
from dolma.replay import replay
from tests.flow.mini import OTHERS, PIPELINES, POOL, WEB

FILTER = "source/web/filter"


@pytest.mark.parametrize("dataset", [*WEB, *OTHERS, "pool/unique"])
def test_rules_run_again_take_what_the_run_took(one: Path, dataset: str) -> None:
    made = manifest.load(one / "one" / dataset)
    if not any(key.partition(".")[0].endswith(":keep") for key in made.counts):
        pytest.skip(f"{dataset} has no rule")
    with replay(dataset, one / "one.yaml", PIPELINES) as again:
        assert again.fresh
        found = rules.weigh(again)  # raises where its figures are not those of the ledger
    assert found.kept == made.rows and found.unreadable <= ledger.dropped(made.counts).get("quarantined", 0)
    assert {w.rule.reason: w.first for w in found.weights if w.first} == {r: n for r, n in ledger.dropped(made.counts).items() if r != "quarantined"}


def test_dropped_documents_can_be_read(one: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--env", str(one / "one.yaml"), "--pipelines", str(PIPELINES), "--format", "json", "-n", "100000"]
    lost = ledger.dropped(manifest.load(one / "one" / FILTER).counts)
    assert len(lost) >= 3
    for reason, rows in list(lost.items())[:: len(lost) // 3]:  # early and late ones
        assert cli.main(["inspect", FILTER, "--dropped", reason, *where]) == 0
        found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert len(found) == rows and all(row["dropped_as"] == reason and row["text"] and row["id"] and row["file"] for row in found)


def test_every_unit_of_the_run_was_measured(one: Path) -> None:
    for dataset in (*WEB, *OTHERS, *POOL):
        made = manifest.load(one / "one" / dataset)
        line = cost.read(one / "one" / dataset, made.fingerprint)
        assert line is not None and len(line["measured"]) == line["units"] > 0
        assert sum(family.of_cpu or 0 for family in costs.families(one / "one", made)) == pytest.approx(100)
    families = {family.name: family for family in costs.families(one / "one", manifest.load(one / "one" / FILTER))}
    assert {"tag_url", "tag_heuristics", "tag_repetition", "tag_language", "read:input", "write"} <= set(families)
    assert all((family.cpu or 0) > 0 for family in families.values())


def test_the_queries_of_the_help_have_answers(one: Path) -> None:
    with replay(FILTER, one / "one.yaml", PIPELINES) as again:
        rules.weigh(again, root=one / "one")
    queries = [line.strip() for line in arguments.SQL_EXAMPLES.splitlines() if line.strip().startswith("SELECT")]
    assert len(queries) >= 6
    for query in queries:
        assert sql.query(one / "one", query).num_rows > 0, query
