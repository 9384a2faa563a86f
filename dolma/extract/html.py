"""HTML pages to their main text, with resiliparse; the only file that imports it."""

import re
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import pyarrow as pa

from dolma.core.errors import EnvironmentFault
from dolma.core.schema import ERROR, append, keys, without
from dolma.core.step import step

_META = re.compile(rb"<meta[^>]{0,400}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]{2,40})", re.IGNORECASE)
_PRESCAN = 1024  # bytes in which a page may declare its charset. Source: WHATWG HTML 13.2.3.2
_BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))

ADDS = {"key": pa.int64(), "text": pa.large_string(), "title": pa.string(), "charset": pa.string(), "charset_source": pa.string()}


@step(needs=("id", "content", "charset"), adds=ADDS, removes=("content",), version=1, packages=("resiliparse",))
def extract_html(
    batch: pa.RecordBatch, *, main_content: bool = True, comments: bool = True, max_bytes: int = 5_000_000, max_depth: int = 1_000
) -> pa.RecordBatch:
    """Take the text out of HTML: paragraphs, numbered lists and tables kept as lines; menus, scripts and forms gone. Empty where there is none.

    The main-content rules of resiliparse 2.0 also take short bulleted lists for menus and leave them out; `main_content: false` keeps them.

    `charset` in the batch is what the HTTP header said; afterwards it is what the bytes were decoded as, and `charset_source` says on whose word: bom,
    utf-8 (the bytes are valid UTF-8, whoever said what), header, meta, mended (called UTF-8, with some damaged bytes replaced) or guess.

    Args:
        main_content: leave out what looks like navigation, footers and side bars.
        comments: take user comments for main content.
        max_bytes: larger pages are not parsed: `_error`.
        max_depth: pages nested deeper are not parsed: `_error`. Main-content rules are quadratic in depth: 0.04 s at 1,000 nested elements, 7 s at
            16,000; the deepest of 713 real pages has 128.
    """
    from dolma.kernels.markup import depth

    door = _resiliparse()
    rows: list[tuple[str | None, ...]] = []
    for content, header in zip(batch.column("content"), batch.column("charset"), strict=True):
        html = content.as_py() or b""
        if len(html) > max_bytes:
            rows.append((None, None, None, None, f"page of more than {max_bytes} bytes"))
            continue
        if depth(html) > max_depth:
            rows.append((None, None, None, None, f"elements nested deeper than {max_depth}"))
            continue
        decoded, charset, source = decode(html, header.as_py())
        rows.append((*_extracted(door, decoded, main_content, comments), charset, source, None))
    text, title, charset, source, error = zip(*rows, strict=True) if rows else ((),) * 5
    made = {
        "key": keys(batch.column("id")),
        "text": pa.array(text, pa.large_string()),
        "title": pa.array(title, pa.string()),
        "charset": pa.array(charset, pa.string()),
        "charset_source": pa.array(source, pa.string()),
    }
    if any(error):
        made[ERROR] = pa.array(error, pa.string())
    return append(without(batch, "content"), made)


def _extracted(door: Any, decoded: str, main_content: bool, comments: bool) -> tuple[str, str | None]:
    tree = door.parse(decoded)
    title = " ".join((tree.title or "").split()) or None
    text = door.extract(tree, main_content=main_content, comments=comments, alt_texts=False)
    return _sane(text.strip()), _sane(title) if title else None


def _sane(text: str) -> str:
    """`text` without lone surrogates, which no UTF-8 column can hold."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def decode(html: bytes, header: str | None) -> tuple[str, str, str]:
    """The page as a string, the charset it was decoded with, and whose word that was.

    UTF-8 comes before what header and page declare: text in another charset that is valid UTF-8 by chance is rare, wrong declarations are not.
    """
    door = _resiliparse()
    for mark, charset in _BOMS:
        if html.startswith(mark):
            return html[len(mark) :].decode(charset, "replace"), charset, "bom"
    declared = _META.search(html[:_PRESCAN])
    said = [(header, "header"), (declared.group(1).decode() if declared else None, "meta")]
    named = [(charset, source) for name, source in said if name and (charset := door.charset(name, fallback_utf8=False))]
    if b"\x1b" not in html:  # ISO-2022-JP is valid ASCII
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
        others = len(mended) - len(mended.encode("ascii", "ignore"))
        if mended.count("\ufffd") * 5 <= others:  # Shift-JIS read as UTF-8 has 70 % and more damaged characters; a cut or pasted-in byte is one in hundreds
            return mended, "utf-8", "mended"
    guess = door.detect(html)
    return door.to_str(html, guess, errors="replace"), guess, "guess"


@lru_cache(1)
def _resiliparse() -> Any:
    try:
        from resiliparse.extract.html2text import extract_plain_text
        from resiliparse.parse.encoding import bytes_to_str, detect_encoding, map_encoding_to_html5
        from resiliparse.parse.html import HTMLTree
    except ImportError as error:
        raise EnvironmentFault("dolma.extract.html", "resiliparse is not installed", mend="pip install 'dolma-flow[web]'") from error
    return SimpleNamespace(extract=extract_plain_text, parse=HTMLTree.parse, detect=detect_encoding, to_str=bytes_to_str, charset=map_encoding_to_html5)
