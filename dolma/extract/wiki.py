"""Encyclopedia articles as text: plain ones as they are, wikitext without its markup."""

import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from dolma.core.errors import EnvironmentFault
from dolma.core.schema import ERROR, append, keys
from dolma.core.step import step
from dolma.extract.constants import constants

REDIRECT = re.compile(r"\s*#redirect\b", re.IGNORECASE)
EMPTY = re.compile(r"\n{3,}")
# Markup that is not balanced stays text in the parser.
LEFT = re.compile(r"\{\{[^{}]*\}\}|<!--.*?-->|</?[a-z]+(?: [^<>]*)?/?>|^\{\|.*?^\|\}", re.DOTALL | re.MULTILINE)
SPACES = re.compile(r"(?<=\S)[ \xa0]+([ \n]|\Z)|(?<=\n)[ \xa0]+()")
BRACKETS = re.compile(r" ?\((?:[\s,;:]|&nbsp;)*\)")  # what a removed template leaves of `(born {{date}})`


@step(
    needs=("id", "text", "format", "lang"),
    adds={"key": pa.int64(), "source": pa.string(), "url": pa.string(), "text": pa.large_string(), "lang": pa.string(), "lang_score": pa.float32()},
    packages=("mwparserfromhell",),
)
def extract_wiki(
    batch: pa.RecordBatch,
    *,
    hidden_links: list[str] = ["category", "file", "image", "media", "template", "wikipedia", "help", "portal"],  # noqa: B006
    hidden_tags: list[str] = ["ref", "references", "gallery", "table", "timeline", "imagemap", "math", "source", "syntaxhighlight"],  # noqa: B006
) -> pa.RecordBatch:
    """The batch with wikitext replaced by its prose; rows whose `format` is plain keep their text. A redirect has empty text.

    Templates, tables, references, comments and pictures go; links and formatting leave their words. `_error`: a `format` that is neither plain nor wikitext.

    Args:
        hidden_links: namespaces whose links leave nothing.
        hidden_tags: tags that go with what they hold.
    """
    links, tags = frozenset(hidden_links), frozenset(hidden_tags)
    texts, errors = [], []
    for text, kind in zip(batch.column("text").to_pylist(), batch.column("format").to_pylist(), strict=True):
        texts.append(_plain(text, links, tags) if kind == "wikitext" else text)
        errors.append(None if kind in ("plain", "wikitext") else "unknown format")
    columns = {
        "key": keys(batch.column("id")),
        **constants(batch.num_rows, source="wiki", lang="en"),
        "text": pa.array(texts, pa.large_string()),
        "lang": batch.column("lang"),
    }
    if any(errors):
        columns[ERROR] = pa.array(errors, pa.string())
    return append(batch, columns)


def _plain(text: str, links: frozenset[str], tags: frozenset[str]) -> str:
    try:
        import mwparserfromhell
    except ImportError as error:
        raise EnvironmentFault("extract_wiki", "package mwparserfromhell is not installed", mend="pip install 'dolma-flow[wiki]'") from error
    if REDIRECT.match(text):
        return ""
    plain = "".join(_words(mwparserfromhell.parse(text), mwparserfromhell.nodes, links, tags))
    while plain != (plain := LEFT.sub("", plain)):  # templates inside templates, from the inside out
        continue
    return EMPTY.sub("\n\n", SPACES.sub(lambda m: m[1] or "", BRACKETS.sub("", plain))).strip()


def _words(code: Any, nodes: Any, links: frozenset[str], tags: frozenset[str]) -> Iterator[str]:
    """What a reader sees of parsed wikitext, in order. One walk: to remove nodes from the tree takes its size again for each of them."""
    for node in code.nodes:
        if isinstance(node, nodes.Text):
            yield str(node.value)
        elif isinstance(node, nodes.Heading):
            yield f"\n\n{''.join(_words(node.title, nodes, links, tags)).strip()}\n"
        elif isinstance(node, nodes.Wikilink):
            space, colon, _ = str(node.title).partition(":")
            if not (colon and space.strip().lower() in links):
                yield from _words(node.title if node.text is None else node.text, nodes, links, tags)
        elif isinstance(node, nodes.ExternalLink):
            if node.title is not None:
                yield from _words(node.title, nodes, links, tags)
        elif isinstance(node, nodes.HTMLEntity):
            yield node.normalize()
        elif isinstance(node, nodes.Tag):
            name = str(node.tag).strip().lower()
            if name == "br":
                yield "\n"
            if name not in tags and node.contents is not None:
                yield from _words(node.contents, nodes, links, tags)
