"""Measures of source files against plain Python: line by line as documented, and Python's own tokenizer and parser for comments."""

import ast
import gzip
import io
import json
import re
import tokenize
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.kernels.source import SOURCE, source
from dolma.kernels.words import buffers
from dolma.text import languages

LEAST, LONG, DENSE, SPACE = 16, 20, 30, 0.1
PIECES = st.sampled_from(
    ["x = 1", "\n", "\r\n", "\r", "    ", "// c", "/* ", " */", "# c", "'", '"', '"""', "`", "\\", "\\x41\\x42", "0x12, 0x34, 0x56, ", "1, 2, 3, 4, 5, 6, 7, ",
     "aGVsbG8gd29ybGQhIGhlbGxv", "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVoxMjM0NTY3ODkw" * 2, "=begin\n", "=end", "<!--", "-->", "--", "{-", "-}",
     "é", "中文", "word ", "==========================", "\n=cut\n", "r'''", "(*", "*)", "'a", "'x'", ";", "\t"]
)  # fmt: skip
TEXT = st.one_of(st.lists(PIECES, max_size=40).map("".join), st.text(st.characters(exclude_categories=("Cs", "Cn")), max_size=80))
BASE64 = re.compile(r"[A-Za-z0-9+/=]+(?:(?<=[A-Za-z0-9+/=]{40})\r?\n[ \t]*[A-Za-z0-9+/=]+)*")
NUMBER = r"(?:(?<![A-Za-z0-9_.])[0-9][A-Za-z0-9_.]*|(?<=\\)[xuU][0-9a-fA-F]+(?![A-Za-z0-9_.]))"
NUMBERS = re.compile(rf"{NUMBER}(?:[ \t\r\n,+\-{{}}()\[\]\\\"';:]+{NUMBER})*")


def measured(texts: list[str], language: str | None = None, head: int = 64) -> tuple[dict[str, list[float]], np.ndarray]:
    data, offsets = buffers(pa.array(texts, pa.large_string()))
    heads = np.zeros((len(texts), head), np.uint8)
    made = source(data, offsets, languages.table(), languages.rows_of([language] * len(texts)), LEAST, LONG, DENSE, SPACE, heads)
    return {name: made[:, k].tolist() for k, name in enumerate(SOURCE)}, heads


def plain(text: str) -> dict[str, float]:
    """What needs no syntax, word for word as documented."""
    lines = re.split(r"\r\n|\r|\n", text)
    lines = lines[:-1] if not lines[-1] else lines
    runs = [m for m in BASE64.finditer(text) if re.search("[A-Za-z]", m[0]) and re.search("[0-9]", m[0])] + list(NUMBERS.finditer(text))
    runs = [m for m in runs if len(m[0]) >= LEAST]
    dense = [line for line in lines if len(line) > DENSE and sum(map(str.isspace, line)) < SPACE * len(line)]
    made = {"n_lines": len(lines), "longest_line": max(map(len, lines), default=0), "longest_encoded": max((len(m[0]) for m in runs), default=0)}
    sums = {"alnum_ratio": str.isalnum, "letter_ratio": str.isalpha, "space_ratio": str.isspace}
    made |= {name: sum(map(test, text)) / len(text) if text else np.nan for name, test in sums.items()}
    made["encoded_ratio"] = len({k for m in runs for k in range(*m.span())}) / len(text) if text else np.nan
    made["mean_line"] = sum(map(len, lines)) / len(lines) if lines else np.nan
    made["dense_ratio"] = sum(map(len, dense)) / sum(map(len, lines)) if any(lines) else np.nan
    return made


@settings(max_examples=300)
@given(st.lists(TEXT, min_size=1, max_size=3))
def test_measures_equal_plain_python_on_any_text(texts: list[str]) -> None:
    made, _ = measured(texts)
    for k, text in enumerate(texts):
        for name, value in plain(text).items():
            np.testing.assert_allclose(made[name][k], value, rtol=1e-12, err_msg=name)


@settings(max_examples=300)
@given(TEXT, st.sampled_from(sorted(languages.LANGUAGES)))
def test_any_text_in_any_language_has_sane_measures(text: str, language: str) -> None:
    made, heads = measured([text, "", text], language)
    for name, values in made.items():
        np.testing.assert_array_equal(values[0], values[2], err_msg=name)
        assert np.isnan(values[0]) or (0 <= values[0] <= 1 or not name.endswith("_ratio"))
    raw = text.encode()[:64].ljust(64, b"\0")
    assert all(byte in (32, raw[k]) for k, byte in enumerate(heads[0]))
    assert heads[0].tobytes().count(b"\n") == text.encode()[:64].count(b"\n")


