import gzip

from dolma.gather.warc import START, Capture, info, response


def test_record_holds_headers_and_body_in_one_member():
    record = response(Capture("https://a.example.org/x", b"<p>\xc3\xa4</p>", status=404), 0)
    head, http, body = gzip.decompress(record).split(b"\r\n\r\n", 2)
    assert head.startswith(b"WARC/1.0\r\nWARC-Type: response\r\n") and b"WARC-Target-URI: https://a.example.org/x" in head
    assert http.startswith(b"HTTP/1.1 404 Not Found\r\n") and body == b"<p>\xc3\xa4</p>\r\n\r\n"
    length = int(next(line for line in head.split(b"\r\n") if line.startswith(b"Content-Length"))[16:])
    assert length == len(http) + 4 + len(b"<p>\xc3\xa4</p>")


def test_identity_and_date_follow_address_turn_and_seed_only():
    first = response(Capture("https://a.example.org/x", b"a"), 0)
    assert first == response(Capture("https://a.example.org/x", b"a"), 0)

    def lines(record: bytes) -> dict[bytes, bytes]:
        return dict(line.split(b": ", 1) for line in gzip.decompress(record).split(b"\r\n\r\n")[0].split(b"\r\n")[1:])

    again, seeded = lines(response(Capture("https://a.example.org/x", b"a", turn=1), 0)), lines(response(Capture("https://a.example.org/x", b"a"), 1))
    assert len({lines(first)[b"WARC-Record-ID"], again[b"WARC-Record-ID"], seeded[b"WARC-Record-ID"]}) == 3
    assert lines(first)[b"WARC-Date"] >= f"{START:%Y-%m-%d}".encode()
    assert info("a") != info("b")
