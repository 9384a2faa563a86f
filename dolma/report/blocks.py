"""The few HTML blocks that all sections of the report use."""

from base64 import b64encode
from collections.abc import Collection, Iterable, Sequence
from hashlib import sha256

from dolma.console import cell
from dolma.report.charts import esc
from dolma.report.style import CSS, SCRIPT

COLOURS = {"web": "c0", "pdf": "c1", "code": "c2", "math": "c3", "wiki": "c4"}  # the same colour for a source in every chart
ARROW, DASH, DOT, MINUS = "\u2192", "\u2013", " \u00b7 ", "\u2212"
SPARE = ("c5", "c6", "c7")


def document(title: str, lead: str, body: str, foot: str, nav: str = "") -> str:
    """A whole page with the report's style: it fetches nothing, and holds no date and no place."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy()}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="referrer" content="no-referrer">'
        f"<title>{esc(title)}</title><style>{CSS}</style></head><body>"
        f"<header><div><h1>{esc(title)}</h1><p>{esc(lead)}</p></div></header>{nav}<main>{body}<footer>{esc(foot)}</footer></main>"
        f'<div id="tip" role="status"></div><script>{SCRIPT}</script></body></html>\n'
    )


def _policy() -> str:
    """Nothing may be fetched; the one style sheet and the one script are named by their hashes."""

    def named(text: str) -> str:
        return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"

    return f"default-src 'none'; style-src {named(CSS)}; script-src {named(SCRIPT)}; base-uri 'none'; form-action 'none'"


def ordered(sources: Iterable[str]) -> list[str]:
    """Sources in the order of every chart: the known ones first, then the rest by name."""
    return sorted(sources, key=lambda name: (list(COLOURS).index(name) if name in COLOURS else len(COLOURS), name))


def colour(source: str, sources: Sequence[str]) -> str:
    """The CSS class of a source's colour; sources without a fixed one take the spare ones in order."""
    if source in COLOURS:
        return COLOURS[source]
    others = [name for name in sources if name not in COLOURS]
    return SPARE[others.index(source) % len(SPARE)] if source in others else SPARE[-1]


def section(name: str, title: str, why: str, body: str) -> str:
    """A section with its title and one sentence that says how to read it."""
    return f'<section id="{esc(name)}"><h2>{esc(title)}</h2><p>{esc(why)}</p>{body}</section>'


def card(title: str, note: str, body: str) -> str:
    """A box with a title on the left and a note on the right."""
    return f'<div class="card"><div class="head"><h3>{esc(title)}</h3><span>{esc(note)}</span></div>{body}</div>'


def missing(text: str) -> str:
    """What stands in the place of a figure that does not exist yet."""
    return f'<div class="none">{esc(text)}</div>'


def legend(items: Iterable[tuple[str, str]]) -> str:
    """Coloured squares with names: (name, CSS class)."""
    keys = "".join(
        f'<span><svg viewBox="0 0 11 11" aria-hidden="true"><rect class="{css}" width="11" height="11" rx="2"/></svg>{esc(name)}</span>' for name, css in items
    )
    return f'<div class="key">{keys}</div>'


def data_table(header: Sequence[str], rows: Iterable[Sequence[object]], mono: Collection[str] = (), wide: Collection[str] = ()) -> str:
    """A table that scrolls in its own box; columns of numbers stand to the right."""
    values = [list(row) for row in rows]
    number = [
        any(isinstance(row[i], int | float) for row in values) and all(row[i] is None or isinstance(row[i], int | float) for row in values)
        for i in range(len(header))
    ]
    css = ["r" if n else "m" if name in mono else "w" if name in wide else "" for name, n in zip(header, number, strict=True)]
    top = "".join(f"<th{_css('r' if n else '')}>{esc(name)}</th>" for name, n in zip(header, number, strict=True))
    body = "".join("<tr>" + "".join(f"<td{_css(c)}>{esc(cell(value))}</td>" for value, c in zip(row, css, strict=True)) + "</tr>" for row in values)
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def details(summary: str, body: str) -> str:
    """A block that opens on a click."""
    return f"<details><summary>{esc(summary)}</summary>{body}</details>"


def _css(name: str) -> str:
    return f' class="{name}"' if name else ""
