"""The WARC reader: every record a row, every place right, no cut archive taken for a whole one."""

import gzip
import json
import subprocess
import sys
import zlib
from base64 import b32encode
from collections.abc import Callable
from hashlib import sha1, sha256
from pathlib import Path

import pyarrow as pa
import pytest
import zstandard

from dolma.core.errors import DataError
from dolma.core.schema import keys
from dolma.io.warc import SCHEMA, TEXT_SCHEMA, warc, wet


def record(kind: str, body: bytes, *, k: int = 1, url: str | None = "http://example.com/", length: int | str | None = None, http: bool = True) -> bytes:
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
ZSTD = zstandard.ZstdCompressor(level=3, write_checksum=True)
FRAMES = [ZSTD.compress(piece) for piece in RECORDS]
DICTIONARY = zstandard.train_dictionary(4096, [RECORDS[k % 7][: k + 60] * 2 for k in range(300)])
TRAINED = [zstandard.ZstdCompressor(write_checksum=True, dict_data=DICTIONARY).compress(piece) for piece in RECORDS]
PACKED = pytest.mark.parametrize(("pieces", "pack"), [(ZIPPED, gzip.compress), (FRAMES, ZSTD.compress)], ids=["gzip", "zstd"])


def skippable(content: bytes, kind: int = 0x5D) -> bytes:
    """A zstd frame that holds no data; of kind 5d it is a dictionary."""
    return bytes([kind]) + b"\x2a\x4d\x18" + len(content).to_bytes(4, "little") + content


def read(path: Path, content: bytes, max_bytes: int = 1 << 20) -> pa.Table:
    path.write_bytes(content)
    return pa.Table.from_batches(list(warc(str(path), file="web/x.warc.gz", max_bytes=max_bytes)), schema=SCHEMA)


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


def test_chunked_and_compressed_body_is_decoded(tmp_path: Path) -> None:
    packed = gzip.compress(b"<p>hello</p>" * 50)
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (packed[:10], packed[10:])) + b"0\r\n\r\n"
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
    assert read(tmp_path / "x", gzip.compress(record("response", http)))["content"].to_pylist() == [b"<p>hello</p>" * 50]


BODY = b"<p>hello</p>" * 50
UNFIT = {
    "gzip": ("Content-Encoding: gzip\r\n", gzip.compress(BODY)),
    "br": ("Content-Encoding: br\r\n", b"\x0b\x02\x80" + bytes(range(99))),
    "deflate": ("Content-Encoding: deflate\r\n", zlib.compress(BODY)),
    "chunked": ("Transfer-Encoding: chunked\r\n", b"258\r\n" + BODY + b"\r\n0\r\n\r\n"),
}


