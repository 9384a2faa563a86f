"""Encyclopedic articles: chapters of the language reference and long module descriptions, as plain text and as wikitext."""

from hashlib import sha256
from typing import Any

from dolma.gather.docs import Page, order
from dolma.gather.markup import Block, to_text, to_wikitext

PROSE_CHARS = 1500  # of paragraphs; an article is prose


def _prose(page: Page) -> int:
    return sum(len(block.text) for block in page.blocks if block.kind == "p")


def choose(pages: list[Page], seed: int, count: int) -> tuple[list[Page], list[Page]]:
    """(articles, the pages that stay for the web): reference chapters and the pages with the most prose, drawn with the seed."""
    fit = [page for page in pages if page.kind in ("reference", "module") and _prose(page) >= PROSE_CHARS]
    fit.sort(key=lambda page: (page.kind != "reference", order(seed, "wiki", page.package, page.name)))
    chosen = {(page.package, page.name) for page in fit[:count]}
    rest = [page for page in pages if (page.package, page.name) not in chosen]
    return [page for page in pages if (page.package, page.name) in chosen], rest


def plain(page: Page) -> dict[str, Any]:
    """An article whose headings stand between equals signs, as in the collections of plain articles."""
    made = [Block("p", f"= = {block.text} = =") if block.kind == "h" else block for block in page.blocks]
    return {**_common(page, "plain"), "text": to_text(made)}


def wikitext(page: Page) -> dict[str, Any]:
    """An article with an information box, links, references and categories."""
    box = f"{{{{Infobox software\n| name = {page.title}\n| version = {page.version}\n| genre = [[{page.topic}]]\n}}}}"
    cite = f"<ref>{{{{cite web |title={page.title} |work={page.package} |date=2025}}}}</ref>"
    lead = f"'''{page.title}''' belongs to [[{page.package}|the package {page.package}]] and to the field of [[{page.topic}]].{cite}"
    end = f"== References ==\n{{{{Reflist}}}}\n\n[[Category:{page.topic}]]\n[[Category:{page.package}]]"
    return {**_common(page, "wikitext"), "text": f"{box}\n{lead}\n\n{to_wikitext(list(page.blocks))}\n\n{end}", "categories": [page.topic, page.package]}


def _common(page: Page, form: str) -> dict[str, Any]:
    digest = sha256(f"{page.package}/{page.name}".encode()).hexdigest()[:12]
    return {"id": f"wiki-{digest}", "title": page.title, "source": "wiki", "lang": "en", "format": form, "licence": f"as {page.package}"}
