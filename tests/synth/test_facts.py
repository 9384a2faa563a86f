"""Documents that ask again for what they told."""

import re

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.core.errors import ConfigError
from dolma.core.schema import keys
from dolma.synth.facts import FACT, facts


def rows(**params) -> list[dict]:
    (batch,) = facts(None, file="", **{"count": 8, "seed": 1, "asks": 3, "fillers": (2, 5), **params})
    assert batch.schema == pa.schema(list(FACT.items()))
    return batch.to_pylist()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(0, 20), st.integers(0, 10))
def test_a_fact_is_told_first_and_asked_for_after_each_filler(seed: int, asks: int, least: int, more: int) -> None:
    for row in rows(seed=seed, asks=asks, fillers=(least, least + more)):
        told, rest = re.fullmatch(r"The code is ([0-9])\.(.*)", row["text"]).groups()
        parts = re.split(r"Again, the code is ([0-9])\.", rest)
        assert parts[1::2] == [told] * asks and parts[-1] == ""
        assert all(least <= filler.count(".") <= least + more and not re.search("[0-9]", filler) for filler in parts[:-1:2])


def test_same_seed_same_rows_and_another_seed_others() -> None:
    assert rows() == rows()
    assert not {row["text"] for row in rows(seed=2)} & {row["text"] for row in rows()}


def test_every_digit_is_told() -> None:
    assert {row["text"][12] for row in rows(count=300)} == set("0123456789")


def test_keys_are_of_the_ids() -> None:
    made = rows(count=50)
    assert len({row["id"] for row in made}) == 50 and [row["key"] for row in made] == keys(pa.array([row["id"] for row in made])).to_pylist()


@pytest.mark.parametrize("params", [{"asks": 0}, {"fillers": (5, 2)}, {"fillers": (-1, 2)}])
def test_numbers_that_make_no_document_are_refused(params: dict) -> None:
    with pytest.raises(ConfigError, match="no such documents"):
        rows(**params)
