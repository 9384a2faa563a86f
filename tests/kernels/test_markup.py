"""Depth of HTML from its tags, against the tree that the parser makes."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.kernels.markup import _LOOSE, depth

DEEP = b"<div>" * 40


@pytest.mark.parametrize(
    ("html", "deepest"),
    [
        (b"", 0), (b"plain", 0), (b"<div><span>x</span></div>", 2), (b"<DIV><Div></div></DIV>", 2), (b"<p>a<p>b<p>c", 0), (b"<br><img><div>", 1),
        (b"</div></div><div>", 1), (b"<script>'<div><div><div>'</script><b>x</b>", 1), (b"<div>" * 5000, 5000), (b"<", 0), (b"</", 0), (b"<!", 0),
        (b"<div" + b"<div" * 3, 1),  # one long name
        (b"<1><div>", 1), (b"a < b <div>", 1), (b"<title-bar>" * 9, 9), (b"<textareas>" * 9, 9),
        (b"<div></x>" * 9, 9),  # what is not open is not closed
    ],
)  # fmt: skip
def test_depth_of_golden_pages(html: bytes, deepest: int) -> None:
    assert depth(html) == deepest


@pytest.mark.parametrize(
    "hidden",
    [b"<!--%s-->", b"<!-- > %s -- --!>", b"<!--%s", b"<!-->-->", b"<a title='%s'></a>", b'<a b = "%s" c></a>', b"<script><!--%s--></script>",
     b"<script><!--<script>%s</script>%s</script>", b"<xmp>%s</xmp>", b"<?x", b"<!x"],
)  # fmt: skip
def test_what_is_no_tag_is_not_counted(hidden: bytes) -> None:
    assert depth(hidden.replace(b"%s", b"<div>" * 5)) <= 1


@pytest.mark.parametrize(
    "before",
    [b"<!--<script>-->", b"<!-->", b"<!--->", b"<!-- --!>", b"<div '>", b"<div ='>", b"<div a=b'>", b"<div a/='>", b"<xmp><!--</xmp>", b"<!x <!-- >",
     b"<? '<!-->", b"</ <!-- >", b"<1 a='>", b"<svg><![CDATA[<!--]]>", b"<svg><![CDATA[> <!--]]>", b"<svg><title>", b"<select><style></select>",
     b"<script><!--<script></script><!-- </script>", b"<script><!--<a></script><!-- -->"],
)  # fmt: skip
def test_what_seems_to_hide_the_rest_does_not(before: bytes) -> None:
    assert depth(before + DEEP) >= 40


def test_a_comment_without_an_end_hides_the_rest_as_in_a_browser() -> None:
    assert depth(b"<div><!-- --" + DEEP) == 1
    assert depth(b"<svg><!-- --" + DEEP) == 41  # in CDATA it would be none


TEXT = st.lists(st.sampled_from(["<div>", "</div>", "<script>", "</script>", "'", '"', "<svg>", "<!", "<!--", "-", "<a b=", ">", "x", " "]), max_size=30)


@given(TEXT, TEXT.map("".join))
def test_a_comment_does_not_change_the_depth(pieces: list[str], inside: str) -> None:
    comment = "<!-- " + inside.replace("-->", "").replace("--!>", "") + " -->"
    if "-->" in comment[:-3] or "--!>" in comment:
        return
    assert depth((comment + "".join(pieces)).encode()) == depth("".join(pieces).encode())
    assert depth(f"<div>{comment}<span>{comment}</span>{comment}</div>".encode()) == 2


PIECES = [
    "<div>", "</div>", "<section>", "</section>", "</x>", "<!--", "-->", "--!>", "<!-->", "<script>", "</script>", "<style>", "</style>", "<xmp>", "</xmp>",
    "<title>", "</title>", "<textarea>", "</textarea>", "<div a='", '<div b="', "'>", '">', "<div '>", '<div ="', "<!x", "</ ", "<?", ">", "x", " ", "<1",
]  # fmt: skip
UNCOUNTED = {*_LOOSE, "script", "style", "textarea", "title", "xmp"}


def true_depth(html: str) -> int:
    """Nesting of what the parser makes, without the elements that are not counted and those whose content is text."""
    parser: Any = pytest.importorskip("resiliparse.parse.html")
    most, waiting = 0, [(parser.HTMLTree.parse(html).document, 0)]
    while waiting:
        node, here = waiting.pop()
        here += node.type == parser.NodeType.ELEMENT and node.tag not in UNCOUNTED
        most = max(most, here)
        waiting += [(child, here) for child in node.child_nodes]
    return most


@settings(max_examples=400)
@given(st.lists(st.sampled_from(PIECES), max_size=25).map("".join))
def test_no_page_is_deeper_than_measured(html: str) -> None:
    assert true_depth(html) <= depth(html.encode())


@pytest.mark.parametrize(
    ("html", "deepest"),
    [
        (b"<!-- <div><div> --><a>", 1), (b"<!--><div><div>", 2), (b"<!---><div>", 1), (b"<!-- --!><div>", 1), (b"<!-- <div><div>", 0), (b"<!--", 0),
        (b'<a title="<div><div>"><b>', 2), (b"<a title='<div>' x=<i y = \"<i>\">", 1), (b'<a "><b "><i>', 3), (b'<a title="<b><b>', 1),
        (b"<script-x>" + b"<div>" * 4, 5), (b"<svg><title>" + b"<div>" * 4, 6), (b"I <3 <b>you</b>", 1),
    ],
)  # fmt: skip
def test_comments_values_and_names(html: bytes, deepest: int) -> None:
    assert depth(html) == deepest


PIECES = st.sampled_from([b"<div>", b"</div>", b"<p>", b"text", b"<br/>", b"<!-- x -->", b"<a href='>'>", b"</a>", b"<b c=d>", b"</b>", b" = ", b"-", b">"])


@given(st.lists(PIECES, max_size=20).map(b"".join), st.lists(PIECES, max_size=20).map(b"".join))
def test_what_stands_in_a_comment_or_a_quoted_value_is_no_depth(page: bytes, inside: bytes) -> None:
    hidden = inside.replace(b"-", b"").replace(b'"', b"").replace(b">", b"> ").strip(b"> ")
    assert depth(b"<!-- " + hidden + b" -->" + page) == depth(page)
    assert depth(b'<p title="' + hidden + b'">' + page) == depth(page)
