"""MediaWiki XML dumps (the export format of Wikipedia), page by page."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.parsers import expat

import pyarrow as pa

from dolma.core.errors import DataError
from dolma.core.schema import ERROR
from dolma.core.step import reader
from dolma.io.compressed import chunks

COLUMNS = {
    "id": pa.string(),
    "title": pa.string(),
    "ns": pa.int32(),
    "redirect": pa.string(),
    "timestamp": pa.string(),
    "format": pa.string(),
    "lang": pa.string(),
    "text": pa.large_string(),
    "file": pa.string(),
    "offset": pa.int64(),
}
SCHEMA = pa.schema([*COLUMNS.items(), (ERROR, pa.string())])
BATCH_ROWS, BATCH_BYTES = 512, 16 << 20
DEPTH = 16  # elements in elements; the format has 5. Source: mediawiki.org/xml/export-0.11.xsd
NUMBER = re.compile(r"-?[0-9]{1,9}")
FIELDS = {  # what is kept of a page: where it stands, and in which column
    ("page", "title"): "title",
    ("page", "ns"): "ns",
    ("page", "id"): "id",
    ("page", "revision", "timestamp"): "timestamp",
    ("page", "revision", "model"): "format",
    ("page", "revision", "text"): "text",
    ("siteinfo", "dbname"): "dbname",
}


@reader(out=COLUMNS, version=2)
def mediawiki(path: str | Path, *, file: str, max_page_bytes: int = 32 << 20) -> Iterator[pa.RecordBatch]:
    """One row a page of a MediaWiki XML dump (plain, .bz2, .gz, .zst or .xz); redirects, talk and other namespaces are rows that `keep` drops.

    `id` is the wiki's name with the page's number (`enwiki-12`), `ns` the number of the namespace (0: articles), `redirect` the title that a redirect leads
    to (else null), `timestamp` that of the revision, `format` its model (`wikitext`; `css`, `Scribunto` and others are no text), `lang` the language that
    the dump names (null without one), `text` the wikitext. Of several revisions the last is taken; a text that was hidden is empty. `offset` is the byte of
    the decompressed file where the page begins. A page that lacks its title, number, namespace or text, or is too long, is an `_error` row.

    Args:
        max_page_bytes: a page with more text in one field, or another tag longer than this, is not held in memory. Wikipedia's own limit of a page is 2 MiB.
    Raises:
        DataError: not well-formed XML, cut short, or with a document type: entities could grow without bound.
    """
    pages = _Pages(max_page_bytes)
    fed = 0
    for chunk in chunks(Path(path), file):
        _feed(pages, chunk, False, file)
        fed += len(chunk)
        if fed - pages.parser.CurrentByteIndex > max(max_page_bytes, 1 << 22):
            raise _damaged(file, pages, f"a tag of more than {max_page_bytes} bytes")
        if len(pages.rows) >= BATCH_ROWS or pages.size >= BATCH_BYTES:
            yield from _batches(pages, file)
    _feed(pages, b"", True, file)
    if not pages.dump:
        raise DataError(file, "no MediaWiki dump", got=f"<{pages.root}>", expected="<mediawiki>", mend="read it with another reader")
    yield from _batches(pages, file)


def _batches(pages: "_Pages", file: str) -> Iterator[pa.RecordBatch]:
    rows, pages.rows, pages.size = pages.rows, [], 0
    for start in range(0, len(rows), BATCH_ROWS):
        yield pa.RecordBatch.from_pylist([{**row, "file": file} for row in rows[start : start + BATCH_ROWS]], schema=SCHEMA)


def _feed(pages: "_Pages", chunk: bytes, last: bool, file: str) -> None:
    try:
        pages.parser.Parse(chunk, last)
    except expat.ExpatError as error:
        raise _damaged(file, pages, str(error)) from error
    except _Refused as error:
        mend = "dumps of MediaWiki have none: do not use this file"
        raise DataError(f"{file}, byte {pages.parser.CurrentByteIndex} of the content", str(error), got=error.got, expected=error.expected, mend=mend) from None


def _damaged(file: str, pages: "_Pages", got: str) -> DataError:
    where = f"{file}, byte {pages.parser.CurrentByteIndex} of the content"
    return DataError(where, "the dump is cut short or damaged", got=got, expected="well-formed XML", mend="fetch the file again; nothing of it was taken")


class _Refused(Exception):
    def __init__(self, what: str, got: str, expected: str) -> None:
        super().__init__(what)
        self.got, self.expected = got, expected


class _Pages:
    """Rows out of the events of an XML parser; it holds no more than the page that is open."""

    def __init__(self, cap: int) -> None:
        self.cap = cap
        self.rows: list[dict[str, Any]] = []
        self.size = 0  # bytes of text in `rows`
        self.path: list[str] = []
        self.root = ""
        self.dump = False
        self.site: dict[str, str | None] = {"lang": None, "dbname": None}
        self.page: dict[str, Any] = {}
        self.parts: list[str] | None = None  # of the field that is open
        self.length = 0
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler, self.parser.EndElementHandler = self.start, self.end
        self.parser.CharacterDataHandler = self.text
        self.parser.StartDoctypeDeclHandler = self.doctype

    def doctype(self, name: str, *_: Any) -> None:
        raise _Refused("the dump declares a document type", f"<!DOCTYPE {name[:40]}>", "no document type, and so no entities")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if not self.path:
            self.root, self.dump = name[:40], name == "mediawiki"
            self.site["lang"] = attributes.get("xml:lang")
        self.path.append(name)
        if len(self.path) > DEPTH:
            raise _Refused("elements are nested too deep", f"more than {DEPTH}", "5")
        if not self.dump:
            return
        if self.path == ["mediawiki", "page"]:
            self.page = {"offset": self.parser.CurrentByteIndex}
        elif self.path == ["mediawiki", "page", "redirect"]:
            self.page["redirect"] = attributes.get("title", "")
        elif self.path == ["mediawiki", "page", "revision"]:
            for field in ("timestamp", "format", "text"):
                self.page.pop(field, None)
        if tuple(self.path[1:]) in FIELDS:
            self.parts, self.length = [], 0

    def text(self, data: str) -> None:
        if self.parts is None or tuple(self.path[1:]) not in FIELDS:
            return
        self.length += len(data)
        if self.length <= self.cap:
            self.parts.append(data)

    def end(self, name: str) -> None:
        field = FIELDS.get(tuple(self.path[1:])) if self.dump else None
        if field and self.parts is not None:
            value = "".join(self.parts) if self.length <= self.cap else None
            if field == "dbname":
                self.site[field] = value
            elif value is None:
                self.page[ERROR] = f"`{field}` of more than {self.cap} characters"
            else:
                self.page[field] = value
            self.parts = None
        if self.path == ["mediawiki", "page"]:
            self.rows.append(row := self._row(self.page))
            self.size += len(row.get("text") or "")
            self.page = {}
        self.path.pop()

    def _row(self, page: dict[str, Any]) -> dict[str, Any]:
        """The row of a page; one that cannot be read keeps what is known of it."""
        number, ns = page.pop("id", ""), page.pop("ns", "")
        error = page.pop(ERROR, None)
        page["ns"] = int(ns) if NUMBER.fullmatch(ns) else None
        number = number if NUMBER.fullmatch(number) else None
        for field, value in (("id", number), ("ns", page["ns"]), ("title", page.get("title") or None), ("text", page.get("text"))):
            if error is None and value is None:
                error = f"page without `{field}`"
        name = f"{self.site['dbname'] or 'wiki'}-{number}" if number else None
        return {**page, "id": name, "format": page.get("format") or "wikitext", "lang": self.site["lang"], ERROR: error}
