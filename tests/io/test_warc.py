"""The WARC reader: every record a row, every place right, no cut archive taken for a whole one."""

import gzip
from base64 import b32encode
from collections.abc import Callable
from hashlib import sha1, sha256
from pathlib import Path

import pyarrow as pa
import pytest
import zstandard

from dolma.core.errors import DataError
from dolma.io.warc import SCHEMA, warc
from tests.io.records import FRAMES, PACKED, RECORDS, ZIPPED, ZSTD, read, record, response


@pytest.mark.parametrize("pieces", [RECORDS, ZIPPED, FRAMES], ids=["plain", "gzip", "zstd"])
def test_every_record_is_a_row_with_its_place(tmp_path: Path, pieces: list[bytes]) -> None:
    rows = read(tmp_path / "x", b"".join(pieces))
    assert rows["_error"].null_count == len(RECORDS)
    assert rows["id"].to_pylist() == [f"id-{k}" for k in range(7)]
    assert rows["record"].to_pylist() == ["warcinfo", "request", "response", "response", "response", "revisit", "response"]
    assert rows["status"].to_pylist() == [None, None, 200, 404, 200, None, 200]
    assert rows["content_type"].to_pylist()[2:5] == ["text/html", "text/html", "image/png"]
    assert rows["charset"].to_pylist()[2] == "utf-8"
    assert rows["content"].to_pylist() == [b"", b"", b"<p>one</p>" * 30, b"", b"\x89PNG" * 9, b"", b"<p>last</p>" * 30]
    assert rows["offset"].to_pylist() == [sum(map(len, pieces[:k])) for k in range(7)]
    assert set(rows["file"].to_pylist()) == {"web/x.warc.gz"} and set(rows["source"].to_pylist()) == {"web"}
    assert rows["url"].to_pylist()[:2] == [None, "http://example.com/"] and rows["date"][2].as_py() == "2024-01-02T03:04:05Z"


@PACKED
def test_archive_cut_at_any_byte_is_refused(tmp_path: Path, pieces: list[bytes], pack: object) -> None:
    whole = b"".join(pieces)
    borders = {sum(map(len, pieces[:k])) for k in range(len(pieces) + 1)}
    for cut in range(len(whole) - 1, 4, -7):
        if cut in borders:
            continue  # nothing in the bytes tells such a file from a whole one
        with pytest.raises(DataError, match="cut short") as caught:
            read(tmp_path / "x", whole[:cut])
        assert caught.value.code == 3 and "web/x.warc.gz at byte" in str(caught.value)
        assert int(caught.value.where.rsplit(" ", 1)[1]) == max(border for border in borders if border <= cut)
        assert caught.value.got is not None and caught.value.expected is not None and caught.value.mend


