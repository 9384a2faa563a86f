"""Mixes as pictures: shares against the pool and against one another, and repeats by topic and vigintile; in the report, and as a file of their own."""

from collections.abc import Sequence
from pathlib import Path

from dolma.console import short
from dolma.core.errors import ConfigError
from dolma.core.files import write_atomic
from dolma.mixes import Mix, difference, lines, summary
from dolma.report import charts
from dolma.report.blocks import card, colour, data_table, details, document, legend, missing, ordered, section
from dolma.report.charts import esc
from dolma.report.style import CSS

WIDTH, LEFT, GAP = 1000, 190, 8  # of a picture in a file of its own, in pixels
HEAD, ROW = 34, 26


def mixes(found: Sequence[Mix]) -> str:
    """The report's section: every mix beside the pool, its repeats, and how mixes over the same shards differ."""
    why = "Share of the tokens that each mix serves, by source. A mix is a list of cells and repeats: no byte of the pool is copied for it."
    if not found:
        return section("mix", "Mix by source and stage", why, missing("No mix is finished yet."))
    body = _shares(found) + "".join(_heats(mix, mix.short) for mix in found if mix.name != "mix/pretrain")  # that one's stand with the cells
    rows = [[mix.short, *row] for mix in found for row in lines(summary(mix, "source"))[1][:-1]]
    body += details("Tokens and repeats by source", data_table(["mix", *lines(summary(found[0], "source"))[0]], rows))
    first = found[0]
    for mix in found[1:]:
        if set(mix.datasets) & set(first.datasets):
            header, rows = lines(difference(mix, first, "source"))
            body += details(f"{mix.short} against {first.short} (before)", data_table(header, rows))
    return section("mix", "Mix by source and stage", why, body)


def _bars(found: Sequence[Mix]) -> list[tuple[str, str, int]]:
    """(name, bar, tokens) of each pool and mix; a pool stands once, before the mixes over it."""
    sources = ordered({source for mix in found for source in mix.available})
    bars, pools = [], list[tuple[str, ...]]()
    for mix in found:
        if mix.datasets not in pools:
            pools.append(mix.datasets)
            name = "pool" if len({other.datasets for other in found}) == 1 else ", ".join(one.removeprefix("shard/") for one in mix.datasets)
            bars.append((name, _stack(mix.available, sources), sum(mix.available.values())))
        bars.append((mix.short, _stack(mix.served, sources), mix.tokens))
    return bars


def _stack(tokens: dict[str, int], sources: Sequence[str]) -> str:
    total = sum(tokens.values()) or 1
    return charts.stack([(f"{s} {n / total:.1%}, {short(n)} tokens", n / total, colour(s, sources)) for s in sources if (n := tokens.get(s, 0))])


def _shares(found: Sequence[Mix]) -> str:
    sources = ordered({source for mix in found for source in mix.available})
    rows = "".join(f'<div>{esc(name)}</div>{bar}<div class="n">{short(tokens)}</div>' for name, bar, tokens in _bars(found))
    return f'<div class="card">{legend([(s, colour(s, sources)) for s in sources])}<div class="mix">{rows}</div></div>'


def _maps(mix: Mix) -> list[tuple[str, str, charts.Heat]]:
    """(source, note, repeats by topic and vigintile) of each source with vigintiles that the mix takes from."""
    cells: dict[str, dict[tuple[str, int], tuple[int, int]]] = {}
    for row in summary(mix, "cell").to_pylist():
        if row["vigintile"]:
            inner = cells.setdefault(row["source"], {})
            pool, tokens = inner.get((row["topic"], row["vigintile"]), (0, 0))  # several languages of one topic are one row
            inner[row["topic"], row["vigintile"]] = (pool + row["pool_tokens"], tokens + row["tokens"])
    found = []
    for source in ordered(cells):
        inner = cells[source]
        if not any(tokens for _, tokens in inner.values()):
            continue
        size = {topic: sum(pool for (one, _), (pool, _) in inner.items() if one == topic) for topic, _ in inner}
        topics, columns = sorted(size, key=lambda topic: (-size[topic], topic)), list(range(1, 21))
        amounts = [[inner.get((topic, v)) for v in columns] for topic in topics]
        values = [[None if one is None else one[1] / one[0] if one[0] else 0.0 for one in row] for row in amounts]
        texts = [[_copies(x) for x in row] for row in values]
        tips = [[_tip(topic, v, one) for v, one in zip(columns, row, strict=True)] for topic, row in zip(topics, amounts, strict=True)]
        note = f"up to {max(x or 0.0 for row in values for x in row):.2f}"
        found.append((source, note, charts.heat_parts(topics, [str(v) for v in columns], values, texts, tips, "h1")))
    return found


