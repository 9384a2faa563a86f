"""The WARC reader: every record a row, every place right, no cut archive taken for a whole one."""

import gzip
import zlib
from pathlib import Path

import pyarrow as pa
import pytest

from dolma.core.errors import DataError
from dolma.io.warc import SCHEMA, warc


def record(kind: str, body: bytes, *, k: int = 1, url: str | None = "http://example.com/", length: int | None = None, http: bool = True) -> bytes:
    """One WARC record."""
    lines = [f"WARC/1.0\r\nWARC-Type: {kind}", f"WARC-Record-ID: <urn:uuid:id-{k}>", "WARC-Date: 2024-01-02T03:04:05Z"]
    lines += [f"WARC-Target-URI: {url}"] if url else []
    lines += [f"Content-Type: application/http; msgtype={kind}" if http else "Content-Type: application/warc-fields"]
    lines += [f"Content-Length: {len(body) if length is None else length}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body + b"\r\n\r\n"


def response(html: bytes, status: int = 200, kind: str = "text/html; charset=utf-8", more: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\n{more}Content-Length: {len(html)}\r\n\r\n".encode() + html


RECORDS = [
    record("warcinfo", b"software: x\r\n", k=0, url=None, http=False),
    record("request", b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n", k=1),
    record("response", response(b"<p>one</p>" * 30), k=2),
    record("response", response(b"gone", 404), k=3),
    record("response", response(b"\x89PNG" * 9, kind="image/png"), k=4),
    record("revisit", response(b""), k=5),
    record("response", response(b"<p>last</p>" * 30), k=6),
]
ZIPPED = [gzip.compress(piece, mtime=0) for piece in RECORDS]


def read(path: Path, content: bytes, max_bytes: int = 1 << 20) -> pa.Table:
    path.write_bytes(content)
    return pa.Table.from_batches(list(warc(str(path), file="web/x.warc.gz", max_bytes=max_bytes)), schema=SCHEMA)


@pytest.mark.parametrize("pieces", [RECORDS, ZIPPED], ids=["plain", "gzip"])
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


def test_gzip_archive_cut_at_any_byte_is_refused(tmp_path: Path) -> None:
    whole = b"".join(ZIPPED)
    borders = {sum(map(len, ZIPPED[:k])) for k in range(len(ZIPPED) + 1)}
    for cut in range(len(whole) - 1, 0, -7):
        if cut in borders:
            continue  # nothing in the bytes tells such a file from a whole one
        with pytest.raises(DataError, match="cut short") as caught:
            read(tmp_path / "x", whole[:cut])
        assert caught.value.code == 3 and "web/x.warc.gz at byte" in str(caught.value)
        assert int(caught.value.where.rsplit(" ", 1)[1]) == max(border for border in borders if border <= cut)
        assert caught.value.got is not None and caught.value.expected is not None and caught.value.mend


def test_gzip_archive_of_one_member_is_read_and_refused_when_cut(tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(RECORDS))
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


def test_damaged_member_costs_its_own_record_only(tmp_path: Path) -> None:
    start = sum(map(len, ZIPPED[:2]))
    for at in (start + 14, start + len(ZIPPED[2]) - 6):  # in the deflate stream; in the checksum, after the whole record was read
        content = bytearray(b"".join(ZIPPED))
        content[at] ^= 0xFF
        rows = read(tmp_path / "x", bytes(content))
        assert [row["id"] for row in rows.to_pylist()] == ["id-0", "id-1", f"web/x.warc.gz@{start}", "id-3", "id-4", "id-5", "id-6"]
        assert [bool(error) for error in rows["_error"].to_pylist()] == [k == 2 for k in range(7)]
        assert rows["offset"][2].as_py() == start and rows["content"][2].as_py() == b""


def test_bytes_between_members_are_one_quarantined_row(tmp_path: Path) -> None:
    rows = read(tmp_path / "x", ZIPPED[0] + b"noise \x1f\x8b\x08 noise" * 9 + ZIPPED[2])
    assert rows["_error"].to_pylist() == [None, "bytes that begin no gzip member", None]


def test_record_with_wrong_length_is_quarantined(tmp_path: Path) -> None:
    wrong = gzip.compress(record("response", response(b"<p>x</p>"), length=9_999))
    rows = read(tmp_path / "x", ZIPPED[0] + wrong + ZIPPED[2])
    assert rows["_error"][1].as_py().startswith("record has") and rows["_error"].null_count == 2


@pytest.mark.parametrize(
    ("broken", "reason"),
    [(record("response", response(b"<p>x</p>"), url=None), "WARC-Target-URI"), (record("response", b"no http at all"), "HTTP"), (b"hello, no archive", "WARC")],
)
def test_unreadable_record_is_quarantined(tmp_path: Path, broken: bytes, reason: str) -> None:
    rows = read(tmp_path / "x", ZIPPED[0] + gzip.compress(broken) + ZIPPED[2])
    assert rows.num_rows == 3 and rows["_error"].null_count == 2
    assert reason in rows["_error"][1].as_py()


def test_unreadable_record_is_an_error_where_it_hides_others(tmp_path: Path) -> None:
    hidden = b"hello, no header\r\n\r\n" + RECORDS[2]
    for content in (gzip.compress(RECORDS[1] + hidden), gzip.compress(hidden), RECORDS[1] + hidden):
        with pytest.raises(DataError, match="cannot be found"):
            read(tmp_path / "x", content)


def test_chunked_and_compressed_body_is_decoded(tmp_path: Path) -> None:
    packed = gzip.compress(b"<p>hello</p>" * 50)
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (packed[:10], packed[10:])) + b"0\r\n\r\n"
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
    assert read(tmp_path / "x", gzip.compress(record("response", http)))["content"].to_pylist() == [b"<p>hello</p>" * 50]


def test_records_and_bodies_over_the_cap_are_quarantined(tmp_path: Path) -> None:
    bomb = zlib.compress(b"a" * 5_000_000, 9)
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: deflate\r\n\r\n" + bomb
    big = record("response", response(b"b" * 200_000), k=8)
    rows = read(tmp_path / "x", gzip.compress(record("response", http, k=7)) + gzip.compress(big) + ZIPPED[2], max_bytes=100_000)
    assert rows["_error"].to_pylist() == ["body of more than 100000 bytes", "record of more than 100000 bytes", None]


@pytest.mark.parametrize("content", [b"", b"filedesc://x.arc 0.0.0.0", b"\x28\xb5\x2f\xfd rest", b"W"])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path / "x", content)
    assert caught.value.mend


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
