"""Docstrings, reStructuredText and Markdown as blocks, and blocks as HTML, wikitext or plain text."""

import re
from collections.abc import Callable
from html import escape
from inspect import cleandoc
from typing import Literal, NamedTuple

Kind = Literal["h", "p", "li", "pre"]


class Block(NamedTuple):
    """A heading, paragraph, list item or preformatted text; names in the text stand between backticks."""

    kind: Kind
    text: str


RULE = re.compile(r"^\s*([=\-~^\"'#*+`_])\1{2,}\s*$")
ITEM = re.compile(r"^(\s*)(?:[-*+\u2022]|\(?\d{1,2}[.)])\s+(?=\S)")
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$")
DIRECTIVE = re.compile(r"^\s*\.\.\s+([\w-]+)::\s*(.*)$")
COMMENT = re.compile(r"^\s*\.\.\s")
MARKUP_LINE = re.compile(
    r"^\s*(?:<[^>]+>\s*)+$|^\s*\[?!\[|^\s*:[\w -]+:\s*$|^\s*\[[^\]]+\]:\s"
    r"|^\s*:(?:target|alt|height|width|align|scale|class|figclass|name|file|header-rows|widths):"
)
FIELD = re.compile(r"^(\s*):(?:param|parameter|arg|argument|keyword|key|type|returns?|rtype|raises?|ivar|var|cvar|vartype|attr)\b\s*([^:]*):\s*")
TABLE = re.compile(r"^\s*(?:\|.*\||\+[-=+]+\+|={3,}(?:\s+={3,})+)\s*$")
PROSE = {"note", "warning", "seealso", "tip", "important", "admonition", "deprecated", "versionadded", "versionchanged", "rubric"}

_INLINE = [
    (re.compile(r"!\[([^\]]*)\]\([^)]*\)"), r"\1"),
    (re.compile(r"\[([^\]]+)\]\((?:[^()]|\([^)]*\))*\)"), r"\1"),
    (re.compile(r":[\w:+-]+:`~?([^`<]+?)(?:\s*<[^>]*>)?`"), r"`\1`"),
    (re.compile(r"`([^`<]+?)\s*<[^>]*>`_{1,2}"), r"\1"),
    (re.compile(r"``([^`]+)``"), r"`\1`"),
    (re.compile(r"`([^`]+)`_{1,2}"), r"\1"),
    (re.compile(r"\*\*([^*\n]+)\*\*"), r"\1"),
    (re.compile(r"</?[a-zA-Z][^<>]*>"), ""),
    (re.compile(r"\s+"), " "),
]


def inline(text: str) -> str:
    """One line of text without reStructuredText, Markdown or HTML, but for backticks around names."""
    for pattern, put in _INLINE:
        text = pattern.sub(put, text)
    return text.strip()


def blocks(text: str) -> list[Block]:
    """The blocks of a docstring, README or similar text, in order; marks that are not understood stay as they are."""
    return _Reader(cleandoc(text.replace("\r\n", "\n").expandtabs(4)).split("\n")).run()


