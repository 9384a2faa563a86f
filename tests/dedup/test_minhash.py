"""Near duplicates: edges, clusters and survivors; the planted pairs of the kit."""

import gzip
import json
import unicodedata
from collections import Counter
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.core.errors import ConfigError, DataError
from dolma.core.schema import TABLES, append
from dolma.dedup.clusters import cluster_edges
from dolma.dedup.minhash import mark_minhash
from dolma.engines import groups
from dolma.kernels.minhash import shingle_sets
from tests.dedup.groups import documents, marks

BASE = "the people of the town come to the market early in the morning and that is what they do with joy every single day of the week".split()
TEXTS = st.lists(
    st.one_of(
        st.sampled_from(["", "😀 …", "one", "One!", "one two", "中文没有空格", "中文 没有 空格", "नमस्ते दुनिया"]),
        st.builds(lambda k, word: " ".join([*BASE[:k], word, *BASE[k:]]), st.integers(0, len(BASE)), st.sampled_from(["", "new", "old"])),
    ),
    max_size=14,
)


def edges(batch: pa.RecordBatch, **params: Any) -> set[tuple[int, int]]:
    return {(row["key_a"], row["key_b"]) for row in marks(mark_minhash, batch, **params)}


def clusters(batch: pa.RecordBatch, **params: Any) -> dict[int, int]:
    """Key of each clustered document to the key of the one that is kept."""
    rows = pa.Table.from_pylist(marks(mark_minhash, batch, **params), schema=pa.schema(list(TABLES["edge"].items())))
    made = pa.concat_tables(table for _, table in cluster_edges(iter(rows.to_batches()), folder=Path())).to_pydict()
    return dict(zip(made["key"], made["cluster"], strict=True))


@settings(max_examples=60, deadline=None)
@given(TEXTS, st.randoms(use_true_random=False))
def test_the_same_survivors_whichever_order_the_rows_come_in(texts: list[str], random) -> None:
    keys = random.sample(range(1 << 40), len(texts))
    mixed = random.sample(list(zip(texts, keys, strict=True)), len(texts))
    made = clusters(documents(texts, keys))
    assert clusters(documents([text for text, _ in mixed], [key for _, key in mixed])) == made
    assert all(first <= key and made[first] == first for key, first in made.items())


@settings(max_examples=60, deadline=None)
@given(TEXTS)
def test_equal_texts_with_words_are_in_one_cluster_and_texts_without_words_in_none(texts: list[str]) -> None:
    made = clusters(documents(texts))
    for key, text in enumerate(texts):
        if text in ("", "😀 …"):
            assert key not in made
        elif text in texts[:key]:
            assert made[key] == made[texts.index(text)]


def test_each_band_is_a_star_around_its_smallest_key() -> None:
    rows = marks(mark_minhash, documents(["a b c", "A, b. C", "a b c!", "x y z"], keys=[30, 10, 20, 5]), bands=4, rows=2)
    assert len(rows) == 4 * 2  # two members in each of four bands
    assert {tuple(row.values()) for row in rows} == {(1, 10, 0, 30), (1, 10, 2, 20)}


def test_texts_shorter_than_a_shingle_meet_only_if_all_their_words_are_equal() -> None:
    assert edges(documents(["one", "ONE.", "one two", "two one", "one one", "one two"])) == {(0, 1), (2, 5)}


