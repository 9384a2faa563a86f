import gzip
import io
import random
import re
import tarfile

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.core.errors import ConfigError
from dolma.extract.latex import flatten_latex

CLASS = "\\documentclass{article}\n"


def pack(files: dict[str, str | bytes], form: int = tarfile.USTAR_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=form) as opened:
        for name, text in files.items():
            content = text.encode() if isinstance(text, str) else text
            info = tarfile.TarInfo(name)
            info.size = len(content)
            opened.addfile(info, io.BytesIO(content))
    return out.getvalue()


def row(content: bytes | None, **params) -> dict:
    (made,) = flatten_latex.fn(pa.RecordBatch.from_pydict({"content": pa.array([content], pa.large_binary())}), **params).to_pylist()
    del made["content"]
    return made


def text(source: str, **params) -> str:
    return row(source.encode(), **params)["text"]


def body(source: str) -> str:
    return text(f"{CLASS}\\begin{{document}}\n{source}\n\\end{{document}}\n")


def test_inputs_stand_in_their_place():
    main = CLASS + "\\title{T}\n\\begin{document}\nA\n\\input{sec/one}\n\\include{two}\n\\input three.tex \nB $x_%\n1$\n\\end{document}\njunk"
    sections = {"sec/one.tex": "one \\input{sec/deep}", "sec/deep.tex": "deep", "two.tex": "two % c\n", "three.tex": "3"}
    files = {"paper/main.tex": main, **{f"paper/{name}": source for name, source in sections.items()}}
    made = row(pack(files))
    assert made == {"text": "A\none deep\ntwo \n3 \nB $x_1$", "main": "paper/main.tex", "n_files": 5, "n_missing": 0}


def test_import_subimport_and_subfile_look_in_their_folders():
    main = CLASS + "\\begin{document}\\import{a/}{x}\\subfile{b/y}\\end{document}"
    files = {"main.tex": main, "a/x.tex": "X\\subimport{in}{z}", "a/in/z.tex": "Z", "b/y.tex": CLASS + "\\begin{document}Y\\end{document} not read"}
    assert row(pack(files)) == {"text": "XZY", "main": "main.tex", "n_files": 4, "n_missing": 0}


def test_what_is_not_there_or_in_a_circle_is_counted():
    main = CLASS + "\\begin{document}\\input{a}\\input{gone}\\input{../../etc/passwd}\\input{fig.pdf}.\\end{document}"
    files = {"main.tex": main, "a.tex": "a\\input{b}", "b.tex": "b\\input{a}\\input{main}", "fig.pdf": b"\0"}
    assert row(pack(files)) == {"text": "ab.", "main": "main.tex", "n_files": 3, "n_missing": 5}


def test_comments_go_as_tex_reads_them():
    assert body("50\\% of % this\n  it\n% whole\n   % and this\nnext\\\\% end\nlast %\n\npar%") == "50\\% of it\nnext\\\\last \n\npar"
    assert body("a%%b\n%\n\n\nc") == "a\n\nc" and body("\\\\\\% x") == "\\\\\\% x"


def test_percent_signs_that_are_no_comments_stay():
    listing = "\\begin{lstlisting}\nprintf('%d'); \\input{x}\n\\end{lstlisting}\n\\begin{verbatim*}\n%\n\\end{verbatim*}"
    kept = f"\\verb|a%b| \\url{{https://x.org/a%20b}} \\href{{x%y}}{{z}}\n{listing}"
    assert body(kept + " % gone") == kept
    assert body("a\\begin{comment}\nx % y\n\\end{comment}b") == "ab"
    assert body("\\begin{verbatim} % no end\nx") == "\\begin{verbatim} x" and body("\\verb|a % b\nc") == "\\verb|a c" and body("\\url{a %b\nc}") == "\\url{a c}"
    assert body("\\begin{verbatim}\n\\end{document}\n\\end{verbatim}\nx").endswith("x")


def test_preamble_and_bibliography_are_kept_when_asked_for():
    source = CLASS + "\\newcommand{\\x}{y}\n\\begin{document}A\\cite{k}\n\\bibliographystyle{plain}\n\\bibliography{refs}\nB\n\\end{document}\nafter"
    files = {"ms.tex": source, "ms.bbl": "\\begin{thebibliography}{9}\\bibitem{k} K % note\n\\end{thebibliography}"}
    assert row(pack(files))["text"] == "A\\cite{k}\n\nB"
    printed = row(pack(files), bibliography=True)
    assert (
        printed["text"] == "A\\cite{k}\n\\bibliographystyle{plain}\n\n\\begin{thebibliography}{9}\\bibitem{k} K \\end{thebibliography}\n\nB"
        and printed["n_files"] == 2
    )
    assert row(pack(files), preamble=True)["text"].startswith(CLASS) and row(pack(files), preamble=True)["text"].endswith("after")
    assert body("A\\begin{thebibliography}{1}\\bibitem{a} x\\end{thebibliography}B") == "AB"


def test_the_main_file_is_found():
    style, document = "\\documentstyle[12pt]{article}\n", "\\begin{document}x\\end{document}"
    assert row(pack({"a.tex": style + document, "b.tex": "x"}))["main"] == "a.tex"
    assert row(pack({"a.tex": CLASS, "b.tex": CLASS + document}))["main"] == "b.tex"
    assert row(pack({"a.tex": CLASS + document + "long" * 99, "ms.tex": CLASS + document}))["main"] == "ms.tex"
    assert row(pack({"a.tex": CLASS + document, "b.tex": CLASS + "\\begin{document}\\input{a}y\\end{document}"}))["main"] == "b.tex"
    assert row(pack({"a.tex": "% \\documentclass{x}\n", "b.tex": "x"}))["main"] is None


