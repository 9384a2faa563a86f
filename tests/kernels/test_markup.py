"""Depth of HTML from its tags."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma.kernels.markup import depth


@pytest.mark.parametrize(
    ("html", "deepest"),
    [
        (b"", 0), (b"plain", 0), (b"<div><span>x</span></div>", 2), (b"<DIV><Div></div></DIV>", 2), (b"<p>a<p>b<p>c", 0), (b"<br><img><div>", 1),
        (b"</div></div><div>", 1), (b"<script>'<div><div><div>'</script><b>x</b>", 1), (b"<div" + b"<div" * 3, 1),  # one tag of that name
        (b"<!-- --><a>", 1), (b"<", 0), (b"<div>" * 5000, 5000), (b"I <3 <b>you</b>", 1), (b"a < b <i>", 1),
        (b"<!-- <div><div> --><a>", 1), (b"<!--><div><div>", 2), (b"<!---><div>", 1), (b"<!-- --!><div>", 1), (b"<!-- <div><div>", 0), (b"<!--", 0),
        (b"<!--<script>-->" + b"<div>" * 9, 9), (b"<script><!--</script>" + b"<div>" * 9, 9),
        (b'<a title="<div><div>"><b>', 2), (b"<a title='<div>' x=<i y = \"<i>\">", 1), (b'<a "><b "><i>', 3), (b'<a title="<b><b>', 1),
        (b"<script-x>" + b"<div>" * 4, 5), (b"<svg><title>" + b"<div>" * 4, 6), (b"<svg/><title><div><div></title><b>", 2),
    ],
)  # fmt: skip
def test_depth_of_golden_pages(html: bytes, deepest: int) -> None:
    assert depth(html) == deepest


PIECES = st.sampled_from([b"<div>", b"</div>", b"<p>", b"text", b"<br/>", b"<!-- x -->", b"<a href='>'>", b"</a>", b"<b c=d>", b"</b>", b" = ", b"-", b">"])


@given(st.lists(PIECES, max_size=20).map(b"".join), st.lists(PIECES, max_size=20).map(b"".join))
def test_what_stands_in_a_comment_or_a_quoted_value_is_no_depth(page: bytes, inside: bytes) -> None:
    hidden = inside.replace(b"-", b"").replace(b'"', b"").replace(b">", b"> ").strip(b"> ")
    assert depth(b"<!-- " + hidden + b" -->" + page) == depth(page)
    assert depth(b'<p title="' + hidden + b'">' + page) == depth(page)
