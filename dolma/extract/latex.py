"""LaTeX sources as one text: the sources of a paper are a .gz of one file, or of a tar with many (what arXiv keeps of a submission)."""

import codecs
import posixpath
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from dolma.core.errors import ConfigError, DataError
from dolma.core.schema import ERROR, Columns, append
from dolma.core.step import step
from dolma.io.archive import Gate, Limits, tar_members
from dolma.io.compressed import Content

DEPTH = 15  # inputs in inputs. Source: TeX Live's max_in_open
MEMBERS = 100  # of one gzip; each costs a copy of the rest
LONGEST = 4096  # characters of an address or of \verb
ENDINGS = (".tex", ".ltx", ".latex")
ALONE = "source.tex"  # the name of a file that came without one
FAVOURITES = ("main", "ms", "paper", "article")  # of several files that could be the main one
VERBATIM = "verbatim|Verbatim|lstlisting|minted|alltt|comment|filecontents"
# Where something other than text begins. What follows is found by searching forward, so that a text without ends costs one search more, not one for each.
TOKEN = re.compile(
    rf"""\\begin\s*\{{(?P<block>(?:{VERBATIM})\*?)\}}        # kept to its end as it is, but for `comment`
      | \\verb\*?(?P<mark>[^\sa-zA-Z*])                      # kept to the next mark
      | \\(?:url|path|nolinkurl|href)\s*(?P<address>\{{)     # a percent sign in an address is no comment
      | \\(?P<input>input|include|subfile|import|subimport)(?![a-zA-Z@])
      | \\(?P<stop>endinput)(?![a-zA-Z@])
      | \\(?P<edge>(?:begin|end)\s*\{{document\}})
      | \\.                                                  # an escaped percent sign among others
      | (?P<comment>%)""",
    re.VERBOSE | re.DOTALL,
)
NAME = re.compile(r"\s{0,9}(?:\{\s{0,9}(?P<braced>[^{}\n]{1,255}?)\s{0,9}\}|(?P<bare>[^\s{}\\%]{1,255}))(?:\s{0,9}\{(?P<second>[^{}\n]{1,255})\})?")
CLASS = re.compile(r"^[^%\n]{0,200}\\document(?:class|style)\b", re.MULTILINE)
BEGIN = re.compile(r"\\begin\s{0,9}\{document\}")
BIBLIOGRAPHY = re.compile(r"\\(?:bibliography|bibliographystyle|addbibresource)\s*\{[^{}]{0,300}\}[ \t]*|\\printbibliography\b(?:\[[^\]]{0,300}\])?")
REFERENCES, REFERENCES_END = "\\begin{thebibliography}", "\\end{thebibliography}"
LINES = re.compile(r"\n[ \t]*(?:\n[ \t]*)+\n")


def _columns(params: Any) -> Columns:
    try:
        codecs.lookup(params.charset)
    except LookupError as error:
        raise ConfigError("flatten_latex", "unknown charset", got=params.charset, expected="one that Python knows", mend="mend its name") from error
    return {"text": pa.large_string(), "main": pa.string(), "n_files": pa.int32(), "n_missing": pa.int32()}


