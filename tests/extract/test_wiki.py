"""Wikitext to prose: golden pages of each kind of markup, broken markup, and pages that would take the parser alone minutes."""

import bz2
import gzip
import html
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.extract.wiki import extract_wiki

pytest.importorskip("mwparserfromhell")

MARKUP = re.compile(r"\[\[|\]\]|\{\||\|\}|</?[a-z]+[^<>]*>|'''|__[A-Z]+__|\|thumb|&[a-z]+;|[\ue000-\ue003]")
PIECES = [
    "{{", "{{a|", "{{convert|5|km}}", "{{nowrap|", "}}", "{{{", "}}}", "[[", "]]", "[[a|", "[[File:a|thumb|", "[[Category:x]]", "[http://a ", "[", "]", "{|\n",
    "\n|}", "|-\n|a\n", "<ref>", "</ref>", '<ref name="a', "<b>", "</b>", "<math>", "</math>", "<!--", "-->", "''", "'''", "\n* ", "\n# ", "\n: ", "\n;a:b",
    "\n== ", " ==\n", "\n=", "&amp;", "&#", "&lt;", "<", ">", "<br>", '<div style="a">', "\n\n", "word ", "é中", "__TOC__", "<nowiki>", "</nowiki>", "|",
    "\n----\n", "http://a.b/c ", "\ue000\x301\ue001", "#REDIRECT ", "\x00",
]  # fmt: skip


def rows(*texts: str, form: str = "wikitext", **params: Any) -> list[dict]:
    table = {
        "id": pa.array([f"a{n}" for n in range(len(texts))]),
        "text": pa.array(texts, pa.large_string()),
        "format": pa.array([form] * len(texts)),
        "lang": pa.array(["en"] * len(texts)),
    }
    return extract_wiki.fn(pa.RecordBatch.from_pydict(table), **params).to_pylist()


def plain(text: str, **params: Any) -> str:
    return rows(text, **params)[0]["text"]


def test_markup_goes_and_words_stay() -> None:
    article = (
        "{{Infobox x|name={{nested|a}}}}\n'''Zug''' is a [[town|small town]] and [[canton]]s<ref name=\"a\">{{cite|x}} source</ref> ({{date}}) in "
        "[https://example.org the Alps] &amp; more.<!-- note -->\n\n{| class=x\n| cell\n|}\n== History ==\n* first\n[[File:a.png|thumb|a ''picture'']]\n"
        "Line<br>end.\n\n\n\n[[Category:Towns]]"
    )
    assert plain(article) == "Zug is a small town and cantons in the Alps & more.\n\nHistory\n- first\n\nLine\nend."


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It is {{convert|5|km|mi}} long, {{nowrap|{{lang|fr|mot}} x}}.", "It is 5 km long, mot x."),
        ("a {{unknown|b}} {{Nowrap|c [[d|e]]}} {{lang|1=de|2=Wort}}", "a c e Wort"),
        ("{{PAGENAME}} a __NOTOC__{{DISPLAYTITLE:x}}", "a"),
        ("The sum <math>\\sum_{i=0}^{n} {{x}} < [[y]] ''</math> is", "The sum $\\sum_{i=0}^{n} {{x}} < [[y]] ''$ is"),
        ('<math display="block">a\n  b</math>', "$$a\n  b$$"),
        ("<chem>H2O</chem> <nowiki>[[a]] {{b}} <b></nowiki>", "$\\ce{H2O}$ [[a]] {{b}} <b>"),
        ("a<gallery>\nFile:x.jpg|caption\n</gallery>b", "ab"),
        ("{|\n|a\n{|\n|b\n|}\n|c\n|}\nd", "d"),
        ("<div>{|</div> x", "{|\nx"),
        ("a <small>b</small> <span style='x'>c</span><sub>2</sub>", "a b c2"),
        ("<div>one</div><p>two</p>", "one\n\ntwo"),
        ("[[File:a.jpg|thumb|x [[y]] z]]a [[:File:a.jpg|pic]] [[fr:Paris]]", "a pic"),
        ("[http://a.b] [http://a.b c d] http://a.b/c", "c d http://a.b/c"),
        ("1 < 2 and 3 > 2 &lt;b&gt; &#65; &nbsp;x", "1 < 2 and 3 > 2 <b> A x"),
        ("''a'' '''b''' '''''c''''' don't l'''a'''", "a b c don't la"),
        ("* a\n** b\n# c\n: d\n; e", "- a\n- b\n- c\nd\ne"),
        ("== A ==\n=== B ===\n== C ==\nx\n=== D ===\n{{x}}\n== See also ==\n* y\n=== E ===\nz\n== F ==\nw", "C\nx\n\nF\nw"),
        ("<ref>a</ref>x<ref name=b/>y<references/>", "xy"),
        ("{{{1|default}}} {{{2}}}x", "default x"),
        ("a <!-- b", "a b"),
        ("a -> b <- c", "a -> b <- c"),
    ],
)  # fmt: skip
def test_each_kind_of_markup(text: str, words: str) -> None:
    assert plain(text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("before {{a {{b}} {{c|d}} }} after {{x{{x{{x}}}}}}", "before after"),
        ("a {{b c", "a b c"), ("a }} b ]] c |} d", "a b c |} d"), ("[[a b", "a b"), ("[[File:x.jpg|thumb|pic\nnext", "next"), ("a <ref>b", "a b"),
        ("a </ref> b </b>", "a b"), ("<math>x", "x"),
        ("<math>a\n\n\n\nb </math>", "$a\n\n\n\nb$"), ("<b a", "<b a"), ("[[a\nb]]", "a\nb"), ("[[a|<ref>x]]</ref> b", "x b"), ("{{a|[[b}} c", "c"),
    ],
)  # fmt: skip
def test_broken_markup_leaves_its_words(text: str, words: str) -> None:
    assert plain(text) == words


