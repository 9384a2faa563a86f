"""Held out or not: by the key alone."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma.core.schema import keys
from dolma.tag.split import tag_split


def tagged(some: list[int], share: float) -> list[str]:
    return tag_split(pa.RecordBatch.from_arrays([pa.array(some, pa.int64())], ["key"]), share=share).column("split").to_pylist()


@given(st.lists(st.integers(0, 2**63 - 1), max_size=30), st.floats(0, 1))
def test_a_document_is_decided_without_the_others(some: list[int], share: float) -> None:
    assert tagged(some, share) == [split for key in some for split in tagged([key], share)]


@given(st.lists(st.integers(0, 2**63 - 1), max_size=30), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_holds_out_the_same_and_more(some: list[int], one: float, other: float) -> None:
    small, large = ([key for key, split in zip(some, tagged(some, share), strict=True) if split == "heldout"] for share in sorted((one, other)))
    assert [key for key in small if key not in large] == []


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_the_share_is_kept_for_keys_of_ids_and_for_numbers_in_a_row(share: float) -> None:
    ids = keys(pa.array([f"doc-{n}" for n in range(20_000)])).to_pylist()
    for some in (ids, list(range(20_000))):
        if share <= 0.5:
            assert tagged(some, share).count("tune") / len(some) == pytest.approx(share, abs=0.02 if share else 0)
        assert tagged(some, share).count("heldout") / len(some) == pytest.approx(share, abs=0.02 if 0 < share < 1 else 0)
