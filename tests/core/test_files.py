"""Atomic writes, findings and names that try to leave."""

import errno
import os
from pathlib import Path

import pytest

from dolma.core import files
from dolma.core.config import check
from dolma.core.errors import ConfigError, DataError, EnvironmentFault


def test_write_atomic_leaves_all_or_nothing_when_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a" / "b"
    files.write_atomic(path, b"old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(EnvironmentFault) as error:
        files.write_atomic(path, b"new")
    assert error.value.code == 4 and "free" in str(error.value) and "resumes" in str(error.value)
    assert path.read_bytes() == b"old" and os.listdir(path.parent) == ["b"]


def test_sync_flushes_every_file_of_a_folder_and_its_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    for name in ("one", "a/two", "a/b/three"):
        (tmp_path / name).write_text(name)
    flushed = set()
    monkeypatch.setattr(os, "fsync", lambda handle: flushed.add(os.fstat(handle).st_ino))
    files.sync(tmp_path)
    assert flushed == {path.stat().st_ino for path in (tmp_path, *tmp_path.rglob("*"))}


def test_find_names_the_nearest_when_nothing_matches(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "crawl-A.warc.gz").touch()
    with pytest.raises(DataError) as error:
        files.find(tmp_path, ["web/crawl-*.warc"], "source/web/extract")
    assert error.value.code == 3 and "web/crawl-A.warc.gz" in str(error.value) and str(tmp_path / "web/crawl-*.warc") in str(error.value)


def test_find_sorts_and_counts_each_file_once(tmp_path: Path) -> None:
    for name in "cab":
        (tmp_path / name).touch()
    assert [p.name for p in files.find(tmp_path, ["*", "[ab]"], "x")] == ["a", "b", "c"]


def test_find_refuses_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    for place in (b"caf\xe9.jsonl", b"d\xe9/a.jsonl"):
        path = os.path.join(os.fsencode(tmp_path), place)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        open(path, "wb").close()
        with pytest.raises(DataError, match=r"(caf|d)\\xe9.*: a file name is not UTF-8[\s\S]*mend: rename it to UTF-8") as error:
            files.find(tmp_path, [os.fsdecode(place)[0] + "*/**" if b"/" in place else "*.jsonl"], "x")
        str(error.value).encode()
    with pytest.raises(DataError, match=r"nearest: .*\\xe9"):
        files.find(tmp_path, ["*.jsonk"], "x")


def test_find_takes_signs_of_a_pattern_in_the_root_as_they_are(tmp_path: Path) -> None:
    root = tmp_path / "[2024] a*b?"
    root.mkdir()
    (root / "x").touch()
    assert files.find(root, ["*"], "x") == [root / "x"]


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "a\0b"])
def test_safe_join_refuses_names_that_leave(tmp_path: Path, name: str) -> None:
    with pytest.raises((DataError, ValueError)):
        files.safe_join(tmp_path, name)


def test_safe_join_refuses_a_link_that_leaves(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    with pytest.raises(DataError):
        files.safe_join(tmp_path, "link/passwd")


def test_a_pinned_file_is_there_and_the_one_meant_or_the_recipe_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "list.txt"
    path.write_text("casino")
    digest = files.sha256(path)
    monkeypatch.setenv("LISTS", str(tmp_path))
    assert files.PinnedFile(file="$LISTS/list.txt", sha256=digest).path == str(path)
    with pytest.raises(ConfigError, match="no absolute path"):
        files.PinnedFile(file="list.txt", sha256=digest)
    with pytest.raises(ConfigError, match="sha256"):
        check({"file": str(path), "sha256": digest[:-1]}, files.PinnedFile, "recipe")
    path.write_text("poker and another")
    with pytest.raises(DataError, match="this is another file") as error:
        files.PinnedFile(file=str(path), sha256=digest)
    assert error.value.got == files.sha256(path)
    with pytest.raises(EnvironmentFault, match="cannot be read"):
        files.PinnedFile(file=str(tmp_path), sha256=digest)
    path.unlink()
    with pytest.raises(EnvironmentFault, match="every worker must see it"):
        files.PinnedFile(file=str(path), sha256=digest)
