"""Spans of repeated substrings: one copy stays, whatever the order of the rows and however they are cut; groups; what is refused."""

import gzip
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.core.errors import ConfigError, DataError
from dolma.core.schema import TABLES
from dolma.dedup.substrings import mark_substrings
from tests.dedup.groups import documents as listed
from tests.dedup.groups import marks


def documents(texts: Sequence[str | None], keys: list[int] | None = None) -> pa.RecordBatch:
    return listed(list(texts), keys)


Spans = dict[int, list[tuple[int, int]]]
WORDS = st.lists(st.sampled_from(["the market", " early in the morning", " 中文没有空格中文", " every day", "\n", "😀😀😀😀😀😀"]), max_size=12).map("".join)


def spans(batch: pa.RecordBatch, **params: Any) -> Spans:
    """The spans of each key."""
    out: Spans = {}
    for row in marks(mark_substrings, batch, **params):
        assert row["start"] < row["end"]
        out.setdefault(row["key"], []).append((row["start"], row["end"]))
    return out


def cut(text: str, parts: list[tuple[int, int]]) -> str:
    """`text` without `parts`."""
    for start, end in reversed(parts):
        text = text[:start] + text[end:]
    return text


@st.composite
def blocks(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    """Blocks with no string in common, and texts of some of them behind lines that are never the same."""
    number = draw(st.integers(1, 5))
    made = ["".join(random.Random(k).choices("abcdeé中", k=30 + 7 * k)) for k in range(number)]
    texts, line = [], 1000
    for chosen in draw(st.lists(st.lists(st.integers(0, number - 1), max_size=4), min_size=1, max_size=6)):
        text = ""
        for k in chosen:
            line += 1
            text += f"\n{chr(line)}{made[k]}{chr(line)}\n"
        texts.append(text)
    return made, texts


@settings(max_examples=100, deadline=None)
@given(blocks())
def test_one_copy_of_every_block_stays_and_nothing_else_goes(case: tuple[list[str], list[str]]) -> None:
    made, texts = case
    found = spans(documents(texts), least=20, merge_share=None)
    left = [cut(text, found.get(key, [])) for key, text in enumerate(texts)]
    for block in made:
        assert [text.count(block) for text in left] == [int(text == next((t for t in texts if block in t), None)) and 1 for text in texts]
    for before, after in zip(texts, left, strict=True):
        bare = before
        for block in made:
            bare, after = bare.replace(block, ""), after.replace(block, "")
        assert after == bare


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.none(), WORDS), max_size=10), st.sampled_from([None, 0.8]), st.randoms(use_true_random=False))
def test_the_same_spans_whichever_order_the_rows_come_in_and_however_they_are_cut(texts: list[str | None], share: float | None, random) -> None:
    keys = random.sample(range(1 << 40), len(texts))
    mixed = random.sample(list(zip(texts, keys, strict=True)), len(texts))
    expected = spans(documents(texts, keys), least=16, merge_share=share)
    again = documents([text for text, _ in mixed], [key for _, key in mixed])
    for size in (1, 3, 1 << 20):
        assert spans(again, least=16, merge_share=share, size=size) == expected
    assert min(keys, default=0) not in expected or any(end <= len(texts[keys.index(min(keys))] or "") for _, end in expected[min(keys)])


@settings(max_examples=40, deadline=None)
@given(st.lists(WORDS, max_size=12), st.integers(2, 4))
def test_a_group_is_marked_as_if_it_were_alone(texts: list[str], groups: int) -> None:
    batch = documents(texts, random.Random(len(texts)).sample(range(1 << 40), len(texts)))
    made = mark_substrings.rows(batch, least=16, groups=groups)
    expected: Spans = {}
    for group in range(groups):
        mine = {key for key, of in zip(made["key"].to_pylist(), made["group"].to_pylist(), strict=True) if of == group}
        expected |= spans(batch.filter(pa.array([key in mine for key in batch["key"].to_pylist()], pa.bool_())), least=16)
    assert spans(batch, least=16, groups=groups) == expected


