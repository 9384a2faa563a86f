"""The HTTP response in a WARC record: its header, its media type, and the coding of its body."""

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.io.records import RECORDS, ZSTD, read, record, response


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
