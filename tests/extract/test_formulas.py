"""Formulas of pages as their authors wrote them, each once: snippets in the form that real pages have."""

from typing import Any

import pytest

from dolma.extract.formulas import MARKS, has_formulas
from dolma.extract.page import extract

KATEX = (
    '<span class="katex"><span class="katex-mathml"><math xmlns="http://www.w3.org/1998/Math/MathML"><semantics><mrow><mi>E</mi><mo>=</mo><mi>m</mi>'
    '<msup><mi>c</mi><mn>2</mn></msup></mrow><annotation encoding="application/x-tex">E=mc^2</annotation></semantics></math></span>'
    '<span class="katex-html" aria-hidden="true"><span class="base"><span class="mord mathnormal">E</span><span class="mrel">=</span>'
    '<span class="mord mathnormal">m</span><span class="mord">c<span class="msupsub">2</span></span></span></span></span>'
)
MATHJAX2 = (
    '<span class="MathJax_Preview"></span><span class="MathJax" id="MathJax-Element-1-Frame" tabindex="0"><nobr><span class="math">x2+1</span></nobr>'
    '<span class="MJX_Assistive_MathML" role="presentation"><math xmlns="http://www.w3.org/1998/Math/MathML"><msup><mi>x</mi><mn>2</mn></msup><mo>+</mo>'
    '<mn>1</mn></math></span></span><script type="math/tex" id="MathJax-Element-1">x^2 + 1 &lt; y</script>'
)
MATHJAX2_DISPLAY = (
    '<div class="MathJax_Display"><span class="MathJax" id="MathJax-Element-2-Frame"><span class="math">sum</span></span></div>'
    '<script type="math/tex; mode=display" id="MathJax-Element-2">\\sum_{i<n} a_i</script>'
)
MATHJAX3 = (
    '<mjx-container class="MathJax" jax="CHTML" display="true"><mjx-math class="MJX-TEX"><mjx-mi><mjx-c class="mjx-c1D465"></mjx-c></mjx-mi></mjx-math>'
    '<mjx-assistive-mml role="presentation"><math display="block"><mi>x</mi><mo>=</mo><mfrac><mrow><mi>a</mi><mo>+</mo><mn>1</mn></mrow><mi>b</mi></mfrac>'
    "</math></mjx-assistive-mml></mjx-container>"
)
WIKIPEDIA = (
    '<span class="mwe-math-element"><span class="mwe-math-mathml-inline mwe-math-mathml-a11y" style="display: none;">'
    '<math alttext="{\\displaystyle a^{2}+b^{2}}">'
    '<semantics><mrow><mstyle displaystyle="true"><msup><mi>a</mi><mn>2</mn></msup></mstyle></mrow><annotation encoding="application/x-tex">'
    '{\\displaystyle a^{2}+b^{2}}</annotation></semantics></math></span><img src="https://wikimedia.example.org/svg/0" '
    'class="mwe-math-fallback-image-inline mw-invert" aria-hidden="true" alt="{\\displaystyle a^{2}+b^{2}}"></span>'
)
MATHJAX2_SVG = (
    '<span class="MathJax_Preview" style="color: inherit;">[math]</span><div class="MathJax_SVG_Display" style="text-align: center;"><span class="MathJax_SVG">'
    '<svg><g><path d="M0 0"></path></g></svg></span></div><script type="math/tex; mode=display">\\frac{1}{2}</script>'
)
WIKIPEDIA_PICTURE = '<img class="mwe-math-fallback-image-inline tex" alt="\\scriptstyle \\sqrt{2}" src="//upload.example.org/math/a.png">'
LATEXML = '<math id="S1.p1.m1" class="ltx_Math" alttext="f:X\\to Y" display="inline"><mi>f</mi><mo>:</mo><mi>X</mi></math>'
WORDPRESS = '<img src="https://s0.example.com/latex.php?latex=%5Cpi&amp;bg=ffffff" alt="&#92;pi r^2" title="&#92;pi r^2" class="latex" />'
MATHML = (
    "<math><msubsup><mo>∑</mo><mrow><mi>i</mi><mo>=</mo><mn>1</mn></mrow><mi>n</mi></msubsup><msqrt><msub><mi>x</mi><mi>i</mi></msub></msqrt>"
    "<mo>≤</mo><mroot><mi>y</mi><mn>3</mn></mroot></math>"
)