def test_groups_share_the_documents_by_their_keys() -> None:
    made = mark_substrings.rows(documents(["a" * 20] * 1000), least=20, groups=4)
    counts = [made["group"].to_pylist().count(group) for group in range(4)]
    assert sum(counts) == 1000 and min(counts) > 200
    assert mark_substrings.rows(documents(["a" * 20] * 50), least=20)["group"].to_pylist() == [0] * 50


def test_spans_count_code_points_and_of_equal_keys_the_first_origin_stays() -> None:
    text = "Grüße aus 東京 und 😀 noch mehr"
    batch = documents([f"é{text}", text, f"中{text}中", "short", ""], keys=[7, 7, 9, 1, 2])
    size = len(text)
    assert marks(mark_substrings, batch, least=20) == [{"origin": 1, "key": 7, "start": 0, "end": size}, {"origin": 2, "key": 9, "start": 1, "end": size + 1}]
    none = mark_substrings.fn(batch.slice(0, 1), np.zeros(1, np.int64), cont=False)
    assert none.num_rows == 0 and none.schema == pa.schema(list(TABLES["span"].items()))


def test_what_lies_between_spans_is_marked_where_they_cover_enough_of_the_block() -> None:
    one, two = "the first of all sentences here.", "and the second one of this page."
    texts = [f"{one} 12345 {two}", f"{one} 67890 {two}"]
    assert spans(documents(texts), least=24, merge_share=None)[1] == [(0, 33), (38, 71)]
    assert spans(documents(texts), least=24, merge_share=0.8)[1] == [(0, 71)]
    assert spans(documents(texts), least=24, merge_share=0.95)[1] == [(0, 33), (38, 71)]


@pytest.mark.parametrize("params", [{"least": 7}, {"groups": 0}, {"merge_share": 0.0}, {"merge_share": 1.5}])
def test_parameters_that_mean_nothing_are_refused(params: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(params))):
        spans(documents(["a" * 100]), **params)


@pytest.mark.parametrize("size", [1, 1000])
def test_a_group_over_the_bytes_or_rows_is_refused_with_the_parameter_that_mends_it(size: int) -> None:
    batch = documents(["é" * 50] * 10)
    assert len(spans(batch, least=20, most_bytes=1000, size=size)) == 10  # the first repeats itself
    with pytest.raises(DataError, match=r"more bytes than.*\n  got over 999, expected at most 999 bytes\n  mend: raise `groups` of mark_substrings"):
        spans(batch, least=20, most_bytes=999, size=size)
    with pytest.raises(DataError, match=r"more rows than.*\n  got over 9, expected at most 9 rows\n  mend: raise `groups` of mark_substrings"):
        spans(batch, least=20, cap=9, size=size)


@pytest.mark.kit
def test_on_pages_of_the_kit_nearly_all_bytes_of_repeats_are_marked(kit: Path) -> None:
    with gzip.open(kit / "web" / "pages_gold.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = [row["gold_text"].encode() for line in lines if (row := json.loads(line)).get("gold_text")][:150]
    draw = random.Random(4)
    for text in texts[:60]:  # pieces of pages on other pages
        start = draw.randrange(len(text))
        place = draw.randrange(len(texts))
        texts[place] = texts[place] + b"\n" + text[start : start + draw.randint(400, 3000)]
    decoded = [text.decode(errors="ignore") for text in texts]
    first: dict[int, int] = {}
    expected, passed = 0, 0
    for text in (text.encode() for text in decoded):
        until = 0
        for start in range(len(text) - 499):
            if first.setdefault(hash(text[start : start + 500]), passed + start) <= passed + start - 500:
                expected += start + 500 - max(until, start)
                until = start + 500
        passed += len(text)
    found = spans(documents(decoded), merge_share=None)
    got = sum(len(decoded[key][start:end].encode()) for key, parts in found.items() for start, end in parts)
    assert expected > 10_000 and 0.999 * expected <= got <= expected
