"""The WET reader: text that somebody else has extracted, as it is."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from dolma.core.schema import keys
from dolma.io.warc import TEXT_SCHEMA, wet
from tests.io.records import RECORDS, ZSTD, record


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