def _copies(value: float | None) -> str:
    return "" if not value else f"{value:.1f}" if value >= 0.095 else f"{value:.2f}".lstrip("0") if value >= 0.005 else "<.01"


def _tip(topic: str, vigintile: int, one: tuple[int, int] | None) -> str:
    return "" if one is None else f"{topic}, vigintile {vigintile}: {one[0]:,} tokens, served {one[1] / one[0] if one[0] else 0:.2f} times"


def _heats(mix: Mix, name: str) -> str:
    return "".join(card(f"{s}: repeats in {name}", note, f'<div class="heat">{heat.names}{heat.cells}</div>') for s, note, heat in _maps(mix))


def write(out: Path, found: Sequence[Mix], by: str) -> Path:
    """Draw one mix, or two with the difference of the first from the second, into an .html or .svg file.

    Raises:
        ConfigError: the file is to be something else.
    """
    if out.suffix not in (".html", ".svg"):
        raise ConfigError("--plot", "is not drawn", got=out.suffix or "no ending", expected=".html or .svg", mend="end the file's name with one of these")
    write_atomic(out, (page(found, by) if out.suffix == ".html" else picture(found)).encode())
    return out


def _title(found: Sequence[Mix]) -> str:
    return " against ".join(mix.name for mix in found)


def page(found: Sequence[Mix], by: str) -> str:
    """A page of its own: shares, repeats by topic and vigintile, and the table of `dolma mix --by`."""
    header, rows = lines(summary(found[0], by) if len(found) == 1 else difference(found[0], found[1], by))
    body = section("mix", "Shares by source", "Share of the tokens of the pool and of each mix.", _shares(found))
    maps = "".join(_heats(mix, mix.short) for mix in found)
    if maps:
        body += section("repeats", "Repeats by topic and vigintile", "Vigintile 1 is the worst, 20 the best twentieth of a topic's tokens.", maps)
    body += section("table", f"By {by}", "Shares in per cent.", data_table(header, rows))
    return document(_title(found), "What is served of what there is.", body, "One file, no network.")


def picture(found: Sequence[Mix]) -> str:
    """The same charts as one SVG."""
    parts, y = [], 0

    def place(x: int, width: int, height: int, inner: str) -> None:
        parts.append(f'<svg x="{x}" y="{y}" width="{width}" height="{height}">{inner}</svg>')

    def text(x: int, css: str, words: str, anchor: str = "start") -> None:
        parts.append(f'<text x="{x}" y="{y + 18}" class="{css}" text-anchor="{anchor}">{esc(words)}</text>')

    y += 12
    text(0, "title", _title(found))
    y += HEAD
    x = LEFT
    for source in (sources := ordered({source for mix in found for source in mix.available})):
        parts.append(f'<rect class="{colour(source, sources)}" x="{x}" y="{y + 8}" width="11" height="11" rx="2"/>')
        text(x + 17, "", source)
        x += 40 + 7 * len(source)
    y += ROW
    for name, bar, tokens in _bars(found):
        text(LEFT - GAP, "name", name, "end")
        place(LEFT, WIDTH - LEFT - 60, 26, bar)
        text(WIDTH, "", short(tokens), "end")
        y += ROW + GAP
    for mix in found:
        for source, note, heat in _maps(mix):
            y += 10
            text(LEFT, "title", f"{source}: repeats in {mix.short} by topic and vigintile, {note}")
            y += HEAD
            parts.append('<g class="heat">')
            place(0, LEFT - GAP, heat.height, heat.names)
            place(LEFT, WIDTH - LEFT, heat.height, heat.cells)
            parts.append("</g>")
            y += heat.height
    style = f"{CSS}svg text.title{{font-size:14px;font-weight:600;fill:var(--ink)}}svg text.name{{font-size:12px;fill:var(--ink)}}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-20 0 {WIDTH + 40} {y + 20}" width="{WIDTH + 40}" height="{y + 20}"'
        ' font-family="system-ui, Segoe UI, Roboto, Noto Sans, DejaVu Sans, sans-serif">'
        f'<style>{style}</style><rect x="-20" width="{WIDTH + 40}" height="{y + 20}" fill="var(--bg)"/>{"".join(parts)}</svg>\n'
    )
