"""The report as one HTML document: figures in, text out; every value that came from data is escaped."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from hashlib import sha256

from dolma import stats
from dolma.console import cell, short
from dolma.report import corpus, costs, stages
from dolma.report.blocks import data_table, missing, section
from dolma.report.charts import esc
from dolma.report.figures import Figures
from dolma.report.style import CSS, SCRIPT


def render(figures: Figures, title: str) -> str:
    """The whole page. The same figures give the same bytes: it holds no date and no place."""
    parts = [
        ("stages", "Stages", stages.held_out(figures)),
        ("curves", "Training", stages.curves(figures)),
        ("funnel", "Funnel", corpus.funnel(figures)),
        ("quarantine", "Quarantine", corpus.quarantine(figures)),
        ("pool", "Pool", corpus.pool(figures)),
        ("cells", "Cells", corpus.cells(figures)),
        ("mix", "Mix", corpus.mixes(figures)),
        ("costs", "Costs", costs.costs(figures)),
        ("speed", "Benchmarks", _benchmarks(figures)),
        ("provenance", "Provenance", _provenance(figures)),
    ]
    links = "".join(f'<a href="#{name}">{esc(text)}</a>' for name, text, _ in parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy()}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="referrer" content="no-referrer">'
        f"<title>{esc(title)}</title><style>{CSS}</style></head><body>"
        f"<header><div><h1>{esc(title)}</h1>"
        "<p>From raw pages to six trained stages. Every figure is read from the manifests and logs of one run.</p></div></header>"
        f'<nav aria-label="Sections"><div>{links}</div></nav><main>{_tiles(figures)}'
        + "".join(body for _, _, body in parts)
        + "<footer>One file, no network. In = out + dropped by reason + quarantined, in every manifest.</footer></main>"
        f'<div id="tip" role="status"></div><script>{SCRIPT}</script></body></html>\n'
    )


def _policy() -> str:
    """Nothing may be fetched; the one style sheet and the one script are named by their hashes."""

    def named(text: str) -> str:
        return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"

    return f"default-src 'none'; style-src {named(CSS)}; script-src {named(SCRIPT)}; base-uri 'none'; form-action 'none'"


def _tiles(figures: Figures) -> str:
    entered = sum(f.documents_in for f in figures.funnels)
    out = sum(f.out for f in figures.funnels)
    astray = sum(abs(f.unaccounted) for f in figures.funnels)
    cells = len({(c.source, c.topic, c.vigintile) for c in figures.cells})
    tokens = sum(c.tokens for c in figures.cells)
    mix = next((m for m in figures.mixes if m.name == "pretrain"), None)
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