@step(needs=("content",), adds=_columns)
def flatten_latex(
    batch: pa.RecordBatch,
    *,
    preamble: bool = False,
    bibliography: bool = False,
    charset: str = "cp1252",
    max_bytes: int = 64 << 20,
    max_files: int = 10_000,
    max_chars: int = 20_000_000,
) -> pa.RecordBatch:
    """The batch with the LaTeX of each `content` as one text: inputs in their place, comments gone, mathematics as it is.

    `content` is a .tex file or a tar, under gzip or not. Of a tar the main file is one with `\\documentclass` (or `\\documentstyle`), if possible with a
    `\\begin{document}` and input by no other, called main, ms, paper or article, or else the largest. `\\input`, `\\include`, `\\subfile`, `\\import` and
    `\\subimport` are followed; a file that is not there, that is being read already, or is deeper than 15 is counted in `n_missing`. A comment goes with its
    line end, as TeX reads it, and nothing behind `\\endinput` is read. Verbatim blocks and addresses keep their percent signs. `main` is the main file's
    name, `n_files` how many files the text is of. Content without a main file (a PDF, plain TeX of many files) has empty text, a null `main` and 0 files.
    Files are read as UTF-8, others in `charset`. `_error`: content that is cut short, damaged or over a limit.

    Args:
        preamble: keep what stands before `\\begin{document}` and behind `\\end{document}`, and these.
        bibliography: keep `thebibliography`, and put the main file's .bbl where the bibliography is printed.
        charset: of files that are not UTF-8; until 2018 the default of LaTeX was none, and arXiv has many of Latin-1.
        max_bytes: content that unpacks to more is an `_error`.
        max_files: a tar of more files is an `_error`.
        max_chars: more, of all files that are read, is an `_error`: a file may be input again and again.
    """
    limits = Limits(max_bytes, max_files, max_bytes, float("inf"))
    texts: list[str | None] = []
    found: list[tuple[str | None, int, int]] = []
    errors: list[str | None] = []
    for content in batch.column("content"):
        paper, error = None, "no content"
        if content.is_valid:
            try:
                paper, error = _paper(content.as_buffer(), limits, charset, max_chars, preamble, bibliography), None
            except _Bad as bad:
                error = str(bad)
        texts.append(paper.text if paper else None)
        found.append((paper.main, len(paper.used), paper.missing) if paper else (None, 0, 0))
        errors.append(error)
    columns: dict[str, pa.Array] = {"text": pa.array(texts, pa.large_string())}
    for at, (name, kind) in enumerate((("main", pa.string()), ("n_files", pa.int32()), ("n_missing", pa.int32()))):
        columns[name] = pa.array([row[at] for row in found], kind)
    if any(errors):
        columns[ERROR] = pa.array(errors, pa.string())
    return append(batch, columns)


class _Bad(Exception):
    """Why content cannot be read."""


class _Edge(str):
    """Where the document begins or ends."""


@dataclass
class _Paper:
    """The sources of one paper, and the text as it grows."""

    files: Mapping[str, bytes]
    charset: str
    limit: int
    main: str | None = None
    text: str = ""
    used: set[str] = field(default_factory=set)
    missing: int = 0
    chars: int = 0

    def source(self, name: str) -> str:
        """A file as text."""
        raw = self.files[name]
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = raw.decode(self.charset, "replace")
        return text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n")  # the line of the input goes on behind it

    def flat(self, name: str, open_files: tuple[str, ...]) -> Iterator[str]:
        """The pieces of a file with those that it inputs in their place."""
        source = self.source(name)
        self.used.add(name)
        self.chars += len(source)
        if self.chars > self.limit:
            raise _Bad(f"more than {self.limit} characters")
        for piece in _pieces(source):
            if isinstance(piece, str):
                yield piece
                continue
            there = self.find(piece, name)
            if there is None or there in open_files or len(open_files) >= DEPTH:
                self.missing += 1
            else:
                parts = self.flat(there, (*open_files, there))
                yield from _inside(list(parts)) if piece.command == "subfile" else parts

    def find(self, wanted: "_Input", within: str) -> str | None:
        """The name of the text that is meant: TeX looks from the folder of the main file, `\\subimport` from that of the file it stands in."""
        base = posixpath.dirname(within if wanted.command == "subimport" else self.main or "")
        path = posixpath.normpath(posixpath.join(base, wanted.folder, wanted.name))
        return next((one for one in (f"{path}.tex", path) if one in self.files and b"\0" not in self.files[one]), None)

    def choose(self) -> str | None:
        """The name of the main file; see `flatten_latex`."""
        if set(self.files) == {ALONE}:
            return ALONE if b"\\" in self.files[ALONE] else None
        texts = {name: self.source(name) for name, raw in self.files.items() if name.lower().endswith(ENDINGS) and b"\0" not in raw}
        able = [name for name, text in texts.items() if CLASS.search(text)]
        able = [name for name in able if BEGIN.search(texts[name])] or able
        if len(able) > 1:
            inputs = {posixpath.normpath(piece.name) for name in able for piece in _pieces(texts[name]) if isinstance(piece, _Input)}
            able = [name for name in able if not {name, name.removesuffix(".tex")} & inputs] or able
        names = {name: posixpath.basename(name).partition(".")[0].lower() for name in able}
        order = {name: FAVOURITES.index(short) if short in FAVOURITES else len(FAVOURITES) for name, short in names.items()}
        return min(able, key=lambda name: (order[name], -len(texts[name]), name), default=None)


