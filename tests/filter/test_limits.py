"""For every rule of the three filter recipes one document just inside its limit and one just outside, through the steps and limits of the recipe itself."""

from functools import cache
from pathlib import Path

import pyarrow as pa
import pytest

from dolma.core.graph import Graph, Stage
from dolma.engines.plan import load_steps

PIPELINES = Path(__file__).parents[2] / "pipelines"
OTHERS = {"tag_language", "tag_url"}  # the language has its own tests; the lists of the package cost .8 CPU s and are tested in test_url


def words(n: int, size: int = 3) -> list[str]:
    """`n` different words of `size` letters."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    return ["".join(letters[(k // 26**j) % 26] for j in range(size)) for k in range(n)]


def text(n: int, size: int = 3) -> str:
    return " ".join(words(n, size))


def again(part: int, total: int) -> str:
    """`total` words of which the first `part` come again at the end."""
    return " ".join([*words(total - part), *words(part)])


def fit(part: int, chars: int) -> str:
    """The same as a text of exactly `chars` characters."""
    return again(part, (chars + 1) // 4).ljust(chars)


def lines(again: int, total: int, size: int = 5, gap: str = "\n") -> str:
    """`total` lines of one word, the last `again` of them equal to an earlier one."""
    return gap.join([*words(total - again, size), *words(again, size)])


def mixed(long: int, short: int, gap: str = "\n") -> str:
    """Lines of which one of `long` characters comes again, among others of `short` characters in all."""
    return gap.join(["x" * long, "y" * short, "x" * long])


def sentences(n: int, bad: int = 0) -> str:
    return " ".join(["Nothing more to see here."] * (n - bad) + ["See it on Facebook now."] * bad)


def contacts(n: int) -> str:
    return " ".join(f"Write to ada{k}@lovelace.org for more." for k in range(n))


# reason: (inside, outside), or several of them
RULES: dict[str, list[tuple[str | None, str | None]]] = {
    "few_characters": [("x" * 150, "x" * 149)],
    "word_count": [(text(50), text(49)), ("w " * 100_000, "w " * 100_001)],
    "word_length": [("abc abc", "abc ab"), ("a" * 10, "a" * 11)],
    "symbols": [(text(20) + " # #", text(20) + " # # #"), (text(20) + " ... …", text(20) + " ... … …")],
    "bullets": [("- a\n" * 9 + "b", "- a\n" * 10), ("• a\n" * 9 + "b", "• a\n" * 10)],
    "ellipses": [("a...\n" * 3 + "b\n" * 7, "a...\n" * 4 + "b\n" * 6), ("a…\n" * 3 + "b\n" * 7, "a…\n" * 4 + "b\n" * 6)],
    "no_letters": [("a b c d 1", "a b c 1")],
    "stop_words": [("the of", "the cat")],
    "duplicate_lines": [(lines(3, 10), lines(4, 10))],
    "duplicate_paragraphs": [(lines(3, 10, gap="\n\n"), lines(4, 10, gap="\n\n"))],
    "duplicate_line_characters": [(mixed(20, 60), mixed(20, 58))],
    "duplicate_paragraph_characters": [(mixed(20, 60, "\n\n"), mixed(20, 58, "\n\n"))],
    "top_2gram": [(again(2, 20), again(2, 19))],
    "top_3gram": [(again(3, 34), again(3, 33))],
    "top_4gram": [(again(4, 50), again(4, 49))],
    "repeated_5grams": [(again(6, 80), again(6, 79))],
    "repeated_6grams": [(again(7, 100), again(7, 99))],
    "repeated_7grams": [(again(13, 200), again(13, 199))],
    "repeated_8grams": [(again(9, 150), again(9, 149))],
    "repeated_9grams": [(again(11, 200), again(11, 199))],
    "repeated_10grams": [(again(10, 200), again(10, 199))],
    "words_removed": [(text(95) + "\nabc" * 5, text(94) + "\nabc" * 6)],
    "few_sentences": [(sentences(5), sentences(4))],
    "questionable_sentences": [(sentences(11, 2), sentences(10, 2))],
    "no_url": [("http://x.org", None)],
}

# Where DataTrove's definition needs another document: shares of all characters (spaces and line feeds too), later occurrences only.
FINEWEB: dict[str, list[tuple[str | None, str | None]]] = {
    "symbols": [(text(20) + " # #", text(20) + " # # #"), (text(20) + " ... …", text(20) + " ... … …"), (text(20) + " # # ...", text(20) + " # # # ...")],
    "word_length": [("abc abc", "abc ab"), ("é" * 10, "é" * 11)],
    "stop_words": [("the of", "The of of cat")],  # two different ones, in lower case
    "ellipses": [("a...\n" * 3 + "b\n" * 7, "a...\n" * 4 + "b\n" * 6), ("a...\n" * 3 + "b\n" * 5 + "\n\nb", "a...\n" * 4 + "b\n" * 5)],
    "duplicate_line_characters": [(mixed(20, 58), mixed(20, 57))],
    "duplicate_paragraph_characters": [(mixed(20, 56, "\n\n"), mixed(20, 55, "\n\n"))],
    "top_2gram": [(fit(2, 70), fit(2, 69))],
    "top_3gram": [(fit(3, 123), fit(3, 122))],
    "top_4gram": [(fit(4, 188), fit(4, 187))],
    "repeated_5grams": [(fit(5, 100), fit(5, 99))],
    "repeated_6grams": [(fit(6, 129), fit(6, 128))],
    "repeated_7grams": [(fit(7, 162), fit(7, 161))],
    "repeated_8grams": [(fit(8, 200), fit(8, 199))],
    "repeated_9grams": [(fit(9, 246), fit(9, 245))],
    "repeated_10grams": [(fit(10, 300), fit(10, 299))],
    "lorem_ipsum": [("Lorem and ipsum are words.", "This is Lorem Ipsum text.")],
    "curly_brackets": [("Nothing } here now.", "Nothing { here now.")],
    # these are measured after C4's edit: lines of three runs stay
    "line_ends": [("a b c.\n" * 3 + "a b c\n" * 22, "a b c.\n" * 3 + "a b c\n" * 23)],
    "short_lines": [("a b c\n" * 67 + f"a b {'x' * 27}\n" * 33, "a b c\n" * 68 + f"a b {'x' * 27}\n" * 32), (f"a b {'x' * 27}", f"a b {'x' * 26}")],
    "duplicate_characters": [("a b c\na b c\nd e " + "x" * 486, "a b c\na b c\nd e " + "x" * 485)],
    "lists": [("a b .\na b .\na b c\na b c", "a b .\na b .\na b .\na b c")],
}
C4 = {"lorem_ipsum": FINEWEB["lorem_ipsum"], "curly_brackets": FINEWEB["curly_brackets"]}
OLMO = {"personal_data": [(contacts(5), contacts(6))]}
CHOICES = {"source/web/filter": {**RULES, **OLMO}, "source/web/filter_fineweb": {**RULES, **FINEWEB}, "source/web/filter_c4": {**RULES, **C4}}


@cache
def graph() -> Graph:
    load_steps()
    return Graph(PIPELINES)


def reasons(recipe: str) -> list[str]:
    """What a recipe drops for, without what other files test."""
    node = graph()[recipe]
    assert not isinstance(node, Stage)
    found = [str(getattr(bound.params, "reason", "")) for bound in node.steps if bound.step.name == "keep"]
    return [reason for reason in found if reason != "not_english" and not reason.startswith("url_")]


def kept(recipe: str, reason: str, value: str | None) -> bool:
    """Whether a document passes the one rule, measured by the steps before it."""
    batch = pa.RecordBatch.from_pydict({"url": pa.array([value], pa.string()), "text": pa.array([value], pa.large_string())})
    node = graph()[recipe]
    assert not isinstance(node, Stage)
    for bound in node.steps:
        if bound.step.name == "keep":
            if getattr(bound.params, "reason", "") == reason:
                return bound.step.fn(batch, **bound.arguments())[0].as_py()
        elif bound.step.name not in OTHERS:
            batch = bound.step.fn(batch, **bound.arguments())
    raise AssertionError(f"{recipe} has no rule {reason}")


@pytest.mark.parametrize(("recipe", "reason"), [(recipe, reason) for recipe in CHOICES for reason in reasons(recipe)])
def test_a_document_is_kept_just_inside_and_dropped_just_outside(recipe: str, reason: str) -> None:
    for inside, outside in CHOICES[recipe][reason]:
        assert kept(recipe, reason, inside)
        assert not kept(recipe, reason, outside)