def test_texts_with_one_more_word_meet_and_unlike_texts_do_not() -> None:
    text = " ".join(f"word{k}" for k in range(300))
    assert clusters(documents([f"{text} end", text, text[: len(text) // 2], text.upper()])) == {0: 0, 1: 0, 3: 0}


def test_a_giant_band_in_chunks_gives_the_edges_of_one_that_arrives_whole(monkeypatch) -> None:
    batch = documents(["same text here"] * 60 + ["another text there"] * 4)
    expected = edges(batch, bands=3, rows=2)
    assert len(expected) == 59 + 3
    monkeypatch.setattr(groups, "CHUNK_ROWS", 10)
    assert edges(batch, bands=3, rows=2, size=7, cap=20) == expected


def test_no_rows_give_no_edges() -> None:
    assert edges(documents([])) == set() and edges(documents(["", None])) == set()


@pytest.mark.parametrize("name", ["shingle", "bands", "rows"])
@pytest.mark.parametrize("value", [0, -3])
def test_a_signature_of_nothing_is_refused_by_its_field(name: str, value: int) -> None:
    with pytest.raises(ConfigError, match=f"mark_minhash: {name}.*\n.*got {value}"):
        edges(documents(["a b c"]), **{name: value})


@pytest.mark.parametrize(("preset", "bands", "rows"), [("olmo3", 26, 11), ("fineweb", 14, 8), ("olmo3_strict", 200, 31), (None, 26, 11)])
def test_a_preset_is_its_bands_and_rows(preset: str | None, bands: int, rows: int) -> None:
    assert mark_minhash.rows is not None
    batch = documents(["one two three four five six", "", "seven"])
    made = mark_minhash.rows(batch, preset=preset)
    assert made.num_rows == 2 * bands and made == mark_minhash.rows(batch, bands=bands, rows=rows)


@pytest.mark.parametrize("given", [{"bands": 26}, {"rows": 11}, {"bands": 26, "rows": 11}])
def test_a_preset_beside_bands_or_rows_is_refused_by_their_names(given: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=f"mark_minhash: preset, {', '.join(given)}: "):
        edges(documents(["a b c"]), preset="olmo3", **given)


def test_needs_follow_the_parameters() -> None:
    needs = {name: mark_minhash.needs(mark_minhash.params(**given)) for name, given in {"text": {}, "ids": {"tokens": "ids", "within": "cluster"}}.items()}
    assert needs == {"text": ("key", "text"), "ids": ("key", "ids", "cluster")}


def column(batch: pa.RecordBatch, name: str, values: list, kind: pa.DataType) -> pa.RecordBatch:
    return append(batch, {name: pa.array(values, kind)})


@pytest.mark.parametrize("kind", [pa.list_(pa.uint32()), pa.large_list(pa.uint32())])
def test_token_ids_are_shingled_in_place_of_words(kind: pa.DataType) -> None:
    long = list(range(100, 400))
    ids = [long, [*long, 7], long[::-1], [], None, [5], [5], [5, 6]]
    batch = column(documents(["same words"] * len(ids)), "ids", ids, kind)
    assert edges(batch, tokens="ids") == {(0, 1), (5, 6)}
    assert edges(batch.select(["origin", "key", "ids"]), tokens="ids") == {(0, 1), (5, 6)}


def test_only_rows_of_one_value_meet_within_a_column() -> None:
    values = [3, -3, 3, 1 << 40, -3, 0]
    assert edges(column(documents(["a b c"] * 6), "cluster", values, pa.int64()), within="cluster", bands=2, rows=2) == {(0, 2), (1, 4)}


def test_columns_of_another_type_are_refused_before_a_row_is_read_and_nulls_when_they_come() -> None:
    empty = documents([])
    for kind in (pa.list_(pa.int64()), pa.string()):
        with pytest.raises(ConfigError, match="mark_minhash: tokens"):
            edges(column(empty, "ids", [], kind), tokens="ids")
    with pytest.raises(ConfigError, match="mark_minhash: within"):
        edges(column(empty, "cluster", [], pa.int32()), within="cluster")
    with pytest.raises(DataError, match=r"mark_minhash: cluster.*\n.*got 1 nulls"):
        edges(column(documents(["a", "b"]), "cluster", [1, None], pa.int64()), within="cluster")


def test_what_two_texts_have_in_common_is_decided_by_the_word_rule() -> None:
    pairs = {
        "case, punctuation and white space": ("The cat, the dog; and ONE more.", "the  cat\nthe dog and one more", True),
        "emoji between words": ("we went 😀 home 🎉", "we went home", True),
        "emoji only": ("😀😀😀", "😀😀😀", False),
        "a run of Chinese is one word": ("今天天气很好", "今天天气很好！", True),
        "and another run another word": ("今天天气很好", "今天天气真好", False),
        "Arabic with a direction mark": ("\u200fمرحبا بالعالم", "مرحبا بالعالم", True),
        "Hebrew in another order of words": ("שלום עולם", "עולם שלום", False),
        "NFC and NFD": (unicodedata.normalize("NFC", "déjà vu à Orléans"), unicodedata.normalize("NFD", "déjà vu à Orléans"), False),
    }
    for what, (one, other, meet) in pairs.items():
        assert bool(edges(documents([one, other]))) == meet, what


@pytest.mark.parametrize(("preset", "bands", "rows", "most"), [("fineweb", 14, 8, 0.13), ("olmo3", 26, 11, 0.09), ("olmo3_strict", 200, 31, 0.045)])
def test_hits_of_mutated_pairs_follow_the_formula_by_jaccard(preset: str, bands: int, rows: int, most: float) -> None:
    rng = np.random.default_rng(11)
    count, length, shingle = 3000, 100, 5
    ids = rng.integers(0, 1 << 32, (count, length), np.uint32)
    mutated = np.where(rng.random((count, length)) < rng.uniform(0, most, (count, 1)), rng.integers(0, 1 << 32, (count, length), np.uint32), ids)
    runs = np.lib.stride_tricks.sliding_window_view
    same = (runs(ids, shingle, axis=1) == runs(mutated, shingle, axis=1)).all(-1).sum(1)  # of random 32-bit ids no shingle comes twice
    jaccard = same / (2 * (length - shingle + 1) - same)
    both = np.stack([ids, mutated], axis=1).reshape(2 * count, length)
    batch = column(documents([None] * 2 * count), "ids", list(both), pa.list_(pa.uint32()))
    assert mark_minhash.rows is not None
    keys = mark_minhash.rows(batch, preset=preset, tokens="ids").column("band_key").to_numpy().reshape(count, 2, bands)
    hits = (keys[:, 0] == keys[:, 1]).any(1)
    chance = 1 - (1 - jaccard**rows) ** bands
    bins = np.digitize(jaccard, np.linspace(0.3, 1, 15))
    for k in np.unique(bins):
        mine = bins == k
        spread = np.sqrt((chance[mine] * (1 - chance[mine])).sum())
        assert abs(hits[mine].sum() - chance[mine].sum()) <= 4 * spread + 1, (jaccard[mine].mean(), hits[mine].mean(), chance[mine].mean())
    steep = (chance > 0.1) & (chance < 0.9)
    assert steep.sum() > 300  # the pairs cover the slope of the curve, not its ends alone


Pages = tuple[list[str], list[tuple[str, int, int]]]


@pytest.fixture(scope="module")
def pages(kit: Path) -> Pages:
    """Texts of all pages of the kit's two crawls, extracted, and (role, row, row of the page it was made from) of its planted duplicates with text."""
    from dolma.extract.html import extract_html
    from dolma.io.warc import warc

    def read(name: str) -> list[dict]:
        with gzip.open(kit / "web" / name, "rt", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]

    ids, texts = [], []
    for path in sorted((kit / "web").glob("crawl-*.warc.gz")):
        for batch in warc(str(path), file=path.name):
            made = extract_html(batch)
            ids += made.column("id").to_pylist()
            texts += made.column("text").to_pylist()
    record = {row["id"]: row["warc_record_id"] for row in read("pages_gold.jsonl.gz")}
    row_of = {f"<urn:uuid:{name}>": row for row, name in enumerate(ids)}
    planted = [(row["role"], row_of[row["warc_record_id"]], row_of[record[row["of"]]]) for row in read("duplicates_gold.jsonl.gz")]
    return texts, [(role, one, other) for role, one, other in planted if texts[one] and texts[other]]


def found(pages: Pages, **params: Any) -> tuple[Counter, set[float], list[tuple[int, int]]]:
    """Planted pairs found by role, true Jaccard of those missed, and pairs of the clusters that are neither of Jaccard .8 or more nor of one planted family."""
    texts, planted = pages
    flat, borders = shingle_sets(pa.array(texts, pa.large_string()), shingle=5)
    sets = [set(flat[begin:end].tolist()) for begin, end in pairwise(borders.tolist())]

    def jaccard(one: int, other: int) -> float:
        return len(sets[one] & sets[other]) / len(sets[one] | sets[other])

    family = {one: other for _, one, other in planted}
    made = clusters(documents(texts), **params)
    members: dict[int, list[int]] = {}
    for row, first in made.items():
        members.setdefault(first, []).append(row)
    joined = [pair for rows in members.values() for pair in combinations(rows, 2)]
    wrong = [(one, other) for one, other in joined if family.get(one, one) != family.get(other, other) and jaccard(one, other) < 0.8]
    hit = [one in made and made[one] == made.get(other) for _, one, other in planted]
    missed = {round(jaccard(one, other), 3) for (_, one, other), there in zip(planted, hit, strict=True) if not there}
    return Counter(role for (role, *_), there in zip(planted, hit, strict=True) if there), missed, wrong


@pytest.mark.kit
@pytest.mark.slow
def test_the_published_bands_find_every_planted_pair_of_the_kit_above_their_aim_and_join_no_others(pages: Pages) -> None:
    hits, missed, wrong = found(pages, preset="olmo3")
    assert wrong == [] and hits["exact_duplicate"] == 48 and hits["recrawl_same_url"] == 50
    assert hits["near_duplicate"] >= 47 and all(jaccard < 0.8 for jaccard in missed)  # two of the 49 are below it: .755 and .769


@pytest.mark.kit
@pytest.mark.slow
@pytest.mark.parametrize(("bands", "rows"), [(26, 9), (30, 8)])
def test_wider_bands_find_all_planted_pairs_of_the_kit_and_join_no_others(pages: Pages, bands: int, rows: int) -> None:
    hits, missed, wrong = found(pages, bands=bands, rows=rows)  # chance of missing the pair of .755: 26 x 9 .11, 30 x 8 .035
    assert (hits, missed, wrong) == ({"exact_duplicate": 48, "near_duplicate": 49, "recrawl_same_url": 50}, set(), [])
