"""True Jaccard similarity against Python sets; the pairs that connect a group."""

import itertools

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from dolma.kernels.jaccard import jaccards, joins
from dolma.kernels.minhash import shingle_sets
from dolma.kernels.words import words

TEXTS = st.lists(st.lists(st.sampled_from(["a", "b", "c", "d", "É", "中文", "…"]), max_size=12).map(" ".join), min_size=1, max_size=10)


def shingles(text: str, size: int) -> set[tuple[str, ...]]:
    found = [word.lower() for word in words(text)]
    size = min(size, len(found))
    return {tuple(found[k : k + size]) for k in range(len(found) - size + 1)} if found else set()


def jaccard(one: set, other: set) -> float:
    return len(one & other) / len(one | other) if one | other else 0.0


def connected(rows: list[int], pairs: set[tuple[int, int]]) -> set[frozenset[int]]:
    parts = {row: frozenset([row]) for row in rows}
    for a, b in pairs:
        for row in (joined := parts[a] | parts[b]):
            parts[row] = joined
    return set(parts.values())


@given(TEXTS, st.integers(1, 4))
def test_similarity_is_that_of_python_sets(texts: list[str], size: int) -> None:
    sets = [shingles(text, size) for text in texts]
    pairs = list(itertools.product(range(len(texts)), repeat=2))
    left, right = np.array(pairs).T
    made = jaccards(pa.array(texts, pa.large_string()), left, right, shingle=size)
    assert made.tolist() == [np.float32(jaccard(sets[a], sets[b])) for a, b in pairs]
    _, borders = shingle_sets(pa.array(texts), shingle=size)
    assert np.diff(borders).tolist() == [len(one) for one in sets]


@given(st.lists(TEXTS, min_size=1, max_size=3), st.integers(1, 3), st.sampled_from([0.2, 1 / 3, 0.5, 0.57, 0.8, 1.0]))
def test_joins_connect_what_all_pairs_at_the_threshold_connect(groups: list[list[str]], size: int, threshold: float) -> None:
    texts = [text for group in groups for text in group]
    starts = np.cumsum([0, *map(len, groups)])
    sets = [shingles(text, size) for text in texts]
    inside = [pair for a, b in itertools.pairwise(starts.tolist()) for pair in itertools.combinations(range(a, b), 2)]
    right = {(a, b) for a, b in inside if sets[a] and jaccard(sets[a], sets[b]) >= threshold}
    made = list(zip(*(side.tolist() for side in joins(pa.array(texts), starts[:-1], shingle=size, threshold=threshold)), strict=True))
    rows = list(range(len(texts)))
    assert made == sorted(made) and set(made) <= right
    assert connected(rows, set(made)) == connected(rows, right)
    assert len(made) == len(rows) - len(connected(rows, right))


def test_texts_without_words_are_like_nothing() -> None:
    texts = pa.array(["", None, "…", "a"])
    assert jaccards(texts, np.array([0, 0, 3]), np.array([1, 2, 0]), shingle=3).tolist() == [0, 0, 0]
    assert [len(side) for side in joins(texts, np.array([0]), shingle=3, threshold=0.0)] == [0, 0]
