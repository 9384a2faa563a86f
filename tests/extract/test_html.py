"""Main text, charsets and caps of HTML extraction."""

import gzip
import json
import sys
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from dolma.compare import known_pages, overlap
from dolma.core.schema import keys
from dolma.extract import html
from dolma.extract.child import close_all
from dolma.extract.html import PageProcess, extract_html
from dolma.extract.page import Extractor, decode
from dolma.io.warc import warc
from dolma.kernels.words import words

PAGE = """<html><head><title> A  page </title><script>var x = "<div>";</script></head><body><nav><ul><li><a href="/">Home</a></li></ul></nav>
<main><article><h1>Heading</h1><p>First paragraph with enough words to be the text of a page.</p><ol><li>The item of a list, with some words to it.</li>
<li>And another one that says a little more.</li></ol>
<p>Second &amp; last.</p></article></main><footer>Copyright</footer></body></html>"""
SENTENCES = "\u65e5\u672c\u8a9e\u306e\u6587\u7ae0\u3067\u3059\u3002\u3053\u308c\u306f\u9577\u3044\u3002" * 12
JAPANESE = f"<html><head><meta charset=utf-8></head><body><p>{SENTENCES}</p></body></html>"


def pages(*contents: bytes, charset: str | None = None) -> pa.RecordBatch:
    ids = [f"id-{k}" for k in range(len(contents))]
    return pa.RecordBatch.from_arrays(
        [pa.array(ids, pa.string()), pa.array(contents, pa.large_binary()), pa.array([charset] * len(ids), pa.string())], ["id", "content", "charset"]
    )


def test_main_text_keeps_paragraphs_and_leaves_navigation_out() -> None:
    made = extract_html(pages(PAGE.encode()))
    text = made.column("text")[0].as_py()
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    assert lines == [
        "Heading", "First paragraph with enough words to be the text of a page.", "1. The item of a list, with some words to it.",
        "2. And another one that says a little more.", "Second & last.",
    ]  # fmt: skip
    assert "Home" not in text and "Copyright" not in text and "var x" not in text
    assert made.column("title").to_pylist() == ["A page"]
    assert made.column("key").equals(keys(pa.array(["id-0"])))
    assert made.schema.names == ["id", "charset", "key", "text", "title", "charset_source", "extractor"]


def test_everything_is_kept_with_resiliparse_all() -> None:
    made = extract_html(pages(PAGE.encode()), extractor="resiliparse-all")
    text = made.column("text")[0].as_py()
    assert "Home" in text and "Copyright" in text and made.column("extractor").to_pylist() == ["resiliparse-all"]


def test_trafilatura_is_a_choice() -> None:
    pytest.importorskip("trafilatura")
    made = extract_html(pages(PAGE.encode(), b"<p>", JAPANESE.encode("shift-jis")), extractor="trafilatura")
    assert made.column("extractor").to_pylist() == ["trafilatura"] * 3
    assert made.column("charset").to_pylist() == ["utf-8", "utf-8", "shift_jis"]
    first, empty, japanese = made.column("text").to_pylist()
    assert "First paragraph with enough words to be the text of a page." in first and "Copyright" not in first
    assert empty == "" and SENTENCES in japanese


# Short bulleted items are what the main-content rules take for a menu: they keep only the paragraph.
SHORT_LIST = "<ul>" + "".join(f"<li>A short item with number {n}</li>" for n in range(40)) + "</ul>"
LISTING = (
    f"<body><nav>Home About</nav><div>{SHORT_LIST}<p>The paragraph below the list.</p></div><footer>Copyright</footer><div role=dialog>Cookies?</div></body>"
)


def test_where_main_content_fails_all_but_the_marked_parts_is_taken() -> None:
    made = extract_html(pages(LISTING.encode()))
    (text,) = made.column("text").to_pylist()
    assert made.column("extractor").to_pylist() == ["resiliparse-body"]
    assert text.count("A short item with number") == 40 and "below the list" in text
    assert "Home" not in text and "Copyright" not in text and "Cookies" not in text


def test_least_share_decides_when_main_content_has_failed() -> None:
    half = LISTING.replace("The paragraph", "The paragraph that is longer than most " * 30)
    assert extract_html(pages(half.encode()), least_share=0.25).column("extractor").to_pylist() == ["resiliparse-main"]
    assert extract_html(pages(half.encode()), least_share=0.95).column("extractor").to_pylist() == ["resiliparse-body"]
    assert extract_html(pages(LISTING.encode()), least_share=0.0).column("extractor").to_pylist() == ["resiliparse-main"]


