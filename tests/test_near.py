"""What in a dataset is near a text: by signatures, by a datasketch LSH index, by a band index, and on the command line."""

import io
import json
import random
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml

from dolma import cli, near
from dolma.core import manifest
from dolma.core.errors import ConfigError, DataError, EnvironmentFault
from dolma.core.manifest import Input
from dolma.dedup.increment import BANDS, index_bands
from tests.built import dataset, hash_of


def page(seed: int, words: int = 100) -> list[str]:
    rng = random.Random(seed)
    return [f"w{rng.randrange(5000)}" for _ in range(words)]


def mixture(share: int, seed: int) -> str:
    """A page whose first `share` words are those of page 0."""
    return " ".join(page(0)[:share] + page(seed)[share:])


TEXTS = (
    {f"share{n:03}": mixture(n, 1000 + n) for n in range(0, 101, 2)} | {f"other{n}": " ".join(page(n)) for n in range(1, 40)} | {"none": "… — …", "null": None}
)
QUERY = " ".join(page(0))


def shingles(text: str | None) -> set[tuple[str, ...]]:
    words = (text or "").split()
    return {tuple(words[k : k + 5]) for k in range(len(words) - 4)}


def jaccard(one: str, other: str | None) -> float:
    left, right = shingles(one), shingles(other)
    return len(left & right) / max(1, len(left | right))


TRUE = {name: jaccard(QUERY, text) for name, text in TEXTS.items()}


def documents(names: list[str]) -> pa.Table:
    kinds = {"id": pa.string(), "key": pa.int64(), "source": pa.string(), "url": pa.string(), "text": pa.large_string(), "file": pa.string()}
    rows = [{"id": n, "key": hash_of(n), "source": "web", "url": f"https://example.com/{n}", "text": TEXTS[n], "file": "a.gz"} for n in names]
    return pa.Table.from_pylist(rows, schema=pa.schema(list(kinds.items())))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """pool/unique in a project whose env is `here`."""
    names = list(TEXTS)
    random.Random(1).shuffle(names)
    dataset(tmp_path / "build", "pool/unique", documents(names))
    (tmp_path / "pipelines/env").mkdir(parents=True)
    (tmp_path / "pipelines/env/here.yaml").write_text(yaml.safe_dump({"root": "build", "raw": "raw"}))
    return tmp_path / "build"


def look(root: Path, index: near.Signatures | near.Bands, text: str, threshold: float, top: int = 200, lsh: bool = False) -> list[tuple[str, float]]:
    [found] = near.near(root, "pool/unique", [text], index, threshold=threshold, top=top, lsh=lsh)
    return [(one.document["id"], one.jaccard) for one in found]


@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.5, 0.8, 1.0])
def test_all_documents_over_the_threshold_are_found_with_their_true_jaccard(root: Path, threshold: float) -> None:
    expected = sorted(((name, value) for name, value in TRUE.items() if value >= threshold), key=lambda one: (-one[1], one[0]))
    found = look(root, near.signatures_of(root, "pool/unique"), QUERY, threshold)
    assert [name for name, _ in found] == [name for name, _ in expected] and len(found) > 0
    assert [value for _, value in found] == pytest.approx([value for _, value in expected])


def test_only_the_best_are_given(root: Path) -> None:
    assert [name for name, _ in look(root, near.signatures_of(root, "pool/unique"), QUERY, 0.3, top=3)] == ["share100", "share098", "share096"]


def test_an_lsh_index_of_datasketch_finds_what_lies_well_over_its_threshold_and_nothing_below(root: Path) -> None:
    pytest.importorskip("datasketch")
    found = dict(look(root, near.signatures_of(root, "pool/unique"), QUERY, 0.5, lsh=True))
    assert set(found) <= {name for name, value in TRUE.items() if value >= 0.5}
    assert set(found) >= {name for name, value in TRUE.items() if value >= 0.75}  # 32 bands of 4: all but .00001 of them


def test_signatures_are_read_back_until_the_dataset_is_made_again(root: Path) -> None:
    first = near.signatures_of(root, "pool/unique")
    kept = {path: path.stat().st_mtime_ns for path in (root / ".near").rglob("*.npy")}
    again = near.signatures_of(root, "pool/unique")
    assert len(kept) == 2 and {path: path.stat().st_mtime_ns for path in (root / ".near").rglob("*.npy")} == kept
    assert np.array_equal(first.hashes, again.hashes) and len(again.places) == len(TEXTS) - 2
    shutil.rmtree(root / "pool/unique")
    made = dataset(root, "pool/unique", documents(["other1", "share100"]))
    manifest.save(root / "pool/unique", made.model_copy(update={"fingerprint": "f" * 64}))
    assert look(root, near.signatures_of(root, "pool/unique"), QUERY, 0.5) == [("share100", 1.0)]
    assert len(list((root / ".near/pool_unique").iterdir())) == 1


def test_a_damaged_index_is_named(root: Path) -> None:
    near.signatures_of(root, "pool/unique")
    [path] = (root / ".near").rglob("hashes.npy")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"(?s)damaged index.*delete"):
        near.signatures_of(root, "pool/unique")


def test_too_many_documents_are_refused_with_the_way_out(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "MOST_ROWS", 10)
    with pytest.raises(ConfigError, match=r"(?s)too many documents.*--bands"):
        near.signatures_of(root, "pool/unique")