@dataclass(frozen=True)
class _Input:
    """A command that another file stands for."""

    command: str
    folder: str
    name: str


def _paper(content: pa.Buffer, limits: Limits, charset: str, max_chars: int, preamble: bool, bibliography: bool) -> _Paper:
    """The paper of one content; without a main file its text is empty.

    Raises:
        _Bad: the content is cut short, damaged or over a limit.
    """
    paper = _Paper(_files(content, limits), charset, max_chars)
    paper.main = paper.choose()
    if paper.main is None:
        return paper
    parts = list(paper.flat(paper.main, (paper.main,)))
    text = "".join(parts if preamble else _inside(parts))
    printed = f"{paper.main.removesuffix('.tex')}.bbl"
    if bibliography and printed in paper.files:
        paper.used.add(printed)
        text = _printed(text, "".join(piece for piece in _pieces(paper.source(printed)) if isinstance(piece, str)))
    elif not bibliography:
        text = BIBLIOGRAPHY.sub("", _without(text, REFERENCES, REFERENCES_END))
    paper.text = LINES.sub("\n\n", text).strip()
    return paper


def _inside(parts: list[str]) -> list[str]:
    """What stands between the first begin of a document and the end behind it; all if it has no begin."""
    edges = [n for n, part in enumerate(parts) if isinstance(part, _Edge)]
    begin = next((n for n in edges if parts[n].startswith("\\begin")), None)
    if begin is None:
        return parts
    return parts[begin + 1 : next((n for n in edges if n > begin and parts[n].startswith("\\end")), len(parts))]


def _printed(text: str, references: str) -> str:
    """`text` with its references where its last bibliography command stands, or at its end."""
    places = [match for match in BIBLIOGRAPHY.finditer(text) if match[0].startswith(("\\bibliography{", "\\printbibliography"))]
    at = (places[-1].start(), places[-1].end()) if places else (len(text), len(text))
    return f"{text[: at[0]]}\n{references}\n{text[at[1] :]}"


def _without(text: str, begin: str, end: str) -> str:
    parts, at = [], 0
    while (start := text.find(begin, at)) >= 0 and (stop := text.find(end, start)) >= 0:
        parts.append(text[at:start])
        at = stop + len(end)
    return "".join([*parts, text[at:]])


def _files(content: pa.Buffer, limits: Limits) -> dict[str, bytes]:
    """The files of a content by name; none in one that is no TeX."""
    raw = _unzipped(content, limits.max_bytes)
    if raw[257:262] != b"ustar" and not _is_old_tar(raw):
        return {ALONE: raw} if b"\0" not in raw and not raw.startswith((b"%PDF-", b"%!PS")) else {}
    files: dict[str, bytes] = {}
    try:
        for member in tar_members(Content(iter([raw])), Gate("content", len(raw), limits)):
            if member.error and member.name.lower().endswith(ENDINGS):
                raise _Bad(f"{member.name[:200]}: {member.error}")
            if member.content is not None:
                files[posixpath.normpath(member.name)] = member.content
    except DataError as error:
        raise _Bad(f"{error.what}: {error.got}") from error
    return files