@pytest.mark.parametrize(
    ("content", "header", "charset", "source"),
    [
        (PAGE.encode(), None, "utf-8", "utf-8"),
        (b"\xef\xbb\xbf" + PAGE.encode(), "latin-1", "utf-8", "bom"),
        (PAGE.encode("utf-16"), None, "utf-16-le", "bom"),
        ("<p>caf\u00e9</p>".encode(), "iso-8859-1", "utf-8", "utf-8"),
        ("<p>caf\u00e9</p>".encode("cp1252"), "iso-8859-1", "cp1252", "header"),
        ("<meta charset='windows-1251'><p>\u0434\u0430</p>".encode("cp1251"), None, "cp1251", "meta"),
        (JAPANESE.encode("shift-jis"), "utf-8", "shift_jis", "guess"),
        (("na\u00efve " * 50).encode() + b"\xff", "utf-8", "utf-8", "mended"),
        ("<p>caf\u00e9 \x1b[1mbold\x1b(B</p>".encode(), "iso-8859-1", "utf-8", "utf-8"),
        (JAPANESE.encode("iso2022_jp"), "utf-8", "iso2022_jp", "guess"),
        (JAPANESE.encode("iso2022_jp"), "iso-2022-jp", "iso2022_jp", "header"),
        ("<meta charset=utf-16><p>caf\u00e9".encode(), None, "utf-8", "utf-8"),
        (b"<meta charset=utf-32>" + ("na\u00efve " * 50).encode() + b"\xff", None, "utf-8", "mended"),
    ],
)
def test_charset_and_whose_word_it_was(content: bytes, header: str | None, charset: str, source: str) -> None:
    assert decode(content, header)[1:] == (charset, source)


@pytest.mark.parametrize("charset", ["shift-jis", "iso2022_jp", "euc-jp"])
@pytest.mark.parametrize("header", [None, "utf-8", "iso-8859-1"])
def test_wrongly_declared_japanese_comes_out_whole(charset: str, header: str | None) -> None:
    if charset != "iso2022_jp" and header == "iso-8859-1":
        pytest.skip("every byte is one of Latin-1: nothing tells that the header is wrong")
    assert decode(JAPANESE.encode(charset), header)[0] == JAPANESE


def test_iso_2022_jp_that_is_cut_in_a_character_keeps_the_rest() -> None:
    text, *_ = decode(JAPANESE.encode("iso2022_jp")[:201], "utf-8")
    assert text.rstrip("\ufffd") == JAPANESE[: len(text.rstrip("\ufffd"))] and len(text) > 100


def test_an_escape_in_a_page_of_utf_8_changes_nothing_else() -> None:
    page = "<p>caf\u00e9 \x1b end, \x1b[31mred\x1b(B</p>"
    assert decode(page.encode(), "iso-8859-1")[0] == page
    assert decode(b"<p>plain \x1b[31mred", None) == ("<p>plain \x1b[31mred", "utf-8", "utf-8")


@pytest.mark.parametrize("name", ["utf-16", "UTF-16LE", "utf-16be", "utf-32", "unicode"])
@pytest.mark.parametrize("pad", ["", " "])
def test_wide_characters_are_not_declared_in_ascii(name: str, pad: str) -> None:
    page = f"<html><head><meta charset={name}></head><body><p>Un caf\u00e9 cr\u00e8me, s'il vous pla\u00eet.</p></body></html>{pad}"
    assert decode(page.encode("latin-1"), None)[0] == page


def test_pages_over_a_cap_get_an_error_and_keep_their_row() -> None:
    deep = b"<div>" * 50_000 + b"text" + b"</div>" * 50_000
    made = extract_html(pages(b"<p>" + b"x" * 5_000, deep, PAGE.encode()), max_bytes=2_000_000, max_depth=1_000)
    assert made.column("_error").to_pylist() == [None, "elements nested deeper than 1000", None]
    small = extract_html(pages(PAGE.encode()), max_bytes=100)
    assert small.column("_error").to_pylist() == ["page of more than 100 bytes"] and small.column("text").null_count == 1


ILL = """
import os, signal, sys, time
from dolma.extract import page, page_worker
real, leaked = page.extract, []
def extract(content, *rest, **options):
    if b"crash" in content: os.kill(os.getpid(), signal.SIGSEGV)
    if b"spin" in content:
        while True: pass
    if b"sleep" in content: time.sleep(1000)
    if b"hungry" in content: bytearray(8 << 30)
    if b"leaky" in content: leaked.append(bytearray(400 << 20))
    if b"large" in content: bytearray(600 << 20)
    if b"once" in content and not os.path.exists(os.environ["ONCE"]):
        open(os.environ["ONCE"], "w").close()
        os._exit(1)
    return real(content, *rest, **options)
page.extract = extract
page_worker.main()
"""


