"""The report: complete, self-contained, escaped, the same bytes for the same figures, and drawn by a real browser."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dolma.core import manifest as manifests
from dolma.core.errors import DataError
from dolma.report.build import build as report
from dolma.report.figures import STAGES, collect, curve
from tests.built import DROPPED, METRICS, QUARANTINED, SOURCES, build

CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--enable-logging=stderr", "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip

OWN = (".google.com", ".googleapis.com")  # the browser's own services; the page names neither (test above)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def page(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    (folder / "results.json").write_text(
        json.dumps([{"name": "minhash/datatrove", "peer": "datatrove", "ours": 1.5, "theirs": 30.0, "ratio": 20.0, "runs": 3}])
    )
    return report(root, folder / "report.html", "a <title> & more", folder / "results.json")


def test_every_section_has_its_figures(page: Path) -> None:
    text = page.read_text()
    for section in ("stages", "curves", "funnel", "quarantine", "pool", "cells", "mix", "costs", "speed", "provenance"):
        assert f'<section id="{section}"' in text
    assert text.count('class="dumbbell"') == sum(len(rows) for rows in METRICS.values())
    assert text.count('class="lines"') == len(STAGES) + 1  # a loss each, and one reward
    assert text.count('class="histogram"') == len(SOURCES)
    assert text.count('class="heat"') == 4  # the web's tokens, and its repeats in each of three mixes
    assert text.count('class="stack"') == 4  # the pool, and three mixes
    assert text.count('<td class="m">pdf/made_') == QUARANTINED["pdf"]
    assert "minhash/datatrove" in text


def test_costs_stand_by_dataset_and_by_family(tmp_path: Path) -> None:
    root = build(tmp_path / "built", stages=False)
    made = manifests.load(root / "source/web/extract")
    line = {
        "fingerprint": made.fingerprint,
        "families": {"1:keep": "0:extract_web", "2:keep": "0:extract_web"},
        "units": 1,
        "measured": {"map/00000": {"seconds": 9.0, "cpu": {"read:web": 1.0, "0:extract_web": 6.0, "1:keep": 0.5, "write": 0.5}}},
    }
    (root / "source/web/extract/run.jsonl").write_text(json.dumps(line) + "\n")
    text = report(root, tmp_path / "report.html", "costs").read_text()
    assert "source/web/extract by family" in text
    cells = re.findall(r"<tr><td>extract_web</td>(.*?)</tr>", text)
    removed = DROPPED["web"]["not_html"] + DROPPED["web"]["not_english"]
    assert [re.sub("<[^>]*>", " ", row).split() for row in cells] == [
        [str(removed), f"{100 * removed / SOURCES['web'][0]:.4g}", "6.5", "81.25", *"not_english 299, not_html 30".split()]
    ]
    assert "No run has measured its CPU seconds." in report(build(tmp_path / "other"), tmp_path / "other.html", "none").read_text()


def test_a_mix_shows_what_it_serves_of_what_there_is(root: Path) -> None:
    figures = collect(root)
    mix = next(one for one in figures.mixes if one.name == "mix/midtrain")
    for source, rate in {"web": 0.6, "pdf": 1.0, "code": 3, "math": 6, "wiki": 0.4}.items():
        cells = [cell for cell in figures.cells if cell.source == source]
        assert mix.available[source] == sum(cell.tokens for cell in cells)
        assert mix.served[source] == sum(int(cell.sequences * rate) * 256 for cell in cells)


def test_mixes_over_the_same_shards_are_compared_with_the_first(root: Path, page: Path) -> None:
    mixes = {one.short: one for one in collect(root).mixes}
    assert list(mixes) == ["pretrain", "midtrain", "longctx"]
    text = page.read_text()
    for name in ("midtrain", "longctx"):
        (table,) = re.findall(rf"<summary>{name} against pretrain \(before\)</summary>(.*?)</details>", text)
        rows = {cells[0]: cells for row in re.findall("<tr>(.*?)</tr>", table) if (cells := re.findall("<td[^>]*>(.*?)</td>", row))}
        share = mixes[name].served["web"] / mixes[name].tokens - mixes["pretrain"].served["web"] / mixes["pretrain"].tokens
        assert float(rows["web"][6]) == pytest.approx(100 * share, abs=0.01) and set(rows) == {*SOURCES, "sum"}


def test_the_page_refers_to_nothing_outside_itself(page: Path) -> None:
    text = page.read_text()
    assert "default-src &#x27;none&#x27;" in text or "default-src 'none'" in text
    assert not re.findall(r"""(?:src|href|action|poster|data|xlink:href)=["'](?!#)""", text.replace("data-tip", ""))
    assert not re.findall(r"url\(|@import|https?://|//[a-z]|fetch\(|XMLHttpRequest|import\(|\sstyle=", text)


