"""Programming languages: which names of files belong to each, and how comments and strings look in it. The one table of them."""

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import PurePosixPath
from typing import Any, NamedTuple

BLOCKS, BLOCK_BYTES = 9, 12  # most block comments of a language; bytes of a mark with its length and its place
ONE_LINE, MULTI_LINE, RAW, CHARACTER = 1, 2, 3, 4  # how far a string goes, and whether a backslash escapes in it


@dataclass(frozen=True)
class Syntax:
    """How comments and strings look.

    `lines`: marks of a comment that goes to the end of the line. `blocks`: open and close; an opening that begins with a line feed stands at the start of
    a line. `quotes`: what begins and ends a string within a line; `multi`: over lines; `raw`: over lines and without escapes; `character`: one character
    (the mark has other uses). `triple`: three quotes begin a string over lines; `doc`: such a string that is a statement of its own is a comment.
    `spaced`: the line mark has other uses and counts only after white space.
    """

    lines: tuple[str, ...] = ()
    blocks: tuple[tuple[str, str], ...] = ()
    quotes: str = ""
    multi: str = ""
    raw: str = ""
    character: str = ""
    triple: bool = False
    doc: bool = False
    nested: bool = False
    spaced: bool = False


_C = (("/*", "*/"),)
_POD = tuple((f"\n={word}", "\n=cut") for word in ("pod", "head", "over", "item", "back", "begin", "for", "encoding", "end"))

SYNTAX = {
    "none": Syntax(),
    "c": Syntax(("//",), _C, quotes="\"'"),
    "java": Syntax(("//",), _C, quotes="\"'", triple=True),
    "nested": Syntax(("//",), _C, quotes='"', character="'", triple=True, nested=True),
    "rust": Syntax(("//",), _C, multi='"', character="'", nested=True),
    "javascript": Syntax(("//",), _C, quotes="\"'", multi="`"),
    "go": Syntax(("//",), _C, quotes="\"'", raw="`"),
    "php": Syntax(("//", "#"), _C, quotes="\"'", spaced=True),
    "css": Syntax((), _C, quotes="\"'"),
    "python": Syntax(("#",), quotes="\"'", triple=True, doc=True),
    "shell": Syntax(("#",), quotes='"', raw="'", spaced=True),
    "config": Syntax(("#",), quotes="\"'", spaced=True),
    "ruby": Syntax(("#",), (("\n=begin", "\n=end"),), quotes="\"'`", spaced=True),
    "perl": Syntax(("#",), _POD, quotes="\"'`", spaced=True),
    "powershell": Syntax(("#",), (("<#", "#>"),), quotes="\"'"),
    "julia": Syntax(("#",), (("#=", "=#"),), quotes='"', character="'", triple=True, doc=True),
    "elixir": Syntax(("#",), quotes="\"'", triple=True),
    "sql": Syntax(("--",), _C, quotes="\"'"),
    "ada": Syntax(("--",), quotes='"', character="'"),
    "lua": Syntax(("--",), (("--[[", "]]"),), quotes="\"'"),
    "haskell": Syntax(("--",), (("{-", "-}"),), quotes='"', character="'", nested=True),
    "ocaml": Syntax((), (("(*", "*)"),), quotes='"', character="'", nested=True),
    "pascal": Syntax(("//",), (("{", "}"), ("(*", "*)")), quotes="'"),
    "fortran": Syntax(("!",), quotes="\"'"),
    "lisp": Syntax((";",), (("#|", "|#"),), multi='"', nested=True),
    "assembly": Syntax((";", "#", "//"), _C, quotes='"', spaced=True),
    "percent": Syntax(("%",), quotes='"'),
    "matlab": Syntax(("%",), (("\n%{", "\n%}"),), quotes='"'),
    "markup": Syntax((), (("<!--", "-->"),)),
}

