"""What a source file is like, as columns: its lines, characters, comments and data, whether a program wrote it, and its licence. Nothing is decided."""

import re

import pyarrow as pa

from dolma.core.schema import append
from dolma.core.step import step

COUNTS = ("n_lines", "longest_line", "longest_encoded", "n_literal_lines")
RATIOS = ("mean_line", "alnum_ratio", "letter_ratio", "digit_ratio", "space_ratio", "comment_ratio", "encoded_ratio", "dense_ratio")
HEAD_BYTES = 4096  # the comments in these first bytes are searched for marks of generators and for licences: the longest common header (BSD) has 1,500

# Names that only generators give. Source: those that GitHub Linguist and go-enry take as generated, and the lock files of package managers.
GENERATED_NAMES = (
    r"(^|/)(package-lock\.json|npm-shrinkwrap\.json|yarn\.lock|pnpm-lock\.yaml|Cargo\.lock|poetry\.lock|pdm\.lock|uv\.lock|Pipfile\.lock|composer\.lock"
    r"|Gemfile\.lock|go\.sum|flake\.lock|mix\.lock|packages\.lock\.json)$",
    r"(\.pb\.go|\.pb\.gw\.go|_grpc\.pb\.go|\.pb\.cc|\.pb\.h|_pb2\.pyi?|_pb2_grpc\.pyi?|_pb\.js|_pb\.d\.ts|_pb\.rb|\.pb\.swift|\.g\.dart|\.freezed\.dart)$",
    r"(\.designer\.(cs|vb)|\.g\.cs|\.g\.i\.cs|(^|/)zz_generated\.[^/]*\.go|\.(js|css)\.map)$",
)
# What generators write in a comment at the top; `^` is the start of a line without its comment marks. Case matters where it tells a heading from prose.
# Source: the line of Go's tools (`Code generated ... DO NOT EDIT.`), `@generated`, and the phrases of StarCoder2, arXiv:2402.19173 2.1, as headings.
GENERATED_MARKS = (
    r"@generated\b",
    r"\bDO\s+NOT\s+(EDIT|MODIFY|CHANGE)\b(?!\s+THIS\s+(LINE|BLOCK|SECTION))",
    r"(?i:\b(do\s+not|don't|never)\s+(hand[- ])?(edit|modify|change)\s+(it\s+)?((this|these|the)\s+(\w+\s+)?files?|by\s+hand|manually|directly|here))",
    r"(?i:\bthis\s+(\w+\s+){0,2}((is|was|has\s+been)\s+)?((auto(matically)?|machine|programmatically)[-\s]?)?generated\s+(by|from|with|using|via|on|at|automatically))",
    r"(?i:\bthis\s+(\w+\s+){0,2}(is|was|has\s+been)\s+(auto(matically)?|machine|programmatically)[-\s]?generated)",
    r"(?i:(^|[.!:]\s+|\bfollowing\s+)(source\s+)?(code|file)\s+(is\s+|was\s+)?((auto(matically)?|machine)[-\s]?)?generated\s+(by|from|with|using|via|on|at)\b)",
    r"(^|[.!:]\s+)(Auto(matically)?[-\s]?[gG]enerated|AUTO(MATICALLY)?[-\s]?GENERATED|Machine[-\s][gG]enerated|Generated\s+automatically)\b",
    r"^(Generated|GENERATED)\s+(by|BY|from|FROM|with|using|on)\b",
    r"(?i:\A\s*((auto(matically)?|machine)[-\s]?)?generated\s+(by|from|with|using|via|on|at)\b)",
)
MINIFIED_NAMES = r"[.-]min\.(js|mjs|cjs|css|html?)$"