def test_what_comes_from_data_is_escaped(page: Path) -> None:
    text = page.read_text()
    assert "damaged: no page tree &lt;b&gt;" in text
    assert "<h1>a &lt;title&gt; &amp; more</h1>" in text
    assert text.count("<script>") == 1


def test_the_same_figures_give_the_same_bytes(root: Path, page: Path, tmp_path: Path) -> None:
    again = report(root, tmp_path / "again.html", "a <title> & more", page.parent / "results.json")
    assert again.read_bytes() == page.read_bytes()


def test_a_report_without_stages_says_so(tmp_path: Path) -> None:
    root = build(tmp_path / "root", stages=False)
    text = report(root, tmp_path / "r.html", "t").read_text()
    assert text.count("This stage has not run yet.") == len(STAGES)
    assert "0 of 6" in text
    assert "No benchmark results" in text


def test_a_report_of_one_source_says_what_is_missing(tmp_path: Path, root: Path) -> None:
    shutil.copytree(root / "source/web", tmp_path / "root/source/web")
    text = report(tmp_path / "root", tmp_path / "r.html", "t").read_text()
    for words in ("pool/documents is not finished yet", "shard/pool is not finished yet", "No mix is finished yet", "No row was quarantined"):
        assert words in text


def test_a_report_over_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to report"):
        report(tmp_path, tmp_path / "r.html", "t")


def test_a_broken_ledger_is_shown_in_red(tmp_path: Path, root: Path) -> None:
    shutil.copytree(root / "source/web", tmp_path / "source/web")
    path = tmp_path / "source/web/extract/manifest.json"
    made = json.loads(path.read_text())
    made["counts"]["1:keep.dropped.not_html"] -= 1
    path.write_text(json.dumps(made))
    text = report(tmp_path, tmp_path / "r.html", "t").read_text()
    assert "unaccounted for: 1 documents" in text
    assert "tile alarm" in text


def test_a_log_cut_by_a_kill_keeps_its_points(root: Path) -> None:
    stage = next(s for s in collect(root).stages if s.name == "pretrain")
    points = curve(stage.log, "loss")
    assert len(points) == 240
    assert points[-1][0] == 1_000_000


def _open(page: Path, folder: Path, *flags: str) -> tuple[str, str]:
    assert CHROMIUM is not None
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", *flags, "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
    return done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium")
def test_a_browser_draws_the_page_and_asks_for_nothing(page: Path, tmp_path: Path) -> None:
    log = tmp_path / "net.json"
    dom, errors = _open(page, tmp_path, f"--log-net-log={log}")
    assert dom.count("<svg") == page.read_text().count("<svg")
    assert not [line for line in errors.splitlines() if "CONSOLE" in line]  # a wrong hash in the policy, or a fault of the script, would stand here
    hosts = {host for host in re.findall(r'"url":"\w+://([^/"]*)', log.read_text()) if host and not host.endswith(OWN)}
    assert not hosts


MEASURE = """<script>addEventListener('load',function(){var flat=0,out=0,w=document.documentElement.clientWidth;
document.querySelectorAll('svg').forEach(function(s){var r=s.getBoundingClientRect();if(s.closest('details'))return;
if(r.width<5||r.height<5)flat++;if(r.right>w+1||r.left<-1)out++});
var wide=document.documentElement.scrollWidth>w,card=getComputedStyle(document.querySelector('.card')).borderRadius;
document.title='flat='+flat+' out='+out+' wide='+wide+' card='+card})</script>"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium")
@pytest.mark.parametrize("width", [1400, 500])
def test_every_chart_has_a_size_and_stays_inside_the_window(page: Path, tmp_path: Path, width: int) -> None:
    text = re.sub(r"<meta http-equiv=[^>]*>", "", page.read_text())  # the ruler is a script of this test, which the page's policy would refuse
    copy = tmp_path / "measured.html"
    copy.write_text(text.replace("</body>", MEASURE + "</body>"))
    dom, _ = _open(copy, tmp_path, f"--window-size={width},1000")
    assert "<title>flat=0 out=0 wide=false card=10px</title>" in dom
