import bz2
import gzip
import html
import random
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.core.errors import DataError
from dolma.io.mediawiki import mediawiki

ROOT = Path(__file__).parents[2]
SITE = "<siteinfo><sitename>W</sitename><dbname>testwiki</dbname></siteinfo>"
HEAD = f'<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="en">{SITE}'


def page(number: object = 1, title: str = "Zug", text: str = "a [[town]]", ns: object = 0, more: str = "", inner: str = "") -> str:
    revision = (
        f"<revision><id>9{number}</id><timestamp>2024-01-02T03:04:05Z</timestamp><contributor><id>7</id></contributor>{inner}<text>{text}</text></revision>"
    )
    return f"<page><title>{title}</title><ns>{ns}</ns><id>{number}</id>{more}{revision}</page>\n"


def rows(path: Path, content: str | bytes, **params) -> list[dict]:
    content = content.encode() if isinstance(content, str) else content
    path.write_bytes({".bz2": bz2.compress, ".gz": gzip.compress}.get(path.suffix, bytes)(content))
    return [row for batch in mediawiki.fn(path, file="wiki/x.xml", **params) for row in batch.to_pylist()]


@pytest.mark.parametrize("name", ["x.xml", "x.xml.bz2", "x.xml.gz"])
def test_each_page_is_a_row(tmp_path, name):
    pages = [
        page(1, "Zug", "a &lt;b&gt; &amp; [[c]]\nä", inner="<model>wikitext</model>"),
        page(2, "Old", "#REDIRECT [[Zug]]", more='<redirect title="Zug" />'),
        page(3, "Talk:Zug", "hm", ns=1),
        page(4, "MediaWiki:Common.css", "p {}", ns=8, inner="<model>css</model><format>text/css</format>"),
        "<page><title>Hidden</title><ns>0</ns><id>5</id><revision><text deleted='deleted' /></revision></page>",
    ]
    content = HEAD + "".join(pages) + "</mediawiki>"
    made = rows(tmp_path / name, content)
    assert made[0] == {
        "id": "testwiki-1",
        "title": "Zug",
        "ns": 0,
        "redirect": None,
        "timestamp": "2024-01-02T03:04:05Z",
        "format": "wikitext",
        "lang": "en",
        "text": "a <b> & [[c]]\nä",
        "file": "wiki/x.xml",
        "offset": len(HEAD),
        "_error": None,
    }
    assert [row["redirect"] for row in made] == [None, "Zug", None, None, None] and [row["ns"] for row in made] == [0, 0, 1, 8, 0]
    assert [row["format"] for row in made][3] == "css" and made[4]["text"] == "" and {row["_error"] for row in made} == {None}
    assert all(content.encode()[row["offset"] :].startswith(b"<page>") for row in made)
    assert list(mediawiki.adds(mediawiki.params(), pa.schema([])).names) == [name for name in made[0] if name != "_error"]


def test_of_several_revisions_the_last_is_taken(tmp_path):
    older = "<revision><timestamp>2020</timestamp><model>css</model><text>old</text></revision>"
    (made,) = rows(tmp_path / "x.xml", HEAD + page(1, more=older) + "</mediawiki>")
    assert (made["text"], made["timestamp"], made["format"]) == ("a [[town]]", "2024-01-02T03:04:05Z", "wikitext")
    gone = page(1, more=older).replace("<text>a [[town]]</text>", "")
    assert rows(tmp_path / "x.xml", HEAD + gone + "</mediawiki>")[0]["_error"] == "page without `text`"


def test_pages_that_lack_something_or_are_too_long_are_error_rows(tmp_path):
    pages = [
        page(1, ns="x"),
        page(2).replace("<title>Zug</title>", ""),
        page(3, title=""),
        page("").replace("<id></id>", ""),
        page(""),
        page(5, text="x" * 101),
        page(6),
    ]
    made = rows(tmp_path / "x.xml", HEAD + "".join(pages) + "</mediawiki>", max_page_bytes=100)
    assert [row["_error"] is None for row in made] == [False] * 6 + [True] and made[5]["_error"] == "`text` of more than 100 characters"
    assert [row["id"] for row in made] == ["testwiki-1", "testwiki-2", "testwiki-3", None, None, "testwiki-5", "testwiki-6"]


