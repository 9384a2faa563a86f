import bz2
import gzip
import io
import lzma
import random
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.core.errors import DataError
from dolma.io.archive import archive

PACK = {
    ".tar": bytes,
    **dict.fromkeys((".tar.gz", ".tgz", ".TGZ", ".Tar.Gz"), gzip.compress),
    **dict.fromkeys((".tar.bz2", ".tbz", ".tbz2", ".TBZ2"), bz2.compress),
    **dict.fromkeys((".tar.xz", ".txz", ".TXZ"), lzma.compress),
    **dict.fromkeys((".tar.zst", ".tzst"), zstandard.compress),
}
ROOT = Path(__file__).parents[2]
FILES = {"a.txt": b"hello", "src/b.py": b"x = 1\n" * 2000, "src/empty": b"", "inner.zip": b"PK\3\4 not opened", "ä.tex": "é".encode()}


def tar(*headers: tuple[str, bytes, dict], form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as opened:
        for name, content, more in headers:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in more.items():
                setattr(info, key, value)
            opened.addfile(info, io.BytesIO(content))
    return out.getvalue()


def plain(files: dict[str, bytes]) -> bytes:
    return tar(*[(name, content, {}) for name, content in files.items()])


def rows(path: Path, **params) -> list[dict]:
    return [row for batch in archive.fn(path, file=f"raw/{path.name}", **{"source": "code", **params}) for row in batch.to_pylist()]


def put(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("ending", PACK)
def test_each_file_of_a_tar_is_a_row_with_its_bytes(tmp_path, ending):
    directory = ("src", b"", {"type": tarfile.DIRTYPE})
    content = tar(directory, *[(name, content, {}) for name, content in FILES.items()])
    made = rows(put(tmp_path / f"x{ending}", PACK[ending](content)))
    assert {row["name"]: row["content"] for row in made} == FILES and [row["size"] for row in made] == [len(content) for content in FILES.values()]
    assert [row["id"] for row in made] == [f"raw/x{ending}/{name}" for name in FILES] and {row["_error"] for row in made} == {None}
    assert all(content[row["offset"] :].startswith(row["name"].encode()) for row in made if row["name"].isascii())
    (first,) = {batch.schema for batch in archive.fn(tmp_path / f"x{ending}", file="f", source="s")}
    assert first.remove(first.get_field_index("_error")) == archive.adds(archive.params(source="s"), pa.schema([]))


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_of_any_form_are_read(tmp_path, form):
    name = "/".join(["directory"] * 15) + "/file.txt"
    assert rows(put(tmp_path / "x.tar", tar((name, b"1", {}), form=form)))[0]["name"] == name


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_each_file_of_a_zip_is_a_row_with_its_bytes(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", method) as opened:
        opened.mkdir("src") if hasattr(opened, "mkdir") else None
        for name, content in FILES.items():
            opened.writestr(name, content)
    made = rows(tmp_path / "x.zip")
    assert {row["name"]: row["content"] for row in made} == FILES and {row["_error"] for row in made} == {None}


@pytest.mark.parametrize(("name", "first"), [("x.zip", b"some words"), ("x.exe", b"MZ\x90\0"), ("x.run", b"#!/bin/sh\n"), ("x", b"\x7fELF")])
def test_a_zip_behind_a_program_is_called_that(tmp_path, name, first):
    with zipfile.ZipFile(tmp_path / "whole", "w") as opened:
        opened.writestr("a", b"1")
    put(tmp_path / name, first + (tmp_path / "whole").read_bytes())
    with pytest.raises(DataError, match=f"raw/{name}: a zip with something before it"):
        rows(tmp_path / name)


@pytest.mark.parametrize("name", ["x.tar", "x.tar.lz", "x"])
def test_an_archive_compressed_under_another_ending_is_not_called_damaged(tmp_path, name):
    with pytest.raises(DataError, match=r"an ending that does not say so[\s\S]*mend: rename it"):
        rows(put(tmp_path / name, gzip.compress(plain(FILES))))


UNSAFE = ["/etc/passwd", "../../x", "a/../../x", "..", "C:\\x", "..\\x", "\\\\host\\x"]


def test_what_is_dangerous_to_unpack_is_an_error_row_and_the_rest_is_read(tmp_path):
    special = [
        ("link", b"", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}),
        ("hard", b"", {"type": tarfile.LNKTYPE, "linkname": "ok"}),
        ("device", b"", {"type": tarfile.CHRTYPE}),
        ("pipe", b"", {"type": tarfile.FIFOTYPE}),
    ]
    content = tar(
        ("ok", b"1", {}), *[(name, b"bad", {}) for name in UNSAFE], *special, ("ok", b"2", {}), ("./ok", b"3", {}), ("big", b"x" * 99, {}), ("last", b"4", {})
    )
    made = {(row["name"], n): row for n, row in enumerate(rows(put(tmp_path / "x.tar", content), max_bytes=98))}
    errors = [row["_error"] for row in made.values()]
    assert errors[0] is None and errors[-1] is None and [row["content"] for row in made.values() if row["content"]] == [b"1", b"4"]
    assert all("unsafe" in error for error in errors[1 : 1 + len(UNSAFE)]) and errors[-5:-1].count("a second member of this name") == 2
    assert [error for error in errors if error and error.startswith("not a plain file")] == [
        *["not a plain file: a link"] * 2,
        *["not a plain file: a special file"] * 2,
    ]
    assert made["big", len(made) - 2]["_error"] == "larger than 98 bytes" and made["big", len(made) - 2]["size"] == 99


def test_what_is_dangerous_in_a_zip_is_an_error_row_too(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as opened:
        for name in UNSAFE:
            opened.writestr(zipfile.ZipInfo(name), b"bad")
        link = zipfile.ZipInfo("link")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        opened.writestr(link, b"/etc/passwd")
        opened.writestr("ok", b"fine")
        opened.writestr("bad", b"b" * 1000)
    whole = (tmp_path / "x.zip").read_bytes()
    put(tmp_path / "x.zip", whole.replace(b"b" * 1000, b"b" * 999 + b"c"))
    made = rows(tmp_path / "x.zip")
    assert all("unsafe" in row["_error"] for row in made[: len(UNSAFE)]) and made[len(UNSAFE)]["_error"] == "not a plain file: a link"
    assert made[-2]["content"] == b"fine" and "Bad CRC" in made[-1]["_error"] and made[-1]["content"] is None


def test_a_zip_whose_directory_hides_or_renames_members_loses_none(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as opened:
        for name in "abc":
            opened.writestr(name, b"1")
    whole = (tmp_path / "x.zip").read_bytes()
    first = whole.index(b"PK\1\2")
    second = whole.index(b"PK\1\2", first + 4)
    nameless = whole[: second + 46] + b"\0" + whole[second + 47 :]
    assert [row["_error"] is None for row in rows(put(tmp_path / "x.zip", nameless))] == [True, False, True]
    folder = whole[: second + 46] + b"/" + whole[second + 47 :]
    assert [row["_error"] is None for row in rows(put(tmp_path / "x.zip", folder))] == [True, False, True]
    hiding = whole[: first + 32] + struct.pack("<H", 47) + whole[first + 34 :]  # a comment that holds the second entry
    with pytest.raises(DataError, match="2 entries where its end says 3"):
        rows(put(tmp_path / "x.zip", hiding))


def test_encrypted_members_are_error_rows(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as opened:
        opened.writestr("a", b"1")
    content = bytearray((tmp_path / "x.zip").read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    assert rows(put(tmp_path / "x.zip", bytes(content)))[0]["_error"] == "encrypted"


def test_too_many_members_are_refused_before_they_cost_memory(tmp_path):
    put(tmp_path / "x.tar.gz", gzip.compress(plain({str(n): b"" for n in range(21)})))
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as opened:
        for n in range(21):
            opened.writestr(str(n), b"")
    for name in ("x.tar.gz", "x.zip"):
        assert len(rows(tmp_path / name, max_members=21)) == 21
        with pytest.raises(DataError, match="too many members"):
            rows(tmp_path / name, max_members=20)
        with pytest.raises(DataError, match="too many members"):
            rows(tmp_path / name, max_members=5)


def zeros(path: Path, header: bytes, pieces: int) -> Path:
    """A .tar.gz of a header and so many MiB of zeros."""
    with gzip.open(path, "wb", compresslevel=1) as out:
        out.write(header)
        for _ in range(pieces):
            out.write(bytes(1 << 20))
    return path


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    made = tarfile.TarInfo(name)
    made.size, made.type = size, kind
    return made.tobuf(tarfile.USTAR_FORMAT if size < 1 << 33 else tarfile.GNU_FORMAT)


def test_bombs_are_refused(tmp_path):
    zeros(tmp_path / "x.tar.gz", header("x", 40 << 20), 41)
    put(tmp_path / "d.tar.gz", gzip.compress(header("d", 0, tarfile.DIRTYPE) * 40_000))
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as opened:
        for n in range(10):
            opened.writestr(str(n), bytes(1 << 20))
    for name in ("x.tar.gz", "x.zip", "d.tar.gz"):
        with pytest.raises(DataError, match="grows like a bomb"):
            rows(tmp_path / name, max_bytes=2 << 20)
        with pytest.raises(DataError, match="too much content"):
            rows(tmp_path / name, max_total_bytes=5 << 20)


MEMORY = """
import re, sys
from pathlib import Path
def peak():  # KB; `ru_maxrss` would be that of the parent
    return int(re.search(r"VmHWM:\\s+([0-9]+)", Path("/proc/self/status").read_text())[1])
from dolma.core.errors import DataError
from dolma.io.archive import archive
before = peak()
for path in sys.argv[1:]:
    try:
        print(sum(batch.num_rows for batch in archive.fn(path, file="x", source="s", max_ratio=1e9, max_bytes=1 << 20)))
    except DataError as error:
        print(error.what)
print(peak() - before)
"""


def test_a_large_member_and_a_large_header_cost_no_memory(tmp_path):
    member = zeros(tmp_path / "m.tar.gz", header("x", 200 << 20), 201)
    torn = zeros(tmp_path / "h.tar.gz", header("x", 1 << 33, tarfile.XHDTYPE), 200)  # a header of 8 GiB
    done = subprocess.run([sys.executable, "-c", MEMORY, member, torn], capture_output=True, text=True, check=True, cwd=ROOT).stdout.split("\n")
    assert done[:2] == ["1", "the archive is cut short or damaged"] and int(done[2]) < 60_000  # KB, of 200 MB


@pytest.mark.parametrize("ending", PACK)
def test_a_tar_cut_anywhere_or_without_its_end_is_refused(tmp_path, ending):
    content = plain(FILES)
    whole = PACK[ending](content)
    path = tmp_path / f"x{ending}"
    for cut in range(0, len(content) - 10240 if ending == ".tar" else len(whole), 256):
        with pytest.raises(DataError, match=f"raw/x{ending}.*cut short or damaged"):
            rows(put(path, whole[:cut]))
    for torn in (content + content, content[:-10240], content.replace(b"src/b.py", b"src/c.py", 1)):  # another archive behind, no end, a bad checksum
        if torn != content[:-10240] or len(torn) % 10240:
            with pytest.raises(DataError, match="cut short or damaged"):
                rows(put(path, PACK[ending](torn)))


def test_a_zip_without_its_directory_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as opened:
        opened.writestr("a", b"1" * 100)
    whole = (tmp_path / "x.zip").read_bytes()
    for cut in range(4, len(whole)):
        with pytest.raises(DataError, match=r"raw/x\.zip"):
            rows(put(tmp_path / "x.zip", whole[:cut]))
    with pytest.raises(DataError, match=r"raw/x\.zip"):  # a directory larger than the file
        rows(put(tmp_path / "x.zip", whole[:-10] + struct.pack("<L", 1 << 30) + whole[-6:]))


@pytest.mark.parametrize("ending", ["tar", "zip"])
@settings(max_examples=80, deadline=None)
@given(st.data())
def test_any_damage_is_rows_or_a_data_error(tmp_path_factory, ending, data):
    path = tmp_path_factory.mktemp("x") / f"x.{ending}"
    files = {name: content for name, content in FILES.items() if content}  # an empty file whose name is damaged to end with / is a directory
    if ending == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
            for name, content in files.items():
                opened.writestr(name, content)
    else:
        path.write_bytes(tar(*[(name * 30, content, {}) for name, content in files.items()]))
    whole = bytearray(path.read_bytes())
    chance = random.Random(data.draw(st.integers(0, 1 << 32)))
    places = [n for n, byte in enumerate(whole) if byte and (ending == "zip" or whole[n : n + 9] != b"x = 1\nx =")]
    for _ in range(chance.choice([1, 2, 8])):
        whole[chance.choice(places)] = chance.choice([0, 1, 0x30, 0x7F, 0x80, 0xFF, chance.randrange(256)])
    path.write_bytes(whole)
    try:
        made = rows(path)
    except DataError as error:
        assert "raw/x" in str(error)
    else:
        assert len(made) == len(files) and all((row["content"] is None) == (row["_error"] is not None) for row in made)
