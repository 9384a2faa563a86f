"""Where a corpus lies, what its files are called, how its lines end and in which locale it is read: the same documents."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dolma import cli
from dolma.core import manifest
from dolma.core.manifest import Manifest
from tests.engines.flow import RECIPES, write_env, write_raw, write_recipes
from tests.messages import parts

ROOT = Path(__file__).parents[2]
ODD = "Gr\u00fc\u00dfe '\u65e5\u672c' [1] 100% a=b"
LONG = "/".join(f"{n:02d}-{'long ' * 9}folder" for n in range(18))


def corpus(folder: Path, ending: bytes = b"\n") -> Path:
    """The recipes and a raw folder, whose file names have spaces and letters beyond ASCII, in a new folder."""
    folder.mkdir(parents=True)
    write_recipes(folder)
    for path in sorted(write_raw(folder, files=2, rows=120).glob("*.gz")):
        content = gzip.decompress(path.read_bytes()).replace(b"\n", ending)
        path.with_name(f"caf\u00e9 {path.name}").write_bytes(gzip.compress(content, mtime=0))
        path.unlink()
    return folder


def call(folder: Path, **settings: object) -> list[str]:
    return ["run", ".", "--env", str(write_env(folder, **settings)), "--pipelines", str(folder / "pipelines")]


def made(folder: Path) -> dict[str, Manifest]:
    return {name: manifest.load(folder / "build" / "env" / name) for name in RECIPES}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Manifest]:
    folder = corpus(tmp_path_factory.mktemp("places") / "plain")
    assert cli.main(call(folder)) == 0
    return made(folder)


@pytest.mark.parametrize("name", [ODD, LONG], ids=["odd", "long"])
def test_a_corpus_in_any_folder_gives_the_same_datasets(tmp_path: Path, reference: dict[str, Manifest], name: str) -> None:
    folder = corpus(tmp_path / name)
    assert cli.main(call(folder)) == 0
    assert made(folder) == reference
    assert reference["source/read"].inputs[0].name.startswith("caf\u00e9 part-0")


def test_lines_that_end_as_on_windows_give_the_same_documents(tmp_path: Path, reference: dict[str, Manifest]) -> None:
    folder = corpus(tmp_path / "crlf", b"\r\n")
    assert cli.main(call(folder)) == 0
    found = made(folder)
    assert {name: one.counts for name, one in found.items()} == {name: one.counts for name, one in reference.items()}
    assert [file.sha256 for file in found["pool/first"].files] == [file.sha256 for file in reference["pool/first"].files]
    assert found["source/read"].counts["read:jsonl.quarantined"] == 1


def shell(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """A run in a process of its own whose locale is that of `variables` only."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    command = [sys.executable, "-m", "dolma.cli", *call(folder, workers=2)]
    return subprocess.run(command, cwd=ROOT, env={**kept, "PYTHONPATH": str(ROOT), **variables}, capture_output=True, encoding="utf-8")


def test_the_locale_c_gives_the_same_datasets(tmp_path: Path, reference: dict[str, Manifest]) -> None:
    folder = corpus(tmp_path / ODD)
    done = shell(folder, LC_ALL="C")
    assert done.returncode == 0, done.stderr
    assert made(folder) == reference


def test_a_locale_whose_file_names_are_not_utf8_is_refused(tmp_path: Path) -> None:
    done = shell(corpus(tmp_path / ODD), LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0")
    said = parts(done.stderr)
    assert done.returncode == 4 and "Traceback" not in done.stderr
    assert (said["got"], said["expected"]) == ("ascii", "utf-8") and "LC_ALL=C.UTF-8" in said["mend"]


def test_a_raw_file_whose_name_is_latin_1_is_refused_by_that_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = corpus(tmp_path / "latin")
    raw = os.fsencode(folder / "raw")
    os.rename(os.path.join(raw, "caf\u00e9 part-0.jsonl.gz".encode()), os.path.join(raw, b"caf\xe9.jsonl.gz"))
    assert cli.main(call(folder)) == 3
    said = parts(capsys.readouterr().err)
    assert "caf\\xe9.jsonl.gz" in said["where"] and said["what"] == "a file name is not UTF-8" and "rename it" in said["mend"]