@pytest.fixture
def ill(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An extractor that does what the page says."""

    class Ill(PageProcess):
        def __init__(self, extractor: Extractor, *, memory_mb: int, recycle: int) -> None:
            super().__init__(extractor, memory_mb=memory_mb, recycle=recycle, command=[sys.executable, "-c", ILL, extractor, str(memory_mb)])

    close_all()
    monkeypatch.setenv("ONCE", str(tmp_path / "once"))
    monkeypatch.setattr(html, "PageProcess", Ill)
    yield
    close_all()


@pytest.mark.usefixtures("ill")
def test_a_page_that_ends_its_process_costs_itself_only() -> None:
    good = b"<p>A good page.</p>"
    contents = [good, b"<p>crash", good, b"<p>spin", good, b"<p>hungry", good, b"<p>once more"]
    made = extract_html(pages(*contents), cpu_seconds=0.5, memory_mb=1000)
    assert made.column("_error").to_pylist() == [
        None, "the extractor's process ended, 2 times", None, "more than 0.5 CPU seconds, 2 times", None, "out of memory, 2 times", None, None,
    ]  # fmt: skip
    assert made.column("text").to_pylist() == ["A good page.", None, "A good page.", None, "A good page.", None, "A good page.", "once more"]


@pytest.mark.usefixtures("ill")
def test_what_earlier_pages_leaked_costs_no_page() -> None:
    """The large page fits into a new process, and not into one that holds a leak."""
    made = extract_html(pages(b"<p>leaky", b"<p>large", b"<p>leaky"), memory_mb=1200)
    assert made.column("text").to_pylist() == ["leaky", "large", "leaky"] and "_error" not in made.schema.names


@pytest.mark.usefixtures("ill")
def test_a_page_that_waits_without_working_is_given_up() -> None:
    made = extract_html(pages(b"<p>sleep", b"<p>A good page."), cpu_seconds=0.05)
    assert made.column("_error").to_pylist() == ["more than 0.05 CPU seconds, 2 times", None]


def test_a_page_that_the_parser_does_not_finish_is_given_up() -> None:
    many = b"<p " + b" ".join(b"a%d=b" % n for n in range(100_000)) + b">text"
    made = extract_html(pages(many, b"<p>A good page."), cpu_seconds=0.5)
    assert made.column("_error").to_pylist() == ["more than 0.5 CPU seconds, 2 times", None]
    assert made.column("text").to_pylist() == [None, "A good page."]


def test_wide_pages_are_read_and_deep_ones_refused() -> None:
    rows = b"<table>" + b"<tr><td>cell</td></tr>" * 200_000 + b"</table>"
    made = extract_html(pages(rows, b"<div>" * 50_000 + b"text", rows + rows, PAGE.encode()))
    assert made.column("_error").to_pylist() == [None, "elements nested deeper than 1000", "page of more than 5000000 bytes", None]
    assert made.column("text")[0].as_py().count("cell") == 200_000 and "First paragraph" in made.column("text")[3].as_py()


@pytest.mark.usefixtures("ill")
def test_results_do_not_hang_on_who_reads_the_pages() -> None:
    """The same rows from one batch, from many, and from processes that are replaced after every page."""
    contents = [PAGE.encode(), LISTING.encode(), JAPANESE.encode("shift-jis"), b"<p>crash", b"", b"<p>caf\xe9</p>"]
    whole = extract_html(pages(*contents))
    assert extract_html(pages(*contents), recycle=1).equals(whole)
    parts = [extract_html(pages(content)).to_pylist()[0] for content in contents]
    assert [part["text"] for part in parts] == whole.column("text").to_pylist()
    assert [part.get("_error") for part in parts] == whole.column("_error").to_pylist()


@pytest.mark.parametrize("content", [b"", b"   ", b"<html><body></body></html>", b"\x00\x00", b"<!doctype html>", b"<p>&#xD800;</p>"])
def test_odd_pages_give_text_not_a_crash(content: bytes) -> None:
    made = extract_html(pages(content))
    assert made.num_rows == 1 and made.column("text").null_count == 0


def test_no_rows_give_no_rows() -> None:
    assert extract_html(pages()).num_rows == 0


@pytest.mark.kit
def test_main_text_agrees_with_gold_pages(kit: Path) -> None:
    with gzip.open(kit / "web" / "pages_gold.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [row for line in lines if (row := json.loads(line))["gold_text"] and row["gold_text_complete"]]
    gold = {row["warc_record_id"].strip("<>").removeprefix("urn:uuid:"): row["gold_text"] for row in rows}
    first = next(iter(warc(str(kit / "web" / "crawl-A-00000.warc.gz"), file="x")))
    made = extract_html(first.filter(pc.is_in(first.column("id"), pa.array(list(gold)))).slice(0, 150))
    scores = []
    for name, text in zip(made.column("id").to_pylist(), made.column("text").to_pylist(), strict=True):
        want, got = Counter(words(gold[name].lower())), Counter(words(text.lower()))
        scores.append(2 * (want & got).total() / max(1, want.total() + got.total()))
    assert len(scores) >= 100
    assert sum(scores) / len(scores) > 0.85  # main content alone: .84


@pytest.mark.kit
@pytest.mark.slow
def test_main_text_of_all_gold_pages_is_as_good_as_we_say(kit: Path) -> None:
    """The mean word-overlap F1 of the defaults, main content alone: .854, with `least_share`: .883 (recipe source/web/extract)."""
    gold = known_pages(kit / "web" / "pages_gold.jsonl.gz")
    columns = [pa.array([page.id for page in gold]), pa.array([page.html for page in gold], pa.large_binary()), pa.array([page.charset for page in gold])]
    made = extract_html(pa.RecordBatch.from_arrays(columns, ["id", "content", "charset"]))
    scores = [overlap(page.text, text or "")[2] for page, text in zip(gold, made.column("text").to_pylist(), strict=True)]
    assert len(scores) >= 800 and sum(scores) / len(scores) >= 0.87
