"""The report's sections about training: what each stage moved on held-out data, and the curves of each run."""

import math

from dolma.console import short
from dolma.report import charts
from dolma.report.blocks import ARROW, DASH, DOT, MINUS, card, data_table, details, missing, section
from dolma.report.charts import Line, esc
from dolma.report.figures import Figures, StageFigures, curve, x_name
from dolma.stats import StageRow

PURPOSE = {
    "pretrain": ("Pretraining", "Learns the language of every source."),
    "midtrain": ("Midtraining", "Adds mathematics and code without losing the web."),
    "longctx": ("Long context", "Recalls facts from beyond the old context length."),
    "sft": ("Instruction tuning", "Answers in the template, and correctly."),
    "dpo": ("Preference tuning", "Prefers the chosen answer to the rejected one."),
    "rlvr": ("Verified rewards", "Earns more verified reward on prompts it never saw."),
}
SMALL = 0.005  # losses: three seeds of pretraining spread by 0.6 % (2.615 +- .015 bits per byte), so a change under half a per cent is none


def held_out(figures: Figures) -> str:
    """Before and after, on held-out data, for each stage."""
    why = (
        "The figure each stage exists to move, on held-out data: ring before, dot after, dashed line where guessing stands. "
        "Grey: it did not move by more than chance."
    )
    cards = "".join(_stage(stage) for stage in figures.stages)
    rows = [[s.name, r.metric, r.slice, r.before, r.after, r.n, r.chance] for s in figures.stages for r in s.rows]
    table = details("All held-out figures", data_table(["stage", "metric", "slice", "before", "after", "n", "chance"], rows)) if rows else ""
    return section("stages", "What each stage moved", why, f'<div class="grid wide">{cards}</div>{table}')


def _stage(stage: StageFigures) -> str:
    title, why = PURPOSE[stage.name]
    head = f'<div class="head"><h3>{esc(title)}</h3><span>{esc(_spent(stage))}</span></div><p class="why">{esc(why)}</p>'
    if not stage.rows:
        return f'<div class="card">{head}{missing("No held-out figures." if stage.done else "This stage has not run yet.")}</div>'
    parts = []
    for metric in dict.fromkeys(row.metric for row in stage.rows):
        rows = [row for row in stage.rows if row.metric == metric]
        low, high = _scale(rows)
        hint = "lower is better" if rows[0].lower_is_better else "higher is better"
        parts.append(f'<div class="metric">{esc(metric.replace("_", " "))}<small>{hint}</small></div>' + "".join(_move(row, low, high) for row in rows))
    return f'<div class="card">{head}<div class="moves">{"".join(parts)}</div></div>'


def _spent(stage: StageFigures) -> str:
    last = next((row["tokens"] for row in reversed(stage.log) if isinstance(row.get("tokens"), int | float)), None)
    return f"{short(last)} tokens" if last else "" if stage.log or stage.done else "not run"


def _scale(rows: list[StageRow]) -> tuple[float, float]:
    values = [v for row in rows for v in (row.before, row.after, row.chance) if v is not None]
    if not values:
        return 0.0, 1.0
    if not rows[0].lower_is_better and min(values) >= 0 and max(values) <= 1:
        return 0.0, 1.0
    pad = 0.08 * (max(values) - min(values)) or 0.1
    return min(values) - pad, max(values) + pad


def _move(row: StageRow, low: float, high: float) -> str:
    css, word, change = _change(row)
    note = DOT.join(([f"n {row.n:,}"] if row.n else []) + ([f"chance {row.chance:.2g}"] if row.chance is not None else []))
    text = f"{row.metric} {row.slice}: {_value(row.before)} before, {_value(row.after)} after ({change})"
    drawn = charts.dumbbell(row.before, row.after, low, high, css, row.chance, text)
    name = f'<div class="k">{esc(row.slice or "all")}{f"<i>{esc(note)}</i>" if note else ""}</div>'
    return f'{name}{drawn}<div class="v">{_value(row.before)} {ARROW} {_value(row.after)} <i class="{word}">{esc(change)}</i></div>'


def _change(row: StageRow) -> tuple[str, str, str]:
    """CSS class of the mark, of the text, and the change as text: per cent for losses, points for shares."""
    if row.before is None or row.after is None:
        return "same", "flat", ""
    difference = row.after - row.before
    relative = row.lower_is_better and row.before != 0
    text = (f"{100 * difference / row.before:+.1f} %" if relative else f"{difference:+.3f}").replace("-", MINUS)
    if abs(difference) <= _noise(row.before, row.after, row):
        return "same", "flat", text
    better = (difference < 0) == row.lower_is_better
    return ("good", "up", text) if better else ("bad", "down", text)


def _noise(before: float, after: float, row: StageRow) -> float:
    """The change that counts as none: for a share of n answers two standard errors of the difference, otherwise a small part of the value."""
    if not row.lower_is_better and row.n and min(before, after) >= 0 and max(before, after) <= 1:
        # With all answers equal the estimate p(1-p) is 0; adding two answers of each kind keeps it honest (Agresti and Coull 1998).
        smoothed = [(value * row.n + 2) / (row.n + 4) for value in (before, after)]
        return 2 * math.sqrt(sum(p * (1 - p) / (row.n + 4) for p in smoothed))
    return SMALL * max(abs(before), abs(after))


def _value(value: float | None) -> str:
    return DASH if value is None else f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def curves(figures: Figures) -> str:
    """Loss of every stage, and the reward of the last."""
    why = (
        "Each run's own log: every point faint, the running mean on top. "
        "The axis leaves out the most extreme hundredth, so that one spike does not flatten the curve."
    )
    if not any(stage.log for stage in figures.stages):
        return section("curves", "Training curves", why, missing("No stage has a log yet."))
    cards = []
    for stage in figures.stages:
        title = PURPOSE[stage.name][0]
        drawn = _curve(stage, "loss", "c0")
        cards.append(card(title, "loss", drawn or missing("No log yet.")))
        if reward := _curve(stage, "reward", "c2"):
            cards.append(card(title, "reward", reward))
    return section("curves", "Training curves", why, f'<div class="grid small">{"".join(cards)}</div>')


def _curve(stage: StageFigures, key: str, css: str) -> str:
    points = curve(stage.log, key)
    if len(points) < 2:
        return ""
    name = x_name(stage.log, key)
    first, last = points[0][1], charts.smooth(points)[-1][1]
    return (
        charts.lines([Line(stage.name, points, css)], name, key)
        + f'<div class="head note"><span>{esc(name)}</span><span>{first:.3g} {ARROW} {last:.3g}</span></div>'
    )