# Words of a licence's header, without line breaks and comment marks, and its SPDX identifier; the first that fits stands. Source: the texts of SPDX's list.
LICENCES = (
    (r"unauthori[sz]ed copying of this file|proprietary and confidential|confidential and proprietary", "LicenseRef-Proprietary"),
    (r"licensed under (the )?apache licen[sc]e,? v(ersion |\.? ?)2(\.0)?|apache licen[sc]e version 2\.0, january 2004", "Apache-2.0"),
    (r"permission is hereby granted, free of charge, to any person obtaining a copy(?!.{0,800}shall be included).{0,800}provided .as is", "MIT-0"),
    (r"permission is hereby granted,? free of charge,? to any person obtaining a copy", "MIT"),
    (r"redistribution and use in source and binary forms.{0,1200}all advertising materials mentioning", "BSD-4-Clause"),
    (r"redistribution and use in source and binary forms.{0,1200}(neither the name|may not be used to endorse)", "BSD-3-Clause"),
    (r"redistribution and use in source and binary forms", "BSD-2-Clause"),
    (r"permission to use, copy, modify,? (and/or|and) distribute this software for any purpose with or without fee is hereby granted, provided", "ISC"),
    (r"permission to use, copy, modify,? (and/or|and) distribute this software for any purpose with or without fee is hereby granted", "0BSD"),
    (r"this is free and unencumbered software released into the public domain", "Unlicense"),
    (r"boost software licen[sc]e,?( -)? version 1\.0", "BSL-1.0"),
    (r"mozilla public licen[sc]e,? (v\.|version )? ?2\.0", "MPL-2.0"),
    (r"eclipse public licen[sc]e,? (-? ?v|version )? ?2\.0", "EPL-2.0"),
    (r"eclipse public licen[sc]e,? (-? ?v|version )? ?1\.0", "EPL-1.0"),
    (r"this software is provided 'as-is', without any express or implied warranty.{0,400}permission is granted to anyone to use this software", "Zlib"),
    (r"licensed to psf under a contributor agreement|python software foundation license version 2", "PSF-2.0"),
    (r"same terms as perl itself|under the same terms as the perl", "Artistic-1.0-Perl OR GPL-1.0-or-later"),
    (r"artistic licen[sc]e,? version 2\.0", "Artistic-2.0"),
    (r"cc0 1\.0 universal|creative commons zero|creativecommons\.org/publicdomain/zero", "CC0-1.0"),
    (r"(released|distributed|licensed|available|published|provided|free software)( \w+){0,6} under (the )?(terms of the )?mit(/x11)? licen[sc]e", "MIT"),
)
_GNU = re.compile(
    r"gnu (?P<kind>affero general public|lesser general public|library general public|general public|free documentation) licen[sc]e"
    r"(?P<rest>.{0,160}?(?:version |v)(?P<version>[123](?:\.[0-3])?)(?P<later>.{0,40}(any|or) later)?)?"
)
_GNU_NAMES = {"a": ("AGPL", "3"), "l": ("LGPL", "2"), "g": ("GPL", "1"), "f": ("GFDL", "1.1")}  # and the first version of each, for a header without one
_SPDX = re.compile(r"SPDX-License-Identifier:\s*([A-Za-z0-9.+()-]+(?:[ \t]+(?:AND|OR|WITH)[ \t]+[A-Za-z0-9.+()-]+)*)")
_MARK_HINTS = ("generated", "edit", "modify", "change")  # one of them is in all that GENERATED_MARKS find
_LICENCE_HINTS = "licens licenc permission redistribution unencumbered proprietary unauthori warranty perl zero".split()
_EDGES = re.compile(r"(?m)^[ \t*#/;%!\-<>{}()|\"'=]+|[ \t*/\-{}|\"'=]+$")  # comment marks around a line
_SPACES = re.compile(r"\s+")


