"""Formulas of a page as text: each one once, as the TeX that it was written in, or line by line where there is only MathML.

Pages show a formula in several forms side by side: KaTeX prints MathML (with the TeX as an annotation) and HTML, MathJax 2 leaves its TeX in a script
beside what it rendered, Wikipedia has MathML and a picture. Extraction alone would keep none of the TeX, or a formula two or three times.
"""

import re
from typing import Any

# Each holds `math` or `latex`: two searches, of .07 ms in a page of 113 kB, tell most pages from those with formulas
MARKS = ("<math", "math/tex", "mwe-math-fallback", "latex.php", "latex.codecogs.com", 'class="latex', "mjx-math")

# What MathJax 2 leaves beside its script, by output
_RENDERED = frozenset("MathJax_Preview MathJax MathJax_Display MathJax_SVG MathJax_SVG_Display MathJax_CHTML MJXc-display MathJax_MathML".split())
_WRAPPERS = _RENDERED | frozenset("katex katex-display katex-mathml mwe-math-element MJX_Assistive_MathML".split())
_WRAPPING_TAGS = ("mjx-container", "mjx-assistive-mml")
_DISPLAY = frozenset(("katex-display", "MathJax_Display", "MathJax_SVG_Display", "MJXc-display", "mwe-math-fallback-image-display"))
_PICTURES = frozenset(("latex", "tex", "mwe-math-fallback-image-inline", "mwe-math-fallback-image-display"))
_DISPLAYSTYLE = re.compile(r"^\{\s*\\displaystyle\b(.*)\}$", re.DOTALL)
_QUOTES = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))
_DEEPEST = 60  # levels of MathML that are written out; the rest is taken as it stands


def has_formulas(html: str) -> bool:
    """Whether a page may hold formulas: a search for a few strings, so that pages without pay next to nothing."""
    return ("math" in html or "latex" in html) and any(mark in html for mark in MARKS)


def write_formulas(tree: Any, traverse: Any) -> None:
    """Replace each formula of a resiliparse tree by its text: `$TeX$`, `$$TeX$$` where it stands alone, or a line of MathML. `traverse` walks the tree."""
    nodes: list[Any] = []
    traverse(tree.body, lambda context: _is_formula(context.node) and nodes.append(context.node), elements_only=True)
    groups: list[tuple[Any, list[Any]]] = []
    for node in nodes:
        place = _outermost(node)
        if groups and groups[-1][0] == place:
            groups[-1][1].append(node)
        else:
            groups.append((place, [node]))
    scripts = any(node.tag == "script" for node in nodes)
    for place, members in groups:
        text = "" if scripts and _repeats_script(place) else _text(place, members)
        if text is not None:
            place.replace_with(tree.create_text_node(text))


def _is_formula(node: Any) -> bool:
    tag = node.tag
    if tag == "script":
        return _is_tex(node)
    if tag == "img":
        return not _PICTURES.isdisjoint(node.class_list) or any(mark in (node.get_attribute("src") or "") for mark in ("latex.php", "latex.codecogs.com"))
    return tag == "math" or tag == "mjx-container" or ("M" in (node.class_name or "") and not _RENDERED.isdisjoint(node.class_list))


def _is_tex(node: Any) -> bool:
    return node.tag == "script" and (node.get_attribute("type") or "").lower().startswith("math/tex")


def _outermost(node: Any) -> Any:
    """The element that shows the same formula as `node` and nothing else."""
    while (above := node.parent_element) is not None and (above.tag in _WRAPPING_TAGS or not _WRAPPERS.isdisjoint(above.class_list)):
        node = above
    return node


def _repeats_script(place: Any) -> bool:
    """Whether this is what MathJax 2 rendered of the script that follows, or a preview: a parser may have put that and its script into two paragraphs."""
    if "MathJax_Preview" in place.class_list:
        return True
    while place is not None and not _RENDERED.isdisjoint(place.class_list):
        place = place.next_element_sibling
        if place is not None and _is_tex(place):
            return True
    return False


def _text(place: Any, members: list[Any]) -> str | None:
    """The formula as text; None to leave the page as it is."""
    display = not _DISPLAY.isdisjoint(place.class_list) or place.get_attribute("display") in ("true", "block")
    line = None
    for node in members:
        display = display or node.get_attribute("display") == "block" or "mode=display" in (node.get_attribute("type") or "")
        tex = {"math": _annotation, "script": lambda n: n.text, "img": lambda n: n.get_attribute("alt")}.get(node.tag, lambda n: None)(node)
        if tex and tex.strip():
            return f" $${_bare(tex)}$$ " if display else f"${_bare(tex)}$"
        if node.tag == "math":
            line = line or " ".join(_linear(node, _DEEPEST).split())
    return line or None


def _bare(tex: str) -> str:
    """TeX without the quotes and the display style that some pages wrap it in, on one line."""
    tex = " ".join(tex.split())
    for left, right in _QUOTES:
        if tex.startswith(left) and tex.endswith(right) and len(tex) > len(left) + len(right):
            tex = tex[len(left) : -len(right)].strip()
            break
    styled = _DISPLAYSTYLE.match(tex)
    return styled.group(1).strip() if styled else tex.removeprefix(r"\displaystyle ").strip()


def _annotation(math: Any) -> str | None:
    """The TeX that a `<math>` element carries: an annotation of its semantics, or its alternative text."""
    stack = [(math, 3)]
    while stack:
        node, depth = stack.pop()
        for child in _children(node) if depth else ():
            if child.tag == "annotation" and (child.get_attribute("encoding") or "").lower() in ("application/x-tex", "text/x-tex", "tex", "latex"):
                return child.text
            if child.tag in ("semantics", "mrow"):
                stack.append((child, depth - 1))
    return math.get_attribute("alttext")


def _children(node: Any) -> list[Any]:
    found, child = [], node.first_element_child
    while child is not None:
        found.append(child)
        child = child.next_element_sibling
    return found


def _linear(node: Any, depth: int) -> str:
    """MathML as a line of text: fractions with `/`, scripts with `^` and `_`, roots as functions."""
    children = _children(node)
    if not children or not depth:
        return node.text.strip()
    if node.tag == "semantics":
        return _linear(children[0], depth - 1)
    parts = [_linear(child, depth - 1) for child in children if not child.tag.startswith("annotation")]
    form = _FORMS.get((node.tag, len(parts)))
    if form:
        return form.format(*parts, *(_group(part) for part in parts))
    if node.tag == "msqrt":
        return f"sqrt({' '.join(parts)})"
    return {"mtable": "; ", "mtr": ", "}.get(node.tag, " ").join(part for part in parts if part)


def _group(part: str) -> str:
    return part if len(part) <= 1 or part.isalnum() else f"({part})"


# {0}, {1}, … the parts; after them the same in brackets where they are more than one name or number
_FORMS = {
    ("mfrac", 2): "{2}/{3}",
    ("msup", 2): "{2}^{3}",
    ("msub", 2): "{2}_{3}",
    ("msubsup", 3): "{3}_{4}^{5}",
    ("munder", 2): "{2}_{3}",
    ("mover", 2): "{2}^{3}",
    ("munderover", 3): "{3}_{4}^{5}",
    ("mroot", 2): "root({0}, {1})",
}
