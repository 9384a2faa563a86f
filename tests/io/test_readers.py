"""Each reader in a recipe, run by the command line: the recipes of pipelines/README.md over files as others write them, with a ledger that balances."""

import bz2
import gzip
import io
import json
import re
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from dolma.cli import main
from dolma.core import manifest
from dolma.core.counts import check
from tests.engines.flow import write_env
from tests.io.test_mediawiki import HEAD, page
from tests.messages import parts

README = Path(__file__).parents[2] / "pipelines" / "README.md"
RECIPES = {name: text for name, text in re.findall(r"```yaml\n# pipelines/(\S+)\.yaml\n(.*?)```", README.read_text(), re.DOTALL)}


def run(folder: Path, name: str, recipe: str | dict) -> tuple[manifest.Manifest, list[dict]]:
    """The manifest and the rows of a recipe run over `folder`/raw; its ledger balances."""
    path = folder / "pipelines" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(recipe if isinstance(recipe, str) else yaml.safe_dump(recipe))
    env = write_env(folder)
    assert main(["run", name, "--env", str(env), "--pipelines", str(folder / "pipelines")]) == 0
    assert main(["verify", "--env", str(env), "--pipelines", str(folder / "pipelines")]) == 0
    found = manifest.load(folder / "build" / "env" / name)
    check(found.counts, name, whole=True)
    return found, manifest.read(folder / "build" / "env" / name).to_pylist()


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def tar(files: dict[str, bytes], mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as opened:  # pyright: ignore
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            opened.addfile(info, io.BytesIO(content))
    return out.getvalue()


def lost(found: manifest.Manifest) -> dict[str, int]:
    """Rows that were dropped or quarantined, by reason."""
    return {name.rpartition(".")[2]: count for name, count in found.counts.items() if ".dropped." in name or name.endswith(".quarantined")}


def test_a_dump_of_a_wiki(tmp_path):
    pytest.importorskip("mwparserfromhell")
    pages = [page(n, f"T{n}", f"'''T{n}''' is [[x]]") for n in range(100)]
    pages += [page(100, more='<redirect title="T1" />'), page(101, ns=1), page(102, inner="<model>css</model>"), page(103, text="{{x}}"), page("", "T")]
    put(tmp_path / "raw/wiki/xx-pages.xml.bz2", bz2.compress((HEAD + "".join(pages) + "</mediawiki>").encode()))
    found, rows = run(tmp_path, "source/wiki/dump", RECIPES["source/wiki/dump"])
    assert [row["text"] for row in rows] == [f"T{n} is x" for n in range(100)] and rows[7]["id"] == "testwiki-7"
    assert lost(found) == {"quarantined": 1, "not_an_article": 1, "redirect": 1, "not_wikitext": 1, "no_text": 1}


def test_a_month_of_papers(tmp_path):
    paper = "\\documentclass{article}\n\\begin{document}\n%s\n\\end{document}"
    month = {f"2401/2401.{n:05}.gz": gzip.compress((paper % f"paper {n} % c").encode()) for n in range(98)}
    month["2401/2401.00098.gz"] = tar({"main.tex": (paper % "\\input{a}").encode(), "a.tex": b"many $x%\n^2$"}, "w:gz")
    month["2401/2401.00099.gz"] = gzip.compress(b"%PDF-1.4")
    month["2401/2401.00100.pdf"] = b"%PDF-1.4"
    month["2401/2401.00101.gz"] = gzip.compress(b"x")[:-3]
    put(tmp_path / "raw/arxiv/arXiv_src_2401_001.tar", tar(month))
    found, rows = run(tmp_path, "source/arxiv/extract", RECIPES["source/arxiv/extract"])
    assert [row["text"] for row in rows] == [*[f"paper {n}" for n in range(98)], "many $x^2$"] and rows[98]["n_files"] == 2
    assert rows[0]["id"] == "arxiv/arXiv_src_2401_001.tar/2401/2401.00000.gz" and lost(found) == {"quarantined": 1, "no_source": 1, "no_latex": 1}


def test_a_folder_of_papers(tmp_path):
    for n in range(3):
        put(tmp_path / f"raw/arxiv/2401.0000{n}.gz", gzip.compress(b"\\documentclass{article}\\begin{document}paper %d\\end{document}" % n))
    (reader,) = re.findall(r"read `(\{blob: .*\})`", README.read_text())
    recipe = yaml.safe_load(RECIPES["source/arxiv/extract"])
    recipe |= {"read": yaml.safe_load(reader), "steps": recipe["steps"][1:]}
    found, rows = run(tmp_path, "source/arxiv/papers", recipe)
    assert [(row["id"], row["text"]) for row in rows] == [(f"arxiv/2401.0000{n}.gz", f"paper {n}") for n in range(3)] and lost(found) == {}


def test_packages_of_source_files(tmp_path):
    (tmp_path / "raw/code").mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "raw/code/p-1.0.zip", "w") as opened:
        for n in range(120):
            opened.writestr(f"p/{n}.py", f"x = {n}\n")
        for name, content in {"p/a.pyc": b"\0", "p/bad.py": b"\xff\0", "../evil.py": b"x = 1"}.items():
            opened.writestr(name, content)
    found, rows = run(tmp_path, "source/code/packages", RECIPES["source/code/packages"])
    assert [row["text"] for row in rows] == [f"x = {n}\n" for n in range(120)] and rows[3]["name"] == "p/3.py"
    assert lost(found) == {"quarantined": 1, "not_code": 1, "not_text": 1}


