"""The report's sections about data: funnel, quarantine, pool, cells."""

from collections import Counter
from dataclasses import dataclass

from dolma import stats
from dolma.console import short, size
from dolma.mixes import Mix
from dolma.report import charts
from dolma.report.blocks import DOT, card, colour, data_table, details, missing, ordered, section
from dolma.report.charts import esc
from dolma.report.figures import Figures

MOST_REASONS = 12  # bars of one funnel; smaller losses are one bar, and all stand in the table below
MOST_ROWS = 500  # rows of one table in the page; SQL has the rest


def funnel(figures: Figures) -> str:
    """What became of the documents of each source."""
    why = "Documents of each source on their way to the pool. Each grey bar is what one reason took, placed where it fell off; red is what could not be read."
    if not figures.funnels:
        return section("funnel", "Funnel by source", why, missing("No source is finished yet."))
    cards = "".join(_funnel_card(f) for name in ordered({f.source for f in figures.funnels}) for f in figures.funnels if f.source == name)
    rows = [[f.source, loss.dataset, loss.reason, loss.documents, 100 * loss.documents / max(f.documents_in, 1)] for f in figures.funnels for loss in f.losses]
    table = data_table(["source", "dataset", "reason", "documents", "% of documents in"], rows, mono=("dataset",))
    return section("funnel", "Funnel by source", why, f'<div class="flow">{cards}</div>' + details("Every loss with its dataset", table))


def _funnel_card(found: stats.Funnel) -> str:
    total = max(found.documents_in, 1)
    rows = [_fall("documents", found.documents_in, 0.0, 1.0, "in0", "", True)]
    left = found.documents_in
    merged: dict[tuple[str, str], int] = {}
    for loss in found.losses:  # one reason in one dataset is one bar
        merged[loss.dataset, loss.reason] = merged.get((loss.dataset, loss.reason), 0) + loss.documents
    shown = set(sorted(merged, key=lambda place: -merged[place])[: MOST_REASONS if len(merged) > MOST_REASONS + 1 else None])
    for (dataset, reason), n in merged.items():
        if (dataset, reason) in shown:
            left -= n
            rows.append(_fall(reason.replace("_", " "), n, left / total, n / total, "ill" if reason == "quarantined" else "lost", f" at {dataset}", False))
    if rest := {place: n for place, n in merged.items() if place not in shown}:
        n = sum(rest.values())
        left -= n
        names = ", ".join(reason.replace("_", " ") for _, reason in rest)
        rows.append(_fall(f"{len(rest)} smaller reasons", n, left / total, n / total, "lost", f" ({names})", False))
    if found.unaccounted:
        rows.append(_fall("unaccounted for", found.unaccounted, 0.0, abs(found.unaccounted) / total, "ill", "", False))
    rows.append(_fall("kept", found.out, 0.0, found.out / total, "kept", "", True))
    return card(found.source, f"{found.out / total:.1%} kept", f'<div class="fall">{"".join(rows)}</div>')


def _fall(name: str, n: int, start: float, share: float, css: str, where: str, strong: bool) -> str:
    text = f"{name}{where}: {n:,} documents, {share:.1%}"
    em = " em" if strong else ""
    percent = f"{share:.0%}" if share >= 0.0995 or share == 0 else f"{share:.1%}"
    return f'<div class="k{em}">{esc(name)}</div>{charts.bar(start, share, css, text)}<div class="n{em}">{n:,}</div><div class="s">{percent}</div>'


def quarantine(figures: Figures) -> str:
    """Rows that could not be read, by place and reason."""
    why = "What could not be read, with its place. These rows are counted in the ledger and kept aside; nothing is skipped silently."
    if not figures.quarantine:
        return section("quarantine", "Quarantine", why, missing("No row was quarantined."))
    rows = [[q.dataset, q.file or q.id, q.offset, q.step, q.reason] for q in figures.quarantine[:MOST_ROWS]]
    table = data_table(["dataset", "file", "offset", "step", "reason"], rows, mono=("dataset", "file"), wide=("reason",))
    more = len(figures.quarantine) - MOST_ROWS
    note = f'<p class="note">{more:,} more: dolma sql "SELECT * FROM quarantine"</p>' if more > 0 else ""
    return section("quarantine", "Quarantine", why, table + note)


def pool(figures: Figures) -> str:
    """Languages and lengths of the documents in the pool."""
    why = "Documents that reached the pool: their size, and the language the tagger saw in each source."
    if not figures.lengths and not figures.languages:
        return section("pool", "The pool", why, missing("pool/documents is not finished yet."))
    lines = {line["source"]: line for line in figures.percentiles.to_pylist()} if figures.percentiles is not None else {}
    low = min((b for bins in figures.lengths.values() for b in bins), default=0)
    high = max((b for bins in figures.lengths.values() for b in bins), default=0)
    cards = []
    for source in ordered({*figures.lengths, *figures.languages}):
        body = _length(figures.lengths.get(source, Counter()), low, high, source, figures) + _language(figures.languages.get(source, Counter()))
        line = lines.get(source)
        note = f"median {size(line['p50'])}" if line else ""
        cards.append(card(source, f"{sum(figures.lengths.get(source, Counter()).values()):,} documents, {note}", body))
    table = ""
    if lines:
        header = ["source", "documents", "mean bytes", "p10", "p50", "p90", "p99"]
        rows = [[lines[s][k] for k in ("source", "documents", "mean", "p10", "p50", "p90", "p99")] for s in ordered(lines)]
        table = details("Length by source, in bytes", data_table(header, rows))
    return section("pool", "The pool", why, f'<div class="grid">{"".join(cards)}</div>' + table)


