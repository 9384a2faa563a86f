"""The ledger balances or refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma.core import counts
from dolma.core.errors import DataError


def ledger(rows: int, drops: list[int]) -> dict[str, int]:
    made: dict[str, int] = {}
    for place, lost in enumerate(drops):
        lost = min(lost, rows)
        made.update({f"{place}:keep.in": rows, f"{place}:keep.out": rows - lost, f"{place}:keep.dropped.r{place}": lost})
        rows -= lost
    return made


@given(st.integers(0, 1000), st.lists(st.integers(0, 300), max_size=12))
def test_a_true_ledger_passes_and_adds_up(rows: int, drops: list[int]) -> None:
    one = ledger(rows, drops)
    counts.check(one, "x")
    both = counts.merge([one, one])
    counts.check(both, "x")
    out = both.get(f"{len(drops) - 1}:keep.out", 2 * rows)
    assert 2 * rows == out + sum(counts.dropped(both).values())


@given(st.integers(1, 1000), st.lists(st.integers(0, 300), min_size=1, max_size=12), st.data())
def test_one_changed_number_is_refused(rows: int, drops: list[int], data: st.DataObject) -> None:
    one = ledger(rows, drops)
    key = data.draw(st.sampled_from(sorted(one)))
    one[key] += 1
    with pytest.raises(DataError) as error:
        counts.check(one, "x")
    assert error.value.code == 3


def test_steps_come_in_the_order_of_the_recipe() -> None:
    assert list(counts.steps({"10:a.in": 1, "2:b.in": 1, "read:input.in": 1})) == ["read:input", "2:b", "10:a"]


@pytest.mark.parametrize(
    ("key", "what"), [("1:pack.rows_in", "did not reach"), ("1:pack.scattered", "shuffle"), ("1:pack.gathered", "shuffle"), ("1:pack.eos", "packing")]
)
def test_a_group_step_takes_all_rows_and_packing_all_tokens(key: str, what: str) -> None:
    packed = {"rows_in": 8, "scattered": 8, "gathered": 8, "tokens_in": 90, "eos": 8, "tokens_out": 96, "dropped.tail_tokens": 2, "dropped.cut_tokens": 0}
    good = {"0:keep.in": 10, "0:keep.out": 8, "0:keep.dropped.a": 2, **{f"1:pack.{name}": value for name, value in packed.items()}}
    counts.check(good, "x", whole=True)
    with pytest.raises(DataError, match=what):
        counts.check({**good, key: good[key] + 1}, "x", whole=True)
    without = {name: value for name, value in good.items() if name != "1:pack.gathered"}
    counts.check(without, "x")  # the scatter half of a shuffle
    with pytest.raises(DataError, match="shuffle"):
        counts.check(without, "x", whole=True)
