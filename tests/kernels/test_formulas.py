"""Formulas against regular expressions that say the same, and golden lines."""

import re

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.kernels.formulas import ENVIRONMENTS, FORMULAS, formulas
from dolma.kernels.words import buffers

# One character of a formula: an escape takes two, and no empty line is crossed.
INNER = r"(?:(?!\\?\n[ \t\r]*\n)(?:\\.|[^\\{not_}]))"
NAMES = "|".join(f"{name}\\*?" for name in ENVIRONMENTS)
FORMULA = re.compile(
    r"\\begin\{(" + NAMES + r")\}(?:(?!\\end\{\1\})" + INNER.replace("{not_}", "") + r")*\\end\{\1\}"
    r"|\\\((?:(?!\\\))" + INNER.replace("{not_}", "") + r")*\\\)"
    r"|\\\[(?:(?!\\\])" + INNER.replace("{not_}", "") + r")*\\\]"
    r"|\$\$(?:(?!\$\$)" + INNER.replace("{not_}", "") + r")*\$\$"
    r"|\$(?![\s$])" + INNER.replace("{not_}", "$") + r"+(?<=\S)\$(?![0-9])"
    r"|\\.|\$\$",  # skipped
    re.DOTALL,
)
PIECES = st.sampled_from(
    ["$", "$$", "x", " ", "\n", "\n\n", "\\(", "\\)", "\\[", "\\]", "\\", "\\$", "5", "\\begin{align}", "\\end{align}", "\\begin{align*}", "\\end{align*}",
     "\\begin{foo}", "\\frac{1}{2}", "é", "a+b", "\n \t\n"]
)  # fmt: skip


def measured(*texts: str) -> list[dict[str, int]]:
    return [dict(zip(FORMULAS, row, strict=True)) for row in formulas(*buffers(pa.array(texts, pa.large_string()))).tolist()]


def plain(text: str) -> list[str]:
    return [match[0] for match in FORMULA.finditer(text) if len(match[0]) > 2 or match[0][:1] == "$" != match[0][1:2]]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []), ("a $x$ b", ["$x$"]), ("$5 and $6", []), ("$5 and $6 and $x$", ["$x$"]), ("$x$5", []), (r"\$x$ $y\$z$", [r"$y\$z$"]),
        ("$$a\nb$$ c", ["$$a\nb$$"]), ("$$a\n\nb$$", []), ("$$$$", ["$$$$"]), (r"\(a\) \[b\] \(c", [r"\(a\)", r"\[b\]"]),
        (r"\begin{align*}a\\b\end{align*}", [r"\begin{align*}a\\b\end{align*}"]), (r"\begin{align}a\end{align*}", []), (r"\begin{itemize}a\end{itemize}", []),
        (r"\[ \text{if } \] \]", [r"\[ \text{if } \]"]), ("$ x$ $y $", []),
    ],
)  # fmt: skip
def test_formulas_of_golden_lines(text: str, found: list[str]) -> None:
    (made,) = measured(text)
    assert (made["n_formulas"], made["math_chars"], made["n_chars"]) == (len(found), sum(map(len, found)), len(text))


@settings(max_examples=500)
@given(st.lists(PIECES, max_size=25).map("".join))
def test_formulas_equal_regular_expressions_on_any_text(text: str) -> None:
    made, _, again = measured(text, "$", text)
    found = [one for one in plain(text) if not re.fullmatch(r"\\.|\$\$", one, re.DOTALL)]
    assert (made["n_formulas"], made["math_chars"], made["n_chars"]) == (len(found), sum(map(len, found)), len(text)) and made == again
    assert made["n_commands"] == len(re.findall(r"\\[A-Za-z]{2}", text))


def test_an_opening_that_is_never_closed_costs_no_quadratic_time() -> None:
    for piece in ("$$ x $", "\\( ", "\\[ ", "\\begin{align} "):  # a search to the end at each of them would be 10^11 steps
        assert measured(piece * 200_000)[0]["n_chars"] == len(piece) * 200_000