class _Reader:
    def __init__(self, lines: list[str]) -> None:
        self.lines = [FIELD.sub(lambda m: f"{m[1]}- {m[2].strip() or 'Returns'}: ", line) if line.lstrip().startswith(":") else line for line in lines]
        self.at, self.made = 0, list[Block]()
        self.literal = False  # the last paragraph ended with `::`: what is indented below it is code

    def run(self) -> list[Block]:
        while self.at < len(self.lines):
            self._one()
        return self.made

    def _one(self) -> None:
        line = self.lines[self.at]
        below = self.lines[self.at + 1] if self.at + 1 < len(self.lines) else ""
        directive = DIRECTIVE.match(line)
        if not line.strip() or RULE.match(line) or MARKUP_LINE.match(line):
            self.at += 1
        elif line.lstrip().startswith("```"):
            self.at += 1
            self._put("pre", self._until(lambda row: row.lstrip().startswith("```")))
            self.at += 1
        elif directive or COMMENT.match(line):
            self._directive(directive)
        elif heading := HEADING.match(line):
            self.at += 1
            self._put("h", [heading[1]])
        elif RULE.match(below) and len(below.strip()) >= len(line.strip()) * 0.6 and not TABLE.match(below):
            self.at += 2
            self._put("h", [line])
        elif line.lstrip().startswith(">>>") or TABLE.match(line) or (self.literal and line.startswith(" ")):
            self._code(line)
        elif ITEM.match(line):
            self._item()
        else:
            self._paragraph()

    def _until(self, end: Callable[[str], bool]) -> list[str]:
        start = self.at
        while self.at < len(self.lines) and not end(self.lines[self.at]):
            self.at += 1
        return self.lines[start : self.at]

    def _directive(self, match: re.Match[str] | None) -> None:
        self.at += 1
        if match and match[1] in ("code-block", "code", "sourcecode", "parsed-literal", "math", "plot"):
            self.literal = True
        elif match and match[1] in PROSE and match[2]:
            self.lines.insert(self.at, match[2])

    def _code(self, line: str) -> None:
        if line.lstrip().startswith(">>>") or TABLE.match(line):
            rows = self._until(lambda row: not row.strip())
        else:
            indent = len(line) - len(line.lstrip())
            rows = self._until(lambda row: bool(row.strip()) and len(row) - len(row.lstrip()) < indent)
        self._put("pre", rows)

    def _item(self) -> None:
        match = ITEM.match(self.lines[self.at])
        depth = len(match[1]) if match else 0
        rows = [ITEM.sub("", self.lines[self.at])]
        self.at += 1
        rows += self._until(lambda row: not row.strip() or bool(ITEM.match(row)) or len(row) - len(row.lstrip()) <= depth)
        self._put("li", rows)

    def _paragraph(self) -> None:
        indent = len(self.lines[self.at]) - len(self.lines[self.at].lstrip())
        start = self.at
        self.at += 1
        self._until(
            lambda row: not row.strip() or bool(ITEM.match(row)) or row.lstrip().startswith((">>>", "```", ".. ")) or len(row) - len(row.lstrip()) != indent
        )
        self._put("p", self.lines[start : self.at])

    def _put(self, kind: Kind, rows: list[str]) -> None:
        self.literal = bool(rows) and rows[-1].rstrip().endswith("::")
        text = cleandoc("\n".join(rows)) if kind == "pre" else inline("\n".join(rows))
        text = text.removesuffix("::") + ":" if self.literal else text
        if text.strip(" :.*|"):
            self.made.append(Block(kind, text))


def _code(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))


def to_html(made: list[Block], level: int = 2) -> str:
    """Blocks as HTML; headings as `<h{level}>`."""
    out: list[str] = []
    for index, (kind, text) in enumerate(made):
        if kind == "li":
            first = index == 0 or made[index - 1].kind != "li"
            last = index + 1 == len(made) or made[index + 1].kind != "li"
            out.append(f"{'<ul>' if first else ''}<li>{_code(text)}</li>{'</ul>' if last else ''}")
        elif kind == "pre":
            out.append(f'<div class="highlight"><pre>{escape(text, quote=False)}</pre></div>')
        else:
            tag = f"h{level}" if kind == "h" else "p"
            out.append(f"<{tag}>{_code(text)}</{tag}>")
    return "\n".join(out)


def to_wikitext(made: list[Block]) -> str:
    """Blocks as wikitext: names become links, headings and lists its own."""
    out = []
    for kind, text in made:
        words = re.sub(r"`([A-Za-z_][\w.]*)`", r"[[\1]]", text)
        out.append({"h": f"== {words} ==", "li": f"* {words}", "pre": f'<syntaxhighlight lang="python">\n{text}\n</syntaxhighlight>'}.get(kind, words))
    return "\n\n".join(out)


def to_text(made: list[Block], kinds: str = "h p li pre") -> str:
    """Blocks of some kinds as plain text, an empty line between them."""
    return "\n\n".join(text if kind == "pre" else text.replace("`", "") for kind, text in made if kind in kinds.split())