@pytest.mark.parametrize("name", list(UNFIT))
@pytest.mark.parametrize("one_stream", [False, True])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, ZSTD.compress], ids=["plain", "gzip", "zstd"])
def test_body_that_does_not_fit_its_coding(tmp_path: Path, name: str, one_stream: bool, pack: Callable[[bytes], bytes]) -> None:
    more, packed = UNFIT[name]
    stored = record("response", response(BODY, more=more), k=10)  # the crawler stored it decoded
    half = record("response", response(packed[: len(packed) // 2], more=more), k=11, url="http://example.com/half")
    pieces = [RECORDS[0], stored, half, RECORDS[6]]
    rows = read(tmp_path / "x", pack(b"".join(pieces)) if one_stream else b"".join(map(pack, pieces))).to_pylist()
    assert [row["id"] for row in rows] == ["id-0", "id-10", "id-11", "id-6"]
    assert rows[1]["content"] == BODY and rows[1]["_error"] is None and rows[1]["charset"] == "utf-8"
    assert rows[2]["_error"].startswith(f"unreadable HTTP body: coding '{name}'") and rows[2]["content"] == b""
    assert (rows[2]["url"], rows[2]["status"]) == ("http://example.com/half", 200)
    assert rows[3]["content"] == b"<p>last</p>" * 30


def test_http_header_without_an_end_costs_its_record_only(tmp_path: Path) -> None:
    http = b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000 + b"\r\n\r\n<p>"
    rows = read(tmp_path / "x", RECORDS[0] + record("response", http, k=10) + RECORDS[6]).to_pylist()
    assert [(row["id"], row["_error"]) for row in rows[::2]] == [("id-0", None), ("id-6", None)]
    assert rows[1]["id"] == "id-10" and rows[1]["_error"].startswith("unreadable HTTP header")


@pytest.mark.parametrize(
    ("header", "kind", "charset"),
    [
        ("Text/HTML; Charset=UTF-8", "text/html", "utf-8"),
        ("text/html, text/html", "text/html", None),
        ("TEXT/html;charset=utf-8, text/plain;charset=latin1", "text/html", "utf-8"),
        (', Text/Html ;charset="ISO-8859-1"', "text/html", "iso-8859-1"),
        ("", None, None),
    ],
)
def test_media_type_is_lower_case_and_the_first_of_a_list(tmp_path: Path, header: str, kind: str | None, charset: str | None) -> None:
    (row,) = read(tmp_path / "x", gzip.compress(record("response", response(b"<p>x</p>", kind=header)))).to_pylist()
    assert (row["content_type"], row["charset"], row["_error"]) == (kind, charset, None)


def test_records_and_bodies_over_the_cap_are_quarantined(tmp_path: Path) -> None:
    bomb = zlib.compress(b"a" * 5_000_000, 9)
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: deflate\r\n\r\n" + bomb
    big = record("response", response(b"b" * 200_000), k=8)
    rows = read(tmp_path / "x", gzip.compress(record("response", http, k=7)) + gzip.compress(big) + ZIPPED[2], max_bytes=100_000)
    assert rows["_error"].to_pylist() == ["body of more than 100000 bytes", "record of more than 100000 bytes", None]


@pytest.mark.parametrize("content", [b"", b"filedesc://x.arc 0.0.0.0", b"\x28\xb5\x2f", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18 lz4", b"W", b"\x1f\x8b\x08"])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path / "x", content)
    assert caught.value.mend


@pytest.mark.parametrize("stored", [DICTIONARY.as_bytes(), ZSTD.compress(DICTIONARY.as_bytes())], ids=["plain", "compressed"])
def test_zstd_dictionary_and_frames_that_hold_no_data(tmp_path: Path, stored: bytes) -> None:
    rows = read(tmp_path / "x", skippable(stored) + b"".join(skippable(b"padding", 0x51) + frame for frame in TRAINED) + skippable(b"", 0x5F))
    assert rows["id"].to_pylist() == [f"id-{k}" for k in range(7)] and rows["_error"].null_count == 7
    assert rows["content"].to_pylist()[2] == b"<p>one</p>" * 30
    assert rows["offset"].to_pylist() == [len(stored) + 8 + 15 * (k + 1) + sum(map(len, TRAINED[:k])) for k in range(7)]


def test_zstd_frames_without_their_dictionary(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="byte 0: damage"):  # none can be read, and so nothing says that each holds one record
        read(tmp_path / "x", b"".join(TRAINED))
    assert [row["_error"] is None for row in read(tmp_path / "x", FRAMES[0] + TRAINED[1] + FRAMES[2]).to_pylist()] == [True, False, True]
    two = skippable(DICTIONARY.as_bytes()) + TRAINED[2] + TRAINED[3]
    assert read(tmp_path / "x", FRAMES[1] + two)["id"].to_pylist() == ["id-1", "id-2", "id-3"]  # two archives, one after the other


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"no dictionary",
        b"\x37\xa4\x30\xec" + b"x" * 60,
        ZSTD.compress(b"no dictionary"),
        ZSTD.compress(b"x" * 99)[:-9],
        ZSTD.compress(b"\x37\xa4\x30\xec" + bytes(1 << 24)),
    ],
)
def test_a_damaged_dictionary_is_an_error(tmp_path: Path, stored: bytes) -> None:
    with pytest.raises(DataError, match="dictionary cannot be read"):
        read(tmp_path / "x", skippable(stored) + TRAINED[0])
    with pytest.raises(DataError):
        read(tmp_path / "x", (skippable(stored) + TRAINED[0])[: len(stored) + 7])


@pytest.mark.parametrize("size", [40, 300, 1000])
def test_records_may_go_on_in_the_next_zstd_frame(tmp_path: Path, size: int) -> None:
    stream = b"".join(RECORDS)
    frames = [ZSTD.compress(stream[at : at + size]) for at in range(0, len(stream), size)]
    rows = read(tmp_path / "x", b"".join(frame + skippable(b"x", 0x50) for frame in frames))
    assert rows["id"].to_pylist() == [f"id-{k}" for k in range(7)] and rows["_error"].null_count == 7


def test_a_record_whose_second_zstd_frame_is_damaged_costs_itself_only(tmp_path: Path) -> None:
    two = [ZSTD.compress(part) for part in (RECORDS[2][:300], RECORDS[2][300:])]
    content = bytearray(FRAMES[0] + two[0] + two[1] + FRAMES[3])
    content[-len(FRAMES[3]) - 3] ^= 0xFF
    rows = read(tmp_path / "x", bytes(content)).to_pylist()
    assert [row["id"] for row in rows if not row["_error"]] == ["id-0", "id-3"]
    assert [row["offset"] for row in rows if row["_error"]] == [len(FRAMES[0]), len(FRAMES[0] + two[0])]  # the record, and the rest of it


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


def test_a_frame_that_asks_for_too_much_memory_is_refused(tmp_path: Path) -> None:
    greedy = b"\x28\xb5\x2f\xfd" + bytes([0x00, (31 - 10) << 3]) + b"\x01\x00\x00"  # window of 2 GB, one empty block
    rows = read(tmp_path / "x", FRAMES[0] + greedy + FRAMES[1])
    assert rows["id"].to_pylist()[::2] == ["id-0", "id-1"] and "memory" in rows["_error"][1].as_py()


BOMB = """
import re, sys
from dolma.io.warc import warc
rows = [row for batch in warc(sys.argv[1], file="bomb", max_bytes=1 << 20) for row in batch.to_pylist()]
print([row["_error"] for row in rows], int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]) // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc (ru_maxrss of a child begins at its parent's)")
@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_bomb_of_a_gigabyte_is_stopped_at_the_cap(tmp_path: Path, kind: str) -> None:
    size = 1 << 30
    head = record("response", b"", length=size)[:-4]
    block = b"a" * (1 << 20)
    if kind == "gzip":
        deflate = zlib.compressobj(9, wbits=-15)
        begin = deflate.compress(head) + deflate.flush(zlib.Z_FULL_FLUSH)
        same = deflate.compress(block) + deflate.flush(zlib.Z_FULL_FLUSH)
        check = zlib.crc32(head)
        for _ in range(1 << 10):
            check = zlib.crc32(block, check)
        tail = deflate.compress(b"\r\n\r\n") + deflate.flush()
        check = zlib.crc32(b"\r\n\r\n", check)
        length = (len(head) + size + 4) & 0xFFFFFFFF
        bomb = b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + begin + same * (1 << 10) + tail + check.to_bytes(4, "little") + length.to_bytes(4, "little")
    else:
        stream = ZSTD.compressobj()
        bomb = stream.compress(head) + b"".join(stream.compress(block) for _ in range(1 << 10)) + stream.compress(b"\r\n\r\n") + stream.flush()
    assert len(bomb) < 2 << 20
    first, last = (ZIPPED[0], ZIPPED[6]) if kind == "gzip" else (FRAMES[0], FRAMES[6])
    (tmp_path / "x").write_bytes(first + bomb + last)
    done = subprocess.run([sys.executable, "-c", BOMB, str(tmp_path / "x")], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    errors, memory = done.stdout.rsplit(" ", 1)
    assert errors == "[None, 'record of more than 1048576 bytes', None]"
    assert int(memory) < 512


def text_record(text: bytes, k: int = 1, language: str | None = "eng,deu", kind: str = "text/plain") -> bytes:
    made = record("conversion", text, k=k, url=f"http://example.com/{k}", http=False).replace(b"application/warc-fields", kind.encode())
    return made.replace(b"WARC-Date", f"WARC-Identified-Content-Language: {language}\r\nWARC-Date".encode(), 1) if language else made


@pytest.mark.parametrize("pack", [bytes, gzip.compress, ZSTD.compress], ids=["plain", "gzip", "zstd"])
def test_wet_text_is_read_as_it_is(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    texts = ["Ein Satz.\nÜber Zeilen.\r\n", "two", "", "日本語 WARC/1.0\r\n\r\nWARC/1.0", "x\0y"]
    records = [RECORDS[0], *(text_record(text.encode(), k, None if k == 2 else "eng,deu") for k, text in enumerate(texts))]
    (tmp_path / "x").write_bytes(b"".join(map(pack, records)))
    rows = pa.Table.from_batches(list(wet(str(tmp_path / "x"), file="x.wet", source="cc")), schema=TEXT_SCHEMA)
    assert rows["text"].to_pylist() == ["", *texts] and rows["record"].to_pylist() == ["warcinfo"] + ["conversion"] * 5
    assert rows["url"].to_pylist() == [None, *(f"http://example.com/{k}" for k in range(5))]
    assert rows["languages"].to_pylist() == [None, "eng,deu", "eng,deu", None, "eng,deu", "eng,deu"]
    assert rows["key"].combine_chunks() == keys(rows["id"].combine_chunks()) and rows["_error"].null_count == 6
    assert set(rows["date"].to_pylist()) == {"2024-01-02T03:04:05Z"} and set(rows["source"].to_pylist()) == {"cc"}


def test_wet_record_that_is_no_text_is_quarantined(tmp_path: Path) -> None:
    records = [text_record(b"caf\xe9", 1), text_record(b"{}", 2, kind="application/json"), text_record(b"good", 3)]
    (tmp_path / "x").write_bytes(b"".join(map(gzip.compress, records)))
    rows = pa.Table.from_batches(list(wet(str(tmp_path / "x"), file="x.wet")), schema=TEXT_SCHEMA).to_pylist()
    assert [row["_error"] for row in rows] == ["not UTF-8 at byte 3", "conversion to application/json, not to text/plain", None]
    assert [row["text"] for row in rows] == ["", "", "good"]


def test_wet_recipe_makes_documents() -> None:
    from dolma.core.recipe import compile, parse
    from dolma.engines.plan import load_steps

    load_steps()
    value = {"read": {"wet": {"files": "*.wet.gz"}}, "table": "document", "steps": [{"keep": {"where": "record = 'conversion'", "reason": "no_text"}}]}
    assert compile("source/wet", parse("source/wet", value, "test"), "test", lambda _: pa.schema([])).schema.field("text").type == pa.large_string()


@pytest.mark.kit
def test_wet_of_the_texts_of_the_kit_reads_back(kit: Path, tmp_path: Path) -> None:
    with gzip.open(kit / "web/pages_gold.jsonl.gz", "rt", encoding="utf-8") as file:
        texts = [text for line in file if (text := json.loads(line)["gold_text"])][:200]
    frames = [ZSTD.compress(text_record(text.encode(), k)) for k, text in enumerate(texts)]
    (tmp_path / "x").write_bytes(b"".join(frames))
    rows = pa.Table.from_batches(list(wet(str(tmp_path / "x"), file="x.wet")), schema=TEXT_SCHEMA)
    assert len(texts) > 100 and rows["text"].to_pylist() == texts


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