@step(
    needs=("text", "path", "language"),
    adds={
        **dict.fromkeys(COUNTS, pa.int32()),
        **dict.fromkeys(RATIOS, pa.float32()),
        "is_generated": pa.bool_(),
        "is_minified": pa.bool_(),
        "file_licence": pa.string(),
    },
    version=1,
)
def tag_code(
    batch: pa.RecordBatch,
    *,
    encoded: int = 64,
    long_line: int = 200,
    dense_line: int = 500,
    dense_space: float = 0.1,
    minified: float = 0.5,
    marks: tuple[str, ...] = GENERATED_MARKS,
    mark_lines: int = 40,
) -> pa.RecordBatch:
    """Measure each source file in `text`, with the comments and strings of its `language`.

    Counts, in characters where they are lengths: n_lines, longest_line, longest_encoded (the longest run of base64 or of numbers with only separators
    between them), n_literal_lines (long lines of which at least half is strings and encoded data). Ratios of characters, NULL where there is nothing to divide
    by: alnum_ratio, letter_ratio, digit_ratio, space_ratio, comment_ratio (of those that are not white space; NULL too for a language without a known
    comment), encoded_ratio, dense_ratio (of those in dense lines); and mean_line. is_generated: a name that only generators give, or a mark of one in a
    comment at the top. is_minified: a `.min.` name, or dense_ratio of at least `minified`. file_licence: the SPDX expression that the file's own header
    gives, NULL where it says nothing (then the repository's licence holds).

    Args:
        encoded: characters from which a run is encoded data. Source: StarCoder2, arXiv:2402.19173 2.1.
        long_line: a line with more characters may be a literal line.
        dense_line, dense_space: a line with more characters and a smaller share of white space is dense: code that people write has 0.15 to 0.3 of it.
        minified: share of characters in dense lines from which a file is minified.
        marks: regular expressions of what generators write; `^` is the start of a line without its comment marks.
        mark_lines: lines from the top in which a mark counts: a licence may stand before it.
    """
    import numpy as np

    from dolma.kernels import source
    from dolma.kernels.words import buffers
    from dolma.text import languages

    names, paths = batch.column("language").to_pylist(), batch.column("path").to_pylist()
    data, offsets = buffers(batch.column("text"))
    heads = np.zeros((batch.num_rows, HEAD_BYTES), np.uint8)
    made = source.source(data, offsets, languages.table(), languages.rows_of(names), encoded, long_line, dense_line, dense_space, heads)
    known = np.array([languages.has_comments(name) for name in names], bool)
    made[~known, source.SOURCE.index("comment_ratio")] = np.nan
    columns = {}
    for k, name in enumerate(source.SOURCE):
        kind = pa.int32() if k < source.SOURCE_COUNTS else pa.float32()
        columns[name] = pa.array(made[:, k].astype(kind.to_pandas_dtype()), kind, from_pandas=True)
    mark = re.compile("|".join(f"(?:{one})" for one in marks) or r"(?!)", re.MULTILINE)
    hints = _MARK_HINTS if marks == GENERATED_MARKS else ("",)
    generated, licences = [], []
    for k, path in enumerate(paths):
        start, end = int(offsets[k]), min(int(offsets[k + 1]), int(offsets[k]) + HEAD_BYTES)
        head = (heads[k, : end - start] if known[k] else data[start:end]).tobytes().decode("utf-8", "ignore")
        by_mark, licence = _of_head(head, mark, hints, mark_lines if known[k] else 5)
        generated.append(by_mark or is_generated_name(path or ""))
        licences.append(licence)
    dense = made[:, source.SOURCE.index("dense_ratio")]
    columns["is_generated"] = pa.array(generated, pa.bool_())
    columns["is_minified"] = pa.array([bool(d >= minified) or is_minified_name(path or "") for d, path in zip(dense, paths, strict=True)], pa.bool_())
    columns["file_licence"] = pa.array(licences, pa.string())
    return append(batch, columns)


_GENERATED_NAME = re.compile("|".join(GENERATED_NAMES))
_MINIFIED_NAME = re.compile(MINIFIED_NAMES)
_LICENCE = [(re.compile(words), name) for words, name in LICENCES]


def is_generated_name(path: str) -> bool:
    """Whether only a generator gives a file this name."""
    return _GENERATED_NAME.search(path) is not None


def is_minified_name(path: str) -> bool:
    """Whether the name says that the file is minified."""
    return _MINIFIED_NAME.search(path) is not None


def _of_head(head: str, mark: re.Pattern[str], hints: tuple[str, ...], lines: int) -> tuple[bool, str | None]:
    """Whether a generator left its mark in the comments at the top of a file, and the licence that they name."""
    small = head.lower()
    licensed = any(word in small for word in _LICENCE_HINTS)  # most heads have neither word: plain searches are ten times as fast as the expressions
    if not licensed and not any(word in small for word in hints):
        return False, None
    plain = _EDGES.sub("", head)
    top = "\n".join(plain.split("\n", lines)[:lines])
    return mark.search(top) is not None, licence_of(plain) if licensed else None


def spdx(text: str) -> str | None:
    """The licence expression of an `SPDX-License-Identifier` line, None without one."""
    found = _SPDX.search(text)
    return found.group(1) if found else None


def licence_of(text: str) -> str | None:
    """The SPDX expression of the licence that a header names or quotes, None where it does neither.

    Source: the identifiers and the texts of https://spdx.org/licenses; `-only` is assumed where a GNU header does not say "or any later version".
    """
    if found := spdx(text):
        return found
    plain = _SPACES.sub(" ", text).lower()
    for words, name in _LICENCE:
        if words.search(plain):
            return name
    if not (gnu := _GNU.search(plain)):
        return None
    name, first = _GNU_NAMES[gnu["kind"][0]]
    version = gnu["version"] or first
    version = version if "." in version else f"{version}.0"
    return f"{name}-{version}-{'or-later' if gnu['later'] or not gnu['version'] else 'only'}"
