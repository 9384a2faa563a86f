"""Whatever the bytes of a page: one row out for each row in, a text or a reason, and a process that still reads the next page."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.extract.html import extract_html
from dolma.io.warc import warc
from tests.extract.test_formulas import KATEX, LATEXML, MATHJAX2, MATHJAX3, MATHML, WIKIPEDIA

GOOD = b"<html><body><main><p>The page that follows every other one and must be read.</p></main></body></html>"
TAGS = (
    "html head body title main article nav footer div p span a ul ol li dl dt dd table tr td th caption pre code h1 select option button form textarea script "
    "style noscript template svg math mi mrow semantics annotation iframe frameset object b i font marquee details summary br img input base meta plaintext xmp"
).split()
ATTRIBUTES = (
    ' class="katex"', " class=MathJax_Preview", " role=navigation", " aria-hidden=true", " hidden", ' type="math/tex"', " alttext='x^2'", ' href="/"',
    " id=a id=b", ' alt="$y$"', " class='mwe-math-element'", " encoding=application/x-tex", ' style="display:none"', " =", " a='", ' "', " charset=utf-16",
)  # fmt: skip
TEXTS = (
    "some words of a page", " ", "\n\n", "&amp;", "&#xD800;", "&#0;", "&bogus;", "<!--", "-->", "<![CDATA[", "]]>", "<!doctype html>", "<?php", "\x00",
    "\ufeff", "日本語", "مرحبا", "e\u0301", "$x$", "\\(x\\)", "<", ">", "</", "\u2028", "😀" * 3, KATEX, LATEXML, MATHJAX2, MATHJAX3, MATHML, WIKIPEDIA,
)  # fmt: skip

opening = st.builds(lambda tag, attributes: f"<{tag}{''.join(attributes)}>", st.sampled_from(TAGS), st.lists(st.sampled_from(ATTRIBUTES), max_size=3))
closing = st.sampled_from(TAGS).map("</{}>".format)
markup = st.lists(st.one_of(opening, closing, st.sampled_from(TEXTS)), max_size=60).map(lambda parts: "".join(parts).encode("utf-8", "surrogatepass"))
edits = st.lists(st.tuples(st.sampled_from(("cut", "double", "flip", "put")), st.floats(0, 1), st.integers(1, 400), markup), min_size=1, max_size=8)
headers = st.sampled_from([None, "utf-8", "iso-8859-1", "shift_jis", "utf-16", "x-user-defined", "no-such-charset"])


def mutated(page: bytes, changes: list[tuple[str, float, int, bytes]]) -> bytes:
    made = bytearray(page)
    for kind, where, length, some in changes:
        at = int(where * len(made))
        piece = bytes(made[at : at + length])
        if kind == "cut":
            del made[at : at + length]
        elif kind == "double":
            made[at:at] = piece * 3
        elif kind == "flip":
            made[at : at + length] = bytes(255 - byte for byte in piece[:9]) + piece[9:]
        else:
            made[at:at] = some
    return bytes(made)


def check(pages: list[bytes], charsets: list[str | None], extractor: str) -> None:
    contents = [*pages, GOOD]
    batch = pa.RecordBatch.from_arrays(
        [pa.array([str(n) for n in range(len(contents))]), pa.array(contents, pa.large_binary()), pa.array([*charsets, None], pa.string())],
        ["id", "content", "charset"],
    )
    made = extract_html(batch, extractor=extractor, max_depth=200, cpu_seconds=5)
    assert made.column("id").to_pylist() == batch.column("id").to_pylist()
    errors = made.column("_error").to_pylist() if "_error" in made.schema.names else [None] * len(contents)
    for text, source, error in zip(made.column("text").to_pylist(), made.column("charset_source").to_pylist(), errors, strict=True):
        assert (text is None) == (source is None) == (error is not None)
        assert error is None or error.startswith(("elements nested", "page of more")), error  # the extractors raise, crash and hang on none of these
    assert made.column("text")[-1].as_py().startswith("The page that follows every other one")
    made.validate(full=True)


@given(st.lists(st.tuples(st.one_of(markup, st.binary(max_size=300)), headers), min_size=1, max_size=5))
def test_made_up_markup(made: list[tuple[bytes, str | None]]) -> None:
    check([page for page, _ in made], [charset for _, charset in made], "resiliparse")


@settings(max_examples=40)
@given(st.lists(st.tuples(markup, headers), min_size=1, max_size=5))
def test_made_up_markup_with_trafilatura(made: list[tuple[bytes, str | None]]) -> None:
    pytest.importorskip("trafilatura")
    check([page for page, _ in made], [charset for _, charset in made], "trafilatura")


@pytest.fixture(scope="module")
def real(kit: Path) -> list[bytes]:
    """Some pages of the kit, small ones of every language."""
    with gzip.open(kit / "web" / "pages_gold.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    names = [row["warc_record_id"].strip("<>").removeprefix("urn:uuid:") for row in rows if row["html_bytes"] < 40_000]
    first = next(iter(warc(str(kit / "web" / "crawl-A-00000.warc.gz"), file="x")))
    return first.filter(pc.is_in(first.column("id"), pa.array(names))).column("content").to_pylist()


@pytest.mark.kit
@settings(max_examples=60)
@given(data=st.data(), changes=st.lists(edits, min_size=1, max_size=4), header=headers)
def test_mutated_real_pages(real: list[bytes], data: st.DataObject, changes: list, header: str | None) -> None:
    pages = [mutated(data.draw(st.sampled_from(real)), some) for some in changes]
    check(pages, [header] * len(pages), "resiliparse")