def test_entities_and_deep_nesting_are_refused(tmp_path):
    laughs = '<!DOCTYPE m [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>' + HEAD + page(text="&b;") + "</mediawiki>"
    for content, what in [(laughs, "document type"), (f'<!DOCTYPE m SYSTEM "file:///etc/passwd">{HEAD}</mediawiki>', "document type")]:
        with pytest.raises(DataError, match=what):
            rows(tmp_path / "x.xml", content)
    with pytest.raises(DataError, match="nested too deep"):
        rows(tmp_path / "x.xml", HEAD + "<a>" * 100_000)
    with pytest.raises(DataError, match=r"wiki/x\.xml, byte \d+ .*\n.*a tag of more than"):
        rows(tmp_path / "x.xml", HEAD + '<page x="' + "y" * (6 << 20), max_page_bytes=1 << 20)
    with pytest.raises(DataError, match="no MediaWiki dump"):
        rows(tmp_path / "x.xml", "<html><page><title>x</title></page></html>")


@pytest.mark.parametrize("name", ["x.xml", "x.xml.bz2"])
def test_a_dump_cut_anywhere_is_refused(tmp_path, name):
    path = tmp_path / name
    rows(path, HEAD + page(1) + page(2) + "</mediawiki>")
    whole = path.read_bytes()
    for cut in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError, match=r"wiki/x\.xml, byte"):
            list(mediawiki.fn(path, file="wiki/x.xml"))


MEMORY = """
import re, sys
from pathlib import Path
def peak():  # KB; `ru_maxrss` would be that of the parent
    return int(re.search(r"VmHWM:\\s+([0-9]+)", Path("/proc/self/status").read_text())[1])
from dolma.io.mediawiki import mediawiki
next(mediawiki.fn(sys.argv[1], file="x"))
before = peak()
print(sum(batch.num_rows for batch in mediawiki.fn(sys.argv[1], file="x", max_page_bytes=1 << 20)))
print(peak() - before)
"""


def test_a_large_dump_costs_no_memory(tmp_path):
    with gzip.open(tmp_path / "x.xml.gz", "wt", compresslevel=1) as out:
        out.write(HEAD)
        for n in range(300):
            out.write(page(n, text="words " * 60_000))
        out.write(page(300, text="words " * 20_000_000) + "</mediawiki>")
    done = subprocess.run([sys.executable, "-c", MEMORY, tmp_path / "x.xml.gz"], capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()
    assert done[0] == "301" and int(done[1]) < 60_000  # KB, of 228 MB


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_damage_is_rows_or_a_data_error(tmp_path_factory, data):
    content = bytearray((HEAD + "".join(page(n, more='<redirect title="x" />') for n in range(4)) + "</mediawiki>").encode())
    chance = random.Random(data.draw(st.integers(0, 1 << 32)))
    for _ in range(chance.choice([1, 2, 5])):
        content[chance.randrange(len(content))] = chance.choice([0, 0x3C, 0x3E, 0x26, 0x22, 0x2F, 0xFF, chance.randrange(256)])
    try:
        made = rows(tmp_path_factory.mktemp("x") / "x.xml", bytes(content))
    except DataError as error:
        assert "wiki/x.xml" in str(error)
    else:
        assert len(made) == 4


@pytest.mark.kit
def test_kit_dump_is_read_whole(kit):
    made = [row for batch in mediawiki.fn(kit / "wiki" / "enwiki_sample_pages.xml.bz2", file="x") for row in batch.to_pylist()]
    assert len(made) == len({row["id"] for row in made}) == 206 and {row["_error"] for row in made} == {None}
    assert sum(row["redirect"] is not None for row in made) == 100 and [row["title"] for row in made if row["ns"]] == [
        "Wikipedia:Adding Wikipedia articles to Nupedia"
    ]
    xml = bz2.decompress((kit / "wiki" / "enwiki_sample_pages.xml.bz2").read_bytes()).decode()
    assert [row["text"] for row in made] == [html.unescape(text) for text in re.findall(r"<text [^>]*>(.*?)</text>", xml, re.DOTALL)]
