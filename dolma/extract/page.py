"""One HTML page to its text, with resiliparse; the only file that imports it. It runs in a process that may be killed (`page_worker.py`)."""

import re
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple

from dolma.core.errors import EnvironmentFault
from dolma.extract.formulas import has_formulas, write_formulas

Extractor = Literal["resiliparse", "resiliparse-main", "resiliparse-all", "trafilatura"]

# What HTML itself says is not the content of a page. Sources: WHATWG HTML 4.3 and 4.4 (sections), WAI-ARIA 1.2 5.3.4 (landmarks)
CHROME = (
    "nav, footer, aside, dialog, button, select, [role=navigation], [role=banner], [role=contentinfo], [role=complementary], [role=search], "
    "[role=dialog], [aria-hidden=true]"
).split(", ")

_META = re.compile(rb"<meta[^>]{0,400}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]{2,40})", re.IGNORECASE)
_PRESCAN = 1024  # bytes in which a page may declare its charset. Source: WHATWG HTML 13.2.3.2
_ISO_2022 = re.compile(rb"\x1b[$(]")  # changes the character set; ISO-2022-JP is ASCII to the eye
_BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))


class Page(NamedTuple):
    """What was read of a page: text (empty where there is none), title, charset and whose word it was, and the way its text was found."""

    text: str
    title: str | None
    charset: str
    charset_source: str
    extractor: str


def extract(content: bytes, header: str | None, *, extractor: Extractor, least_share: float, comments: bool) -> Page:
    """Decode a page, write its formulas as text, and take its main text; the arguments are those of `extract_html`."""
    door = _resiliparse()
    html, charset, source = decode(content, header)
    tree = door.parse(html)
    title = " ".join((tree.title or "").split()) or None
    written = tree.body is not None and has_formulas(html)
    if written:
        write_formulas(tree, door.traverse)
    if extractor == "trafilatura":
        from dolma.extract.trafilatura import main_text

        html = tree.document.html if written else html
        text, way = main_text(html, comments=comments), "trafilatura"
    else:
        text, way = _text(door, tree, extractor, least_share, comments)
    return Page(_sane(text.strip()), _sane(title) if title else None, charset, source, way)


def _text(door: Any, tree: Any, extractor: Extractor, least_share: float, comments: bool) -> tuple[str, str]:
    if extractor == "resiliparse-all":
        return door.extract(tree, main_content=False, alt_texts=False), "resiliparse-all"
    main = door.extract(tree, main_content=True, comments=comments, alt_texts=False)
    if extractor == "resiliparse":
        body = door.extract(tree, main_content=False, alt_texts=False, skip_elements=CHROME)
        if len(main) < least_share * len(body):
            return body, "resiliparse-body"
    return main, "resiliparse-main"


def _sane(text: str) -> str:
    """`text` without lone surrogates, which no UTF-8 column can hold."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def decode(html: bytes, header: str | None) -> tuple[str, str, str]:
    """The page as a string, the charset it was decoded with, and whose word that was.

    UTF-8 comes before what header and page declare: text in another charset that is valid UTF-8 by chance is rare, wrong declarations are not. One charset
    comes before it: ISO-2022-JP, whose bytes are all ASCII and whose escapes are hardly ever in other text.
    """
    door = _resiliparse()
    for mark, charset in _BOMS:
        if html.startswith(mark):
            return html[len(mark) :].decode(charset, "replace"), charset, "bom"
    declared = _META.search(html[:_PRESCAN])
    said = [(header, "header"), (_of_ascii(declared.group(1).decode()) if declared else None, "meta")]
    named = [(charset, source) for name, source in said if name and (charset := door.charset(name, fallback_utf8=False))]
    if html.isascii() and _ISO_2022.search(html) and _sound(text := html.decode("iso2022_jp_ext", "replace")):
        return text, "iso2022_jp", dict(reversed(named)).get("iso2022_jp", "guess")
    try:
        return html.decode(), "utf-8", "utf-8"
    except UnicodeDecodeError:  # not UTF-8: on to what is declared
        pass
    for charset, source in named:
        if charset != "utf-8":
            try:
                return html.decode(charset), charset, source
            except (UnicodeDecodeError, LookupError):  # a wrong declaration: on to the next
                continue
    if any(charset == "utf-8" for charset, _ in named):
        mended = html.decode("utf-8", "replace")
        if _sound(mended):
            return mended, "utf-8", "mended"
    guess = door.detect(html)
    return door.to_str(html, guess, errors="replace"), guess, "guess"


def _sound(text: str) -> bool:
    """Whether few characters of a decoded text are damaged: Shift-JIS read as UTF-8 has 70 % and more of all that is not ASCII; a cut or pasted-in byte is one
    in hundreds."""
    return text.count("\ufffd") * 5 <= len(text) - len(text.encode("ascii", "ignore"))


def _of_ascii(name: str) -> str:
    """The charset that a declaration found as ASCII can mean: never one of wide characters. Source: WHATWG HTML 13.2.3.2, UTF-16 there is UTF-8."""
    return "utf-8" if re.match(r"utf-?(?:16|32)|ucs-?[24]|unicode$|csunicode|iso-10646-ucs", name, re.IGNORECASE) else name


@lru_cache(1)
def _resiliparse() -> Any:
    try:
        from resiliparse.extract.html2text import extract_plain_text
        from resiliparse.parse.encoding import bytes_to_str, detect_encoding, map_encoding_to_html5
        from resiliparse.parse.html import HTMLTree, traverse_dom
    except ImportError as error:
        raise EnvironmentFault("dolma.extract.page", "resiliparse is not installed", mend="pip install 'dolma-flow[web]'") from error
    return SimpleNamespace(
        extract=extract_plain_text, parse=HTMLTree.parse, traverse=traverse_dom, detect=detect_encoding, to_str=bytes_to_str, charset=map_encoding_to_html5
    )
