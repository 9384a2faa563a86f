"""Documents that ask at their end for what they told at their start."""

import re

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.core.errors import ConfigError
from dolma.core.schema import keys
from dolma.synth.facts import FACT, NAMES, facts

TOLD = re.compile(r"\b([A-Z])([0-9])\b")


def rows(**params) -> list[dict]:
    (batch,) = facts(None, file="", **{"count": 8, "seed": 1, "facts": 3, "fillers": (2, 5), **params})
    assert batch.schema == pa.schema(list(FACT.items()))
    return batch.to_pylist()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, len(NAMES)), st.integers(0, 20), st.integers(0, 10))
def test_each_fact_is_told_once_before_the_filler_and_asked_once_after(seed: int, count: int, least: int, more: int) -> None:
    for row in rows(seed=seed, facts=count, fillers=(least, least + more)):
        found = TOLD.findall(row["text"])
        told, asked = found[:count], found[count:]
        assert sorted(told) == sorted(asked) and len({name for name, _ in told}) == count
        first, *filler, last = re.findall(r"[^.]+\.", row["text"])
        assert least <= len(filler) <= least + more and not TOLD.search(" ".join(filler))
        assert len(TOLD.findall(first)) == len(TOLD.findall(last)) == count


def test_same_seed_same_rows_and_another_seed_others() -> None:
    assert rows() == rows()
    assert not {row["text"] for row in rows(seed=2)} & {row["text"] for row in rows()}


def test_keys_are_of_the_ids() -> None:
    made = rows(count=50)
    assert len({row["id"] for row in made}) == 50 and [row["key"] for row in made] == keys(pa.array([row["id"] for row in made])).to_pylist()


@pytest.mark.parametrize("params", [{"facts": 27}, {"facts": 0}, {"fillers": (5, 2)}, {"fillers": (-1, 2)}])
def test_numbers_that_make_no_document_are_refused(params: dict) -> None:
    with pytest.raises(ConfigError, match="no such documents"):
        rows(**params)
