"""The notebooks: each runs in a fresh kernel, its plots can be read, and its numbers are those of the manifests."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
pytest.importorskip("matplotlib")
pytest.importorskip("streaming")
import nbformat
import pyarrow as pa

from dolma import sql, stats
from dolma.core import manifest as manifests
from dolma.verify import verify
from tests.built import dataset
from tests.notebooks.pool import BATCH, LENGTH, SHARES, UPDATES, build
from tests.notebooks.run import NOTEBOOKS, ROOT, Read, run

NAMES = ("01_pool", "02_curve", "03_mix", "04_shards", "05_training")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, tokenizer: str) -> Path:
    return build(tmp_path_factory.mktemp("pool"), tokenizer)


@pytest.fixture(scope="module")
def read(root: Path, tmp_path_factory: pytest.TempPathFactory):
    """A notebook by its name, run once over that build."""
    done: dict[str, Read] = {}

    def one(name: str) -> Read:
        if name not in done:
            done[name] = run(name, root, tmp_path_factory.mktemp("kernel"))
        return done[name]

    return one


def cells(name: str) -> list[str]:
    return [cell.source for cell in nbformat.read(NOTEBOOKS / f"{name}.ipynb", 4).cells if cell.cell_type == "code"]


def test_these_are_the_notebooks() -> None:
    assert sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_clean_and_short(name: str) -> None:
    book = nbformat.read(NOTEBOOKS / f"{name}.ipynb", 4)
    nbformat.validate(book)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert max(cell.source.count("\n") + 1 for cell in code) <= 17
    assert 'os.environ.get("DOLMA_ROOT"' in code[0].source and "sql.open(ROOT)" in code[0].source
    assert book.cells[0].cell_type == "markdown" and book.cells[0].source.startswith(f"# {int(name[:2])}. ")
    assert (NOTEBOOKS / f"{name}.ipynb").stat().st_size < 30_000


def test_the_code_of_the_notebooks_passes_the_linter() -> None:
    done = subprocess.run([Path(sys.executable).parent / "ruff", "check", "notebooks"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_plot_can_be_read(name: str, read) -> None:
    shown = read(name)
    assert len(shown.pictures) == len(shown.figures) >= 3
    for picture in shown.pictures:
        assert min(picture.shape[:2]) >= 100 and picture[..., :3].std() > 0.02
    for axes in (axes for figure in shown.figures for axes in figure):
        assert axes["title"], axes
        assert axes["x"] or name == "05_training", axes["title"]
        assert axes["overlaps"] == {"x": 0, "y": 0}, axes["title"]


@pytest.mark.slow
def test_the_pool_in_the_notebook_is_that_of_the_ledgers(root: Path, read) -> None:
    shown = read("01_pool")
    for funnel in stats.funnels(root, stats.datasets(root)):
        line = rf"{funnel.source} +{funnel.documents_in:,} in +{funnel.out:,} out +{funnel.out / funnel.documents_in:.1%} kept  0 unaccounted"
        assert re.search(line, shown.text), line
    found = sql.query(root, "SELECT quantile_disc(n_tokens, 0.95) AS n, quantile_disc(n_bytes, 0.95) AS b FROM documents WHERE source = 'web'").to_pylist()[0]
    assert re.search(rf"95 % of the [\d,]+ web documents have at most {found['b']:,} bytes, [\d,]+ characters, {found['n']:,} tokens", shown.text)
    tokens = sql.query(root, "SELECT source, 100 * sum(n_tokens) / sum(sum(n_tokens)) OVER () AS share FROM documents GROUP BY 1 ORDER BY 1")
    assert shown.axes("tokens")["bars"] == pytest.approx([float(share) for share in tokens["share"].to_pylist()])
    lost = shown.axes("The largest losses")
    assert lost["bars"][0] == 299 and lost["ticks"][0] == "web: not_english"
    assert shown.axes("Topics")["ticks"] and shown.axes("Quality")["y"] == "% of the source's documents"


@pytest.mark.slow
def test_the_curves_in_the_notebook_give_what_was_asked_for(read) -> None:
    shown = read("02_curve")
    assert "web: " in shown.text and "5 buckets" in shown.text
    for line in shown.axes("Copies over quality, 1.6 on the mean")["lines"][:3]:
        (x, y) = zip(*line, strict=True)
        assert sum((b - a) * (c + d) / 2 for a, b, c, d in zip(x, x[1:], y, y[1:], strict=False)) == pytest.approx(1.6, rel=0.01)
    most = dict(map(tuple, shown.axes("Feasible region of set C, twenty equal buckets")["lines"][2]))
    at = {round(share, 2): copies for copies, share in most.items()}
    assert at[0.4] == pytest.approx(7 * 0.6 / 1.4, rel=0.03)  # near the mean 1 / (p + 1) of a plain power: the cap is that of the last half bucket


@pytest.mark.slow
def test_the_mix_in_the_notebook_is_that_of_its_manifest(root: Path, read) -> None:
    shown = read("03_mix")
    rows = manifests.read(root / "mix/pretrain").to_pylist()
    served = sum(row["tokens"] for row in rows)
    pool = manifests.load(root / "shard/pool").tokens
    assert re.search(rf"{pool:,} tokens in the pool, [\d,]+ used, {served:,} served", shown.text)
    assert "shown: mix/pretrain; beside it: mix/midtrain" in shown.text
    dots = shown.axes("Share of each source")
    mix = {name: line[0][0] for name, line in zip(dots["ticks"], dots["lines"][2::3], strict=True)}
    assert mix == pytest.approx({**dict.fromkeys(("math", "pdf"), 0.0), **{source: 100 * share for source, share in SHARES["mix/pretrain"].items()}}, abs=1)
    web = [row for row in rows if row["source"] == "web"]
    assert f"web: {len(web)} cells of 2 topics" in shown.text


@pytest.mark.slow
def test_the_audit_in_the_notebook_hashes_and_traces(root: Path, read) -> None:
    shown = read("04_shards")
    known = manifests.load(root / "shard/pool")
    assert re.search(rf"shard/pool +{len(known.files):,} files +{known.bytes:,} bytes +all hashes agree", shown.text)
    assert f"{known.rows:,} sequences, {known.tokens:,} tokens" in shown.text
    traced = [list(map(int, line.groups())) for line in re.finditer(r"^ +(\d) +(\d+) \+(\d+) ", shown.text, re.MULTILINE)]
    for sequence in range(5):
        assert sum(tokens for n, _, tokens in traced if n == sequence) == LENGTH
    assert sum(shown.axes("Documents in the first sequences")["bars"]) == 5 * LENGTH


@pytest.mark.slow
def test_the_training_in_the_notebook_saw_the_rows_of_the_record(root: Path, read) -> None:
    assert not verify(root, "train/pretrain").errors
    shown = read("05_training")
    tokens = UPDATES * BATCH * LENGTH
    planned = sum(row["sequences"] for row in manifests.read(root / "mix/pretrain").to_pylist())
    assert re.search(rf"pretrain +mix/pretrain +0 +[\d.]+ +{planned} +{UPDATES * BATCH}\n", shown.text)
    seen = {m[1]: int(m[2].replace(",", "")) for m in re.finditer(r"^(\w+) +planned .* ([\d,]+) tokens$", shown.text, re.MULTILINE)}
    assert set(seen) == set(SHARES["mix/pretrain"]) and sum(seen.values()) == tokens
    faint, mean = shown.axes("pretrain: loss")["lines"]
    assert len(faint) == len(mean) == UPDATES and faint[0] == pytest.approx([BATCH * LENGTH / 1e6, 6.0])
    assert shown.axes("rlvr: reward")["lines"]


@pytest.mark.slow
def test_a_build_without_shards_and_stages_is_said_to_have_none(tmp_path: Path) -> None:
    rows = pa.table({"id": ["a"], "key": [1], "source": ["web"], "text": ["x"]})
    dataset(tmp_path / "b", "source/web/extract", rows, counts={"read:web.in": 1, "read:web.out": 1})
    texts = {name: run(name, tmp_path / "b", tmp_path).text for name in ("01_pool", "03_mix")}
    assert "No lengths" in texts["01_pool"] and "No document has a score" in texts["01_pool"] and "no mix yet" in texts["03_mix"]