def test_an_lsh_index_that_memory_may_not_hold_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasketch")
    monkeypatch.setattr(near, "MOST_LSH", 10)
    with pytest.raises(ConfigError, match=r"(?s)too many documents for an LSH index.*leave --lsh out"):
        look(root, near.signatures_of(root, "pool/unique"), QUERY, 0.5, lsh=True)


def test_without_datasketch_the_lsh_index_says_what_to_install(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasketch", None)
    index = near.signatures_of(root, "pool/unique")
    assert look(root, index, QUERY, 0.9)
    with pytest.raises(EnvironmentFault, match=r"(?s)datasketch is not installed.*dolma-flow\[dedup\]"):
        look(root, index, QUERY, 0.9, lsh=True)


def write_bands(root: Path) -> None:
    """The band index of pool/unique."""
    signature = {"shingle": 5, "bands": 26, "rows": 11, "seed": 1}
    table = manifest.read(root / "pool/unique")
    table = table.append_column("origin", pa.array(range(table.num_rows), pa.int64()))
    assert index_bands.rows is not None
    rows = pa.Table.from_batches([index_bands.rows(table.combine_chunks().to_batches()[0], delivery=0, **signature)]).sort_by("band_key")
    assert rows.schema.names == list(BANDS)
    of = Input(name="pool/unique", fingerprint=manifest.load(root / "pool/unique").fingerprint)
    dataset(root, "pool/bands", rows, kind="rows", facts={"bands": signature}, inputs=[of])


def test_a_band_index_finds_what_shares_a_band(root: Path) -> None:
    write_bands(root)
    found = dict(look(root, near.bands_of(root, "pool/unique", "pool/bands"), QUERY, 0.5))
    assert set(found) <= {name for name, value in TRUE.items() if value >= 0.5}
    assert set(found) >= {name for name, value in TRUE.items() if value >= 0.9}  # .9998 of them
    assert found["share100"] == 1


def test_a_band_index_of_something_else_or_of_an_earlier_dataset_is_refused(root: Path) -> None:
    write_bands(root)
    dataset(root, "pool/other", documents(["share000"]))
    with pytest.raises(ConfigError, match=r"(?s)not the band index of pool/other.*--in pool/unique"):
        near.bands_of(root, "pool/other", "pool/bands")
    with pytest.raises(ConfigError, match="not the band index"):
        near.bands_of(root, "pool/unique", "pool/other")
    made = manifest.load(root / "pool/unique")
    manifest.save(root / "pool/unique", made.model_copy(update={"fingerprint": "f" * 64}))
    with pytest.raises(DataError, match=r"(?s)of an earlier pool/unique.*dolma run pool/bands"):
        near.bands_of(root, "pool/unique", "pool/bands")


def run(root: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str, stdin: str = "") -> int:
    monkeypatch.chdir(root.parent)
    monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
    return cli.main(["near", "--env", "here", *arguments])


def test_the_command_prints_id_source_jaccard_place_and_how_the_text_begins(root: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    assert run(root, monkeypatch, QUERY, "--top", "2") == 0
    head, _, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["jaccard", "id", "source", "where", "begins"]
    assert first.split()[:5] == ["1", "share100", "web", "https://example.com/share100", page(0)[0]] and second.split()[1] == "share098"


def test_the_command_reads_a_file_and_lines_of_stdin(root: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    (root / "page.txt").write_text(QUERY)
    assert run(root, monkeypatch, "--file", str(root / "page.txt"), "--format", "json", "--top", "1") == 0
    assert json.loads(capsys.readouterr().out)["id"] == "share100"
    lines = f"{TEXTS['other3']}\n\n{' '.join(page(7777))}\n{TEXTS['other5']}\n"
    for more in ([], ["--lsh"]):
        assert run(root, monkeypatch, "-", "--lines", "--format", "json", *more, stdin=lines) == 0
        rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [(row["text_number"], row["id"], row["jaccard"]) for row in rows] == [(1, "other3", 1.0), (3, "other5", 1.0)]


def test_no_match_prints_nothing_and_says_so(root: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    assert run(root, monkeypatch, " ".join(page(7777))) == 0
    got = capsys.readouterr()
    assert got.out == "" and "nothing in pool/unique has a Jaccard similarity of 0.5 or more" in got.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["a b c", "--in", "pool/nothing"], 3, "the dataset does not exist"),
        (["a b c", "--in", "pool/tags"], 2, "has no documents to look among"),
        (["", "--top", "1"], 2, "the text has no word"),
        (["- … -"], 2, "the text has no word"),
        (["-", "--lines"], 2, "the text has no word"),
        (["--file", "nowhere.txt"], 2, "no such file"),
        (["a b c", "--threshold", "0"], 2, "a Jaccard similarity"),
        (["a b c", "--bands", "pool/bands", "--shingle", "3"], 2, "--shingle with --bands has no effect"),
    ],
)
def test_what_cannot_be_looked_up_is_said(root: Path, monkeypatch: pytest.MonkeyPatch, capsys, arguments: list[str], code: int, words: str) -> None:
    dataset(root, "pool/tags", pa.table({"origin": pa.array([0], pa.int64()), "key": pa.array([0], pa.int64())}), kind="tag")
    assert run(root, monkeypatch, *arguments) == code
    got = capsys.readouterr()
    assert words in got.err and got.out == ""
