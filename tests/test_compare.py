"""`dolma compare`: extractors scored on pages whose main text is known."""

import gzip
import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma import cli, compare
from dolma.core.errors import ConfigError, DataError
from dolma.gather.warc import Capture, info, response
from tests.messages import parts

TEXT = "The main text of this page has quite a few words, and it is a paragraph like those of any article."
PAGE = f"<html><body><nav><a href=/>Home of menus</a></nav><main><article><p>{TEXT}</p></article></main><footer>Imprint and terms</footer></body></html>"
LIST = "<body><nav>Menu</nav><ul>" + "".join(f"<li>Item {n} of it</li>" for n in range(30)) + "</ul></body>"


def write(path: Path, *rows: dict[str, object]) -> Path:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)
    return path


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    (tmp_path / "list.html").write_text(LIST)
    items = " ".join(f"Item {n} of it" for n in range(30))
    return write(
        tmp_path / "pages.jsonl", {"id": "article", "html": PAGE, "text": TEXT}, {"url": "list", "file": "list.html", "text": items}, {"id": "x", "text": None}
    )


@given(st.lists(st.sampled_from("abcde"), min_size=1), st.lists(st.sampled_from("abcde")))
def test_overlap_is_that_of_two_bags_of_words(want: list[str], got: list[str]) -> None:
    precision, recall, f1 = compare.overlap(" ".join(want).upper(), ", ".join(got))
    both = sum((Counter(want) & Counter(got)).values())
    assert precision == (both / len(got) if got else 0) and recall == both / len(want)
    assert f1 == pytest.approx(2 * precision * recall / (precision + recall) if both else 0)


def test_each_extractor_gets_a_row_and_the_worst_pages_are_named(pages: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", str(pages), "--extractors", "resiliparse,resiliparse-main,resiliparse-all", "-n", "1"]) == 0
    out = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line.split()[1:-1] for line in out[2:5]}
    assert rows["resiliparse"] == ["2", "1", "1", "1", "0", "0"]
    assert rows["resiliparse-main"] == ["2", "0.5", "0.5", "0.5", "1", "0"]
    assert rows["resiliparse-all"][3] == "1" and float(rows["resiliparse-all"][1]) < 1
    assert out[-1].split() == ["article", "1", "1", *out[-1].split()[3:]] and len(out) == 10


def test_one_page_is_shown_side_by_side(pages: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", str(pages), "--extractors", "resiliparse,resiliparse-all", "--page", "article", "--width", "120"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split(" | ")[0].strip() == "known text" and "resiliparse: F1 1.000" in out[0]
    known, ours, everything = (" ".join(line.split(" | ")[at].strip() for line in out[2:] if len(line.split(" | ")) > at) for at in range(3))
    assert known.strip() == ours.strip() == TEXT and "Imprint" in everything
    assert cli.main(["compare", str(pages), "--page", "nope"]) == 2
    assert cli.main(["compare", str(pages), "--extractors", "boilerpipe"]) == 2


def test_pages_of_an_archive_are_found_by_their_record(tmp_path: Path) -> None:
    captures = [Capture(f"https://docs.example.org/{n}.html", PAGE.replace("this page", f"page {n}").encode()) for n in range(3)]
    (tmp_path / "a.warc.gz").write_bytes(b"".join([info("a.warc.gz"), *(response(capture, 1) for capture in captures)]))
    from dolma.io.warc import warc

    names = next(iter(warc(str(tmp_path / "a.warc.gz"), file="a"))).column("id").to_pylist()[1:]
    rows = [{"id": f"p{n}", "warc": "a.warc.gz", "warc_record_id": f"<urn:uuid:{name}>", "gold_text": f"text {n}"} for n, name in enumerate(names)]
    found = compare.known_pages(write(tmp_path / "gold.jsonl.gz", *rows))
    assert [(page.id, page.text, f"page {n}".encode() in page.html) for n, page in enumerate(found)] == [(f"p{n}", f"text {n}", True) for n in range(3)]
    with pytest.raises(DataError, match="records are not there"):
        compare.known_pages(write(tmp_path / "lost.jsonl", rows[0], rows[1] | {"warc_record_id": "other"}))


@pytest.mark.parametrize(
    ("rows", "what"), [([{"id": "a", "text": "b"}], "no page"), ([{"id": "a", "html": "<p>", "text": ""}], "no page with a known text"), ([], "no page with")]
)
def test_files_without_what_is_needed_are_refused(tmp_path: Path, rows: list[dict[str, object]], what: str) -> None:
    with pytest.raises(DataError, match=what):
        compare.known_pages(write(tmp_path / "pages.jsonl", *rows))
    with pytest.raises(ConfigError, match="no such file"):
        compare.known_pages(tmp_path / "none.jsonl")
    (tmp_path / "bad.jsonl").write_text("{")
    with pytest.raises(DataError, match="not JSON"):
        compare.known_pages(tmp_path / "bad.jsonl")


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ({"text": "b", "file": "gone.html"}, "gone.html"),
        ({"text": "b", "warc": "gone.warc.gz", "warc_record_id": "x"}, "gone.warc.gz"),
        ({"text": "b", "html": ["<p>"]}, "`html` is no string"),
        (["a", "b"], "not a JSON object"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(tmp_path: Path, line: dict[str, object], what: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "pages.jsonl.gz", first := {"id": "a", "html": PAGE, "text": TEXT}, line)
    assert cli.main(["compare", str(path)]) == 3
    said = parts(capsys.readouterr().err)
    assert said["where"] == f"{path}, byte {len(json.dumps(first)) + 1}" and what in said["what"]


@pytest.mark.parametrize("name", ["pages.jsonl.gz", "pages.jsonl.zst"])
def test_pages_that_are_cut_short_are_refused(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pa.output_stream(str(tmp_path / name), compression="detect") as out:
        out.write(b"".join(json.dumps({"id": str(n), "html": PAGE, "text": f"{TEXT} {n}"}).encode() + b"\n" for n in range(100)))
    content = (tmp_path / name).read_bytes()
    assert len(compare.known_pages(tmp_path / name)) == 100
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    assert cli.main(["compare", str(tmp_path / name)]) == 3
    assert "cut short or damaged" in parts(capsys.readouterr().err)["what"]


@pytest.mark.kit
def test_gold_pages_of_the_kit(kit: Path) -> None:
    pages = compare.known_pages(kit / "web" / "pages_gold.jsonl.gz")
    assert len(pages) == 831 and sum(len(page.html) for page in pages) > 90_000_000
