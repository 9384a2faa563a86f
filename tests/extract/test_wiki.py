import pyarrow as pa
import pytest

from dolma.extract.wiki import extract_wiki

pytest.importorskip("mwparserfromhell")


def rows(*texts: str, form: str = "wikitext") -> list[dict]:
    table = {
        "id": pa.array([f"a{n}" for n in range(len(texts))]),
        "text": pa.array(texts, pa.large_string()),
        "format": pa.array([form] * len(texts)),
        "lang": pa.array(["en"] * len(texts)),
    }
    return extract_wiki.fn(pa.RecordBatch.from_pydict(table)).to_pylist()


def test_markup_goes_and_words_stay():
    article = (
        "{{Infobox x|name={{nested|a}}}}\n'''Zug''' is a [[town|small town]] and [[canton]]s<ref name=\"a\">{{cite|x}} source</ref> ({{date}}) in "
        "[https://example.org the Alps] &amp; more.<!-- note -->\n\n{| class=x\n| cell\n|}\n== History ==\n* first\n[[File:a.png|thumb|a ''picture'']]\n"
        "Line<br>end.\n\n\n\n[[Category:Towns]]"
    )
    assert rows(article)[0]["text"] == "Zug is a small town and cantons in the Alps & more.\n\nHistory\n\nfirst\n\nLine\nend."


def test_redirects_are_empty_and_plain_text_is_not_touched():
    assert rows("#REDIRECT [[Zug]]", " #redirect [[a]]")[1]["text"] == ""
    assert rows("= = A = =\n[[x]] {{y}}", form="plain")[0]["text"] == "= = A = =\n[[x]] {{y}}"


def test_unbalanced_templates_leave_no_braces_around_words():
    assert "{{" not in rows("before {{a {{b}} {{c|d}} }} after " + "{{x" * 3 + "}}" * 3)[0]["text"]


def test_unknown_format_is_an_error_row():
    assert rows("x", form="html")[0]["_error"] == "unknown format" and rows("x")[0].get("_error") is None


@pytest.mark.kit
def test_kit_articles_lose_their_markup(kit):
    import gzip
    import json

    with gzip.open(kit / "wiki" / "wikitext_pages.jsonl.gz") as file:
        texts = [json.loads(line)["text"] for line in file][:15]
    made = rows(*texts)
    assert not any(mark in row["text"] for row in made for mark in ("[[", "{|", "<ref"))
    assert sum(len(row["text"]) for row in made) > 0.2 * sum(map(len, texts))
