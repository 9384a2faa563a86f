"""The content and transfer codings of an HTTP body taken off: chunked, gzip, deflate and brotli. The only file that imports brotli."""

import re
import zlib
from collections.abc import Callable, Iterable

HEAD = 1445  # bytes that tell text from binary data. Source: WHATWG MIME Sniffing, 5.2
BINARY = bytes([*range(9), 11, *range(14, 27), *range(28, 32)])  # source: WHATWG MIME Sniffing, 3 "binary data byte"
MARKS = (b"\xfe\xff", b"\xff\xfe", b"\xef\xbb\xbf")  # of UTF-16 and UTF-8, in which a NUL is text. Source: the same, 7.2
CHUNK = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\n]{0,4096})?\r?\n")  # source: RFC 9112 7.1; servers pad the size with spaces
LINE_END = re.compile(rb"\r?\n")
NONE = {"", "identity", "none"}


class Damaged(ValueError):
    """A body that begins as its coding says, and does not go on so."""


def decoded(body: bytes, codings: Iterable[str], cap: int) -> bytes:
    """The body without its codings; `codings` are the values of the headers in the order they were applied: Content-Encoding, then Transfer-Encoding.

    Crawlers store decoded bodies under the headers of the coded ones: a body that does not fit a coding is taken as it is if it looks like text. More
    than `cap` bytes are not made: of a longer body the first `cap + 1` are returned.

    Raises:
        ValueError: the body is cut or damaged, or does not fit its codings and is no text.
    """
    failed = ""
    for coding in reversed([name.strip().lower() for value in codings for name in value.split(",")]):
        if coding in NONE or not body:
            continue
        try:
            if coding not in DECODERS:
                raise ValueError("unknown")
            body = DECODERS[coding](body, cap)
        except Damaged as error:
            raise Damaged(f"coding {coding!r}: {error}") from error
        except ValueError as error:
            failed = failed or f"coding {coding[:40]!r}: {error}"
        if len(body) > cap:
            break
    if failed and not looks_like_text(body):
        raise ValueError(failed)
    return body


def looks_like_text(body: bytes) -> bool:
    """Whether the first 1,445 bytes begin with a byte order mark, or hold no byte that only binary data has (WHATWG MIME Sniffing, 7.2)."""
    return body.startswith(MARKS) or len(body[:HEAD].translate(None, BINARY)) == len(body[:HEAD])


def _chunked(body: bytes, cap: int) -> bytes:
    parts: list[bytes] = []
    at = 0
    while size := CHUNK.match(body, at):
        begin, length = size.end(), int(size[1], 16)
        if not length:
            return b"".join(parts)
        line_end = LINE_END.match(body, begin + length)
        if line_end is None:
            break
        parts.append(body[begin : begin + length])
        at = line_end.end()
    if not parts and not CHUNK.match(body):
        raise ValueError("no chunk size")
    raise Damaged(f"cut or damaged after {sum(map(len, parts))} bytes of {len(parts)} chunks")


def _inflated(body: bytes, cap: int, wbits: int) -> bytes:
    """One stream or several behind one another; what follows them, such as padding, is no part of the body."""
    out = b""
    rest = body
    while True:
        inflate = zlib.decompressobj(wbits)
        try:
            out += inflate.decompress(rest, cap + 1 - len(out))
        except zlib.error as error:
            raise ValueError(str(error).removeprefix("Error ").strip()) from error
        if len(out) > cap:
            return out
        if not inflate.eof:
            raise _cut(body, out)
        rest = inflate.unused_data
        if wbits < 0 and rest:  # without a header or a checksum, chance makes short streams of other bytes
            raise ValueError("bytes behind its end")
        if wbits != 31 or rest[:2] != b"\x1f\x8b":
            return out


def _cut(body: bytes, out: bytes) -> ValueError:
    """The error of a stream without an end; only a short ASCII text can pass for the begin of one by chance."""
    return Damaged("cut short") if out and not body.isascii() else ValueError("cut short")


def _gzip(body: bytes, cap: int) -> bytes:
    return _inflated(body, cap, 31)


def _deflate(body: bytes, cap: int) -> bytes:
    """A zlib stream, or the bare deflate stream that some servers send. Source: RFC 9110 8.4.1.2, note."""
    if body[:2] == b"\x1f\x8b":
        return _gzip(body, cap)
    zlib_header = len(body) > 1 and body[0] & 15 == 8 and int.from_bytes(body[:2]) % 31 == 0  # source: RFC 1950 2.2
    return _inflated(body, cap, 15 if zlib_header else -15)


def _brotli(body: bytes, cap: int) -> bytes:
    import brotli

    stream = brotli.Decompressor()
    try:
        out = stream.process(body, output_buffer_limit=cap + 1)
        while len(out) <= cap and not stream.is_finished():
            more = stream.process(b"", output_buffer_limit=cap + 1 - len(out))
            if not more:
                raise _cut(body, out)
            out += more
    except brotli.error as error:
        raise ValueError(str(error) or "no brotli stream") from error
    return out


DECODERS: dict[str, Callable[[bytes, int], bytes]] = {"chunked": _chunked, "gzip": _gzip, "x-gzip": _gzip, "deflate": _deflate, "br": _brotli}
