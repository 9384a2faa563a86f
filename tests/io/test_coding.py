"""Codings of HTTP bodies: what the libraries pack is unpacked, and a cut or foreign body is an error or a text as it is, never half of it."""

import gzip
import zlib

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma.io.coding import decoded, looks_like_text

PAGE = b"<html><p>caf\xc3\xa9 or tea</p></html>\r\n" * 40


def raw_deflate(body: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(body) + stream.flush()


def chunked(body: bytes, size: int = 100) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x;name=value\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\nTrailer: x\r\n\r\n"


PACK = {"gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress, "Deflate": raw_deflate, "br": brotli.compress, "chunked": chunked}


@given(body=st.binary(max_size=3000), names=st.lists(st.sampled_from([*PACK, "identity"]), max_size=3))
def test_any_stack_of_codings_is_taken_off(body: bytes, names: list[str]) -> None:
    packed = body
    for name in names:
        packed = PACK.get(name, bytes)(packed)
    assert decoded(packed, names, 1 << 20) == decoded(packed, [", ".join(names)], 1 << 20) == body


@pytest.mark.parametrize("name", list(PACK))
def test_a_body_cut_anywhere_is_an_error(name: str) -> None:
    packed = PACK[name](PAGE)
    for cut in range(1, len(packed) - (20 if name == "chunked" else 0)):  # the line end and trailer of a last chunk hold no content
        begin = packed[:cut]
        if cut < (15 if name == "chunked" else 4) and looks_like_text(begin):
            continue  # before the first byte of the content: nothing tells it from a text
        with pytest.raises(ValueError, match="coding"):
            decoded(begin, [name], 1 << 20)


@pytest.mark.parametrize("name", [*PACK, "zstd", "utf-8"])
@pytest.mark.parametrize("text", [PAGE, b"plain", ("<p>Ελληνικά " * 20).encode("iso-8859-7"), "日本語".encode("utf-16"), b'{"a": 1}\n'])
def test_a_text_stored_decoded_is_itself(name: str, text: bytes) -> None:
    assert decoded(text, [name], 1 << 20) == text


def test_chunks_left_off_or_left_on() -> None:
    packed = gzip.compress(PAGE)
    assert decoded(packed, ["gzip", "chunked"], 1 << 20) == PAGE  # the crawler joined the chunks
    assert decoded(chunked(PAGE), ["gzip", "chunked"], 1 << 20) == PAGE  # it inflated and kept the chunks
    assert decoded(b"5 \r\nhello\r\n0\r\n", ["chunked"], 99) == decoded(b"05\nhello\n0\n", ["chunked"], 99) == b"hello"


@pytest.mark.parametrize("name", list(PACK))
def test_bytes_that_are_no_text_do_not_pass(name: str) -> None:
    with pytest.raises(ValueError, match="coding"):
        decoded(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" * 9, [name], 1 << 20)


def test_gzip_streams_and_what_follows_them() -> None:
    two = gzip.compress(b"one ") + gzip.compress(b"two")
    assert decoded(two, ["gzip"], 99) == decoded(two + bytes(9), ["gzip"], 99) == b"one two"
    with pytest.raises(ValueError, match="cut short"):
        decoded(two[:-3], ["gzip"], 99)
    assert decoded(gzip.compress(b"x"), ["deflate"], 99) == b"x"
    damaged = bytearray(gzip.compress(PAGE))
    damaged[-6] ^= 1
    with pytest.raises(ValueError, match="incorrect data check"):
        decoded(bytes(damaged), ["gzip"], 1 << 20)


@pytest.mark.parametrize("name", ["gzip", "deflate", "Deflate", "br"])
def test_a_bomb_is_opened_to_the_cap_only(name: str) -> None:
    bomb = PACK[name](bytes(50_000_000))
    assert 1000 < len(decoded(bomb, [name], 1000)) < 1 << 20
    assert 1000 < len(decoded(PACK["gzip"](bomb), [name, "gzip"], 1000)) < 1 << 20 if len(bomb) > 1000 else True