# Language: its syntax, and the endings (or whole names) of its files; of two with the same ending the first stands.
LANGUAGES: dict[str, tuple[str, str]] = {
    "Ada": ("ada", ".adb .ads"),
    "Assembly": ("assembly", ".s .asm .nasm"),
    "C": ("c", ".c .h"),
    "C#": ("java", ".cs"),
    "C++": ("c", ".cc .cpp .cxx .c++ .hpp .hh .hxx .ipp .inl"),
    "CMake": ("config", ".cmake CMakeLists.txt"),
    "CSS": ("css", ".css"),
    "CUDA": ("c", ".cu .cuh"),
    "Clojure": ("lisp", ".clj .cljs .cljc"),
    "Common Lisp": ("lisp", ".lisp .lsp .cl"),
    "Cython": ("python", ".pyx .pxd .pxi"),
    "Dart": ("java", ".dart"),
    "Dockerfile": ("config", "Dockerfile .dockerfile"),
    "Elixir": ("elixir", ".ex .exs"),
    "Emacs Lisp": ("lisp", ".el"),
    "Erlang": ("percent", ".erl .hrl"),
    "F#": ("ocaml", ".fs .fsx"),
    "Fortran": ("fortran", ".f90 .f95 .f03 .f08 .f .for"),
    "GLSL": ("c", ".glsl .vert .frag"),
    "Go": ("go", ".go"),
    "Groovy": ("java", ".groovy .gradle"),
    "HTML": ("markup", ".html .htm .xhtml"),
    "Haskell": ("haskell", ".hs"),
    "JSON": ("none", ".json .jsonl .ipynb"),
    "Java": ("java", ".java"),
    "JavaScript": ("javascript", ".js .mjs .cjs .jsx"),
    "Julia": ("julia", ".jl"),
    "Kotlin": ("nested", ".kt .kts"),
    "Lua": ("lua", ".lua"),
    "MATLAB": ("matlab", ".m"),
    "Makefile": ("config", ".mk Makefile makefile GNUmakefile"),
    "Markdown": ("markup", ".md .markdown .rst"),
    "OCaml": ("ocaml", ".ml .mli"),
    "Objective-C": ("c", ".mm"),
    "PHP": ("php", ".php .phtml"),
    "Pascal": ("pascal", ".pas .pp .dpr"),
    "Perl": ("perl", ".pl .pm .t"),
    "PowerShell": ("powershell", ".ps1 .psm1 .psd1"),
    "Protocol Buffer": ("c", ".proto"),
    "Python": ("python", ".py .pyi .pyw"),
    "R": ("config", ".r .R"),
    "Ruby": ("ruby", ".rb .rake .gemspec Rakefile Gemfile"),
    "Rust": ("rust", ".rs"),
    "SCSS": ("c", ".scss .less"),
    "SQL": ("sql", ".sql"),
    "SVG": ("markup", ".svg"),
    "Scala": ("nested", ".scala .sc"),
    "Scheme": ("lisp", ".scm .ss .rkt"),
    "Shell": ("shell", ".sh .bash .zsh .ksh"),
    "Solidity": ("c", ".sol"),
    "Swift": ("nested", ".swift"),
    "TOML": ("config", ".toml"),
    "TeX": ("percent", ".tex .sty .cls .bib"),
    "Text": ("none", ".txt"),
    "TypeScript": ("javascript", ".ts .tsx .mts .cts"),
    "Verilog": ("c", ".v .sv .vh"),
    "VHDL": ("ada", ".vhd .vhdl"),
    "Vue": ("markup", ".vue .svelte"),
    "XML": ("markup", ".xml .xsd .xsl .xslt"),
    "YAML": ("config", ".yaml .yml"),
    "Zig": ("c", ".zig"),
}

# What a script's first line names, without its version.
INTERPRETERS = {
    "python": "Python",
    "bash": "Shell",
    "sh": "Shell",
    "zsh": "Shell",
    "dash": "Shell",
    "ksh": "Shell",
    "perl": "Perl",
    "ruby": "Ruby",
    "node": "JavaScript",
    "php": "PHP",
    "lua": "Lua",
    "Rscript": "R",
    "julia": "Julia",
    "pwsh": "PowerShell",
}


