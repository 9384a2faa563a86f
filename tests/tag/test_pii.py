"""Personal data: planted items are found with exact spans, look-alikes are not, and masking changes nothing else."""

import gzip
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dolma.core import manifest
from dolma.core.errors import DataError
from dolma.runner import Run
from dolma.table import keep
from dolma.tag.pii import SPANS, find, mask_pii, tag_pii

TOKENS = {"email": "|||EMAIL_ADDRESS|||", "phone": "|||PHONE_NUMBER|||", "ip": "|||IP_ADDRESS|||"}


def batch(*texts: str | None) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(texts, pa.large_string())], ["text"])


def items(text: str) -> list[tuple[str, str]]:
    """Kind and words of what is found."""
    ((*spans,),) = find(pa.array([text], pa.large_string()))
    return [(kind, text[start:end]) for kind, start, end in spans]


@pytest.mark.parametrize(
    ("text", "there"),
    [
        ("Write to jane.doe+news@mail.example.co.uk.", "jane.doe+news@mail.example.co.uk"),
        ("<mailto:o'neil_7@example.org>", "o'neil_7@example.org"),
        ("contact...bob@example.com!", "bob@example.com"),
        ("邮箱abc@example.com请", "abc@example.com"),
        ("https://example.org/stop?mail=bob@example.org", "bob@example.org"),
        ("mailto://bob@example.org //", "bob@example.org"),
        ("a@example.comEnglish", "a@example.com"),
        ("Bob@Example.Com Bob", "Bob@Example.Com"),
        ("BOB@EXAMPLE.ORG.", "BOB@EXAMPLE.ORG"),
        ("x = 1 //bob@example.org", "bob@example.org"),
        ("email=x@sub-domain.example.museum&y", "x@sub-domain.example.museum"),
        ("Mail an jörg.müller@example.de.", "jörg.müller@example.de"),
        ("“jörg@example.com”", "jörg@example.com"),
        ("info@bücher.example", "info@bücher.example"),
        ("ÄRGER@BÜCHER.DE, Ärger", "ÄRGER@BÜCHER.DE"),
        ("jo\u0308rg@bu\u0308cher.example:", "jo\u0308rg@bu\u0308cher.example"),
        ("info@firma.vermögensberater", "info@firma.vermögensberater"),
        ("a@example.comÉtudes", "a@example.com"),
        ("‘a@example.orgâ\u0080\u0099 (wrong charset)", "a@example.org"),
        ("на bob@example.comПочта", "bob@example.com"),
        ("пишите иван.петров@пример.рф, и", "иван.петров@пример.рф"),
        ("иван1@example.com", "иван1@example.com"),
        ("उदाहरण@उदाहरण.भारत।", "उदाहरण@उदाहरण.भारत"),
        ("عنوان@مثال.إختبار", "عنوان@مثال.إختبار"),
        ("用户1@例子.中国。", "用户1@例子.中国"),
        ("用户@example.com", "用户@example.com"),
        ("info@abc中文.com", "info@abc中文.com"),
        ("邮箱123456@example.com，", "123456@example.com"),
        ("请联系邮箱jörg@example.com请", "jörg@example.com"),
        ("메일 bob@example.com으로", "bob@example.com"),
        ("我" * 300 + "abc@example.com" + "我" * 300, "abc@example.com"),
        ("я" * 23 + "@example.com", "я" * 23 + "@example.com"),
    ],
)
def test_addresses_of_mail(text: str, there: str) -> None:
    assert items(text) == [("email", there)]


@pytest.mark.parametrize(
    ("text", "there"),
    [
        ("call (499) 555-0160 now", "(499) 555-0160"),
        ("Phone(499)555-0160", "(499)555-0160"),
        ("499-555-0160", "499-555-0160"),
        ("499.555.0160.", "499.555.0160"),
        ("499/555-0160; 1", "499/555-0160"),
        ("1-800-555-0160", "1-800-555-0160"),
        ("(499) 555-0160x2659", "(499) 555-0160"),
        ("+1 499 555 0160", "+1 499 555 0160"),
        ("499\u2013555\u20130160", "499\u2013555\u20130160"),
        ("Tel : (+1) 650 534-0325", "(+1) 650 534-0325"),
        ("(+49 221 1234567)", "+49 221 1234567"),
        ("\u00fcber +49 (0)221 / 123 4567,", "+49 (0)221 / 123 4567"),
        ("+442079460958", "+442079460958"),
        ("+33\u00a01\u00a070\u00a018\u00a099\u00a000", "+33\u00a01\u00a070\u00a018\u00a099\u00a000"),
        ("Tel.: 0221 123456-7", "0221 123456-7"),
        ("Fax (020) 7946 0958\n", "(020) 7946 0958"),
        ("T\u00e9l\u00e9phone : 01 70 18 99 00", "01 70 18 99 00"),
        ("phone 499 555 0160", "499 555 0160"),
    ],
)
def test_telephone_numbers(text: str, there: str) -> None:
    assert items(text) == [("phone", there)]


