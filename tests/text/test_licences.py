"""Golden kinds of identifiers, names and expressions; expressions against their trees; the tables against the SPDX list."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma.text.licences import EXCEPTIONS, IDENTIFIERS, KINDS, MOST_BRACKETS, NAMES, kind_of

PERMISSIVE, WEAK, COPYLEFT, PROPRIETARY, UNKNOWN = KINDS


@pytest.mark.parametrize(
    ("kind", "expressions"),
    [
        (PERMISSIVE, ["MIT", "mit", "Apache-2.0", "BSD-3-Clause", "ISC", "mplus", "CC-BY-4.0", "CC-BY-3.0-IGO", "Artistic-2.0", "PSF-2.0", "BSL-1.0", "Zlib"]),
        (PERMISSIVE, ["MIT License", "Apache Software License", "Public Domain"]),
        (PERMISSIVE, ["MIT/Apache-2.0", "MIT; bundled SQLite public domain", "MIT OR public domain"]),
        (WEAK, ["MPL-2.0", "LGPL-2.1-only", "LGPL-3.0+", "LGPL-2.1-or-later", "EPL-2.0", "CDDL-1.0", "CPL-1.0", "APSL-2.0", "CECILL-C", "MS-RL"]),
        (WEAK, ["Mozilla Public License 2.0 (MPL 2.0)", "GNU Lesser General Public License v2 or later (LGPLv2+)"]),
        (COPYLEFT, ["GPL-2.0-only", "GPL-3.0", "GPL-1.0+", "AGPL-3.0-or-later", "GFDL-1.3-no-invariants-or-later", "EUPL-1.2", "OSL-3.0", "SSPL-1.0"]),
        (COPYLEFT, ["CECILL-2.1", "CC-BY-SA-4.0", "CC-BY-SA-2.0-UK", "QPL-1.0", "RPL-1.5", "GNU General Public License v3 (GPLv3)"]),
        (PROPRIETARY, ["LicenseRef-Proprietary", "BUSL-1.1", "CC-BY-NC-4.0", "CC-BY-NC-SA-2.0-DE", "CC-BY-ND-4.0", "Elastic-2.0", "Proprietary"]),
        (UNKNOWN, ["LicenseRef-example", "exaMPLe", "Apache-2.0-modified", "MIT-GPL", "unknown", "", " ", "see LICENSE", "SIMPLE"]),
        # WITH
        (PERMISSIVE, ["Apache-2.0 WITH LLVM-exception"]),
        (WEAK, ["GPL-2.0-only WITH Classpath-exception-2.0", "GPL-3.0-or-later with GCC-exception-3.1", "LGPL-3.0-only WITH LGPL-3.0-linking-exception"]),
        (COPYLEFT, ["GPL-2.0-only WITH Linux-syscall-note"]),
        (UNKNOWN, ["Apache-2.0 WITH Commons-Clause", "MIT WITH MIT"]),
        # OR takes the one that asks least, AND the one that asks most, and AND binds first
        (PERMISSIVE, ["MIT OR GPL-2.0-only", "Artistic-1.0-Perl OR GPL-1.0-or-later", "Foo-1.0 OR MIT"]),
        (PERMISSIVE, ["GPL-2.0-only AND MPL-2.0 OR MIT", "MIT AND (MIT OR GPL-3.0)"]),
        (WEAK, ["GPL-2.0-only OR LGPL-2.1-only", "MPL-1.1 OR GPL-2.0-or-later OR LGPL-2.1-or-later", "MIT AND MPL-2.0", "(MIT OR GPL-3.0) AND MPL-2.0"]),
        (COPYLEFT, ["MIT AND GPL-3.0-only", "(MIT OR Apache-2.0) AND(GPL-3.0-only)", "MIT; GPL-3.0-only", "GPL-3.0-only OR Foo-1.0"]),
        (UNKNOWN, ["MIT AND Foo-1.0", "MIT AND", "OR MIT", "(MIT", "MIT)", "()", "MIT MIT", "MIT OR OR MIT", "WITH", "MIT WITH", "MIT (Apache-2.0)"]),
    ],
)  # fmt: skip
def test_kinds_of_golden_expressions(kind: str, expressions: list[str]) -> None:
    assert {one: kind_of(one) for one in expressions} == dict.fromkeys(expressions, kind)


def test_no_licence_is_unknown() -> None:
    assert kind_of(None) == UNKNOWN


LEAF = {"MIT": 0, "BSD-3-Clause": 0, "MPL-2.0": 1, "LGPL-2.1+": 1, "GPL-2.0-or-later": 2, "OSL-3.0": 2, "BUSL-1.1": 3, "Foo-1.0": 4}
TREE = st.recursive(st.sampled_from(sorted(LEAF)), lambda inner: st.tuples(st.sampled_from(["AND", "OR"]), inner, inner), max_leaves=12)


def written(tree: Any) -> str:
    return tree if isinstance(tree, str) else f"({written(tree[1])} {tree[0]} {written(tree[2])})"


def rank(tree: Any) -> int:
    return LEAF[tree] if isinstance(tree, str) else (max if tree[0] == "AND" else min)(rank(tree[1]), rank(tree[2]))


@given(TREE)
def test_any_expression_has_the_kind_of_its_tree(tree: Any) -> None:
    assert kind_of(written(tree)) == KINDS[rank(tree)]


@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(["(", ")", " AND ", " OR ", " WITH ", "MIT", "+", ";", "/", " "]), max_size=20).map("".join)))
def test_any_text_has_a_kind(text: str) -> None:
    assert kind_of(text) in KINDS


def test_brackets_without_end_are_unknown() -> None:
    assert kind_of("(" * MOST_BRACKETS + "MIT" + ")" * MOST_BRACKETS) == PERMISSIVE
    assert kind_of("(" * 100_000) == kind_of("(" * 100_000 + "MIT" + ")" * 100_000) == UNKNOWN


@pytest.mark.parametrize("tables", [IDENTIFIERS, EXCEPTIONS])
def test_no_identifier_stands_twice(tables: dict[str, str]) -> None:
    found = [name.lower() for names in tables.values() for name in names.split()]
    assert len(found) == len(set(found)) > 60


def test_identifiers_are_those_of_spdx() -> None:
    """The list that the `packaging` distribution brings along."""
    spdx = pytest.importorskip("packaging.licenses._spdx")
    known, exceptions = {one["id"] for one in spdx.LICENSES.values()}, {one["id"] for one in spdx.EXCEPTIONS.values()}
    for name in " ".join(IDENTIFIERS.values()).split():
        assert name in known or name == "LicenseRef-Proprietary" or any(one.startswith(name.removesuffix("*")) for one in known if name.endswith("-*")), name
    assert set(" ".join(EXCEPTIONS.values()).split()) <= exceptions
    kinds = {name: kind_of(name) for name in known}
    assert sum(kind == UNKNOWN for kind in kinds.values()) < 130  # rare ones, of fonts and single programs above all
    assert {name for name in known if name.startswith(("GPL-", "AGPL-", "GFDL-", "CC-BY-SA-")) and kinds[name] == PERMISSIVE} == set()


def test_names_in_use_are_no_identifiers() -> None:
    names = {" ".join(name.split()).lower() for text in NAMES.values() for name in text.split("|")}
    assert not names & {name.lower() for text in IDENTIFIERS.values() for name in text.split()}
