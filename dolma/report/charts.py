"""Small SVG charts. Marks that stretch use per cent, so that text and strokes keep their size on any width; every text is escaped."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from dolma.console import short

Scale = Callable[[float], float]


@dataclass(frozen=True)
class Line:
    """One curve: points (x, y) in rising x, with the CSS class that colours it."""

    name: str
    points: Sequence[tuple[float, float]]
    css: str = "c0"


def esc(value: object) -> str:
    """Text that is safe between tags and in quoted attributes."""
    return escape(str(value), quote=True)


def tip(text: str) -> str:
    """Attribute that the page's script shows as a tooltip."""
    return f'data-tip="{esc(text)}"'


def per_cent(value: float, digits: int = 2) -> str:
    """`value` (0..1) as an SVG length in per cent, kept inside the drawing."""
    text = f"{100 * min(max(value, 0.0), 1.0):.{digits}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text}%"


def bar(start: float, length: float, css: str, text: str, height: int = 14) -> str:
    """A horizontal bar on a track; `start` and `length` are shares of the width."""
    # A loss of one document in a million stays visible: 2 px is the least a screen shows as a mark.
    mark = f'<rect class="{css}" x="{per_cent(start, 3)}" width="{per_cent(length, 3)}" height="{height}" rx="2"/>' if length > 0 else ""
    least = f'<rect class="{css}" x="{per_cent(min(start, 0.995), 3)}" width="2" height="{height}"/>' if 0 < length < 0.004 else ""
    return (
        f'<svg class="bar" width="100%" height="{height}" role="img" aria-label="{esc(text)}" {tip(text)}>'
        f'<rect class="track" width="100%" height="{height}" rx="2"/>{mark}{least}</svg>'
    )


def stack(parts: Sequence[tuple[str, float, str]], height: int = 26) -> str:
    """Parts of a whole on one bar: (text of the tooltip, share, CSS class)."""
    drawn, x = [], 0.0
    for text, share, css in parts:
        drawn.append(f'<rect class="{css} part" x="{per_cent(x, 3)}" width="{per_cent(share, 3)}" height="{height}" {tip(text)}/>')
        x += share
    label = "; ".join(text for text, _, _ in parts)
    return f'<svg class="stack" width="100%" height="{height}" role="img" aria-label="{esc(label)}">{"".join(drawn)}</svg>'


def dumbbell(before: float | None, after: float | None, low: float, high: float, css: str, chance: float | None, text: str) -> str:
    """Before (ring) and after (dot) on one scale from `low` to `high`, with a tick where guessing stands."""
    span = (high - low) or 1.0

    def at(value: float) -> str:
        return per_cent(0.02 + 0.96 * (value - low) / span)

    drawn = ['<line class="axis" x1="2%" x2="98%" y1="13" y2="13"/>']
    if chance is not None:
        drawn.append(f'<line class="chance" x1="{at(chance)}" x2="{at(chance)}" y1="3" y2="23"/>')
    if before is not None and after is not None:
        drawn.append(f'<line class="{css} move" x1="{at(before)}" x2="{at(after)}" y1="13" y2="13"/>')
    if before is not None:
        drawn.append(f'<circle class="{css} ring" cx="{at(before)}" cy="13" r="5"/>')
    if after is not None:
        drawn.append(f'<circle class="{css} dot" cx="{at(after)}" cy="13" r="6"/>')
    return f'<svg class="dumbbell" width="100%" height="26" role="img" aria-label="{esc(text)}" {tip(text)}>{"".join(drawn)}</svg>'


def ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """Round numbers (1, 2, 2.5 or 5 times a power of ten) from `low` to `high`; `low` alone where floats cannot tell numbers between them apart."""
    raw = (high - low) / max(wanted, 1)
    if not raw > 1e-13 * max(abs(low), abs(high)):
        return [low]
    power = 10.0 ** math.floor(math.log10(raw))
    step = next((f * power for f in (1, 2, 2.5, 5, 10) if f * power >= raw * 0.999), 10 * power)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def smooth(points: Sequence[tuple[float, float]], share: float = 0.05) -> list[tuple[float, float]]:
    """Running mean over a window of `share` of the points (at least 3), centred, cut off at the ends."""
    half = max(1, round(len(points) * share / 2))
    found = []
    for i in range(len(points)):
        window = points[max(i - half, 0) : i + half + 1]
        found.append((points[i][0], sum(y for _, y in window) / len(window)))
    return found


