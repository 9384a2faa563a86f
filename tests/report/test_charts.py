"""Charts: round ticks, marks inside the drawing, text escaped."""

import math
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.report import charts, stages
from dolma.report.charts import Line
from dolma.stats import StageRow

NUMBERS = st.floats(-1e9, 1e9, allow_nan=False)


@settings(max_examples=200, deadline=None)
@given(NUMBERS, st.floats(1e-6, 1e9))
def test_ticks_are_few_rising_and_inside(low: float, span: float) -> None:
    high = low + span
    got = charts.ticks(low, high)
    if high > low:
        assert len(got) <= 6
        assert got == sorted(set(got))
        assert all(low - span * 0.01 <= t <= high + span * 0.01 for t in got)


def test_ticks_are_round() -> None:
    assert charts.ticks(0, 1) == [0, 0.25, 0.5, 0.75, 1]
    assert charts.ticks(3.3, 8.1) == [4, 6, 8]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(-1e3, 1e3)), min_size=2, max_size=40))
def test_lines_stay_inside_the_drawing(points: list[tuple[float, float]]) -> None:
    drawn = charts.lines([Line("x", sorted(points))], "tokens", "loss")
    for path in re.findall(r' d="([^"]+)"', drawn):
        numbers = [float(n) for n in re.findall(r"-?[\d.]+", path)]
        assert all(0 <= x <= charts.WIDTH + 0.1 for x in numbers[::2])
        assert all(0 <= y <= charts.HEIGHT + 0.1 for y in numbers[1::2])
    assert "nan" not in drawn and "inf" not in drawn


def test_lines_of_nothing_are_nothing() -> None:
    assert charts.lines([Line("x", [(0.0, math.nan)])], "tokens", "loss") == ""


def test_smooth_keeps_a_constant_and_the_number_of_points() -> None:
    assert charts.smooth([(float(i), 2.0) for i in range(50)]) == [(float(i), 2.0) for i in range(50)]


def test_thin_keeps_both_ends() -> None:
    points = [(float(i), float(i)) for i in range(1000)]
    got = charts.thin(points, 10)
    assert (len(got), got[0], got[-1]) == (10, points[0], points[-1])


def test_names_from_data_are_escaped() -> None:
    evil = '"><script>alert(1)</script>'
    for drawn in (
        charts.bar(0, 0.5, "lost", evil),
        charts.stack([(evil, 1.0, "c0")]),
        charts.dumbbell(0.1, 0.2, 0, 1, "good", None, evil),
        charts.histogram([(evil, 3)], "c0", evil),
        charts.heat([evil], [evil], [[1.0]], [[evil]], [[evil]], "h0"),
        charts.lines([Line(evil, [(0, 1), (1, 2)])], evil, evil),
    ):
        assert evil not in drawn and "<script" not in drawn and "&lt;script" in drawn


def _row(before: float | None, after: float | None, n: int | None = None, metric: str = "accuracy") -> StageRow:
    return StageRow("sft", metric, "heldout", before, after, n, None)


def test_a_change_is_good_bad_or_grey() -> None:
    assert stages._change(_row(2.6, 2.5, metric="bits_per_byte"))[0] == "good"
    assert stages._change(_row(2.6, 2.7, metric="bits_per_byte"))[0] == "bad"
    assert stages._change(_row(2.6, 2.601, metric="bits_per_byte"))[0] == "same"
    assert stages._change(_row(0.10, 0.60, 300))[0] == "good"
    assert stages._change(_row(0.50, 0.53, 300))[0] == "same"  # two standard errors of a difference at n=300 are .08
    assert stages._change(_row(0.0, 0.0, 300))[0] == "same"
    assert stages._change(_row(None, 0.5))[0] == "same"
