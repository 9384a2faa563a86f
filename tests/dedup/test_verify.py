"""Verified edges: what they connect is what all pairs of a cluster with a true Jaccard similarity at the threshold connect, by Python sets."""

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.core.errors import ConfigError, DataError
from dolma.core.schema import TABLES
from dolma.dedup import verify
from dolma.dedup.verify import MOST, verify_pairs
from dolma.engines import groups
from dolma.engines.groups import whole_groups
from tests.dedup.groups import documents, marks

TEXTS = st.lists(st.lists(st.sampled_from("abcd"), max_size=9).map(" ".join), max_size=12)


def clustered(texts: list[str | None], clusters: list[int], keys: list[int] | None = None) -> pa.RecordBatch:
    return documents(texts, keys).append_column("cluster", pa.array(clusters, pa.int64()))


def edges(batch: pa.RecordBatch, size: int = 1 << 20, **params: float) -> set[tuple[int, int]]:
    return {(row["key_a"], row["key_b"]) for row in marks(verify_pairs, batch, size=size, cap=MOST + 1, **params)}


def parts(pairs: set[tuple[int, int]]) -> set[frozenset[int]]:
    sets = {key: frozenset([key]) for pair in pairs for key in pair}
    for a, b in pairs:
        for key in (joined := sets[a] | sets[b]):
            sets[key] = joined
    return set(sets.values())


def plain(texts: list[str], clusters: list[int], keys: list[int], threshold: float) -> set[tuple[int, int]]:
    """All pairs of one cluster whose sets of 3-grams are alike."""

    def shingles(text: str) -> set[tuple[str, ...]]:
        found = text.split()
        return {tuple(found[k : k + 3]) for k in range(max(len(found) - 2, 1))} if found else set()

    sets = [shingles(text) for text in texts]
    pairs = [(a, b) for a, b in itertools.combinations(range(len(texts)), 2) if clusters[a] == clusters[b] and sets[a] and sets[b]]
    return {tuple(sorted((keys[a], keys[b]))) for a, b in pairs if len(sets[a] & sets[b]) / len(sets[a] | sets[b]) >= threshold}  # type: ignore[misc]


@settings(max_examples=60)
@given(TEXTS, st.randoms(use_true_random=False), st.sampled_from([0.2, 0.5, 0.8, 1.0]))
def test_edges_connect_what_python_sets_connect_whatever_the_order_of_rows(texts: list[str], random, threshold: float) -> None:
    keys = random.sample(range(1 << 40), len(texts))
    clusters = [random.choice([3, 70]) for _ in texts]
    right = plain(texts, clusters, keys, threshold)
    made = edges(clustered(texts, clusters, keys), threshold=threshold)
    assert made <= right and parts(made) == parts(right)
    order = random.sample(range(len(texts)), len(texts))
    mixed = clustered([texts[k] for k in order], [clusters[k] for k in order], [keys[k] for k in order])
    assert edges(mixed, threshold=threshold) == made


def test_the_size_of_batches_and_parts_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    words = [f"word{k}" for k in range(80)]
    texts = [" ".join([*words[:k], "new", *words[k:]]) for k in range(40)]
    batch = clustered(texts, [k % 7 for k in range(40)])
    made = edges(batch)
    assert len(made) == 33  # each of 7 clusters is connected
    monkeypatch.setattr(groups, "CHUNK_ROWS", 5)
    monkeypatch.setattr(verify, "PART_BYTES", 300)
    assert edges(batch, size=3) == made


def test_a_chain_stays_and_unlike_texts_part() -> None:
    words = [f"word{k}" for k in range(100)]
    chain = [" ".join(words[k : k + 60]) for k in (0, 5, 10)]  # J = 53/63 between neighbours, 48/68 between the ends
    assert edges(clustered([*chain, " ".join(words[40:])], [1] * 4)) == {(0, 1), (1, 2)}


def test_a_pair_exactly_at_the_threshold_is_joined() -> None:
    assert edges(clustered(["a b c d e f", "a b c d e f g"], [1, 1]), threshold=0.8) == {(0, 1)}  # 4 of 5 shingles


def test_documents_with_one_key_are_compared_as_others() -> None:
    rows = marks(verify_pairs, clustered(["a b c"] * 2, [1, 1], [9, 9]))
    assert rows == [{"origin_a": 0, "key_a": 9, "origin_b": 1, "key_b": 9}]


def test_499_documents_are_compared_and_500_refused_with_the_mend() -> None:
    assert len(edges(clustered(["a b c"] * MOST, [7] * MOST))) == MOST - 1
    with pytest.raises(DataError, match=r"cluster 7.*\n.*got 500 documents.*\n.*cluster_size < 500"):
        edges(clustered(["a b c"] * (MOST + 1), [7] * (MOST + 1)))


def test_no_rows_give_no_edges() -> None:
    assert verify_pairs.rows is not None
    rows = verify_pairs.rows(clustered([], []))
    assert verify_pairs(rows, np.zeros(0, np.int64), cont=False).schema == pa.schema(list(TABLES["edge"].items()))
    assert not list(whole_groups([rows], ("cluster",), 500, False, ""))


@pytest.mark.parametrize(("name", "value"), [("shingle", 0), ("threshold", 0.0), ("threshold", 1.5)])
def test_senseless_parameters_are_refused_by_their_field(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"verify_pairs: {name}.*\n.*got {value}"):
        edges(clustered(["a"], [1]), **{name: value})