def thin(points: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """At most `most` of the points, evenly taken, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    return [points[round(i * (len(points) - 1) / (most - 1))] for i in range(most)]


WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 280, 170, 36, 8, 10, 24


def lines(series: Sequence[Line], x_name: str, y_name: str, *, low: float | None = None, high: float | None = None) -> str:
    """Curves on shared axes: the first faint with its running mean on top, as one reads a loss."""
    ys = [y for line in series for _, y in line.points if math.isfinite(y)]
    xs = [x for line in series for x, _ in line.points]
    if not ys:
        return ""
    y_low, y_high = _range(ys, low, high)
    x_low, x_high = min(xs), max(max(xs), min(xs) + 1e-9)

    def px(x: float) -> float:
        return LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)

    def py(y: float) -> float:
        return TOP + (1 - (min(max(y, y_low), y_high) - y_low) / (y_high - y_low)) * (HEIGHT - TOP - BOTTOM)

    drawn = []
    for y in ticks(y_low, y_high):
        drawn.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{py(y):.1f}" y2="{py(y):.1f}"/>')
        drawn.append(f'<text class="tick" x="{LEFT - 6}" y="{py(y) + 3.5:.1f}" text-anchor="end">{esc(_tick(y))}</text>')
    for x in ticks(x_low, x_high, 3):
        anchor = "end" if px(x) > WIDTH - RIGHT - 14 else "middle"
        drawn.append(f'<text class="tick" x="{px(x):.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}">{esc(short(x))}</text>')
    hits = []
    for line in series:
        points = [p for p in line.points if math.isfinite(p[1])]
        mean = thin(smooth(points), 160)
        drawn.append(_path(thin(points, 320), px, py, f"{line.css} raw") + _path(mean, px, py, f"{line.css} mean"))
        hits += _hits(line, thin(mean, 80), px, x_name, y_name)
    label = f"{y_name} over {x_name}: " + "; ".join(f"{line.name} {line.points[0][1]:.4g} to {line.points[-1][1]:.4g}" for line in series)
    return f'<svg class="lines" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{esc(label)}">{"".join(drawn)}{"".join(hits)}</svg>'


def _range(ys: Sequence[float], low: float | None, high: float | None) -> tuple[float, float]:
    # The 1st and 99th percentile bound the axis: one spike must not flatten the curve.
    ordered = sorted(ys)
    least = ordered[int(0.01 * (len(ordered) - 1))] if low is None else low
    most = ordered[math.ceil(0.99 * (len(ordered) - 1))] if high is None else high
    pad = 0.06 * (most - least) or 0.5
    return (least - pad if low is None else low), (most + pad if high is None else high)


def _tick(value: float) -> str:
    return short(value) if abs(value) >= 1000 else f"{value:.4g}"


def _path(points: Sequence[tuple[float, float]], px: Scale, py: Scale, css: str) -> str:
    steps = " ".join(f"{'M' if i == 0 else 'L'}{px(x):.1f} {py(y):.1f}" for i, (x, y) in enumerate(points))
    return f'<path class="{css}" d="{steps}"/>'


def _hits(line: Line, points: Sequence[tuple[float, float]], px: Scale, x_name: str, y_name: str) -> list[str]:
    found = []
    for i, (x, y) in enumerate(points):
        left = px(points[i - 1][0] / 2 + x / 2) if i else px(x)
        right = px(points[i + 1][0] / 2 + x / 2) if i + 1 < len(points) else px(x)
        text = f"{line.name}: {y_name} {y:.4g} at {short(x)} {x_name}"
        found.append(f'<rect class="hit" x="{left:.1f}" y="{TOP}" width="{max(right - left, 0.5):.1f}" height="{HEIGHT - TOP - BOTTOM}" {tip(text)}/>')
    return found


def histogram(values: Sequence[tuple[str, int]], css: str, name: str) -> str:
    """Columns of equal width, stretched to the place they get; `values` are (what the column covers, count)."""
    most = max((n for _, n in values), default=0) or 1
    step = 1 / max(len(values), 1)
    drawn = []
    for i, (text, n) in enumerate(values):
        height = max(52 * n / most, 1.0 if n else 0.0)
        drawn.append(
            f'<rect class="{css}" x="{per_cent(i * step)}" width="{per_cent(step * 0.86)}" y="{54 - height:.1f}" height="{height:.1f}"/>'
            f'<rect class="hit" x="{per_cent(i * step)}" width="{per_cent(step)}" height="54" {tip(f"{text}: {n:,}")}/>'
        )
    base = '<line class="axis" x1="0" x2="100%" y1="54" y2="54"/>'
    return f'<svg class="histogram" width="100%" height="55" role="img" aria-label="{esc(name)}">{"".join(drawn)}{base}</svg>'


@dataclass(frozen=True)
class Heat:
    """A heat map in its two parts, the names down the side and the cells, each an SVG of `height` that stretches."""

    names: str
    cells: str
    height: int


def heat(*args: Any, **options: Any) -> str:
    """The heat map of `heat_parts` as a block of a page."""
    made = heat_parts(*args, **options)
    return f'<div class="heat">{made.names}{made.cells}</div>'


def heat_parts(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float | None]],
    texts: Sequence[Sequence[str]],
    tips: Sequence[Sequence[str]],
    css: str,
    gap: int | None = None,
    most: float | None = None,
) -> Heat:
    """A heat map; colour goes with the square root of the value (the eye compares areas), NULL is left empty.

    Args:
        rows: names down the side.
        columns: names along the top.
        values: one list a row; None for a cell that does not exist.
        texts: what stands in each cell on wide screens.
        tips: what each cell says on a touch.
        css: class that colours the cells.
        gap: column before which the map has a gap.
        most: value of the fullest colour; the largest value when absent.
    """
    cell, head = 22, 18
    top = most or max((v for row in values for v in row if v is not None), default=1.0) or 1.0
    total = len(columns) + (0.6 if gap is not None else 0.0)
    left = [(i + (0.6 if gap is not None and i >= gap else 0.0)) / total for i in range(len(columns))]
    width = 1 / total
    names = [f'<text class="name" x="100%" y="{head + i * cell + 15}" text-anchor="end">{esc(row)}</text>' for i, row in enumerate(rows)]
    drawn = [f'<text class="tick" x="{per_cent(x + width / 2)}" y="11" text-anchor="middle">{esc(name)}</text>' for x, name in zip(left, columns, strict=True)]
    for r, row in enumerate(values):
        for c, value in enumerate(row):
            y = head + r * cell
            place = f'x="{per_cent(left[c])}" y="{y}" width="{per_cent(width * 0.95)}" height="{cell - 2}"'
            if value is None:
                continue
            share = math.sqrt(max(value, 0.0) / top)
            drawn.append(f'<rect class="track" {place} rx="2" {tip(tips[r][c])}/>')
            if value > 0:
                drawn.append(f'<rect class="{css}" fill-opacity="{0.08 + 0.92 * min(share, 1.0):.2f}" {place} rx="2" {tip(tips[r][c])}/>')
            dark = " over" if share > 0.62 else ""
            drawn.append(f'<text class="in{dark}" x="{per_cent(left[c] + width * 0.475)}" y="{y + 14}" text-anchor="middle">{esc(texts[r][c])}</text>')
    height = head + cell * len(rows)
    label = f"heat map of {len(rows)} rows and {len(columns)} columns"
    return Heat(
        f'<svg class="names" height="{height}" aria-hidden="true">{"".join(names)}</svg>',
        f'<svg class="cells" width="100%" height="{height}" role="img" aria-label="{esc(label)}">{"".join(drawn)}</svg>',
        height,
    )