def text(snippet: str, **options: Any) -> str:
    words = f"<p>Here before it stand some words, {snippet} and here after it stand others.</p>"
    html = f"<html><head><title>t</title></head><body><main>{words}</main></body></html>"
    made = extract(html.encode(), None, **{"extractor": "resiliparse-all", "least_share": 0.25, "comments": True, **options})
    return " ".join(made.text.split()).removeprefix("Here before it stand some words,").removesuffix("and here after it stand others.").strip()


@pytest.mark.parametrize(
    ("snippet", "formula"),
    [
        (KATEX, "$E=mc^2$"),
        (f'<span class="katex-display">{KATEX}</span>', "$$E=mc^2$$"),
        (MATHJAX2, "$x^2 + 1 &lt; y$"),  # a script's content has no entities: what stands there is what MathJax reads
        (MATHJAX2_DISPLAY, "$$\\sum_{i<n} a_i$$"),
        (MATHJAX2_SVG, "$$\\frac{1}{2}$$"),
        (MATHJAX3, "x = (a + 1)/b"),
        (WIKIPEDIA, "$a^{2}+b^{2}$"),
        (WIKIPEDIA_PICTURE, "$\\scriptstyle \\sqrt{2}$"),
        (LATEXML, "$f:X\\to Y$"),
        (WORDPRESS, "$\\pi r^2$"),
        (MATHML, "∑_(i = 1)^n sqrt(x_i) ≤ root(y, 3)"),
        ('<script type="math/tex">\\alpha</script>', "$\\alpha$"),
        ("so $x^2$ and \\(y_1\\) stay", "so $x^2$ and \\(y_1\\) stay"),
        ('<math alttext="$a$"><mi>a</mi></math>', "$a$"),
        ("<math></math>", ""),
    ],
)
def test_a_formula_is_written_once_as_its_author_wrote_it(snippet: str, formula: str) -> None:
    assert text(snippet) == formula


@pytest.mark.parametrize("snippet", [KATEX, MATHJAX2, WIKIPEDIA, LATEXML, WORDPRESS])
def test_two_formulas_side_by_side_stay_two(snippet: str) -> None:
    assert text(f"{snippet} {snippet}").split(" $") == [(one := text(snippet)), one.removeprefix("$")]


@pytest.mark.parametrize("extractor", ["resiliparse", "resiliparse-main", "trafilatura"])
def test_formulas_come_through_each_extractor(extractor: str) -> None:
    if extractor == "trafilatura":
        pytest.importorskip("trafilatura")
    filler = " The sentence says that the energy of a body at rest is what its mass is, and that nothing else is needed." * 5
    assert f"{filler.strip()} $E=mc^2$ then $a^{{2}}+b^{{2}}$." in text(f"{filler} {KATEX} then {WIKIPEDIA}.{filler}", extractor=extractor)


def test_pictures_and_scripts_that_are_no_formulas_are_left_alone() -> None:
    snippet = f'{KATEX}<img src="latex-gloves.png" alt="two gloves"><script>var tex = "x";</script>'
    assert text(snippet) == "$E=mc^2$"


def test_a_page_without_formulas_is_not_walked() -> None:
    assert not has_formulas("<p>Mathematics costs $5 or $6, and LaTeX nothing.</p>")
    assert all(has_formulas(f"<p>{mark}") for mark in MARKS)


def test_formulas_cost_time_in_proportion_and_none_is_too_deep() -> None:
    many = extract((f"<p>{WIKIPEDIA}</p>" * 3000).encode(), None, extractor="resiliparse-all", least_share=0.25, comments=True)
    assert many.text.count("$a^{2}+b^{2}$") == 3000
    deep = "<mrow>" * 900 + "<mi>x</mi>" + "</mrow>" * 900
    assert text(f"<math>{deep}</math>") == "x"
