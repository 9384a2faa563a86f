"""Layouts of documentation sites: the same content between different menus, side bars and footers."""

from collections.abc import Sequence
from html import escape

from dolma.gather.docs import Page
from dolma.gather.markup import to_html

Link = tuple[str, str]  # address, words

MENU = ["Home", "Documentation", "Tutorials", "API reference", "Releases", "Download", "Community", "Blog", "Support", "Search"]
FOOT = ["About", "Contact", "Privacy policy", "Terms of use", "Status", "Sitemap", "Code of conduct", "Sponsors"]


def links(items: Sequence[Link], tag: str = "ul", name: str = "") -> str:
    """A list of links."""
    inner = "".join(f'<li><a href="{escape(url)}">{escape(words)}</a></li>' for url, words in items)
    return f'<{tag} class="{name}">{inner}</{tag}>'


def _menu(items: Sequence[str]) -> list[Link]:
    return [(f"/{words.lower().replace(' ', '-')}/", words) for words in items]


def _document(title: str, site: str, body: str, charset: str = "utf-8") -> str:
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="{charset}">\n<title>{escape(title)} - {escape(site)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="stylesheet" href="/static/site.css">\n'
        f"<script>window.dataLayer = window.dataLayer || []; dataLayer.push({{'page': location.pathname}});</script>\n</head>\n{body}\n</html>\n"
    )


def _manual(page: Page, article: str, near: Sequence[Link], charset: str) -> str:
    contents = links([(f"#s{number}", name) for number, name in enumerate(page.names[:40])])
    body = (
        f'<body><div class="related" role="navigation"><h3>Navigation</h3>{links(_menu(MENU[:5]))}</div>\n'
        f'<div class="document"><div class="documentwrapper"><div class="body" role="main"><section><h1>{escape(page.title)}</h1>\n'
        f"{article}\n</section></div></div>\n"
        f'<div class="sphinxsidebar" role="navigation"><h3>Table of contents</h3>{contents}<h4>Other pages</h4>{links(near)}'
        '<h3>This page</h3><ul><li><a href="/bugs.html">Report a bug</a></li><li><a href="/source.html">Show source</a></li></ul></div></div>\n'
        f'<div class="footer" role="contentinfo">&copy; Copyright {escape(page.package)} developers. {links(_menu(FOOT[:3]))}'
        " Last updated on Jan 06, 2025.</div></body>"
    )
    return _document(page.title, f"{page.package} {page.version} documentation", body, charset)


def _material(page: Page, article: str, near: Sequence[Link], charset: str) -> str:
    body = (
        f'<body><div id="cookies" class="banner">We use cookies to improve your experience. <button>Accept all</button> <button>Reject</button></div>\n'
        f'<header><nav class="top">{links(_menu(MENU))}</nav></header>\n<main><aside class="left">{links(near)}</aside>\n'
        f'<article class="content"><nav class="breadcrumbs"><a href="/">Home</a> &raquo; <a href="/{page.package}/">{escape(page.package)}</a></nav>'
        f'<h1>{escape(page.title)}</h1>\n{article}\n</article>\n<aside class="toc">{links([(f"#{name}", name) for name in page.names[:30]])}</aside></main>\n'
        '<div class="feedback">Was this page helpful? <button>Yes</button> <button>No</button></div>'
        f"<footer>{links(_menu(FOOT))}<p>Made with a static site generator.</p></footer></body>"
    )
    return _document(page.title, page.package, body, charset)


def _package(page: Page, article: str, near: Sequence[Link], charset: str) -> str:
    body = (
        '<body class="package"><header class="site-header"><form action="/search"><input name="q" placeholder="Search packages"></form>'
        f"{links(_menu(MENU[5:]))}</header>\n"
        f'<div class="banner"><h1>{escape(page.title)}</h1><p class="install">pip install {escape(page.package)}</p></div>\n'
        '<div class="vertical-tabs"><div class="sidebar"><h3>Navigation</h3>'
        "<ul><li>Project description</li><li>Release history</li><li>Download files</li></ul>"
        f"<h3>Similar</h3>{links(near)}<h3>Statistics</h3><p>Stars: {page.chars % 4999}</p><p>Forks: {page.chars % 499}</p></div>\n"
        f'<div class="project-description" id="description">{article}</div></div>\n<footer>{links(_menu(FOOT[:6]))}</footer></body>'
    )
    return _document(page.title, "Packages", body, charset)


def _bare(page: Page, article: str, near: Sequence[Link], charset: str) -> str:
    side = "<br>".join(f"<a href={url!r}>{escape(words)}</a>" for url, words in near)
    foot = f"<hr><i>Generated documentation of {escape(page.package)} {escape(page.version)}.</i>"
    body = (
        f'<body bgcolor="#ffffff"><table width="100%"><tr><td width="160" valign="top">{side}</td>\n'
        f'<td valign="top"><h1>{escape(page.title)}</h1>\n{article}\n{foot}</td></tr></table></body>'
    )
    return _document(page.title, page.package, body, charset)


LAYOUTS = [_manual, _material, _bare, _package]


def page_html(page: Page, layout: int, near: Sequence[Link], charset: str = "utf-8") -> str:
    """The HTML of a page in one of the layouts, with links to the pages `near` it."""
    return LAYOUTS[layout % len(LAYOUTS)](page, to_html(list(page.blocks)), near, charset)


def index_html(title: str, items: Sequence[Link]) -> str:
    """A page that only links to others."""
    return _document(title, "Index", _framed(f'<div class="content"><h1>{escape(title)}</h1>{links(items, name="toctree")}</div>'))


def _framed(main: str) -> str:
    return f"<body><nav>{links(_menu(MENU))}</nav>{main}<footer>{links(_menu(FOOT))}</footer></body>"


def table_html(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A page that is one table."""
    cells = "".join("<tr>" + "".join(f"<td>{escape(str(value))}</td>" for value in row) + "</tr>\n" for row in rows)
    names = "".join(f"<th>{escape(name)}</th>" for name in head)
    return _document(title, "Tables", f"<body><nav>{links(_menu(MENU[:4]))}</nav><h1>{escape(title)}</h1><table><tr>{names}</tr>\n{cells}</table></body>")


def message_html(title: str, words: str) -> str:
    """A page with one sentence: an error, a notice, an empty search."""
    return _document(title, "Documentation", _framed(f"<main><h1>{escape(title)}</h1><p>{escape(words)}</p></main>"))
