"""Numbers as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma.console import short
from dolma.core.amounts import amount


@given(st.integers(0, 10**16))
def test_amount_reads_what_short_prints(value: int) -> None:
    assert amount(short(value)) == pytest.approx(value, rel=6e-3) and amount(str(value)) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("6T", 6 * 10**12), ("150B", 15 * 10**10), ("2.5M", 2_500_000), ("7.7K", 7700), ("5.93e12", 593 * 10**10), ("1_000", 1000), ("0.4", 0.4), ("-3", -3)],
)
def test_amount_is_whole_where_its_text_is(text: str, value: float) -> None:
    assert amount(text) == value and type(amount(text)) is type(value)


@pytest.mark.parametrize("text", ["", "T", "6 tokens", "6t", "nan", "inf", "-infT", "1e999", "1e-999", "1e9999999", "1e-9999999", "0x10", "1,000", "6TT"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no number"):
        amount(text)