@cache
def _endings() -> dict[str, str]:
    found: dict[str, str] = {}
    for name, (_, endings) in LANGUAGES.items():
        for ending in endings.split():
            found.setdefault(ending, name)
    return found


def language_of(path: str, first_line: str = "") -> str | None:
    """The language of a file by its name, else by the `#!` of its first line; None where neither says it."""
    name = PurePosixPath(path).name
    endings = _endings()
    suffix = PurePosixPath(path).suffix
    if found := endings.get(name) or endings.get(suffix) or endings.get(suffix.lower()):
        return found
    if not first_line.startswith("#!"):
        return None
    words = first_line[2:].split()
    program = next((word for word in words if not word.startswith("-") and PurePosixPath(word).name != "env"), "")
    return INTERPRETERS.get(PurePosixPath(program).name.rstrip("0123456789."))


class Table(NamedTuple):
    """The syntaxes as arrays, one row each, for the kernels; a mark is its length and then its bytes."""

    lines: Any  # uint8 (syntaxes, 3, 4)
    opens: Any  # uint8 (syntaxes, BLOCKS, BLOCK_BYTES); the last byte is 1 where the mark begins a line
    closes: Any
    quotes: Any  # uint8 (syntaxes, 256): ONE_LINE .. CHARACTER, 0 for bytes that are no quotes
    first: Any  # bool (syntaxes, 256): bytes with which a comment or a string may begin
    flags: Any  # bool (syntaxes, 4): triple, doc, nested, spaced


class _Languages:
    @cached_property
    def rows(self) -> dict[str, int]:
        places = {name: k for k, name in enumerate(SYNTAX)}
        return {name: places[syntax] for name, (syntax, _) in LANGUAGES.items()}

    @cached_property
    def table(self) -> Table:
        import numpy as np

        size = len(SYNTAX)
        made = Table(
            np.zeros((size, 3, 4), np.uint8),
            np.zeros((size, BLOCKS, BLOCK_BYTES), np.uint8),
            np.zeros((size, BLOCKS, BLOCK_BYTES), np.uint8),
            np.zeros((size, 256), np.uint8),
            np.zeros((size, 256), np.bool_),
            np.zeros((size, 4), np.bool_),
        )
        for k, syntax in enumerate(SYNTAX.values()):
            for n, mark in enumerate(syntax.lines):
                _write(made.lines[k, n], mark)
                made.first[k, ord(mark[0])] = True
            for n, (begin, end) in enumerate(syntax.blocks):
                _write(made.opens[k, n], begin.lstrip("\n"))
                _write(made.closes[k, n], end)
                made.opens[k, n, -1] = begin.startswith("\n")
                made.first[k, ord(begin.lstrip("\n")[0])] = True
            for mode, marks in ((ONE_LINE, syntax.quotes), (MULTI_LINE, syntax.multi), (RAW, syntax.raw), (CHARACTER, syntax.character)):
                for mark in marks:
                    made.quotes[k, ord(mark)] = mode
                    made.first[k, ord(mark)] = True
            made.flags[k] = (syntax.triple, syntax.doc, syntax.nested, syntax.spaced)
        return made


def _write(row: Any, mark: str) -> None:
    row[0] = len(mark)
    row[1 : 1 + len(mark)] = list(mark.encode())


_MADE = _Languages()


def rows_of(languages: list[str | None]) -> Any:
    """int64 rows of `table()` for names of languages; 0, a syntax without comments and strings, for a name that the table does not have."""
    import numpy as np

    return np.array([_MADE.rows.get(name or "", 0) for name in languages], np.int64)


def table() -> Table:
    """The syntaxes as arrays (see `Table`)."""
    return _MADE.table


def has_comments(language: str | None) -> bool:
    """Whether the table knows comments in this language."""
    syntax = SYNTAX[LANGUAGES[language][0]] if language in LANGUAGES else SYNTAX["none"]
    return bool(syntax.lines or syntax.blocks)
