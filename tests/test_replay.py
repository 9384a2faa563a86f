"""Steps run again over rows that a run never gives them: what fails, what cannot be read, and which part of the input it was."""

from pathlib import Path

import numpy as np
import pytest

from dolma import rules
from dolma.core import manifest as manifests
from dolma.core.errors import DataError
from dolma.runner import Run
from tests.engines.flow import write_recipes
from tests.numbers import THREE, numbers, weighed, write


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("replay"))


def test_some_units_are_exact_for_themselves_and_evenly_spaced(place: Path) -> None:
    values, found = numbers(), weighed(place, limit=2)
    half = np.concatenate([values["a"][:100], values["a"][200:300]])
    assert (found.units, found.of, found.documents) == (2, 4, 200) and found.weights[0].first == (half >= 70).sum()
    assert weighed(place, limit=99).units == 4


def test_a_step_that_fails_on_dropped_rows_leaves_them_unmeasured(place: Path) -> None:
    steps = [
        {"keep": {"where": "a < 70", "reason": "a"}},
        {"set": {"columns": {"root": "sqrt(80 - a)::INTEGER"}}},  # no square root of a negative number
        {"keep": {"where": "root < 6", "reason": "root"}},
    ]
    write_recipes(place, {"pool/roots": {**THREE, "steps": steps}})
    values = numbers()["a"]
    found = weighed(place, "a: a < 75", name="pool/roots")
    assert [weight.unmeasured for weight in found.weights] == [0, (values >= 75).sum()]
    root = np.rint(np.sqrt(np.maximum(80 - values, 0)))
    assert found.kept == ((values < 70) & (root < 6)).sum() and found.kept_then == ((values < 75) & (root < 6)).sum()
    assert "not measured" in rules.text(found)
    with pytest.raises(DataError, match=r"sqrt\(80 - a\)::INTEGER` has no value"):
        weighed(place, "a: a < 95", name="pool/roots")


def test_rows_that_cannot_be_read_are_no_rules_loss(place: Path) -> None:
    steps = [{"keep": {"where": "a < 70", "reason": "a"}}, {"refuse_test_rows": {"every": 5}}, {"keep": {"where": "number % 2 = 0", "reason": "odd"}}]
    write_recipes(place, {"pool/refused": {**THREE, "uses": ["tests.engines.deadly"], "quarantine": 0.5, "steps": steps}})
    Run(place / "env.yaml", place / "pipelines").run(["pool/refused"])
    made, found = manifests.load(place / "build/env/pool/refused"), weighed(place, name="pool/refused")
    assert found.unreadable == made.counts["1:refuse_test_rows.quarantined"] > 0
    assert found.kept == made.rows and found.documents == found.kept + found.unreadable + sum(weight.first for weight in found.weights)
