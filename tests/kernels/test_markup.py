"""Depth of HTML from its tags."""

import pytest

from dolma.kernels.markup import depth


@pytest.mark.parametrize(
    ("html", "deepest"),
    [
        (b"", 0), (b"plain", 0), (b"<div><span>x</span></div>", 2), (b"<DIV><Div></div></DIV>", 2), (b"<p>a<p>b<p>c", 0), (b"<br><img><div>", 1),
        (b"</div></div><div>", 1), (b"<script>'<div><div><div>'</script><b>x</b>", 1), (b"<div" + b"<div" * 3, 4),
        (b"<!-- --><a>", 1), (b"<", 0), (b"<div>" * 5000, 5000),
    ],
)  # fmt: skip
def test_depth_of_golden_pages(html: bytes, deepest: int) -> None:
    assert depth(html) == deepest
