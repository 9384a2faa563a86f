"""Encyclopedia articles as text: plain ones as they are, wikitext without its markup.

Two passes. The first knows nesting alone (templates, tables, tags, links) and is linear in any input: it takes out what a reader does not see and leaves
every link closed. The second is mwparserfromhell's, on what is left. It alone takes 0.7 CPU s for 8 kB of templates that are never closed, and four times
that for twice as much; the two together took at most 21 us a character on any of 2,700 random texts of broken markup.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from dolma.core.errors import EnvironmentFault
from dolma.core.schema import ERROR, append, keys
from dolma.core.step import step
from dolma.extract.constants import constants

TOKEN = re.compile(r"<!--|\{{2,}|\}{2,}|\[\[|\[(?=[a-z]+:|//)|\]+|^[ \t:*#;]*\{\||\{\||^[ \t]*\|\}(?!\})|</?[a-z][^<>]*>|<", re.IGNORECASE | re.MULTILINE)
VERBATIM = frozenset(["nowiki", "math", "chem", "ce", "pre", "source", "syntaxhighlight"])  # what they hold is no wikitext
FORMULAS = frozenset(["math", "chem", "ce"])
BREAKS = frozenset(["br", "hr", "p", "div", "li", "ul", "ol", "dl", "dd", "dt", "blockquote", "poem", "center", "tr", "table", "caption"])
SWITCH = re.compile(r"__[A-Z]+(?:_[A-Z]+)*__")
QUOTES = re.compile(r"'{5}|'{3}|''")
NO_TITLE = re.compile(r"[\n<>{}\[\]]")  # a link to such a title is none, and costs the parser a second look at all that is in it
LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[a-z]+)*:\S")  # [[de:Zug]] stands beside the article, not in it
KEPT = re.compile("\ue000([0-9]+)\ue001")  # where a verbatim piece stands; \ue002 begins a heading, \ue003 is the mark of a list
PRIVATE = re.compile("[\0\ue000-\ue003]")  # ours, and what ends the text for the parser
BRACKET = re.compile(r"\[\[|\]\]")  # of links that the parser refused, such as one over two lines
BRACKETS = re.compile(r" ?\((?:[\s,;:]|&nbsp;)*\)")  # what a removed template leaves of `(born {{date}})`
SPACES = re.compile(r"[ \t\xa0]{2,}")
EDGES = re.compile(r"^[ \t\xa0]+|[ \t\xa0]+$", re.MULTILINE)
EMPTY = re.compile(r"\n{3,}")
MAX_DEPTH = 100  # open marks at one time; text is moved once for each that closes. MediaWiki's own limit of templates is 40

# What begins a redirect, by wiki language; upper or lower case. Source: the magic word `redirect` in MediaWiki's language files, for the larger Wikipedias
REDIRECTS: list[str] = list(
    (
        "REDIRECT AANSTUUR ADKAS ALIDIREKTU ALIH BIRZUZENDU DOORVERWIJZING LENCONG OHJAUS OMDIRIGERING PATRZ PERADRESAVIMAS PREUSMERITEV PREUSMJERI PRESMERUJ "
        "PRZEKIERUJ PŘESMĚRUJ REDIRECCIÓ REDIRECCION REDIRECCIÓN REDIRECIONAMENTO REDIRECTEAZA REDIRECTION RIDREJTO RINDIRIZZA RINVIA SUUNA TAM TILVÍSUN "
        "UUDELLEENOHJAUS WEITERLEITUNG YÖNLENDİRME YÖNLENDİR ÁTIRÁNYÍTÁS ĐỔI ΑΝΑΚΑΤΕΥΘΥΝΣΗ АЙДАУ ВИЖ ПЕРАНАКІРАВАНЬНЕ ПЕРЕНАПР ПЕРЕНАПРАВЛЕНИЕ ПЕРЕНАПРАВЛЕННЯ "
        "ПРЕНАСОЧВАНЕ ПРЕНАСОЧУВАЊЕ ПРЕУСМЕРИ ՎԵՐԱՀՂՈՒՄ გადამისამართება הפניה تحويل تغییر_مسیر تغییرمسیر अनुप्रेषित पुनर्निर्देशन पुनर्प्रेषित வழிமாற்று దారిమార్పు "
        "തിരിച്ചുവിടുക เปลี่ยนทาง 넘겨주기 リダイレクト 転送 重定向"
    ).split()
)

# Templates that stand for words in a sentence, of the English Wikipedia; {n} is the n-th argument.
TEMPLATES = {
    **dict.fromkeys(["convert", "cvt", "ship"], "{1} {2}"),
    **dict.fromkeys(["lang", "transl", "transliteration", "color", "font color"], "{2}"),
    **dict.fromkeys(
        "nowrap nobr small smaller big abbr tooltip quote blockquote cquote quotation math mvar val chem sub sup nihongo sic ill linktext flag "
        "flagcountry em strong mono underline u angbr gaps".split(),
        "{1}",
    ),
    **dict.fromkeys(["not a typo", "visible anchor", "interlanguage link", "flag country"], "{1}"),
    **dict.fromkeys(["frac", "sfrac"], "{1}/{2}"),
    **dict.fromkeys(["circa", "c."], "c. {1}"),
    **dict.fromkeys(["snd", "spaced ndash", "spaced en dash"], " \u2013 "),
    "ndash": "\u2013",
    "mdash": "\u2014",
    "'": "'",
    "nbsp": " ",
    "as of": "As of {1}",
    "hms": "HMS {1}",
    "uss": "USS {1}",
    "us$": "US${1}",
}


@step(
    needs=("id", "text", "format", "lang"),
    adds={"key": pa.int64(), "source": pa.string(), "url": pa.string(), "text": pa.large_string(), "lang": pa.string(), "lang_score": pa.float32()},
    packages=("mwparserfromhell",),
    version=3,
)
def extract_wiki(
    batch: pa.RecordBatch,
    *,
    hidden_links: list[str] = ["category", "file", "image", "media", "template", "wikipedia", "help", "portal"],  # noqa: B006
    hidden_tags: list[str] = ["ref", "references", "gallery", "table", "timeline", "imagemap", "source", "syntaxhighlight", "score", "graph", "mapframe"],  # noqa: B006
    hidden_sections: list[str] = ["references", "external links", "see also", "notes", "further reading", "sources", "footnotes"],  # noqa: B006
    templates: dict[str, str] = TEMPLATES,
    redirects: list[str] = REDIRECTS,
    max_chars: int = 2_097_152,
) -> pa.RecordBatch:
    """The batch with wikitext replaced by its prose; rows whose `format` is plain keep their text. A redirect has empty text: one of `redirects`
    and a link, with nothing after it that a reader sees.

    Templates, tables, references, comments and pictures go; links, tags and formatting leave their words; headings with text below stay as lines, lists as
    lines with a dash; formulas stay as LaTeX between dollar signs, byte for byte. `_error`: a `format` that is neither plain nor
    wikitext, or a page that is too long.

    Args:
        hidden_links: namespaces whose links leave nothing.
        hidden_tags: tags that go with what they hold.
        hidden_sections: headings, in lower case, that go with what is below them.
        templates: what stands in place of a template, by its name in lower case; all others leave nothing.
        redirects: the words that begin a redirect, after a `#`, in upper or lower case.
        max_chars: longer wikitext is an error. Source: MediaWiki's `$wgMaxArticleSize`, 2,048 kB.
    """
    rules = _Rules(frozenset(hidden_links), frozenset(hidden_tags), frozenset(hidden_sections), templates, _redirect(redirects))
    texts, errors = [], []
    for text, kind in zip(batch.column("text").to_pylist(), batch.column("format").to_pylist(), strict=True):
        error = "unknown format" if kind not in ("plain", "wikitext") else f"longer than {max_chars} characters" if len(text) > max_chars else None
        texts.append(_plain(text, rules) if kind == "wikitext" and error is None else text)
        errors.append(error)
    columns = {
        "key": keys(batch.column("id")),
        **constants(batch.num_rows, source="wiki", lang="en"),
        "text": pa.array(texts, pa.large_string()),
        "lang": batch.column("lang"),
    }
    if any(errors):
        columns[ERROR] = pa.array(errors, pa.string())
    return append(batch, columns)


@dataclass(frozen=True)
class _Rules:
    links: frozenset[str]
    tags: frozenset[str]
    sections: frozenset[str]
    templates: dict[str, str]
    redirect: re.Pattern[str]


def _redirect(words: list[str]) -> re.Pattern[str]:
    """The beginning of a redirect, up to the end of its link. Blanks are possessive: else a page of them costs the square of its length."""
    return re.compile(rf"\s*+[#\uff03](?:{'|'.join(map(re.escape, words)) or '(?!)'})\s*+:?\s*+\[\[[^\[\]\n]+\]\]", re.IGNORECASE)


@dataclass
class _Open:
    """Markup that is not closed yet: its kind (`{{`, `{{{`, `[[`, `[`, `{|`, or a hidden tag's name) and what it holds so far."""

    kind: str
    parts: list[str] = field(default_factory=list)


def _plain(text: str, rules: _Rules) -> str:
    link = rules.redirect.match(text)
    return "" if link and not _prose(text[link.end() :], rules) else _prose(text, rules)


def _prose(text: str, rules: _Rules) -> str:
    try:
        import mwparserfromhell
    except ImportError as error:
        raise EnvironmentFault("extract_wiki", "package mwparserfromhell is not installed", mend="pip install 'dolma-flow[wiki]'") from error
    scan = _Scan(PRIVATE.sub("", text), rules)
    code = mwparserfromhell.parse(SWITCH.sub("", QUOTES.sub("", scan.run())))
    words = _sections("".join(_words(code, mwparserfromhell.nodes)), rules.sections)
    words = EDGES.sub("", SPACES.sub(" ", BRACKETS.sub("", words)))
    return KEPT.sub(lambda m: scan.kept[int(m[1])], EMPTY.sub("\n\n", words).strip())


class _Scan:
    """The first pass: one walk over the marks of a page with a stack of what is open. A closing mark without its opening, and an opening without its
    closing, are taken out and leave their words, as does what is nested too deep."""

    def __init__(self, text: str, rules: _Rules) -> None:
        self.text, self.rules = text, rules
        self.stack = [_Open("")]
        self.kept: list[str] = []
        self.counts: dict[str, int] = {}
        self.dead: set[str] = set()  # tags that are never closed again: not to search the rest of the page for each of them

    def run(self) -> str:
        place = 0
        while token := TOKEN.search(self.text, place):
            self.say(self.text[place : token.start()])
            place = self.take(token[0], token.start(), token.end())
        self.say(self.text[place:])
        while len(self.stack) > 1:
            self.drop()
        return "".join(self.stack[0].parts)

    def say(self, words: str) -> None:
        self.stack[-1].parts.append(words)

    def take(self, mark: str, start: int, end: int) -> int:
        """Handle one mark; the place where the walk goes on."""
        if mark == "<!--":
            close = self.text.find("-->", end) if "-->" not in self.dead else -1
            if close < 0:
                self.dead.add("-->")
            return close + 3 if close >= 0 else end
        if mark == "<":
            self.say("&lt;")
        elif mark == "{|" and start and self.text[start - 1] != "\n":
            self.say("{&#124;")  # no table; a tag before it leaves a line break
        elif mark.startswith("{{"):
            self.braces(len(mark))
        elif mark[0] == "}":
            self.unbrace(len(mark))
        elif mark[0] == "[":
            self.open(mark)
        elif mark[0] == "]":
            self.unbracket(len(mark))
        elif mark.endswith("{|"):
            self.open("{|")
        elif mark.endswith("|}"):
            self.close("{|")
        else:
            return self.tag(mark, end)
        return end

    def open(self, kind: str) -> None:
        if kind == "[" and self.stack[-1].kind == "[":  # they do not nest: the first is not closed
            self.drop()
        if len(self.stack) > MAX_DEPTH:
            return
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.stack.append(_Open(kind))

    def close(self, kind: str) -> None:
        """Close the nearest `kind`; what was opened in it and not closed is dropped. Nothing where none is open."""
        if self.counts.get(kind, 0):
            while self.stack[-1].kind != kind:
                self.drop()
            self.counts[kind] -= 1
            self.say(self.shown(kind, "".join(self.stack.pop().parts)))

    def drop(self) -> None:
        """Take out an opening mark that is never closed; a picture or category goes with the rest of its line."""
        made = self.stack.pop()
        self.counts[made.kind] -= 1
        held = "".join(made.parts)
        self.say(held.partition("\n")[2] if made.kind == "[[" and self.hidden(held) else held)

    def braces(self, count: int) -> None:
        kinds = (["{{"] * ((count - 3) // 2) + ["{{{"]) if count % 2 else ["{{"] * (count // 2)
        for kind in kinds:
            self.open(kind)

    def unbracket(self, count: int) -> None:
        while count and (self.counts.get("[[", 0) or self.counts.get("[", 0)):
            inner = next(one.kind for one in reversed(self.stack) if one.kind in ("[[", "["))
            if count < len(inner):
                break
            self.close(inner)
            count -= len(inner)
        self.say("]" * (count % 2))

    def unbrace(self, count: int) -> None:
        while count >= 2 and (self.counts.get("{{", 0) or self.counts.get("{{{", 0)):
            inner = next(one.kind for one in reversed(self.stack) if one.kind in ("{{", "{{{"))
            if count < len(inner):
                break
            self.close(inner)
            count -= len(inner)

    def tag(self, mark: str, end: int) -> int:
        name = re.split(r"[\s/>]", mark.strip("</"), maxsplit=1)[0].lower()
        closing, alone = mark[1] == "/", mark.endswith("/>")
        if name in VERBATIM and not closing and not alone:
            return self.verbatim(name, mark, end)
        if name in BREAKS:
            self.say("\n")
        if name in self.rules.tags and not alone:
            if closing:
                self.close(name)
            else:
                self.open(name)
        return end

    def verbatim(self, name: str, mark: str, end: int) -> int:
        """Put what such a tag holds aside, where no later rule changes it."""
        found = None if name in self.dead else re.compile(rf"</{name}\s*>", re.IGNORECASE).search(self.text, end)
        if found is None:
            self.dead.add(name)
            return end
        held = self.text[end : found.start()]
        if name not in self.rules.tags and held.strip():
            if name in FORMULAS:
                held = held.strip() if name == "math" else rf"\ce{{{held.strip()}}}"
                held = f"$${held}$$" if "block" in mark else f"${held}$"
            self.say(f"\ue000{len(self.kept)}\ue001")
            self.kept.append(held)
        return found.end()

    def hidden(self, link: str) -> bool:
        space, colon, _ = link.partition(":")
        return bool(colon) and (space.strip().lower() in self.rules.links or LANGUAGE.match(link) is not None)

    def shown(self, kind: str, held: str) -> str:
        """What is left of closed markup."""
        if kind == "[[":
            title, _, label = held.partition("|")
            return "" if self.hidden(held) else f"[[{held}]]" if not NO_TITLE.search(title) else label or held
        if kind == "[":
            return held if "\n" in held else f"[{held}]"
        if kind == "{{":
            name = held.partition("|")[0].replace("_", " ").strip().lower()
            pattern = self.rules.templates.get(name)
            return "" if pattern is None else _filled(pattern, _arguments(held))
        if kind == "{{{":
            return held.partition("|")[2]
        return ""  # a table or a hidden tag


def _arguments(held: str) -> dict[str, str]:
    """The arguments of a template by name or number; a bar inside a link is none of its own."""
    pieces, start, depth = [], 0, 0
    for mark in re.finditer(r"\[\[|\]\]|\|", held):
        depth += {"[[": 1, "]]": -1}.get(mark[0], 0)
        if mark[0] == "|" and depth <= 0:
            pieces.append(held[start : mark.start()])
            start = mark.end()
    found: dict[str, str] = {}
    unnamed = 0
    for piece in [*pieces, held[start:]][1:]:
        name, equals, value = piece.partition("=")
        if equals and re.fullmatch(r"\s*[\w -]+\s*", name):
            found[name.strip()] = value.strip()
        else:
            unnamed += 1
            found[str(unnamed)] = piece.strip()
    return found


def _filled(pattern: str, arguments: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda m: arguments.get(m[1], ""), pattern)


def _words(code: Any, nodes: Any) -> Iterator[str]:
    """What a reader sees of parsed wikitext, in order. One walk: to remove nodes from the tree takes its size again for each of them."""
    for node in code.nodes:
        if isinstance(node, nodes.Text):
            yield BRACKET.sub("", str(node.value))
        elif isinstance(node, nodes.Heading):
            yield f"\n\n\ue002{node.level}{''.join(_words(node.title, nodes)).strip()}\n"
        elif isinstance(node, nodes.Wikilink):
            yield from _words(node.title if node.text is None else node.text, nodes)
        elif isinstance(node, nodes.ExternalLink):
            if node.title is not None:
                yield from _words(node.title, nodes)
            elif not node.brackets:
                yield str(node.url)
        elif isinstance(node, nodes.HTMLEntity):
            yield node.normalize()
        elif isinstance(node, nodes.Tag):
            if node.wiki_markup in ("*", "#"):
                yield "\ue003"
            elif node.contents is not None:
                yield from _words(node.contents, nodes)


def _sections(text: str, hidden: frozenset[str]) -> str:
    """`text` with its headings as lines; a heading that has no text below it goes, and a hidden one goes with all that is below it."""
    made: list[str] = []
    waiting: list[tuple[int, str]] = []  # headings without text so far
    skip = 0  # the level of the hidden heading that this line is below; 0: none
    for line in re.sub("\ue003+ *", "- ", text).split("\n"):
        if line.startswith("\ue002"):
            level, title = int(line[1]), line[2:].strip()
            if skip and level > skip:
                continue
            skip = level if title.lower().rstrip(":") in hidden else 0
            waiting = [one for one in waiting if one[0] < level] + ([] if skip else [(level, f"\n{title}")])
        elif not skip:
            if line.strip(" -"):
                made += [title for _, title in waiting]
                waiting = []
            made.append(line if line.strip() != "-" else "")
    return "\n".join(made)
