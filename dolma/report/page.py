"""The report as one HTML document: figures in, text out; every value that came from data is escaped."""

from collections.abc import Iterable, Sequence

from dolma import stats
from dolma.console import cell, short
from dolma.report import corpus, costs, mixes, stages
from dolma.report.blocks import data_table, document, missing, section
from dolma.report.charts import esc
from dolma.report.figures import Figures


def render(figures: Figures, title: str) -> str:
    """The whole page. The same figures give the same bytes: it holds no date and no place."""
    parts = [
        ("stages", "Stages", stages.held_out(figures)),
        ("curves", "Training", stages.curves(figures)),
        ("funnel", "Funnel", corpus.funnel(figures)),
        ("quarantine", "Quarantine", corpus.quarantine(figures)),
        ("pool", "Pool", corpus.pool(figures)),
        ("cells", "Cells", corpus.cells(figures)),
        ("mix", "Mix", mixes.mixes(figures.mixes)),
        ("costs", "Costs", costs.costs(figures)),
        ("speed", "Benchmarks", _benchmarks(figures)),
        ("provenance", "Provenance", _provenance(figures)),
    ]
    links = "".join(f'<a href="#{name}">{esc(text)}</a>' for name, text, _ in parts)
    lead = "From raw pages to six trained stages. Every figure is read from the manifests and logs of one run."
    nav = f'<nav aria-label="Sections"><div>{links}</div></nav>'
    foot = "One file, no network. In = out + dropped by reason + quarantined, in every manifest."
    return document(title, lead, _tiles(figures) + "".join(body for _, _, body in parts), foot, nav)


def _tiles(figures: Figures) -> str:
    entered = sum(f.documents_in for f in figures.funnels)
    out = sum(f.out for f in figures.funnels)
    astray = sum(abs(f.unaccounted) for f in figures.funnels)
    cells = len({(c.source, c.topic, c.vigintile) for c in figures.cells})
    tokens = sum(c.tokens for c in figures.cells)
    mix = next((m for m in figures.mixes if m.name == "mix/pretrain"), None)
    done = sum(stage.done for stage in figures.stages)
    tiles = [
        (short(entered) if figures.funnels else "-", f"documents in, from {len(figures.funnels)} sources", False),
        (
            short(out) if figures.funnels else "-",
            f"documents {'in the pool' if stats.END in figures.known else 'kept so far'}{f', {out / entered:.0%} of all' if entered else ''}",
            False,
        ),
        (short(tokens) if figures.cells else "-", f"packed tokens in {cells:,} cells", False),
        (
            short(mix.tokens) if mix else "-",
            f"tokens the pretraining mix serves{f', repeats up to {max(mix.repeats.values(), default=0):.1f}' if mix else ''}",
            False,
        ),
        (f"{done} of {len(figures.stages)}", "training stages finished", False),
        (f"{len(figures.quarantine):,}", "rows quarantined, each with place and reason", False),
        (f"{astray:,}", "documents unaccounted for", astray > 0),
    ]
    boxes = "".join(f'<div class="tile{" alarm" if alarm else ""}"><b>{esc(value)}</b><span>{esc(text)}</span></div>' for value, text, alarm in tiles)
    return f'<div class="tiles">{boxes}</div>'


def _benchmarks(figures: Figures) -> str:
    why = "Each row is one pair on the same input in one run; CPU seconds of whole processes."
    if not figures.benchmarks:
        return section("speed", "Benchmarks", why, missing("No benchmark results: make bench writes them."))
    header = ["name", "peer", "version", "unit", "ours", "theirs", "ratio", "runs", "spread", "note"]
    keys = ["name", "peer", "peer_version", "unit", "ours", "theirs", "ratio", "runs", "spread", "note"]
    rows = [[_plain(row.get(key)) for key in keys] for row in figures.benchmarks]
    return section("speed", "Benchmarks", why, data_table(header, rows, wide=("note",)))


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, str | int | float) else cell(value)


def _provenance(figures: Figures) -> str:
    why = "A fingerprint covers the recipe with its defaults, the versions of its steps, its inputs and assets. The same fingerprint means the same bytes."
    rows: list[Sequence[object]] = [
        [m.dataset, m.table, m.format, m.rows, m.tokens or None, m.bytes, len(m.files), m.fingerprint[:12], ", ".join(_inputs(i.name for i in m.inputs))]
        for m in figures.known.values()
    ]
    header = ["dataset", "table", "format", "rows", "tokens", "bytes", "files", "fingerprint", "made from"]
    return section("provenance", "Provenance", why, data_table(header, rows, mono=("dataset", "fingerprint"), wide=("made from",)))


def _inputs(names: Iterable[str], most: int = 6) -> list[str]:
    found = list(names)
    return found if len(found) <= most else [*found[:most], f"and {len(found) - most} more"]
