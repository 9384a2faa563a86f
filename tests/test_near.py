"""What in a dataset is near a text: by signatures, by a datasketch LSH index, by a band index, and on the command line."""

import dataclasses
import io
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from dolma import cli, near
from dolma.core import manifest
from dolma.core.errors import ConfigError, DataError, EnvironmentFault
from dolma.core.manifest import File, Input
from dolma.dedup import minhash
from dolma.dedup.increment import BANDS, index_bands
from dolma.kernels import words
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


def documents(names: list[str], texts: dict[str, Any] = TEXTS) -> pa.Table:
    kinds = {"id": pa.string(), "key": pa.int64(), "source": pa.string(), "url": pa.string(), "text": pa.large_string(), "file": pa.string()}
    rows = [{"id": n, "key": hash_of(n), "source": "web", "url": f"https://example.com/{n}", "text": texts[n], "file": "a.gz"} for n in names]
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


def test_signatures_of_another_word_rule_or_kernel_are_made_anew(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    near.signatures_of(root, "pool/unique")
    first = list((root / ".near/pool_unique").iterdir())
    monkeypatch.setattr(words, "WORD_RULE", "v0")
    near.signatures_of(root, "pool/unique")
    second = list((root / ".near/pool_unique").iterdir())
    monkeypatch.setattr(minhash, "mark_minhash", dataclasses.replace(minhash.mark_minhash, version=99))
    near.signatures_of(root, "pool/unique", shingle=5)
    near.signatures_of(root, "pool/unique", shingle=3)
    third = list((root / ".near/pool_unique").iterdir())
    assert (len(first), len(second), len(third)) == (1, 1, 2)  # nobody asks for the old ones again
    assert len({*first, *second, *third}) == 4


def in_pieces(root: Path) -> None:
    """pool/unique as three shards with row groups of 8 documents."""
    table, files = manifest.read(root / "pool/unique"), []
    for number, start in enumerate(range(0, table.num_rows, 40)):
        path = root / f"pool/unique/piece{number}.parquet"
        pq.write_table(table.slice(start, 40), path, row_group_size=8)
        files.append(File(name=path.name, rows=len(table.slice(start, 40)), bytes=path.stat().st_size, sha256=""))
    manifest.save(root / "pool/unique", manifest.load(root / "pool/unique").model_copy(update={"files": files}))


@pytest.mark.parametrize(("held", "blocks"), [(200_000, 1), (1000, 9)])
def test_many_texts_read_a_row_group_once_a_block_and_find_what_each_finds_alone(root: Path, monkeypatch: pytest.MonkeyPatch, held: int, blocks: int) -> None:
    in_pieces(root)
    index = near.signatures_of(root, "pool/unique")
    texts = [mixture(n, 3000 + n) for n in range(0, 101, 4)] + [" ".join(page(n)) for n in range(1, 16)] + [QUERY]
    alone = [near.near(root, "pool/unique", [text], index, threshold=0.1, top=12)[0] for text in texts]
    read, rows_of = [], near._rows

    def noted(*arguments: Any) -> Iterator[tuple[np.ndarray, pa.Table]]:
        for here, rows in rows_of(*arguments):
            read.append((int(here[0] >> 32), int(here[0] & 0xFFFFFFFF) // 8))
            yield here, rows

    monkeypatch.setattr(near, "_rows", noted)
    monkeypatch.setattr(near, "HELD", held)
    assert near.near(root, "pool/unique", texts, index, threshold=0.1, top=12) == alone
    assert len({len(found) for found in alone}) > 2 and max(len(found) for found in alone) == 12
    assert len({file for file, _ in read}) == 3 and max(read.count(group) for group in read) <= blocks
    assert blocks > 1 or len(read) == len(set(read)) > 5


@pytest.mark.parametrize("by", ["signatures", "lsh", "bands"])
def test_more_than_two_hundred_are_given_where_more_are_asked_for(root: Path, by: str) -> None:
    if by == "lsh":
        pytest.importorskip("datasketch")
    texts = {f"copy{n:03}": QUERY + f" w{n}" for n in range(near.MOST_CANDIDATES + 30)}
    shutil.rmtree(root / "pool/unique")
    dataset(root, "pool/unique", documents(list(texts), texts))
    if by == "bands":
        write_bands(root)
    index = near.bands_of(root, "pool/unique", "pool/bands") if by == "bands" else near.signatures_of(root, "pool/unique")
    assert len(look(root, index, QUERY, 0.5, top=near.MOST_CANDIDATES + 20, lsh=by == "lsh")) == near.MOST_CANDIDATES + 20


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


def write_bands(root: Path, version: int | None = None) -> None:
    """The band index of pool/unique."""
    signature = {"shingle": 5, "bands": 26, "rows": 11, "seed": 1}
    table = manifest.read(root / "pool/unique")
    table = table.append_column("origin", pa.array(range(table.num_rows), pa.int64()))
    assert index_bands.rows is not None
    rows = pa.Table.from_batches([index_bands.rows(table.combine_chunks().to_batches()[0], delivery=0, **signature)]).sort_by("band_key")
    assert rows.schema.names == list(BANDS)
    of = Input(name="pool/unique", fingerprint=manifest.load(root / "pool/unique").fingerprint)
    dataset(root, "pool/bands", rows, kind="rows", facts={"bands": signature}, inputs=[of], code={"steps": {"index_bands": version or index_bands.version}})


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
    write_bands(root, version=1)
    with pytest.raises(DataError, match=r"(?s)another version of index_bands.*got 1.*dolma run pool/bands"):
        near.bands_of(root, "pool/unique", "pool/bands")
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


@pytest.mark.parametrize("more", [[], ["--lsh"], ["--bands", "pool/bands"]])
def test_a_line_without_a_word_has_no_neighbour_and_is_named(root: Path, monkeypatch: pytest.MonkeyPatch, capsys, more: list[str]) -> None:
    if more == ["--lsh"]:
        pytest.importorskip("datasketch")
    write_bands(root)
    lines = f"{TEXTS['other3']}\n—\n{TEXTS['other5']}\n"
    assert run(root, monkeypatch, "-", "--lines", "--format", "json", *more, stdin=lines) == 0
    got = capsys.readouterr()
    assert [(row["text_number"], row["id"]) for row in map(json.loads, got.out.splitlines())] == [(1, "other3"), (3, "other5")]
    assert "no word in text 2 of 3" in got.err


def test_of_many_lines_without_a_word_some_are_named_and_all_counted(root: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    assert run(root, monkeypatch, "-", "--lines", "--format", "json", "--top", "1", stdin="…\n" * 23 + QUERY) == 0
    got = capsys.readouterr()
    assert json.loads(got.out)["text_number"] == 24
    [line] = [line for line in got.err.splitlines() if "no word" in line]
    assert "text 1, 2, 3" in line and "20 and 3 more of 24" in line


def test_a_file_is_read_as_utf8_whatever_the_locale(tmp_path: Path) -> None:
    (tmp_path / "page.txt").write_bytes("Grüße, 世界\n".encode())
    code = "import sys, pathlib; from dolma import near; print(ascii(near.read(pathlib.Path(sys.argv[1]))))"
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "page.txt")], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ascii("Grüße, 世界\n")


def test_a_file_that_cannot_be_read_is_named_with_its_mend(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes("Grüße".encode("latin-1"))
    with pytest.raises(DataError, match=r"(?s)latin.txt: is not UTF-8\n  got byte 0xfc at 2, .*mend: convert it: iconv") as error:
        near.read(tmp_path / "latin.txt")
    assert error.value.code == 3
    (tmp_path / "loop.txt").symlink_to("loop.txt")
    for name, said in (("gone.txt", "no such file"), (".", "cannot be read"), ("latin.txt/page", "cannot be read"), ("loop.txt", "cannot be read")):
        with pytest.raises(ConfigError, match=f"(?s){said}.*mend") as refused:
            near.read(tmp_path / name)
        assert str(tmp_path / name) in str(refused.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_says_how_it_may(tmp_path: Path) -> None:
    (tmp_path / "page.txt").write_text("a b c")
    (tmp_path / "page.txt").chmod(0)
    with pytest.raises(ConfigError, match=r"(?s)page.txt: cannot be read.*Permission denied.*chmod \+r"):
        near.read(tmp_path / "page.txt")


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
        (["—\n…\n", "--lines"], 2, "the text has no word"),
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