def test_what_is_hidden_is_a_parameter() -> None:
    assert plain("a <ref>b</ref> [[File:c|d]]", hidden_tags=[], hidden_links=[]) == "a b d"
    assert plain("{{x|y}} {{convert|1|m}}", templates={"x": "<{1}>"}) == "<y>"
    assert plain("== See also ==\nx", hidden_sections=[]) == "See also\nx"


def test_redirects_are_empty_and_plain_text_is_not_touched() -> None:
    assert [row["text"] for row in rows("#REDIRECT [[Zug]]", " #redirect: [[a]] {{R}}", "#WEITERLEITUNG [[b]]")] == ["", "", ""]
    assert plain("# a list\n# [[b]]") == "- a list\n- b" and plain("#apples [[b]]") == "- apples b"
    assert plain("= = A = =\n[[x]] {{y}}", form="plain") == "= = A = =\n[[x]] {{y}}"


@pytest.mark.parametrize(
    "text",
    [
        "#REDIRECT [[a]]\n\n{{R from move}}\n[[Category:b]]<!-- c -->\n__STATIC_REDIRECT__", "#Redirect[[a#b|c]]", "#redirección [[a]]", "#RINVIA [[a]]",
        "#DOORVERWIJZING [[a]]", "#перенаправление [[a]]", "#ПЕРЕНАПРАВЛЕННЯ: [[a]]", "#重定向 [[a]]", "\uff03転送 [[a]]", "\n#تغییر_مسیر [[a]]", "#TAM [[a]]",
    ],
)  # fmt: skip
def test_a_redirect_is_one_in_any_language(text: str) -> None:
    assert plain(text) == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("#TOP [[x]] is a song", "- TOP x is a song"), ("#USA [[United States]]", "- USA United States"), ("#METOO [[movement]]…", "- METOO movement…"),
        ("#REDIRECTS [[x]]", "- REDIRECTS x"), ("#REDIRECT [[x]] is a word.", "- REDIRECT x is a word."), ("#REDIRECT x", "- REDIRECT x"),
        ("#REDIRECT [[x]]\n\nAn article.", "- REDIRECT x\n\nAn article."), ("{{disambig}}", ""),
    ],
)  # fmt: skip
def test_an_article_that_begins_like_a_redirect_keeps_its_words(text: str, words: str) -> None:
    assert plain(text) == words


def test_words_of_redirects_are_a_parameter() -> None:
    assert plain("#GOTO [[a]]", redirects=["goto"]) == "" and plain("#REDIRECT [[a]]", redirects=["goto"]) == "- REDIRECT a"
    assert plain("#[[a]]", redirects=[]) == "- a"


def test_a_redirect_word_before_a_page_of_blanks_ends() -> None:
    assert plain("#REDIRECT" + " " * 1_000_000 + "x") == "- REDIRECT x"


def test_unknown_formats_and_pages_that_are_too_long_are_error_rows() -> None:
    assert rows("x", form="html")[0]["_error"] == "unknown format" and rows("x")[0].get("_error") is None
    assert [row["_error"] for row in rows("x" * 11, "x", max_chars=10)] == ["longer than 10 characters", None]


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PIECES), max_size=60).map("".join))
def test_any_wikitext_has_a_text_without_marks_of_our_own(text: str) -> None:
    made = plain(text)
    assert not re.search("[\ue000-\ue003]", made) and "\ue000" not in made


@settings(max_examples=100)
@given(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0[]{}<>&'_\ue000\ue001\ue002\ue003|=:*#;-~/\\"), max_size=60))
def test_text_without_markup_keeps_its_characters(text: str) -> None:
    assert "".join(plain(text).split()) == "".join(text.split())


@pytest.mark.parametrize(
    "piece", ["{{a|", "{{{a|", "[[a|", "{|\n|a\n", "<ref>a ", "[http://a ", "'''b ", '<a b="', "<math>", "<!-- ", "{{[[", "}}", "\n== {{", "<"]
)
def test_markup_that_is_never_closed_ends(piece: str) -> None:
    """The parser alone takes time by the square of these or worse: 0.7 CPU s for 8 kB of the first, 2.8 for 16."""
    made = plain(piece * (60_000 // len(piece)))
    assert isinstance(made, str)


def test_a_nul_does_not_end_the_page() -> None:
    assert plain("a\0b [[c]]") == "ab c"


def test_deep_nesting_ends() -> None:
    assert plain("{{nowrap|" * 5_000 + "x" + "}}" * 5_000).strip("}|") != "" and plain("[[a|" * 3_000 + "x" + "]]" * 3_000)


@pytest.mark.kit
def test_kit_pages_lose_their_markup_and_keep_their_words(kit: Path) -> None:
    with gzip.open(kit / "wiki" / "wikitext_pages.jsonl.gz") as file:
        pages = [(row["title"], row["text"]) for row in map(json.loads, file)]
    dump = bz2.decompress((kit / "wiki" / "enwiki_sample_pages.xml.bz2").read_bytes()).decode()
    found = re.findall(r"<title>(.*?)</title>.*?<text[^>]*>(.*?)</text>", dump, re.DOTALL)
    pages += [(title, html.unescape(text)) for title, text in found if len(text) < 60_000]
    made = rows(*(text for _, text in pages))
    left = [(title, match[0]) for (title, _), row in zip(pages, made, strict=True) for match in MARKUP.finditer(re.sub(r"\$[^$]*\$", "", row["text"]))]
    assert len(pages) > 140 and not left
    articles = [(len(text), len(row["text"])) for (_, text), row in zip(pages, made, strict=True) if row["text"]]
    assert sum(after for _, after in articles) > 0.4 * sum(before for before, _ in articles)
