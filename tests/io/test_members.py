"""Archives in parts and archives in pieces: any cut gives the rows of the whole, and no damage loses a record unseen, crashes or hangs."""

import gzip
import random
import tempfile
import zlib
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dolma.core.errors import DataError
from dolma.io.warc import warc
from tests.conftest import KIT
from tests.io.records import DICTIONARY, FRAMES, RECORDS, TRAINED, ZIPPED, ZSTD, record, response, skippable

Rows = list[dict[str, Any]]
NOISE = b"noise \x1f\x8b\x08 \x28\xb5\x2f\xfd WARC/1.0 " * 5
INNER = record("response", response(ZIPPED[3] * 4 + FRAMES[3] * 4 + RECORDS[3], kind="application/warc"), k=77)  # an archive as a page of an archive
STREAM = b"".join(RECORDS)
OTHER = zstandard.train_dictionary(2048, [RECORDS[k % 7][: k + 90] * 3 for k in range(200)])
RETRAINED = [zstandard.ZstdCompressor(write_checksum=True, dict_data=OTHER).compress(piece) for piece in RECORDS]


def damaged(member: bytes, at: int) -> bytes:
    return member[:at] + bytes([member[at] ^ 0xFF]) + member[at + 1 :]


ARCHIVES = {
    "plain": [*RECORDS, INNER, RECORDS[1]],
    "gzip": [
        *ZIPPED,
        gzip.compress(b""),
        gzip.compress(INNER, 0),
        ZIPPED[1],
        damaged(ZIPPED[2], 50),
        NOISE,
        ZIPPED[4],
        gzip.compress(b"hello, no archive"),
        ZIPPED[5],
    ],
    "one gzip": [gzip.compress(STREAM, mtime=0), ZIPPED[3]],
    "zstd": [*FRAMES, ZSTD.compress(b""), FRAMES[1], damaged(FRAMES[2], 50), NOISE, FRAMES[4], skippable(b"x" * 30, 0x55), FRAMES[5]],
    "stored zstd": [FRAMES[0], ZSTD.compress(INNER + random.Random(1).randbytes(300)), FRAMES[1]],
    "zstd in frames": [ZSTD.compress(STREAM[at : at + 300]) for at in range(0, len(STREAM), 300)] + FRAMES[:3],
    "cut zstd frame": [*FRAMES[:3], FRAMES[2][:-30], FRAMES[3]],
    "zstd with a dictionary": [skippable(DICTIONARY.as_bytes()), *TRAINED],
    "zstd with two dictionaries": [skippable(DICTIONARY.as_bytes()), *TRAINED[:4], skippable(b"", 0x50), skippable(OTHER.as_bytes()), *RETRAINED],
}


def read(path: Path, begin: int = 0, end: int | None = None, cap: int = 1 << 20) -> Rows:
    return [row for batch in warc(str(path), file="x", max_bytes=cap, begin=begin, end=end) for row in batch.to_pylist()]