@pytest.mark.parametrize(
    ("language", "text", "comment"),
    [
        ("C", 'x = "/* no */ // no"; // yes', "//yes"), ("C", "a /* b\nc */ d", "/*bc*/"), ("C", "a /* b", ""), ("C", r"'\'' // q", "//q"),
        ("C", "char c = '\"'; // q", "//q"), ("JavaScript", "`// no ${a}\n// no` // yes", "//yes"), ("JavaScript", r"/\/\// ", ""),
        ("Rust", "/* a /* b */ c */ x", "/*a/*b*/c*/"), ("Rust", "fn f<'a>(x: &'a str) {} // y", "//y"), ("Rust", "'\"' // y", "//y"),
        ("Python", 'def f():\n    """Doc # x"""\n    return "# no"  # yes', '"""Doc#x"""#yes'), ("Python", 'f(\n"""text""")', ""),
        ("Python", "x = '''\n# no\n'''  # yes", "#yes"), ("Python", "it's # yes", "#yes"), ("Shell", 'echo ${#a} "# no" # yes', "#yes"),
        ("Shell", "echo 'a\n# no'", ""), ("Ruby", "=begin\nx\n=end\ny # z", "=beginx=end#z"), ("Perl", "$#a;\n=head1 N\ntext\n=cut\n$x", "=head1Ntext=cut"),
        ("SQL", "select '--' -- c", "--c"), ("HTML", "<p><!-- c\n --></p>", "<!--c-->"), ("Haskell", "{- a {- b -} -} x", "{-a{-b-}-}"),
        ("Lua", "--[[ a\n ]] b", "--[[a]]"), ("TeX", r"50\% a % b", "%b"), ("CSS", "a{b:url(//c)} /* d */", "/*d*/"), ("JSON", '{"a": "// b"}', ""),
        ("Go", "a := `\\` // b", "//b"), ("PHP", "$a = 1; # b", "#b"), ("Fortran", "x = 1 ! b", "!b"), ("No such language", "# x", ""),
    ],
)  # fmt: skip
def test_comments_of_golden_lines(language: str, text: str, comment: str) -> None:
    made, heads = measured([text], language)
    assert "".join(heads[0].tobytes().decode().replace("\0", "").split()) == comment
    assert made["comment_ratio"][0] == pytest.approx(len(comment) / len("".join(text.split())))


def test_wrapped_base64_counts_its_line_ends() -> None:
    line = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVoxMjM0NTY3ODkw"
    for end in ("\n", "\r\n"):
        text = f"{line}{end}{line}{end}{line}"
        made, _ = measured([text])
        assert (made["longest_encoded"], made["encoded_ratio"], made["n_lines"], made["longest_line"]) == ([len(text)], [1.0], [3], [len(line)])


def test_literal_lines_are_long_and_half_strings_or_data() -> None:
    made, _ = measured(['x = "' + "a" * 20 + '"\n', "f(" + "1, " * 10 + ")\n", "value = other + " * 2, 'x = "short"'], "Python")
    assert made["n_literal_lines"] == [1, 1, 0, 0]


def test_an_opening_that_is_never_closed_costs_no_quadratic_time() -> None:
    for language, piece in (("C", "/* "), ("Go", "` "), ("Python", "''' "), ("Rust", '/* "'), ("Perl", "\n=pod "), ("C", "\\'"), ("Rust", '\\"'), ("Go", "'")):
        made, _ = measured([piece * 200_000], language)  # a scan to the end at each of them would be 10^11 steps
        assert made["n_lines"][0] >= 1


@pytest.mark.kit
def test_comments_of_python_files_are_those_of_its_own_tokenizer_and_parser(kit: Path) -> None:
    with gzip.open(kit / "code" / "source_files.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = [row["text"] for row in map(json.loads, lines) if row["language"] == "Python" and len(row["text"]) < 12_000][:100]
    made, _ = measured(texts, "Python")

    def visible(text: str) -> int:
        return len("".join(text.split()))

    def comments(text: str) -> float:
        size = sum(visible(token.string) for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type == tokenize.COMMENT)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
                doc = (ast.get_source_segment(text, node.value) or "").lstrip("rRuUbB")
                size += visible(doc) if doc.startswith(('"""', "'''")) else 0
        return size / visible(text)

    assert len(texts) == 100
    np.testing.assert_allclose(made["comment_ratio"], [comments(text) for text in texts], atol=1e-9)


@pytest.mark.kit
def test_comments_of_other_languages_are_those_of_pygments(kit: Path) -> None:
    lexers = pytest.importorskip("pygments.lexers")
    tokens = pytest.importorskip("pygments.token")
    with gzip.open(kit / "code" / "source_files.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [row for row in map(json.loads, lines) if row["language"] not in ("Python", "Markdown") and 500 < len(row["text"]) < 4_000]
    texts = {name: [row["text"] for row in rows if row["language"] == name][:4] for name in {row["language"] for row in rows}}
    different = []
    for name, some in texts.items():
        lexer = lexers.get_lexer_by_name({"C++": "cpp"}.get(name, name.lower()), stripnl=False, ensurenl=False)
        made, _ = measured(some, name)
        for text, ours in zip(some, made["comment_ratio"], strict=True):
            theirs = sum(
                len("".join(value.split()))
                for kind, value in lexer.get_tokens(text)
                if (kind in tokens.Comment and kind not in tokens.Comment.Preproc and kind not in tokens.Comment.PreprocFile) or kind in tokens.String.Doc
            )
            different += [name] if abs(theirs / len("".join(text.split())) - ours) > 1e-9 else []
    assert len(texts) >= 8 and sum(map(len, texts.values())) >= 30 and not different