@PACKED
def test_archive_of_one_member_is_read_and_refused_when_cut(tmp_path: Path, pieces: list[bytes], pack: Callable[[bytes], bytes]) -> None:
    whole = pack(b"".join(RECORDS))
    assert read(tmp_path / "x", whole)["id"].to_pylist() == [f"id-{k}" for k in range(7)]
    for cut in (len(whole) - 1, len(whole) - 9, len(whole) // 2, 20):
        with pytest.raises(DataError, match="cut short"):
            read(tmp_path / "x", whole[:cut])


def test_plain_archive_cut_inside_a_record_is_refused(tmp_path: Path) -> None:
    whole = b"".join(RECORDS)
    last = len(whole) - len(RECORDS[-1])
    for cut in range(last + 1, len(whole) - 4, 11):  # the four line ends after a record are no content
        with pytest.raises(DataError):
            read(tmp_path / "x", whole[:cut])


@PACKED
def test_damaged_member_costs_its_own_record_only(tmp_path: Path, pieces: list[bytes], pack: object) -> None:
    start = sum(map(len, pieces[:2]))
    for at in range(start + 10, start + len(pieces[2]), 5):  # up to the checksum, which comes after the whole record
        content = bytearray(b"".join(pieces))
        content[at] ^= 0xFF
        rows = read(tmp_path / "x", bytes(content))
        assert [row["id"] for row in rows.to_pylist()] == ["id-0", "id-1", f"web/x.warc.gz@{start}", "id-3", "id-4", "id-5", "id-6"]
        assert [bool(error) for error in rows["_error"].to_pylist()] == [k == 2 for k in range(7)]
        assert rows["offset"][2].as_py() == start and rows["content"][2].as_py() == b""


MANY = [record("response", response(b"<p>page %d</p>" % k * (20 + k % 7)), k=k) for k in range(1000)]


@pytest.mark.parametrize("pack", [ZSTD.compress, gzip.compress, lambda content: gzip.compress(content, 0)], ids=["zstd", "gzip", "stored gzip"])
@pytest.mark.parametrize("place", [0.0005, 0.3, 0.999])
@pytest.mark.parametrize("count", [2, 1000])
def test_damage_in_a_member_of_several_records_is_an_error(tmp_path: Path, pack: Callable[[bytes], bytes], place: float, count: int) -> None:
    content = bytearray(pack(b"".join(MANY[:count])))
    at = max(int(len(content) * place), 20)
    content[at : at + 4] = bytes(byte ^ 0x55 for byte in content[at : at + 4])
    for before, behind in ((b"", b""), (content, b""), (b"", pack(b"".join(MANY[:9])))):
        with pytest.raises(DataError) as caught:
            read(tmp_path / "x", before + content + behind)
        assert caught.value.code == 3 and caught.value.where == "web/x.warc.gz at byte 0" and caught.value.mend
    with pytest.raises(DataError, match="begin no"):  # the same where the mark of a member is damaged
        read(tmp_path / "x", pack(b"".join(MANY[:3])) + b"\0" + pack(b"".join(MANY[3:6]))[1:])


@PACKED
def test_bytes_between_members_are_one_quarantined_row(tmp_path: Path, pieces: list[bytes], pack: object) -> None:
    rows = read(tmp_path / "x", pieces[0] + b"noise \x1f\x8b\x08 \x28\xb5\x2f\xfd noise" * 9 + pieces[2])
    (error,) = [error for error in rows["_error"].to_pylist() if error]
    assert rows.num_rows == 3 and error.startswith("bytes that begin no ")


@PACKED
def test_empty_members_are_no_rows(tmp_path: Path, pieces: list[bytes], pack: Callable[[bytes], bytes]) -> None:
    rows = read(tmp_path / "x", pack(b"") + pieces[0] + pack(b"") * 2 + pieces[2] + pack(b""))
    assert rows["id"].to_pylist() == ["id-0", "id-2"] and rows["_error"].null_count == 2
    assert rows["offset"].to_pylist() == [len(pack(b"")), len(pack(b"")) * 3 + len(pieces[0])]


@PACKED
@pytest.mark.parametrize("length", ["9999", "20", "0", "-1", "1e3", "\u00b2", "9" * 5000, ""])
def test_record_with_wrong_length_is_quarantined(tmp_path: Path, pieces: list[bytes], pack: Callable[[bytes], bytes], length: str) -> None:
    rows = read(tmp_path / "x", pieces[0] + pack(record("response", response(b"<p>x</p>"), length=length)) + pieces[2])
    assert rows["_error"].null_count == 2 and rows["_error"][1].as_py()


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (record("response", response(b"<p>x</p>"), url=None), "WARC-Target-URI"),
        (record("response", b"no http at all"), "HTTP"),
        (record("response", b"HTTP/1.1 99999999999 X\r\n\r\n"), "HTTP"),
        (b"hello, no archive", "WARC"),
    ],
)
def test_unreadable_record_is_quarantined(tmp_path: Path, broken: bytes, reason: str) -> None:
    rows = read(tmp_path / "x", ZIPPED[0] + gzip.compress(broken) + ZIPPED[2])
    assert rows.num_rows == 3 and rows["_error"].null_count == 2
    assert reason in rows["_error"][1].as_py()