@pytest.mark.parametrize(
    ("text", "there"),
    [
        ("from 203.0.113.82.", "203.0.113.82"),
        ("http://203.0.113.82:8080/x", "203.0.113.82"),
        ("root@198.51.100.7", "198.51.100.7"),
        ("server 8.8.4.4 answers", "8.8.4.4"),
        ("[64.4.54.254]:443, ", None),
        ("64.4.54.254:443", "64.4.54.254"),
        ("at 2001:db8:85a3::8a2e:370:7334", "2001:db8:85a3::8a2e:370:7334"),
        ("[2001:4860:4860::8888]:53", "2001:4860:4860::8888"),
    ],
)
def test_addresses_of_machines(text: str, there: str | None) -> None:
    assert items(text) == ([("ip", there)] if there else [])


@pytest.mark.parametrize(
    "text",
    [
        "icon@2x.png and x@y, a@b, name@host, @media.screen, foo@bar.js, unit@name.service, 图@2x.png图, ö@ü, é@.é",
        "https://jörg:wört@example.com/ and git@github.com:jörg/x, https://lists.example.org/m/jörg@mail.example.org",
        "https://jane:s3cret@example.com/ and git@github.com:jane/x, https://lists.example.org/m/20050407.a1@mail.example.org",
        "version 101.2.3.4, v1.2.3.140, Chrome/120.0.0.0, pkg-112.0.0.1, 112.0.0.1-beta, 1.2.3.4.5, release 110.0.0.2",
        "section 4.1.2.3, 1.2.3.4, \u00a7 121.1.1.1, Skype 8.55.0.141",
        "192.168.1.1, 10.0.0.138, 127.0.0.1, 255.255.255.0, 0.0.0.0, 172.16.254.1, 256.1.1.300",
        "2021-03-04 12:30, 04/03/2021, 12.03.2021 - 14.03.2021, 1999-2000-2001",
        "ISBN 978-0-306-40615-7, ISBN 0-306-40615-2, 978-3-16-148410-0, doi:10.1000/182.555.0160, 10.1093/499-555-0160",
        "$1,234,567.89, 1.234.567,89, $499.555.0160, 1 234 567 8901, 123 456 7890 123 456",
        "3.14159265358979, 6.02214076e23, 499 555 0160, 299 792 4581, 4995550160, -71.4052+9166.01287",
        "1.0 2.5 3.25 4.125 5.0625, 0.1 0.2 0.3 0.4 0.5 0.6 0.7, 192 0 2 51",
        "std::vector, 12:30:45, aa:bb:cc:dd:ee:ff, 2024::x, 2001:db8::, 3a3b:1",
        "Telegram 1234567, #499-555-0160, 499-555-01601, 0499-555-0160, 4499-555-0160-1",
    ],
)
def test_look_alikes_are_none(text: str) -> None:
    assert items(text) == []


def test_several_of_a_line() -> None:
    text = "(499) 555-0160 (499) 555-0161, Tel 0221 1234567 / Fax 0221 1234568, 203.0.113.5 203.0.113.6 a@b.org,c@d.org"
    assert Counter(kind for kind, _ in items(text)) == {"phone": 4, "ip": 2, "email": 2}
    assert items("jane-499-555-0160@example.com") == [("email", "jane-499-555-0160@example.com")]


def test_offsets_count_code_points() -> None:
    text = "\u00e4\u4e2d\U0001f600 bob@example.org \U0001f600\U0001f600\u4e2d\u6587 (499) 555-0160 \u00e9 198.51.100.7"
    assert [there for _, there in items(text)] == ["bob@example.org", "(499) 555-0160", "198.51.100.7"]
    made = tag_pii(batch(None, "", text, "nothing")).column("pii")
    assert made.type == SPANS and made.to_pylist()[2][0] == {"kind": "email", "start": 4, "end": 19}
    assert [len(row) for row in made.to_pylist()] == [0, 0, 3, 0]
    assert tag_pii(batch("x", text).slice(1)).column("pii").to_pylist() == made.to_pylist()[2:3]
    assert tag_pii(batch()).column("pii").to_pylist() == []


