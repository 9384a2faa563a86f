"""The kept document of a cluster, and each other one's similarity and band to it; the newest wins; the planted duplicates of the kit."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.core.errors import ConfigError
from dolma.dedup import verify
from dolma.dedup.exact import mark_exact
from dolma.dedup.near import TAG, mark_near
from dolma.engines import shuffle
from dolma.kernels.jaccard import jaccards
from dolma.kernels.minhash import band_keys
from dolma.table import set as set_columns
from tests.dedup.groups import documents, marks

WORDS = [f"word{k}" for k in range(60)]
AGE = {"age": "-epoch_us(TRY_CAST(date AS TIMESTAMP))"}  # as in pool/exact and pool/near


def clustered(
    texts: list[str | None], clusters: list[int], keys: list[int] | None = None, ages: list[int | None] | None = None, sizes: list[int] | None = None
) -> pa.RecordBatch:
    counts = sizes or [clusters.count(one) for one in clusters]
    batch = documents(texts, keys).append_column("cluster", pa.array(clusters, pa.int64())).append_column("cluster_size", pa.array(counts, pa.int32()))
    return batch.append_column("age", pa.array(ages or [None] * len(texts), pa.int64()))


def near(batch: pa.RecordBatch, **params: object) -> dict[int, dict]:
    return {row["key"]: row for row in marks(mark_near, batch, **params)}  # type: ignore[arg-type]


@settings(max_examples=40)
@given(st.integers(0, 14), st.randoms(use_true_random=False), st.booleans())
def test_the_kept_its_similarities_and_bands_do_not_hang_on_the_order_of_rows(count: int, random, preferred: bool) -> None:
    texts = [" ".join(random.sample(WORDS[:8], random.randint(0, 8))) for _ in range(count)]
    keys, clusters = random.sample(range(1 << 40), count), [random.choice([1, 5]) for _ in range(count)]
    ages = [random.choice([None, 1, 2]) for _ in range(count)]
    params = {"bands": 4, "rows": 2, **({"prefer": "age"} if preferred else {})}
    made = near(clustered(texts, clusters, keys, ages), **params)
    assert sorted(made) == sorted(keys)
    age = [(value is None, value or 0) if preferred else (False, 0) for value in ages]
    kept = {one: min((age[k], keys[k], k) for k in range(count) if clusters[k] == one)[2] for one in set(clusters)}
    bands, counts = band_keys(pa.array(texts, pa.string()), shingle=5, bands=4, rows=2, seed=1)
    for k, first in ((k, kept[clusters[k]]) for k in range(count)):
        row = made[keys[k]]
        shared = [band for band in range(4) if bands[k, band] == bands[first, band] and counts[k] and counts[first]]
        true = jaccards(pa.array(texts), np.array([k]), np.array([first]), shingle=3)[0]
        expected = (None, None, None) if k == first else (keys[first], true, shared[0] if shared else None)
        assert (row["origin"], row["cluster"], row["cluster_size"]) == (k, clusters[k], clusters.count(clusters[k]))
        assert (row["near_of"], row["jaccard"], row["band"]) == expected
    order = random.sample(range(count), count)
    mixed = clustered([texts[k] for k in order], [clusters[k] for k in order], [keys[k] for k in order], [ages[k] for k in order])
    again = near(mixed, **params)
    assert {key: {**row, "origin": 0} for key, row in again.items()} == {key: {**row, "origin": 0} for key, row in made.items()}


def test_a_giant_cluster_in_chunks_gives_the_marks_of_one_that_arrives_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [" ".join([*WORDS[:k], "new", *WORDS[k:]]) for k in range(60)]
    batch = clustered([*texts, "other text", "other text"], [4] * 60 + [9] * 2, ages=[-(k % 7) for k in range(62)])
    expected = near(batch, prefer="age")
    assert len(expected) == 62 and sum(row["near_of"] is None for row in expected.values()) == 2
    monkeypatch.setattr(shuffle, "CHUNK_ROWS", 10)
    monkeypatch.setattr(verify, "PART_BYTES", 900)
    rows = marks(mark_near, batch, size=7, cap=20, prefer="age")
    assert len(rows) == 62 and {row["key"]: row for row in rows} == expected


def test_documents_with_one_key_do_not_break_it() -> None:
    rows = marks(mark_near, clustered(["a b c", "a b c"], [3, 3], [3, 3]))
    assert [(row["origin"], row["near_of"], row["jaccard"], row["band"]) for row in rows] == [(0, None, None, None), (1, 3, 1.0, 0)]


def test_ends_of_a_chain_have_their_true_similarity_and_no_band() -> None:
    made = near(clustered([" ".join(WORDS[k : k + 30]) for k in (0, 15, 30)], [1] * 3))
    assert (made[1]["jaccard"], made[1]["band"]) == (pytest.approx(13 / 43), None)
    assert (made[2]["jaccard"], made[2]["band"]) == (0.0, None)


def test_no_rows_give_no_marks() -> None:
    assert mark_near.rows is not None
    made = mark_near(mark_near.rows(clustered([], [])), np.zeros(0, np.int64), cont=False)
    assert (made.num_rows, made.schema) == (0, pa.schema(list(TAG.items())))


def test_a_preference_that_is_no_int64_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"mark_near: prefer.*`text`"):
        near(clustered(["a"], [1]), prefer="text")


@pytest.mark.parametrize("name", ["compare", "shingle", "bands", "rows"])
def test_a_signature_of_nothing_is_refused_by_its_field(name: str) -> None:
    with pytest.raises(ConfigError, match=f"mark_near: {name}.*\n.*got 0"):
        near(clustered(["a b c"], [1]), **{name: 0})


def test_the_newest_wins_and_a_document_without_a_date_loses() -> None:
    dates = ["2024-12-31T23:59:59Z", None, "2025-01-02T00:00:00Z", "2025-01-02T00:00:01Z", "no date"]
    batch = clustered(["a b c d"] * 5, [1] * 5, keys=[1, 2, 3, 4, 5]).drop_columns("age").append_column("date", pa.array(dates, pa.string()))
    batch = set_columns(batch, columns=AGE)
    assert {key: row["near_of"] for key, row in near(batch, prefer="age").items()} == {1: 4, 2: 4, 3: 4, 4: None, 5: 4}
    assert {row["key"]: row["exact_of"] for row in marks(mark_exact, batch, prefer="age")} == {1: 4, 2: 4, 3: 4, 5: 4}
