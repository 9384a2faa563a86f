from html.parser import HTMLParser

from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.gather.markup import Block, blocks, inline, to_html, to_text, to_wikitext

DOCSTRING = """Read a thing.

    Longer words about :class:`~a.Thing` and ``x``.

    Parameters
    ----------
    - one item
      that goes on
    - `two`_

    Use it so::

        run(1)

        run(2)

    .. note:: Mind the gap.

    >>> run(3)
    3

    :param path: where it is
"""


def test_docstring_becomes_blocks_of_each_kind():
    assert blocks(DOCSTRING) == [
        Block("p", "Read a thing."),
        Block("p", "Longer words about `a.Thing` and `x`."),
        Block("h", "Parameters"),
        Block("li", "one item that goes on"),
        Block("li", "two"),
        Block("p", "Use it so:"),
        Block("pre", "run(1)\n\nrun(2)"),
        Block("p", "Mind the gap."),
        Block("pre", ">>> run(3)\n3"),
        Block("li", "path: where it is"),
    ]


def test_markdown_is_understood_and_badges_are_dropped():
    text = "# Title\n\n[![build](https://x/y.svg)](https://x)\n\nSee **the** [manual](https://x/a_(b)).\n\n```python\nx = 1\n```\n"
    assert blocks(text) == [Block("h", "Title"), Block("p", "See the manual."), Block("pre", "x = 1")]


def test_html_wikitext_and_text_of_the_same_blocks():
    made = [Block("h", "A & b"), Block("li", "`x` < 1"), Block("li", "y"), Block("pre", "a < b")]
    assert to_html(made) == '<h2>A &amp; b</h2>\n<ul><li><code>x</code> &lt; 1</li>\n<li>y</li></ul>\n<div class="highlight"><pre>a &lt; b</pre></div>'
    assert to_wikitext(made).startswith("== A & b ==\n\n* [[x]] < 1\n\n* y")
    assert to_text(made, "h li") == "A & b\n\nx < 1\n\ny"


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="ab `*:.-=>#|<&\n\t_[]()1", max_size=200))
def test_any_text_ends_and_gives_balanced_html(text):
    open_tags = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag, attrs):
            open_tags.append(tag)

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag

    Checker().feed(to_html(blocks(text)))
    assert not open_tags and "\n" not in inline(text)