def test_tokens_stand_in_the_place_of_spans() -> None:
    tagged = tag_pii(batch("\u00fc: a@b.org, (499) 555-0160", None, "198.51.100.7", "no"))
    made = mask_pii(tagged)
    assert made.column("text").to_pylist() == ["\u00fc: |||EMAIL_ADDRESS|||, |||PHONE_NUMBER|||", None, "|||IP_ADDRESS|||", "no"]
    assert made.schema == tagged.schema and [len(row) for row in made.column("pii").to_pylist()] == [2, 0, 1, 0]
    other = mask_pii(tagged, email="<e>", phone="", ip="")
    assert other.column("text").to_pylist() == ["\u00fc: <e>, ", None, "", "no"] and mask_pii(other, email="<e>").equals(other)
    assert mask_pii(tag_pii(batch())).num_rows == 0


@pytest.mark.parametrize("changed", ["ab a@b.org", "a@b.o", "", None])
def test_spans_of_another_text_are_refused(changed: str | None) -> None:
    spans = tag_pii(batch("a@b.org and 198.51.100.7")).column("pii")
    with pytest.raises(DataError, match=r"mask_pii: .* is none"):
        mask_pii(pa.RecordBatch.from_arrays([pa.array([changed], pa.large_string()), spans], ["text", "pii"]))


def test_a_recipe_can_drop_by_the_number_of_items(tmp_path: Path) -> None:
    made = tag_pii(batch("a@b.org c@d.org", "a@b.org 198.51.100.7", "no", None))
    pq.write_table(pa.Table.from_batches([made]), tmp_path / "t.parquet")
    (read,) = pq.read_table(tmp_path / "t.parquet").to_batches()
    assert read.schema.field("pii").type == SPANS
    assert keep(read, where="len(pii) <= 1", reason="personal_data").to_pylist() == [False, False, True, True]
    assert keep(read, where="len([p for p in pii if p.kind = 'email']) < 2", reason="emails").to_pylist() == [False, True, True, True]
    assert keep(read, where="""[text[p.start + 1:p."end"] for p in pii] = ['a@b.org', '198.51.100.7']""", reason="x").to_pylist() == [False, True, False, False]


