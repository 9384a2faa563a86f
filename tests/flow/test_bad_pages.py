"""Pages that lie about their charset, are too wide, too deep or never end, in the real recipe: each has its reason, and no other page is lost."""

import shutil
from pathlib import Path

import pytest

from dolma import cli
from dolma.core import manifest
from dolma.gather.warc import Capture, info, response
from tests.flow.mini import PIPELINES, manifests, write_env

WEB = "source/web/extract"
SENTENCES = "日本語の文章です。これは長い。" * 12
GOOD = "<html><body><main><p>The page number {} has a paragraph of some words.</p></main></body></html>"
BAD = {
    "deep": (b"<div>" * 50_000 + b"text", "elements nested deeper than 1000"),
    "wide": (b"<table>" + b"<tr><td>a</td></tr>" * 300_000, "page of more than 5000000 bytes"),
    "endless": (b"<p " + b" ".join(b"a%d=b" % n for n in range(100_000)) + b">text", "more than 0.5 CPU seconds, 2 times"),
}


@pytest.fixture
def crawl(tmp_path: Path) -> Path:
    """Two archives in which a bad page stands after every third good one, and the recipe with a small time cap."""
    shutil.copytree(PIPELINES / "source/web", tmp_path / "pipelines/source/web")
    recipe = tmp_path / f"pipelines/{WEB}.yaml"
    text = recipe.read_text()
    assert "cpu_seconds: 30" in text and "table: document\n" in text
    recipe.write_text(text.replace("cpu_seconds: 30", "cpu_seconds: 0.5").replace("table: document\n", "table: document\nquarantine: 0.5\n"))
    (tmp_path / "raw/web").mkdir(parents=True)
    for part in range(2):
        captures = [Capture(f"https://docs.example.org/{part}/{n}.html", GOOD.format(n).encode()) for n in range(9)]
        for at, (name, (body, _)) in enumerate(BAD.items()):
            captures.insert(3 * at + at, Capture(f"https://docs.example.org/{part}/{name}.html", body))
        captures.append(Capture(f"https://docs.example.org/{part}/lies.html", f"<p>{SENTENCES}</p>".encode("shift-jis")))
        content = b"".join([info(str(part)), *(response(capture, 1) for capture in captures)])
        (tmp_path / f"raw/web/crawl-A-{part:05d}.warc.gz").write_bytes(content)
    return tmp_path


@pytest.mark.slow
def test_each_bad_page_is_quarantined_with_its_place_and_the_rest_is_whole(crawl: Path) -> None:
    for name, workers in (("one", 1), ("two", 2)):
        assert cli.main(["run", WEB, "--env", str(write_env(crawl, name, workers=workers)), "--pipelines", str(crawl / "pipelines")]) == 0
    assert manifests(crawl, "one", (WEB,)) == manifests(crawl, "two", (WEB,))
    rows = manifest.read(crawl / "one" / WEB).to_pylist()
    assert sorted(row["url"].rsplit("/", 1)[1] for row in rows) == sorted([f"{n}.html" for n in range(9)] * 2 + ["lies.html"] * 2)
    assert [(row["text"], row["charset"], row["charset_source"]) for row in rows if "lies" in row["url"]] == [(SENTENCES, "shift_jis", "guess")] * 2
    good = {row["url"].rsplit("/", 1)[1][0]: row["text"] for row in rows if "lies" not in row["url"]}
    assert good == {str(n): f"The page number {n} has a paragraph of some words." for n in range(9)}
    aside = [row for file in manifest.load(crawl / "one" / WEB).quarantine for row in manifest.pq.read_table(crawl / "one" / WEB / file.name).to_pylist()]
    assert sorted(row["reason"] for row in aside) == sorted([reason for _, reason in BAD.values()] * 2)
    assert all(row["file"].startswith("web/crawl-A-0000") and row["offset"] > 0 and row["step"].endswith("extract_html") for row in aside)