def test_a_tree_of_source_files(tmp_path):
    for n in range(30):
        put(tmp_path / f"raw/src/{n % 3}/{n}.py", b"x = %d\n" % n)
    put(tmp_path / "raw/src/bad.py", b"\xff")
    recipe = yaml.safe_load(RECIPES["source/code/packages"])
    recipe |= {"read": {"blob": {"files": ["src/**/*.py"], "source": "code", "max_bytes": 1000}}, "unit_bytes": 150, "steps": recipe["steps"][1:4]}
    found, rows = run(tmp_path, "source/code/tree", recipe)
    assert {row["id"]: row["text"] for row in rows} == {f"src/{n % 3}/{n}.py": f"x = {n}\n" for n in range(30)} and lost(found) == {"not_text": 1}
    assert 1 < len(found.files) < 5


def test_a_hugging_face_dataset(tmp_path):
    table = pa.table(
        {
            "id": [f"d{n}" for n in range(150)],
            "url": pa.nulls(150, pa.string()),
            "text": ["" if n == 7 else f"text {n}" for n in range(150)],
            "token_count": pa.array(range(150), pa.int64()),
            "metadata": [{"dump": f"CC-{n % 3}"} for n in range(150)],
        }
    )
    (tmp_path / "raw/hub/train").mkdir(parents=True)
    pq.write_table(table, tmp_path / "raw/hub/train/0.parquet", row_group_size=40)
    found, rows = run(tmp_path, "source/hub/extract", RECIPES["source/hub/extract"])
    assert [row["id"] for row in rows] == [f"d{n}" for n in range(150) if n != 7] and rows[4]["crawl"] == "CC-1"
    assert lost(found) == {"quarantined": 1} and rows[100]["offset"] == 101 and rows[0]["source"] == "hub"
    with open(tmp_path / "raw/hub/train/data-00000-of-00001.arrow", "wb") as out, pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table, max_chunksize=40)
    recipe = yaml.safe_load(RECIPES["source/hub/extract"])
    recipe["read"] = {"arrow": {**recipe["read"]["parquet"], "files": "hub/*/data-*.arrow"}}
    again, saved = run(tmp_path, "source/hub/saved", recipe)
    assert [{**row, "file": ""} for row in saved] == [{**row, "file": ""} for row in rows] and lost(again) == lost(found)


def documents(folder: Path, words: list[int]) -> None:
    names = ("gopher__gopher__word_count", "gopher__gopher__symbol_to_word_ratio")
    lines = [{"id": str(n), "text": f"text {n}", "source": "cc"} for n in range(len(words))]
    marks = [{"id": str(n), "attributes": {names[0]: [[0, 6, float(count)]], names[1]: [[0, 6, 0.5]]}} for n, count in enumerate(words)]
    for name, rows in (("documents", lines), ("attributes/gopher", marks)):
        put(folder / f"raw/v1/{name}/cc/0.jsonl.gz", gzip.compress("\n".join(map(json.dumps, rows)).encode()))


def test_what_the_dolma_toolkit_tagged_and_a_change_of_its_tags(tmp_path):
    documents(tmp_path, [10, 50, 99])
    found, rows = run(tmp_path, "source/tagged/extract", RECIPES["source/tagged/extract"])
    assert [(row["id"], row["gopher__gopher__word_count"], row["gopher__gopher__symbol_to_word_ratio"]) for row in rows] == [("1", 50, 0.5), ("2", 99, 0.5)]
    assert lost(found) == {"too_short": 1}
    documents(tmp_path, [10, 20, 99])
    found, rows = run(tmp_path, "source/tagged/extract", RECIPES["source/tagged/extract"])
    assert [row["id"] for row in rows] == ["2"] and lost(found) == {"too_short": 2}