def test_unreadable_record_is_an_error_where_it_hides_others(tmp_path: Path) -> None:
    hidden = b"hello, no header\r\n\r\n" + RECORDS[2]
    short = record("response", response(b"<p>x</p>"), length=20) + RECORDS[2]
    for content in (
        gzip.compress(RECORDS[1] + hidden),
        gzip.compress(hidden),
        RECORDS[1] + hidden,
        ZSTD.compress(hidden),
        FRAMES[1] + ZSTD.compress(hidden),
        gzip.compress(short),
    ):
        with pytest.raises(DataError, match="cannot be found"):
            read(tmp_path / "x", content)


@pytest.mark.parametrize("content", [b"", b"filedesc://x.arc 0.0.0.0", b"\x28\xb5\x2f", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18 lz4", b"W", b"\x1f\x8b\x08"])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path / "x", content)
    assert caught.value.mend


def digested(piece: bytes, digest: str) -> bytes:
    return piece.replace(b"WARC-Date", f"WARC-Block-Digest: {digest}\r\nWARC-Date".encode(), 1)


@pytest.mark.parametrize("pack", [bytes, zstandard.ZstdCompressor().compress], ids=["plain", "zstd"])
def test_where_no_checksum_guards_the_bytes_the_digest_does(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    block = response(b"<p>one</p>" * 30)
    told = [f"sha1:{b32encode(sha1(block).digest()).decode()}", f"sha1:{sha1(block).hexdigest()}", f"SHA-256:{sha256(block).hexdigest()}"]
    other = ["", "sha1:", "rot13:XYZ", "sha1:" + "A" * 32, told[0].lower(), "md5:" + told[1][5:]]
    rows = read(tmp_path / "x", b"".join(pack(digested(RECORDS[2], one)) for one in (*told, *other))).to_pylist()
    assert [row["_error"] is None for row in rows] == [True, True, True, True, False, True, False, True, False]
    assert {row["_error"] for row in rows} == {None, "its bytes are not those of its WARC-Block-Digest"}
    changed = read(tmp_path / "x", b"".join(pack(digested(RECORDS[2], one).replace(b"<p>one", b"<p>two")) for one in told)).to_pylist()
    assert all(row["_error"] and row["content"] == b"" and row["id"] == "id-2" for row in changed)
    guarded = gzip.compress(digested(RECORDS[2], "sha1:" + "A" * 32)) + ZIPPED[3]  # a checksum says that these are the bytes that the writer wrote
    assert read(tmp_path / "x", guarded)["_error"].null_count == 2


@pytest.mark.kit
@pytest.mark.parametrize("name", ["real_capture_wget.warc.gz", "real_capture_sample-0000.warc.gz", "edge_example.warc.gz"])
def test_digests_of_real_captures_hold(kit: Path, tmp_path: Path, name: str) -> None:
    with gzip.open(kit / "web" / name) as file:
        plain = read(tmp_path / "x", file.read(), 1 << 26)
    rows = pa.Table.from_batches(list(warc(str(kit / "web" / name), file="web/x.warc.gz")), schema=SCHEMA)
    assert plain.drop_columns(["offset"]) == rows.drop_columns(["offset"]) and plain["_error"].null_count == plain.num_rows


@pytest.mark.kit
@pytest.mark.parametrize("name", ["crawl-A-00001.warc.gz", "real_capture_wget.warc.gz", "real_capture_sample-0000.warc.gz", "edge_example.warc.gz"])
def test_rows_equal_warcio_on_kit_archives(kit: Path, name: str) -> None:
    archive = pytest.importorskip("warcio.archiveiterator").ArchiveIterator
    path = kit / "web" / name
    rows = pa.Table.from_batches(list(warc(str(path), file=name)), schema=SCHEMA).to_pylist()
    with open(path, "rb") as file:
        records = archive(file)
        for row, other in zip(rows, records, strict=True):
            assert row["_error"] is None
            assert row["id"] == other.rec_headers["WARC-Record-ID"].strip("<>").removeprefix("urn:uuid:")
            assert row["record"] == other.rec_type
            if other.rec_type == "response":
                assert row["status"] == int(other.http_headers.get_statuscode())
                if row["status"] == 200:
                    assert row["content"] == other.content_stream().read()
            assert row["offset"] == records.get_record_offset()  # it reads on to the end of the record
