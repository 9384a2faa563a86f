"""Whatever goes wrong, `dolma` ends with the right code and says where, what, got versus expected, and the mend; and nothing is lost on the way."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dolma import cli
from dolma.core import manifest
from dolma.engines.plan import Record
from tests.flow.mini import PIPELINES, manifests, write_env
from tests.messages import parts

WEB = "source/web/extract"
PDF = "source/pdf/extract"


def dolma(verb: str, *targets: str, env: Path, pipelines: Path = PIPELINES) -> int:
    return cli.main([verb, *targets, "--env", str(env), "--pipelines", str(pipelines)])


@pytest.fixture
def own(place: Path, tmp_path: Path) -> Path:
    """A folder with a copy of the recipes and of the corpus, to spoil."""
    for name in ("source", "pool"):
        shutil.copytree(PIPELINES / name, tmp_path / "pipelines" / name)
    shutil.copytree(place / "raw", tmp_path / "raw")
    return tmp_path


def edit(own: Path, recipe: str, old: str, new: str) -> None:
    path = own / "pipelines" / f"{recipe}.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def alive(group: int) -> list[str]:
    """The processes of a group that are not dead; one that only waits to be reaped is."""
    found = [path.read_text().rpartition(")")[2].split() for path in Path("/proc").glob("[0-9]*/stat") if path.exists()]
    return [" ".join(fields) for fields in found if fields[2] == str(group) and fields[0] != "Z"]


def flip(path: Path) -> None:
    """Change one byte in the middle of a file, and not its length."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_an_input_that_matches_no_file(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.move(own / "raw/web", own / "raw/wed")
    assert dolma("run", WEB, env=write_env(own, "env")) == 3
    said = parts(capsys.readouterr().err)
    assert said["where"] == WEB and str(own / "raw/web/**/[Cc]*.warc.gz") in said["what"]
    assert (said["got"], said["expected"]) == ("0 files", "at least 1") and "wed/crawl-A-0000" in said["mend"]
    assert not manifest.exists(own / "env" / WEB)


@pytest.mark.parametrize(
    ("old", "new", "what", "got", "mend"),
    [
        ("- tag_heuristics: {", "- tag_heuristic: {", "unknown step `tag_heuristic`", "tag_heuristic", "did you mean `tag_heuristics`?"),
        ("reason: no_url}", "raeson: no_url}", "unknown key `raeson`", "raeson", "did you mean `reason`?"),
        ("table: document", "tabel: document", "unknown key `tabel`", "tabel", "did you mean `table`?"),
        ("  - tag_repetition: {}", "", "duplicate_line_ratio", "n_chars", "mend the SQL"),
    ],
    ids=["step", "parameter", "key", "column"],
)
def test_a_recipe_that_cannot_be_run_as_written(own: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, what: str, got: str, mend: str) -> None:
    edit(own, "source/web/filter", old, new)
    for verb in ("plan", "run"):
        assert dolma(verb, "source/web", env=write_env(own, "env"), pipelines=own / "pipelines") == 2
        said = parts(capsys.readouterr().err, what)
        assert said["where"] == str(own / "pipelines/source/web/filter.yaml")
        assert got in said["got"] and mend in said["mend"]
    assert not (own / "env").exists()


