"""The input of the scaling table, and its arithmetic."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import dedup_scaling as scaling
from dolma.core.graph import Graph
from dolma.core.recipe import Compiled
from dolma.engines.plan import load_steps

TEXTS = [" ".join(f"word{chr(97 + (number * 7 + place) % 26)}{place}" for place in range(120)) for number in range(10)]


def shingles(text: str) -> set[tuple[str, ...]]:
    words = text.split(" ")
    return {tuple(words[n : n + 5]) for n in range(len(words) - 4)}


def test_units_are_alike_and_share_nothing() -> None:
    first, second = list(scaling.copies(TEXTS, 0)), list(scaling.copies(TEXTS, 3))
    assert len(first) == len(second) == 14 and not {name for name, _ in first} & {name for name, _ in second}
    assert [len(text) for _, text in first] == [len(text) for _, text in second]
    for one in first:
        assert not any(shingles(one[1]) & shingles(other) for _, other in second)


def test_copies_are_exact_or_near() -> None:
    texts = dict(scaling.copies(TEXTS, 0))
    assert texts["0-5-exact"] == texts["0-5"] == TEXTS[5]
    one, other = shingles(texts["0-6"]), shingles(texts["0-6-near"])
    assert len(one & other) / len(one | other) == pytest.approx(105 / 127)  # of 116 shingles 2 changed words take 5 each, the last word 1


ROW = scaling.Row("pool/exact", 16, 1000, 1000, 200, 0.01, 32_000, 0, 400_000_000, 100_000_000, True, False)
ROWS = [
    replace(ROW, times=1, documents=100, worked=100, cpu=0.0005, shuffle=3200),
    ROW,
    replace(ROW, phase="pool/edges", worked=800, rows=1600, cpu=0.04, shuffle=800 * 624),
    replace(ROW, phase="pool/clusters", worked=1600, cpu=0.0016, shuffle=0, reads_text=False),
]


def test_arithmetic_is_what_it_says() -> None:
    text = scaling.arithmetic(ROWS, 4300.0)
    assert "| pool/exact | 38.70B | 38.70e9 x 10.0 x 1.00 / 3.6e9 = 108 h | 38.70e9 x 32 x 1.00 = 1.24 TB |" in text
    assert "| pool/edges | 12.80B | 12.80e9 x 50.0 x 1.00 / 3.6e9 = 178 h | 12.80e9 x 624 x 1.00 = 7.99 TB |" in text
    assert "25.60e9 x 1.0 x 1.00 / 3.6e9 = 7 h" in text and "| all | | 292 core-hours | 9.23 TB |" in text
    assert "400M x 624 B = 250 GB: `buckets: 975`" in text and "0.25 of the documents have an edge x 400M x 96 B = 9.6 GB" in text
    half = scaling.arithmetic(ROWS, 8600.0)
    assert "38.70e9 x 10.0 x 0.50 / 3.6e9 = 54 h" in half and "25.60e9 x 1.0 x 1.00" in half


def test_the_table_compares_with_the_smallest_input() -> None:
    lines = scaling.table(ROWS, 4300.0).splitlines()
    assert lines[4].startswith("| pool/exact | 100 | 100 | 0.00 | 5.0 |") and lines[4].endswith("| 1.00 |")
    assert lines[5].endswith("| 400 | 100,000 | 2.00 |")


def test_the_pools_own_recipes_are_measured_over_made_documents(tmp_path: Path) -> None:
    load_steps()
    scaling.write(tmp_path / "raw", 1, 0)
    made, real = Graph(scaling.recipes(tmp_path)), Graph(scaling.ROOT / "pipelines")
    order = made.order([scaling.TARGET])
    assert order[0] == scaling.INPUT and [name for name in real.order([scaling.TARGET]) if name.startswith("pool/")] == order
    one, other = made[scaling.INPUT], real[scaling.INPUT]
    assert isinstance(one, Compiled) and isinstance(other, Compiled) and one.schema == other.schema
    page = scaling.PAGE.read_text(encoding="utf-8")
    assert page.index(scaling.BEGIN) < page.index(scaling.END)