def _length(bins: Counter[int], low: int, high: int, source: str, figures: Figures) -> str:
    if not bins:
        return ""
    values = [(f"{size(2 ** (b / 2))} to {size(2 ** ((b + 1) / 2))}", bins[b]) for b in range(low, high + 1)]
    drawn = charts.histogram(values, colour(source, list(figures.lengths)), f"{source}: documents by length")
    return f'{drawn}<div class="head note"><span>{size(2 ** (low / 2))}</span><span>length, log scale</span><span>{size(2 ** ((high + 1) / 2))}</span></div>'


def _language(languages: Counter[str]) -> str:
    if not languages:
        return ""
    total = sum(languages.values())
    top = languages.most_common(5)
    rest = total - sum(n for _, n in top)
    parts = [f"{name} {n / total:.0%}" if n / total >= 0.005 else f"{name} {n:,}" for name, n in top] + ([f"other {rest / total:.0%}"] if rest else [])
    return f'<div class="note">{esc(DOT.join(parts))}</div>'


def cells(figures: Figures) -> str:
    """Topics by vigintile: tokens, and how often the pretraining mix repeats them."""
    why = (
        "The pool by topic and quality: vigintile 1 is the worst, 20 the best twentieth of a topic's tokens. "
        "The second map is the pretraining mix: an empty cell is thrown away, a full one is served many times."
    )
    if not figures.cells:
        return section("cells", "Cells", why, missing("shard/pool is not finished yet."))
    mix = next((m for m in figures.mixes if m.name == "mix/pretrain"), None)
    parts = []
    for source in ordered({c.source for c in figures.cells if c.vigintile}):
        found = _merge([c for c in figures.cells if c.source == source], mix)
        parts.append(_heat(found, f"{source}: packed tokens", None))
        if mix:
            parts.append(_heat(found, f"{source}: repeats in mix/pretrain", mix))
    parts.append(_others(figures, mix))
    if mix is None:
        parts.append(missing("mix/pretrain is not finished yet: repeats are unknown."))
    return section("cells", "Cells", why, "".join(parts))


@dataclass
class _Sum:
    """The streams of one topic and vigintile together."""

    sequences: int = 0
    tokens: int = 0
    served: float = 0.0

    @property
    def repeats(self) -> float:
        return self.served / self.tokens if self.tokens else 0.0


def _merge(cells: list[stats.Cell], mix: Mix | None) -> dict[tuple[str, int], _Sum]:
    found: dict[tuple[str, int], _Sum] = {}
    for c in cells:
        one = found.setdefault((c.topic, c.vigintile), _Sum())
        one.sequences += c.sequences
        one.tokens += c.tokens
        one.served += c.tokens * (mix.repeats.get(c.stream, 0.0) if mix else 0.0)
    return found


def _heat(found: dict[tuple[str, int], _Sum], title: str, mix: Mix | None) -> str:
    tokens: Counter[str] = Counter()
    for (topic, _), one in found.items():
        tokens[topic] += one.tokens
    topics = [topic for topic, _ in tokens.most_common()]
    columns = list(range(0 if any(v == 0 for _, v in found) else 1, 21))
    values: list[list[float | None]] = []
    texts, tips = [], []
    for topic in topics:
        row = [found.get((topic, v)) for v in columns]
        figure = [None if one is None else float(one.tokens) if mix is None else one.repeats for one in row]
        values.append(figure)
        texts.append(["" if x is None else short(x) if mix is None else f"{x:.1f}" if x else "" for x in figure])
        tips.append([_cell_tip(topic, v, one, mix) for v, one in zip(columns, row, strict=True)])
    drawn = charts.heat(topics, [str(v) for v in columns], values, texts, tips, "h0" if mix is None else "h1")
    note = f"{short(sum(tokens.values()))} tokens, {len(found):,} cells" if mix is None else f"up to {max(one.repeats for one in found.values()):.2f}"
    return card(title, note, drawn)


def _cell_tip(topic: str, vigintile: int, one: _Sum | None, mix: Mix | None) -> str:
    if one is None:
        return ""
    text = f"{topic}, vigintile {vigintile}: {one.tokens:,} tokens in {one.sequences:,} sequences"
    return text if mix is None else f"{text}, served {one.repeats:.2f} times"


def _others(figures: Figures, mix: Mix | None) -> str:
    ranked = {c.source for c in figures.cells if c.vigintile}
    total: dict[str, list[float]] = {}
    for c in figures.cells:
        if c.source not in ranked:
            line = total.setdefault(c.source, [0, 0, 0, 0.0])
            line[0] += 1
            line[1] += c.sequences
            line[2] += c.tokens
            line[3] += c.tokens * (mix.repeats.get(c.stream, 0.0) if mix else 0.0)
    if not total:
        return ""
    rows = [[s, int(n), int(q), int(t), (served / t if t else 0.0) if mix else None] for s, (n, q, t, served) in total.items()]
    return details("Sources without a quality score", data_table(["source", "cells", "sequences", "tokens", "mean repeats in mix/pretrain"], rows))