def test_a_file_that_cannot_be_read_fails_its_unit_alone(tmp_path, capsys):
    table = pa.table({"id": ["a", "b"], "text": ["x", "y"]})
    (tmp_path / "raw").mkdir()
    for name in ("0.parquet", "1.parquet"):
        pq.write_table(table, tmp_path / "raw" / name)
    whole = (tmp_path / "raw/0.parquet").read_bytes()
    (tmp_path / "raw/0.parquet").write_bytes(whole[:-20])
    columns = {"id": "string", "text": "large_string"}
    recipe = {"read": {"parquet": {"files": "*.parquet", "columns": columns}}, "table": "document", "steps": [{"extract_text": {"source": "mine"}}]}
    with pytest.raises(AssertionError, match="3 == 0"):
        run(tmp_path, "source/mine", recipe)
    message = parts(capsys.readouterr().err, "cut short or damaged")
    assert message["where"] == "0.parquet, the footer"
    assert (tmp_path / "build/env/source/mine/.records/map/00001.json").is_file()  # the other is kept
    (tmp_path / "raw/0.parquet").write_bytes(whole)
    assert [row["file"] for row in run(tmp_path, "source/mine", recipe)[1]] == ["0.parquet"] * 2 + ["1.parquet"] * 2


def test_attributes_of_other_documents_fail_the_run_by_their_row(tmp_path, capsys):
    documents(tmp_path, [60, 70, 80])
    path = tmp_path / "raw/v1/attributes/gopher/cc/0.jsonl.gz"
    first, second, third = gzip.decompress(path.read_bytes()).split(b"\n")
    path.write_bytes(gzip.compress(b"\n".join([first, third, second])))
    with pytest.raises(AssertionError, match="3 == 0"):
        run(tmp_path, "source/tagged/extract", RECIPES["source/tagged/extract"])
    message = parts(capsys.readouterr().err, "do not belong together")
    assert message["where"] == "v1/attributes/gopher/cc/0.jsonl.gz, row 2" and message["got"] == "id '2'"


def test_documents_that_are_published_come_back_with_their_measures(tmp_path):
    put(tmp_path / "raw/a.jsonl", "\n".join(json.dumps({"id": f"d{n}", "text": f"wörd {n}", "url": f"u{n}"}) for n in range(9)).encode())
    put(tmp_path / "raw/b.jsonl", b'{"id": "b0", "text": "\\u0001 \\ud83d\\ude00", "url": null}')
    recipe = {
        "read": {"jsonl": {"files": "*.jsonl", "columns": {"id": "string", "text": "large_string", "url": "string"}}},
        "table": "document",
        "steps": [
            {"extract_text": {"source": "mine"}},
            {"tag_length": {}},
            {"set": {"columns": {"odd": "n_bytes % 2 = 1", "third": "CASE WHEN url IS NULL THEN NULL ELSE n_bytes / 3 END"}}},
        ],
    }
    _, rows = run(tmp_path, "source/mine", recipe)
    options = ["--env", str(tmp_path / "env.yaml"), "--pipelines", str(tmp_path / "pipelines")]
    assert main(["publish", "source/mine", str(tmp_path / "raw/out"), *options]) == 0
    assert main(["publish", "source/mine", str(tmp_path / "raw/out"), *options]) == 2  # the folder exists
    names = sorted(str(path.relative_to(tmp_path / "raw/out")) for path in (tmp_path / "raw/out").rglob("*.*"))
    assert names == [*[f"{kind}/0000{n}.jsonl.gz" for kind in ("attributes/measures", "documents") for n in range(2)], "manifest.json"]
    back = {
        "read": {
            "dolma": {
                "files": ["out/documents/*.jsonl.gz", "out/attributes/measures/*.jsonl.gz"],
                "attributes": {"measures": {"n_bytes": "int32", "n_chars": "int32", "odd": "bool", "third": "float64"}},
                "metadata": {"key": "int64", "url": "string"},
                "columns": {"id": "string", "source": "string", "text": "large_string", "metadata": "json"},
            }
        },
        "table": "document",
        "steps": [{"set": {"columns": {"file": "metadata->>'file'", "offset": "CAST(metadata->>'offset' AS BIGINT)"}}}, {"select": {"columns": list(rows[0])}}],
    }
    _, again = run(tmp_path, "source/back", back)
    assert again == rows and {row["odd"] for row in rows} == {True, False} and [row["third"] for row in rows].count(None) == 1


def test_every_recipe_of_the_readme_is_run_here():
    sources = [name for name in RECIPES if name.startswith("source/")]  # those of a later delivery: tests/flow/test_increment.py
    assert sorted(sources) == ["source/arxiv/extract", "source/code/packages", "source/hub/extract", "source/tagged/extract", "source/wiki/dump"]


@pytest.mark.kit
@pytest.mark.slow
def test_kit_dump_becomes_articles(tmp_path, kit):
    pytest.importorskip("mwparserfromhell")
    (tmp_path / "raw").symlink_to(kit)
    found, rows = run(tmp_path, "source/wiki/dump", RECIPES["source/wiki/dump"])
    assert found.counts["read:mediawiki.in"] == 206 and lost(found) == {"not_an_article": 1, "redirect": 99}  # the one outside is a redirect too
    assert len(rows) == 106 and {row["lang"] for row in rows} == {"en"} and sum("[[" in row["text"] for row in rows) < 10
