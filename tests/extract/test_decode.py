import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma.core.errors import ConfigError
from dolma.extract.decode import decode_text


def rows(*contents: bytes | None, **params) -> list[tuple[str, str | None]]:
    made = decode_text.fn(pa.RecordBatch.from_pydict({"content": pa.array(contents, pa.large_binary())}), **params)
    assert made.schema.field("text").type == pa.large_string()
    return list(zip(made.column("text").to_pylist(), made.column("charset").to_pylist(), strict=True))


def test_marks_decide_then_the_charsets_in_order():
    assert rows("ä".encode(), b"\xef\xbb\xbfa", "ä".encode("utf-16")) == [("ä", "utf-8"), ("a", "utf-8"), ("ä", "utf-16")]
    assert rows(b"\xe4", charsets=["utf-8", "cp1252"]) == [("ä", "cp1252")]


def test_what_is_no_text_is_empty():
    assert rows(b"\xe4", b"a\0b", b"\x7fELF\0", b"\xff\xfe\0", b"", None) == [("", None)] * 4 + [("", "utf-8")] * 2


def test_an_unknown_charset_is_found_before_anything_runs():
    with pytest.raises(ConfigError, match="unknown charset"):
        decode_text.adds(decode_text.params(charsets=["utf8", "latin-11"]), pa.schema([]))


@given(st.lists(st.binary()), st.sampled_from([["utf-8"], ["utf-8", "cp1252"], ["ascii", "latin-1"]]))
def test_any_bytes_are_text_or_empty(contents, charsets):
    for content, (text, name) in zip(contents, rows(*contents, charsets=charsets), strict=True):
        assert "\0" not in text and (text.encode(name) in (content, content.removeprefix(b"\xef\xbb\xbf")) if name and name != "utf-16" else name or not text)