def test_a_column_that_nobody_produced_names_the_step_that_makes_it(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(own, WEB, "  - extract_html:", "  - tag_heuristics: {}\n  - extract_html:")
    assert dolma("run", WEB, env=write_env(own, "env"), pipelines=own / "pipelines") == 2
    said = parts(capsys.readouterr().err)
    assert said["where"].endswith("extract.yaml") and said["what"] == "step 3 tag_heuristics: column `text` is not in the table"
    assert "content" in said["got"] and said["expected"] == "text" and "extract_html" in said["mend"]


def test_a_truncated_archive_is_refused_and_the_others_are_kept(own: Path, place: Path, one: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = own / "raw/web/crawl-A-00003.warc.gz"
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    env = write_env(own, "env")
    assert dolma("run", WEB, env=env) == 3
    said = parts(capsys.readouterr().err)
    assert said["where"].startswith("web/crawl-A-00003.warc.gz at byte ") and said["what"] == "the archive is cut short"
    assert "bytes of the last" in said["got"]  # the cut falls into a record, or between it and the end of its gzip member
    assert said["expected"].startswith(("Content-Length", "its end and checksum", "its header and its end")) and "fetch the file again" in said["mend"]
    assert not manifest.exists(own / "env" / WEB)
    kept = {path: path.stat().st_mtime_ns for path in (own / "env" / WEB).glob("*.parquet")}
    assert len(kept) == 7
    archive.write_bytes(whole)
    assert dolma("run", WEB, env=env) == 0
    assert manifests(own, "env", (WEB,)) == manifests(one, "one", (WEB,))


def test_unreadable_documents_are_quarantined_with_file_and_reason(one: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dolma("inspect", PDF, "--quarantined", env=one / "one.yaml") == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    assert sorted((line.split()[0], line.split()[-1]) for line in lines) == [
        ("pdf/made_encrypted_user_password.pdf", "encrypted"),
        ("pdf/made_truncated.pdf", "corrupt"),
    ]
    made = manifest.load(one / "one" / PDF)
    rows = [row for file in made.quarantine for row in pq.read_table(one / "one" / PDF / file.name).to_pylist()]
    assert len(rows) == made.counts["0:extract_pdf.quarantined"] == 2 and all(row["step"] == "0:extract_pdf" for row in rows)


def test_more_unreadable_documents_than_the_recipe_allows(own: Path, one: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(own, PDF, "quarantine: 0.25", "quarantine: 0.2")
    shutil.copytree(one / "one" / PDF, own / "env" / PDF)
    (own / "env" / PDF / manifest.NAME).unlink()
    assert dolma("run", PDF, env=write_env(own, "env"), pipelines=own / "pipelines") == 3
    said = parts(capsys.readouterr().err)
    assert said["where"] == PDF and said["got"].startswith("2 of 9 ") and said["expected"] == "at most 20.0%" and "_quarantine" in said["mend"]


def test_a_shard_whose_bytes_were_changed(own: Path, one: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(one / "one" / WEB, own / "env" / WEB)
    flip(own / "env" / WEB / "00005.parquet")
    env = write_env(own, "env")
    for command, mend in ((("run", "source/web/filter"), "only the damaged shard"), (("verify", WEB), f"delete {WEB}/manifest.json")):
        assert dolma(*command, env=env) == 3
        said = parts(capsys.readouterr().err)
        assert said["where"].endswith(f"{WEB}/00005.parquet") and mend in said["mend"]
        assert manifest.load(own / "env" / WEB).files[5].sha256.startswith(said["expected"]) and said["got"] != said["expected"]
    assert not manifest.exists(own / "env" / "source/web/filter")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 kB, gone afterwards whatever happens."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(disk)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a small disk here: {done.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_full_disk(one: Path, tmp_path: Path, small_disk: Path, capsys: pytest.CaptureFixture[str], workers: int) -> None:
    env = write_env(one, "full", root=str(small_disk), workers=workers)
    assert dolma("run", "source/web/filter", env=env) == 4
    said = parts(capsys.readouterr().err)
    assert said["where"].startswith(str(small_disk)) and "No space left" in said["what"]
    assert said["got"] == "0.0 GB free" and "free space" in said["mend"] and "resumes" in said["mend"]
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    assert dolma("run", "source/web/filter", env=write_env(one, "full", root=str(small_disk))) == 0
    datasets = (WEB, "source/web/filter")
    assert manifests(tmp_path, "disk", datasets) == manifests(one, "one", datasets)


def test_a_full_disk_where_none_can_be_mounted(one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    env = write_env(one, "full", root=str(tmp_path / "root"))
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        assert dolma("run", WEB, env=env) == 4
    assert "No space left" in parts(capsys.readouterr().err)["what"]
    assert not manifest.exists(tmp_path / "root" / WEB)


def test_a_stage_that_fails_can_be_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pipelines/train").mkdir(parents=True)
    (tmp_path / "pipelines/train/sft.yaml").write_text("stage: sft\n")
    env = write_env(tmp_path, "env", python="/bin/false")
    assert dolma("run", "train/sft", env=env, pipelines=tmp_path / "pipelines") == 5
    said = parts(capsys.readouterr().err)
    assert (said["where"], said["got"], said["expected"]) == ("train/sft", "exit 1", "0") and "resumes" in said["mend"]


def heed() -> None:
    """Ctrl-C is heard as in a terminal, also when the tests run in the background of a shell, which makes it ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.slow
def test_an_interrupt_ends_the_workers_and_the_same_command_goes_on(own: Path) -> None:
    last = max((own / "raw/web").glob("crawl-*.warc.gz"))
    last.write_bytes(last.read_bytes() * 40)  # seconds of work: it is not done when the first of the others is
    env = write_env(own, "interrupted", workers=2)
    command = [sys.executable, "-m", "dolma.cli", "run", WEB, "--env", str(env), "--pipelines", str(PIPELINES)]
    process = subprocess.Popen(command, cwd=PIPELINES.parent, start_new_session=True, stderr=subprocess.PIPE, text=True, preexec_fn=heed)
    records = own / "interrupted" / WEB / ".records/map"
    while not list(records.glob("*.json")):
        assert process.poll() is None
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "interrupted" in said and "resumes" in said and "Traceback" not in said
    end = time.monotonic() + 10
    while left := alive(process.pid):  # a child may be on its way out when its parent has gone
        assert time.monotonic() < end, left
        time.sleep(0.01)
    first = {path: Record.model_validate_json(path.read_bytes()) for path in records.glob("*.json")}
    assert first and not manifest.exists(own / "interrupted" / WEB)
    assert dolma("run", WEB, env=write_env(own, "interrupted")) == 0
    assert dolma("run", WEB, env=write_env(own, "whole")) == 0
    assert manifests(own, "interrupted", (WEB,)) == manifests(own, "whole", (WEB,))
