"""Aligned tables and short numbers."""

import pytest

from dolma.console import cell, short, size, table


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1K"),
        (999_999, "1M"),
        (12_345, "12.3K"),
        (4.51e12, "4.51T"),
        (0.123456, "0.123"),
        (None, "-"),
        (123_456, "123K"),
        (-1500, "-1.5K"),
    ],
)
def test_short_has_three_digits_and_a_unit(value: float | None, text: str) -> None:
    assert short(value) == text


@pytest.mark.parametrize(("value", "text"), [(0, "0 B"), (999, "999 B"), (2830, "2.83 kB"), (1.3e9, "1.3 GB")])
def test_size_has_a_unit_of_bytes(value: float, text: str) -> None:
    assert size(value) == text


def test_table_aligns_numbers_right_and_cuts_long_cells() -> None:
    got = table(["name", "n"], [["a", 1], ["bb", 1234], ["c" * 20, None]], width=8)
    assert got.splitlines() == ["name          n", "--------  -----", "a             1", "bb        1,234", "ccccc...      -"]


def test_table_without_rows_is_its_header() -> None:
    assert table(["a", "bc"], []) == "a  bc\n-  --"


def test_cell_keeps_a_text_on_one_line() -> None:
    assert cell("a\n b\tc") == "a b c"