def test_single_files_tars_and_what_is_no_tex():
    one = (CLASS + "\\begin{document}caf\xe9\\end{document}").encode("latin-1")
    for content in (one, gzip.compress(one), gzip.compress(one[:9]) + gzip.compress(one[9:])):
        assert row(content) == {"text": "café", "main": "source.tex", "n_files": 1, "n_missing": 0}
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        packed = pack({"x.tex": one}, form)
        assert row(packed)["text"] == row(gzip.decompress(packed))["text"] == "café"
    old = bytearray(gzip.decompress(pack({"x.tex": one})))
    old[257:265] = bytes(8)  # as tars were before 1988: no mark
    old[148:156] = b"%06o\0 " % (sum(old[:148]) + sum(old[156:512]) + 256)
    assert row(bytes(old))["text"] == "café"
    for content in (b"%PDF-1.5 \\x", gzip.compress(b"%PDF-1.5"), b"plain words", b"\0\\x", b"", pack({"a.txt": "x"}), pack({"a.tex": CLASS + "\0"})):
        assert row(content) == {"text": "", "main": None, "n_files": 0, "n_missing": 0}


def test_damaged_content_and_content_over_a_limit_are_errors():
    packed = pack({"main.tex": CLASS + "\\begin{document}x\\end{document}"})
    assert "cut short" in row(packed[:-4])["_error"] and "damaged" in row(packed[:30] + b"\xff\xff" + packed[32:])["_error"]
    assert "cut short or damaged" in row(gzip.compress(gzip.decompress(packed)[:700]))["_error"]
    assert row(None)["_error"] == "no content" and row(gzip.compress(bytes(5000)), max_bytes=4999)["_error"] == row(bytes(5000), max_bytes=4999)["_error"]
    assert "too many members" in row(pack({str(n): "x" for n in range(4)}), max_files=3)["_error"]
    assert "unsafe name" in row(pack({"../main.tex": CLASS}))["_error"]
    assert "gzip members" in row(gzip.compress(b"") * 101 + packed)["_error"]


def test_files_that_input_one_another_again_and_again_end_soon():
    files = {f"f{n}.tex": f"\\input{{f{n + 1}}}" * 100 for n in range(12)}
    made = row(pack({"main.tex": CLASS + "\\begin{document}\\input{f0}\\end{document}", "f12.tex": "ha", **files}), max_chars=1_000_000)
    assert made["_error"] == "more than 1000000 characters"
    deep = {f"f{n}.tex": f"{n} \\input{{f{n + 1}}}" for n in range(40)}
    made = row(pack({"main.tex": CLASS + "\\begin{document}\\input{f0}\\end{document}", **deep}))
    assert (made["n_files"], made["n_missing"]) == (15, 1)


@pytest.mark.parametrize(
    "piece",
    ["\\begin{verbatim}", "\\verb|", "\\url{", "\\input{", "\\begin", "\\input{" + " " * 300, "%", " %\n", "\\bibliography{", "\\begin{thebibliography}",
     "\\", "\n \t", "\\printbibliography[", "\\documentclass", "\\import{a}{", "\\end{document}", "\\begin{comment}%\n"],
)  # fmt: skip
def test_the_work_is_not_the_square_of_the_length(piece):
    content = CLASS + "\\begin{document}" + piece * (400_000 // len(piece))  # at a square this test would take hours
    assert row(content.encode())["n_files"] == 1


def test_an_unknown_charset_is_found_before_anything_runs():
    with pytest.raises(ConfigError, match="unknown charset"):
        flatten_latex.adds(flatten_latex.params(charset="latin-11"), pa.schema([]))


BLOCKS = ["\\begin{verbatim}", "\\end{verbatim}", "\\verb|", "|", "\\input{a}", "\\input{b}", "\\end{document}"]
MARKS = st.sampled_from(["\\", "%", "{", "}", "\n", " ", "\\%", "$x$", "wörd", *BLOCKS])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(MARKS, max_size=30).map("".join), min_size=3, max_size=3), st.binary(max_size=6), st.integers(0, 1 << 30))
def test_any_sources_give_a_row(sources, noise, place):
    main, a, b = sources
    packed = bytearray(gzip.decompress(pack({"main.tex": CLASS + "\\begin{document}" + main, "a.tex": a, "b.tex": b})))
    made = row(bytes(packed))
    words = [text.count("wörd") for text in sources]
    assert "_error" not in made and made["n_files"] >= 1 and (made["text"].count("wörd") <= words[0] or made["n_files"] > 1)
    chance = random.Random(place)
    for byte in noise:
        packed[chance.randrange(len(packed))] = byte
    row(bytes(packed)), row(gzip.compress(bytes(packed))[: chance.randrange(200)])


@pytest.mark.kit
def test_kit_book_keeps_its_text(kit):
    import json

    with gzip.open(kit / "books" / "books.jsonl.gz") as file:
        books = [book for book in map(json.loads, file) if book["source"] == "book_latex"]
    for book in books:
        made = row(book["text"].encode())
        assert made["main"] == "source.tex" and made["n_missing"] == 0
        plain = re.sub(r"(?m)(?<!\\)%.*", "", book["text"].replace("\r\n", "\n"))
        inside = plain[plain.index("\\begin{document}") : plain.index("\\end{document}")]
        assert len(made["text"].split()) > 0.98 * len(inside.split())
        assert not re.search(r"(?m)(?<!\\)%", made["text"])