def test_a_flow_measures_then_drops_then_masks(tmp_path: Path) -> None:
    lines = ["write to a@b.org", "a@b.org c@d.org e@f.org", "\u00fc 198.51.100.7", "nothing"]
    read = {"jsonl": {"files": "*.jsonl", "columns": {"id": "string", "text": "large_string"}}}
    keep_few = {"keep": {"where": "len(pii) <= 2", "reason": "personal_data"}}
    recipes = {
        "tagged": {"read": read, "table": "rows", "steps": [{"tag_pii": {}}]},
        "masked": {"input": "tagged", "table": "rows", "steps": [keep_few, {"mask_pii": {"email": "[mail]"}}]},
    }
    for folder in ("raw", "pipelines"):
        (tmp_path / folder).mkdir()
    (tmp_path / "raw" / "some.jsonl").write_text("".join(json.dumps({"id": str(n), "text": text}) + "\n" for n, text in enumerate(lines)))
    for name, recipe in recipes.items():
        (tmp_path / "pipelines" / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
    (tmp_path / "env.yaml").write_text(yaml.safe_dump({"root": str(tmp_path / "out"), "raw": str(tmp_path / "raw"), "workers": 1}))
    assert Run(tmp_path / "env.yaml", tmp_path / "pipelines").run(["."]) == 2
    made = manifest.load(tmp_path / "out" / "masked")
    assert made.counts["0:keep.dropped.personal_data"] == 1
    rows = [row for batch in manifest.batches(tmp_path / "out" / "masked", ["text", "pii"]) for row in batch.to_pylist()]
    assert [row["text"] for row in rows] == ["write to [mail]", "\u00fc |||IP_ADDRESS|||", "nothing"]
    assert rows[0]["pii"] == [{"kind": "email", "start": 9, "end": 15}]


LOOKS = {"email": r"\w[^\s@]*@\w[^\s@]*[^\W\d_]\S?", "phone": r"[(+]*\d.*\d", "ip": r"[0-9a-fA-F.:]+"}
PIECES = [
    *("a@b.org", "jane.doe@example.co.uk", "(499) 555-0160", "499-555-0160", "+49 221 1234567", "203.0.113.82", "8.8.8.8", "2001:db8:85a3::8a2e:370:7334"),
    *("@", ".", "-", " ", "+", "(", ")", "/", ":", "\n", "1", "23", "456", "7890", "a", "B.", "\u00e4", "\u4e2d", "\U0001f600", "\u00a0", "\u2013", "e\u0301"),
    *("Tel. ", "fax:", "v", "version ", "IP ", "//", "|||PHONE_NUMBER|||", "png", "::", ",", "_", "\u00e9", "\u0663"),
    *("jörg.müller@example.de", "info@bücher.example", "иван@пример.рф", "用户@例子.中国", "उदाहरण@उदाहरण.भारत", "@bücher.de", "ł", "한", "ไ", "\u093e"),
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=14).map("".join) | st.text(st.characters(codec="utf-8"), max_size=40)


@given(st.lists(TEXTS, max_size=4))
def test_spans_are_sorted_disjoint_in_range_and_tight(texts: list[str]) -> None:
    rows = list(find(pa.array(texts, pa.large_string())))
    assert [next(iter(find(pa.array([text], pa.large_string())))) for text in texts] == rows
    for text, spans in zip(texts, rows, strict=True):
        done = 0
        for kind, start, end in spans:
            there = text[start:end]
            assert done <= start < end <= len(text) and there == there.strip()
            assert re.fullmatch(LOOKS[kind], there)
            done = end


LETTERS = "aZ7éßłžøÄþяЖџλΩאبعअकԱგ"  # of scripts whose words have blanks between them
WORDS = st.text(st.sampled_from(LETTERS), min_size=1, max_size=6)  # 64 bytes of three
LAST = st.sampled_from(["de", "com", "COM", "museum", "рф", "ελ", "भारत", "السعودية", "vermögensberater"])
AROUND = st.text(st.sampled_from(' \n,;:!?()<>"“”、。|…\u00a0\u2014\U0001f600'), max_size=3)


@given(AROUND, st.lists(WORDS, min_size=1, max_size=3), st.lists(WORDS, min_size=1, max_size=3), LAST, AROUND)
def test_an_address_of_any_letters_is_whole(before: str, local: list[str], domain: list[str], last: str, after: str) -> None:
    address = f"{'.'.join(local)}@{'.'.join([*domain, last])}"
    text = f"{before}{address}{after}"
    (spans,) = find(pa.array([text], pa.large_string()))
    assert [span for span in spans if span[0] == "email"] == [("email", len(before), len(before) + len(address))]
    (masked,) = mask_pii(tag_pii(batch(text)), phone="", ip="").column("text").to_pylist()
    assert masked == f"{before}{TOKENS['email']}{after}"


def outside(text: str, spans: list[dict[str, Any]]) -> list[str]:
    return [text[a:b] for a, b in zip([0, *(s["end"] for s in spans)], [*(s["start"] for s in spans), len(text)], strict=True)]


@given(TEXTS)
def test_masking_changes_spans_alone_and_once(text: str) -> None:
    tagged = tag_pii(batch(text))
    once = mask_pii(tagged)
    (spans,), (tokens,), (masked,) = tagged.column("pii").to_pylist(), once.column("pii").to_pylist(), once.column("text").to_pylist()
    assert outside(text, spans) == outside(masked, tokens)
    assert all(masked[t["start"] : t["end"]] == TOKENS[s["kind"]] for s, t in zip(spans, tokens, strict=True))
    assert mask_pii(once).equals(once)


@given(st.lists(st.sampled_from(PIECES), max_size=14).map(" ".join))
def test_masked_text_holds_nothing_more(text: str) -> None:
    once = mask_pii(tag_pii(batch(text)))
    assert mask_pii(tag_pii(once)).column("text") == once.column("text")


@pytest.mark.kit
def test_planted_items_are_found_exactly(kit: Path) -> None:
    with gzip.open(kit / "filters" / "pii_planted.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
    planted = {(row["id"], p["kind"], p["start"], p["end"]) for row in rows for p in row["planted"]}
    found = {(row["id"], *span) for row, spans in zip(rows, find(pa.array([row["text"] for row in rows], pa.large_string())), strict=True) for span in spans}
    assert planted <= found  # recall 1, spans exact
    for kind, count in {"email": 83, "phone": 110, "ip": 80}.items():
        assert sum(p[1] == kind for p in planted) == count
        assert count / sum(f[1] == kind for f in found) >= 0.965  # the rest are the pages' own contacts


@pytest.mark.kit
def test_articles_and_problems_hold_none(kit: Path) -> None:
    for file, field in (("wiki/featured_articles_plain", "text"), ("math/competition_math_train", "problem")):
        with gzip.open(kit / f"{file}.jsonl.gz", "rt", encoding="utf-8") as lines:
            assert not any(find(pa.array([json.loads(line)[field] for line in lines], pa.large_string())))