def in_parts(path: Path, borders: list[int]) -> Rows:
    borders = [0, *sorted(borders), path.stat().st_size]
    return [row for begin, end in pairwise(borders) for row in read(path, begin, end, 1 << 26)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for name, pieces in ARCHIVES.items():
        (tmp_path_factory.getbasetemp() / name).write_bytes(b"".join(pieces))
    return tmp_path_factory.getbasetemp()


@pytest.mark.parametrize("name", list(ARCHIVES))
def test_a_part_begins_at_any_byte(folder: Path, name: str) -> None:
    whole = read(folder / name)
    assert len(whole) > 2
    size = (folder / name).stat().st_size
    at, borders = 0, set()
    for piece in ARCHIVES[name]:
        borders |= {at - 1, at, at + 1, at + 5, at + len(piece) // 2}
        at += len(piece)
    for border in sorted(borders):
        if 0 < border < size:
            assert in_parts(folder / name, [border]) == whole, border


@pytest.mark.parametrize("name", list(ARCHIVES))
@settings(max_examples=25)
@given(data=st.data())
def test_any_parts_give_the_rows_of_the_whole(folder: Path, name: str, data: st.DataObject) -> None:
    size = (folder / name).stat().st_size
    borders = data.draw(st.lists(st.integers(0, size), max_size=9))
    assert in_parts(folder / name, borders) == read(folder / name)


def test_parts_do_not_hang_on_what_was_read_before(tmp_path: Path) -> None:
    whole = b"".join(ARCHIVES["gzip"])
    (tmp_path / "x").write_bytes(whole)
    expected = read(tmp_path / "x")
    in_parts(tmp_path / "x", [400, 800, 1200])
    (tmp_path / "x").write_bytes(b"".join(ZIPPED[::-1]))  # another archive at the same path
    assert in_parts(tmp_path / "x", [400, 800]) == read(tmp_path / "x") != expected
    assert read(tmp_path / "x", 10**6, 10**7) == [] and read(tmp_path / "x", 5, 5) == []


def test_only_the_part_with_the_end_says_that_the_archive_is_cut(tmp_path: Path) -> None:
    for pieces in (ZIPPED, FRAMES):
        whole = b"".join(pieces)[:-9]
        (tmp_path / "x").write_bytes(whole)
        last = len(whole) - len(pieces[-1]) + 9
        assert [row["id"] for row in read(tmp_path / "x", 0, last)] == [f"id-{k}" for k in range(6)]
        for begin in (0, 300, last):
            with pytest.raises(DataError, match=f"byte {last}: the archive is cut short"):
                read(tmp_path / "x", begin, None)


@pytest.mark.slow
@pytest.mark.kit
def test_a_real_crawl_in_parts_and_in_zstd(kit: Path, tmp_path: Path) -> None:
    path = kit / "web" / "crawl-A-00001.warc.gz"
    whole = read(path, cap=1 << 26)
    size = path.stat().st_size
    assert in_parts(path, [size // 3, size // 2, size * 9 // 10]) == whole and len(whole) > 600
    members = [zlib.decompress(path.read_bytes()[a["offset"] : b], wbits=31) for a, b in zip(whole, [*(r["offset"] for r in whole[1:]), size], strict=True)]
    (tmp_path / "x").write_bytes(b"".join(map(ZSTD.compress, members)))
    again = in_parts(tmp_path / "x", [10**6, 2 * 10**6, 5 * 10**6])
    assert [{**row, "offset": 0} for row in again] == [{**row, "offset": 0} for row in whole]


@cache
def real() -> tuple[bytes, ...]:
    """The records of a small archive that a real tool wrote."""
    path = KIT / "web" / "edge_example.warc.gz"
    if not path.is_file():
        pytest.skip(f"no data kit at {KIT}: set DOLMA_DATA to its folder")
    content, records = path.read_bytes(), []
    while content:
        inflate = zlib.decompressobj(wbits=31)
        records.append(inflate.decompress(content))
        content = inflate.unused_data
    return tuple(records)


PACK = {"plain": bytes, "gzip": lambda piece: gzip.compress(piece, mtime=0), "zstd": ZSTD.compress}
EDIT = st.tuples(st.sampled_from(["flip", "cut", "insert", "repeat"]), st.integers(0, 1 << 20), st.integers(1, 400), st.binary(min_size=1, max_size=40))


def edited(content: bytes, edit: tuple[str, int, int, bytes]) -> tuple[bytes, int, int]:
    """The damaged bytes, and the range of the undamaged ones that was touched."""
    kind, at, length, extra = edit
    at %= len(content)
    length = min(length, len(content) - at)
    if kind == "flip":
        return content[:at] + bytes(b ^ x for b, x in zip(content[at : at + len(extra)], extra, strict=False)) + content[at + len(extra) :], at, at + len(extra)
    if kind == "cut":
        return content[:at] + content[at + length :], at, at + length
    if kind == "insert":
        return content[:at] + extra + content[at:], at, at
    return content[: at + length] + content[at:], at, at + length


@pytest.mark.kit
@pytest.mark.parametrize("kind", list(PACK))
@settings(max_examples=150)
@given(edit=EDIT, border=st.integers(0, 1 << 20))
@example(edit=("cut", 0, 1, b"x"), border=7)
@example(edit=("flip", 4, 1, b"\xff"), border=0)
def test_damage_costs_what_it_touches_or_is_an_error(kind: str, edit: tuple[str, int, int, bytes], border: int) -> None:
    members = [PACK[kind](piece) for piece in real()]
    content, begin, end = edited(b"".join(members), edit)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        path.write_bytes(b"".join(members))
        good = {row["id"]: row for row in read(path)}
        path.write_bytes(content)
        try:
            rows = read(path)
        except DataError as error:
            assert error.where.startswith("x") and error.mend
            return
        assert in_parts(path, [border % (len(content) + 1)]) == rows
    assert all(row["_error"] or row["record"] for row in rows)
    assert [row["offset"] for row in rows] == sorted(row["offset"] for row in rows)
    if kind == "plain":  # no checksum: a changed byte of a text is a text
        return
    at, untouched = 0, []
    for member, one in zip(members, good, strict=True):
        if at + len(member) <= begin or at >= end:
            untouched.append(one)
        at += len(member)
    whole = [row for row in rows if not row["_error"]]
    assert {row["id"] for row in whole} >= set(untouched)
    assert all({**row, "offset": 0} == {**good[row["id"]], "offset": 0} for row in whole)
    if len({row["id"] for row in whole}) < len(good):  # what is lost has left a row that says so
        assert any(row["_error"] for row in rows) or edit[0] == "cut"


@pytest.mark.kit
@pytest.mark.parametrize("kind", ["gzip", "stored gzip", "zstd"])
@pytest.mark.parametrize("each", [2, 3, 1000])
@settings(max_examples=100)
@given(edit=EDIT, border=st.integers(0, 1 << 20))
def test_damage_where_members_hold_several_records_loses_none_unseen(kind: str, each: int, edit: tuple[str, int, int, bytes], border: int) -> None:
    pack = {**PACK, "stored gzip": lambda piece: gzip.compress(piece, 0, mtime=0)}[kind]
    members = [pack(b"".join(real()[at : at + each])) for at in range(0, len(real()), each)]
    content, begin, end = edited(b"".join(members), edit)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        path.write_bytes(b"".join(members))
        good = {row["id"]: row for row in read(path)}
        path.write_bytes(content)
        try:
            rows = read(path)
        except DataError as error:
            assert error.where.startswith("x") and error.mend
            return
        assert in_parts(path, [border % (len(content) + 1)]) == rows
    borders = {sum(map(len, members[:k])) for k in range(len(members) + 1)}
    if edit[0] == "cut" and {begin, end} <= borders:  # nothing in the bytes tells that whole members are gone
        return
    assert {row["id"] for row in rows if not row["_error"]} == set(good)
    assert all(row["_error"] or {**row, "offset": 0} == {**good[row["id"]], "offset": 0} for row in rows)


@settings(max_examples=300)
@given(
    content=st.binary(max_size=300), begin=st.sampled_from([b"", b"WARC/1.0\r\n", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", skippable(b""), ZIPPED[0], FRAMES[0]])
)
def test_any_bytes_are_rows_or_an_error(content: bytes, begin: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "x").write_bytes(begin + content)
        try:
            rows = read(Path(folder) / "x", cap=1000)
        except DataError as error:
            assert error.mend
        else:
            assert rows or not (begin + content).strip(b"\0")
