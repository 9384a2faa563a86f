"""The table of programming languages."""

import pytest

from dolma.text import languages


@pytest.mark.parametrize(
    ("path", "first", "language"),
    [
        ("a/b.py", "", "Python"), ("b.RS", "", "Rust"), ("x/Makefile", "", "Makefile"), ("bin/run", "#!/usr/bin/env -S python3.11 -u", "Python"),
        ("run", "#!/bin/bash", "Shell"), ("run", "#!/usr/bin/perl -w", "Perl"), ("run", "", None), ("run.unknown", "text", None), ("a.h", "", "C"),
        ("x.tsx", "", "TypeScript"), ("", "#!", None), ("run", "#!/usr/bin/env", None),
    ],
)  # fmt: skip
def test_language_by_name_or_first_line(path: str, first: str, language: str | None) -> None:
    assert languages.language_of(path, first) == language


def test_no_ending_belongs_to_two_languages() -> None:
    endings = [ending for _, all_ in languages.LANGUAGES.values() for ending in all_.split()]
    assert len(endings) == len(set(endings))


def test_every_syntax_is_used_and_fits_the_arrays() -> None:
    assert {syntax for syntax, _ in languages.LANGUAGES.values()} == set(languages.SYNTAX)
    assert set(languages.INTERPRETERS.values()) <= set(languages.LANGUAGES)
    made = languages.table()
    for k, syntax in enumerate(languages.SYNTAX.values()):
        assert bytes(made.lines[k, :, 1]).rstrip(b"\0").decode() == "".join(mark[0] for mark in syntax.lines)
        for n, (begin, end) in enumerate(syntax.blocks):
            size = int(made.opens[k, n, 0])
            assert bytes(made.opens[k, n, 1 : 1 + size]).decode() == begin.lstrip("\n") and bool(made.opens[k, n, -1]) == begin.startswith("\n")
            assert bytes(made.closes[k, n, 1 : 1 + int(made.closes[k, n, 0])]).decode() == end


def test_languages_without_comments_are_known() -> None:
    assert languages.has_comments("C") and not languages.has_comments("JSON") and not languages.has_comments(None) and not languages.has_comments("Klingon")
