"""Index, matches and true Jaccard of a later delivery, each step alone, against plain Python."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.core.errors import ConfigError, DataError
from dolma.core.step import Step
from dolma.dedup.increment import BANDS, ID, MATCH, SHARED, TEXT, choose_match, index_bands, match_bands, verify_matches
from dolma.engines import groups
from dolma.kernels.jaccard import jaccards
from tests.built import dataset
from tests.dedup.groups import documents

SMALL = {"shingle": 2, "bands": 3, "rows": 2, "seed": 1}


def grouped(step: Step, rows: list[dict], schema: dict[str, pa.DataType], *, size: int = 1 << 20, cap: int = 1 << 20, **params: Any) -> list[dict]:
    """What a group step without `rows` makes of rows in any order."""
    ordered = pa.Table.from_pylist(rows, schema=pa.schema(list(schema.items()))).sort_by([(name, "ascending") for name in (*step.key, *step.order)])
    chunks = groups.whole_groups(ordered.to_batches(max_chunksize=size), step.key, cap, step.splittable, step.name)
    return [row for chunk, starts, cont in chunks for row in step.fn(chunk, starts, cont=cont, **params).to_pylist()]


def index(texts: list[str | None], keys: list[int], delivery: int, every: bool = True) -> list[dict]:
    assert index_bands.rows is not None
    rows = index_bands.rows(documents(texts, keys), delivery=delivery, **SMALL).to_pylist()
    return grouped(index_bands, rows, BANDS, every=every)


def test_an_index_has_every_band_text_and_id_of_a_document() -> None:
    rows = index(["a b c", "", None], [10, 20, 30], 4)
    assert sorted(row["band"] for row in rows if row["key"] == 10) == [ID, TEXT, 0, 1, 2]
    assert sorted((row["key"], row["band"]) for row in rows if row["key"] > 10) == [(20, ID), (20, TEXT), (30, ID), (30, TEXT)]
    assert {row["delivery"] for row in rows} == {4} and [row["band_key"] for row in rows] == sorted(row["band_key"] for row in rows)
    assert [row["band_key"] for row in rows if row["band"] == ID] == [10, 20, 30]


def test_the_index_of_a_corpus_keeps_the_smallest_key_of_a_band() -> None:
    rows = index(["a b c", "A b, c", "a b c"], [30, 20, 10], 0, every=False)
    assert sorted((row["band"], row["key"]) for row in rows) == [(ID, 10), (ID, 20), (ID, 30), (TEXT, 10), (TEXT, 20), (0, 10), (1, 10), (2, 10)]


@pytest.mark.parametrize("every", [False, True])
def test_a_giant_band_in_chunks_gives_the_index_of_one_that_arrives_whole(monkeypatch: pytest.MonkeyPatch, every: bool) -> None:
    assert index_bands.rows is not None
    rows = index_bands.rows(documents(["same text here"] * 60 + ["another text there"] * 4), delivery=0, **SMALL).to_pylist()
    whole = grouped(index_bands, rows, BANDS, every=every)
    assert len(whole) == (64 * 5 if every else 64 + 2 * 4)
    monkeypatch.setattr(groups, "CHUNK_ROWS", 10)
    assert grouped(index_bands, rows, BANDS, every=every, size=7, cap=20) == whole


def test_a_giant_band_in_chunks_gives_the_matches_of_one_that_arrives_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = index(["same text here"] * 5, list(range(5)), 0) + index(["same text here"] * 60, list(range(100, 160)), 1)
    whole = grouped(match_bands, rows, BANDS, delivery=1)
    assert len(whole) == 60 * 4 and {row["match_key"] for row in whole} == {0}
    monkeypatch.setattr(groups, "CHUNK_ROWS", 10)
    assert grouped(match_bands, rows, BANDS, delivery=1, size=7, cap=20) == whole


TEXTS = st.lists(st.sampled_from(["", "…", "a b c d", "A b c d!", "a b c e", "a b x y", "p q r s t", "one"]), max_size=8)


@settings(max_examples=80)
@given(TEXTS, TEXTS, st.randoms(use_true_random=False))
def test_matches_are_what_comparing_all_with_all_gives(old: list[str], new: list[str], random) -> None:
    keys = random.sample(range(1000), len(old) + len(new))
    old_keys, new_keys = keys[: len(old)], keys[len(old) :]
    one, other = index(old, old_keys, 0, every=False), index(new, new_keys, 1)
    expected: dict[int, tuple] = {}
    first: dict[int, int] = {}
    for row in one:
        first[row["band_key"]] = min(first.get(row["band_key"], row["key"]), row["key"])
    for key in new_keys:
        met: dict[int, list[int]] = {}
        for row in other:
            if row["key"] == key and row["band_key"] in first:
                met.setdefault(first[row["band_key"]], []).append(row["band"])
        found = [(TEXT not in bands, -sum(b >= 0 for b in bands), ID not in bands, match) for match, bands in met.items()]
        if found:
            text, count, same, match = min(found)
            expected[key] = (match, -count, not text, not same)
    mixed = random.sample(one + other, len(one) + len(other))
    made = grouped(choose_match, grouped(match_bands, mixed, BANDS, delivery=1), SHARED)
    assert {row["key"]: tuple(row[name] for name in list(MATCH)[2:]) for row in made} == expected
    assert all(row["origin"] == new_keys.index(row["key"]) for row in made)


def test_earlier_deliveries_go_before_smaller_keys_and_later_ones_do_not_count() -> None:
    rows = index(["a b c"], [50], 0) + index(["a b c"], [7], 1) + index(["a b c"], [60], 2) + index(["a b c"], [3], 3)
    assert {(row["key"], row["match_key"]) for row in grouped(match_bands, rows, BANDS, delivery=2)} == {(60, 50)}
    assert grouped(match_bands, rows, BANDS, delivery=0) == []


@pytest.mark.parametrize("name", ["shingle", "bands", "rows"])
def test_a_signature_of_nothing_is_refused(name: str) -> None:
    assert index_bands.rows is not None
    with pytest.raises(ConfigError, match=name):
        index_bands.rows(documents(["a b c"]), delivery=0, **{**SMALL, name: 0})


def verified(folder: Path, rows: list[dict], new: list[str | None], old: list[str | None], **params: int) -> list[dict]:
    """Documents n0, n1, ... (keys from 100) against o0, o1, ... (keys from 0); the corpus stands in the shard after theirs."""
    dataset(folder, "matches", pa.Table.from_pylist(rows, schema=pa.schema(list(MATCH.items()))), kind="tag")
    path = str(folder / "matches")
    ids = [f"n{k}" for k in range(len(new))] + [f"o{k}" for k in range(len(old))]
    places = [*range(len(new)), *((1 << 32) + k for k in range(len(old)))]
    columns = {"id": ids, "key": [*(100 + k for k in range(len(new))), *range(len(old))], "origin": places, "text": [*new, *old]}
    kinds = pa.schema({"id": pa.string(), "key": pa.int64(), "origin": pa.int64(), "text": pa.large_string()})
    assert verify_matches.rows is not None
    taken = verify_matches.rows(pa.RecordBatch.from_pydict(columns, schema=kinds), matches=path)
    return grouped(verify_matches, taken.to_pylist(), dict(zip(taken.schema.names, taken.schema.types, strict=True)), matches=path, **params)


def match(row: int, of: int, text: bool = False) -> dict:
    return {"origin": row, "key": 100 + row, "match_key": of, "bands": 3, "same_text": text, "same_id": False}


def test_matches_are_measured_by_shingle_sets_and_named(tmp_path: Path) -> None:
    rows = [match(0, 1), match(1, 1, text=True), match(2, 0), match(3, 2)]
    made = verified(tmp_path, rows, ["a b c d", "a b c x", "q r s", "…"], ["q r t", "a b c x", "!", "not met"], shingle=2)
    got = {row["key"]: (row["match_id"], row["same_text"], row["jaccard"], row["bands"]) for row in made}
    assert got == {100: ("o1", False, 0.5, 3), 101: ("o1", True, 1.0, 3), 102: ("o0", False, pytest.approx(1 / 3), 3), 103: ("o2", False, None, 3)}
    assert [row["origin"] for row in sorted(made, key=lambda row: row["key"])] == [0, 1, 2, 3]


def test_a_document_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'n0' comes without the one of the corpus"):
        verified(tmp_path, [match(0, 9)], ["a b"], ["a b"])
    with pytest.raises(DataError, match=r"'o0' comes without the new one"):
        verified(tmp_path / "other", [match(5, 0)], ["a b"], ["a b"])


def test_no_matches_give_no_rows(tmp_path: Path) -> None:
    assert verified(tmp_path, [], ["a b"], ["a b"]) == []


def shingles(text: str, size: int) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[k : k + size]) for k in range(max(1, len(words) - size + 1))} if words else set()


@given(st.lists(st.text("ab ", max_size=40), min_size=2, max_size=6), st.integers(1, 4))
def test_jaccard_is_that_of_python_sets(texts: list[str], size: int) -> None:
    pairs = [(i, j) for i in range(len(texts)) for j in range(len(texts))]
    left, right = np.array(pairs).T
    sets = [shingles(text, size) for text in texts]
    expected = [len(sets[i] & sets[j]) / max(1, len(sets[i] | sets[j])) for i, j in pairs]
    assert jaccards(pa.array(texts, pa.large_string()), left, right, shingle=size) == pytest.approx(expected)