def _unzipped(content: pa.Buffer, limit: int) -> bytes:
    """The bytes of a content, out of gzip if it is under gzip."""
    if bytes(content[:2]) != b"\x1f\x8b":
        if content.size > limit:
            raise _Bad(f"larger than {limit} bytes")
        return content.to_pybytes()
    parts, left, data = [], limit, content.to_pybytes()
    for _ in range(MEMBERS):
        inflate = zlib.decompressobj(wbits=31)
        try:
            parts.append(inflate.decompress(data, left + 1))
        except zlib.error as error:
            raise _Bad(f"damaged gzip: {str(error)[:200]}") from error
        left -= len(parts[-1])
        if left < 0:
            raise _Bad(f"larger than {limit} bytes")
        if not inflate.eof:
            raise _Bad("gzip that is cut short")
        data = inflate.unused_data.lstrip(b"\0")
        if not data:
            return b"".join(parts)
    raise _Bad(f"more than {MEMBERS} gzip members")


def _is_old_tar(raw: bytes) -> bool:
    """Whether the first block has the checksum of a tar header; tars from before 1988 have no other mark."""
    if len(raw) < 512:
        return False
    written = raw[148:156].strip(b"\0 ")
    return written.isdigit() and written.strip(b"01234567") == b"" and int(written, 8) == sum(raw[:148]) + sum(raw[156:512]) + 8 * 32


def _pieces(text: str) -> Iterator[str | _Input]:
    """What is left of a file without its comments, and the commands that other files stand for; nothing behind `\\endinput`."""
    ends: set[str] = set()  # ends that are nowhere behind here

    def behind(mark: str, start: int) -> int:
        """The place behind the next `mark`, or -1."""
        at = -1 if mark in ends else text.find(mark, start)
        if at < 0:
            ends.add(mark)
        return at + len(mark) if at >= 0 else -1

    done = at = 0
    while found := TOKEN.search(text, at):
        at = found.end()
        kind = found.lastgroup
        if kind == "comment":
            start, stop = _comment(text, found.start())
            yield text[done : max(start, done)]
            done = at = stop
        elif kind in ("block", "mark", "address"):
            at = _kept(text, found, behind)
            if found["block"] == "comment" and at > found.end():
                yield text[done : found.start()]
                done = at
        elif kind == "input" and (name := _named(found["input"], text, at)):
            yield text[done : found.start()]
            yield name[0]
            done = at = name[1]
        elif kind == "edge":
            yield text[done : found.start()]
            yield _Edge(found[0])
            done = at
        elif kind == "stop":
            yield text[done : found.start()]
            return
    yield text[done:]


def _kept(text: str, found: re.Match[str], behind: Callable[[str, int], int]) -> int:
    """Where a span that is kept as it is ends; behind its first mark when it has no end."""
    if found["block"]:
        return max(found.end(), behind(f"\\end{{{found['block']}}}", found.end()))
    mark = found["mark"] or "}"
    most = found.end() + LONGEST
    line = text.find("\n", found.end(), most)
    return max(found.end(), text.find(mark, found.end(), line if line >= 0 else most) + 1)


def _comment(text: str, start: int) -> tuple[int, int]:
    """Where a comment begins and ends: with its line end and the indentation of the next line, unless that is empty; with its own if nothing is before it."""
    line = text.find("\n", start)
    stop = line if line >= 0 else len(text)
    next_line = stop + 1
    while next_line < len(text) and text[next_line] in " \t":
        next_line += 1
    if line >= 0 and next_line < len(text) and text[next_line] != "\n":
        stop = next_line
    begin = start
    while begin and text[begin - 1] in " \t":
        begin -= 1
    return (begin if begin == 0 or text[begin - 1] == "\n" else start), stop


def _named(command: str, text: str, at: int) -> tuple[_Input, int] | None:
    """The file that a command names, and where the command ends."""
    found = NAME.match(text, at)
    if found is None:
        return None
    if command in ("import", "subimport"):
        return (_Input(command, found["braced"], found["second"]), found.end()) if found["braced"] and found["second"] else None
    name = found["braced"] or (found["bare"] if command == "input" else None)
    end = found.end("braced") if found["braced"] else found.end("bare")
    return (_Input(command, "", name.strip('"')), text.index("}", end) + 1 if found["braced"] else end) if name else None
