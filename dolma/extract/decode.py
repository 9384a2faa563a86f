"""Bytes of files as text: source trees, archives, whatever is not known to be text."""

import codecs
from typing import Any

import pyarrow as pa

from dolma.core.errors import ConfigError
from dolma.core.schema import Columns, append
from dolma.core.step import step

MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def _columns(params: Any) -> Columns:
    for name in params.charsets:
        try:
            codecs.lookup(name)
        except LookupError as error:
            raise ConfigError("decode_text", "unknown charset", got=name, expected="one that Python knows", mend="mend its name") from error
    return {"text": pa.large_string(), "charset": pa.string()}


@step(needs=("content",), adds=_columns)
def decode_text(batch: pa.RecordBatch, *, charsets: list[str] = ["utf-8"]) -> pa.RecordBatch:  # noqa: B006
    """The batch with each `content` as `text`, and the `charset` that it was read in; what is no text is empty, with a null charset.

    A byte order mark decides; else the first of `charsets` in which all bytes have a meaning. Content with a zero character is no text.

    Args:
        charsets: tried in this order. One of single bytes, like cp1252, takes almost anything: give it last, or not at all.
    """
    texts, names = [], []
    for content in batch.column("content").to_pylist():
        text, name = _decoded(content or b"", charsets)
        texts.append(text)
        names.append(name)
    return append(batch, {"text": pa.array(texts, pa.large_string()), "charset": pa.array(names, pa.string())})


def _decoded(content: bytes, charsets: list[str]) -> tuple[str, str | None]:
    marked = [name for mark, name in MARKS if content.startswith(mark)]
    for name in marked or charsets:
        try:
            text = content.decode(name)
        except UnicodeError:
            continue
        if "\0" not in text:
            return text, name.removesuffix("-sig")
    return "", None
