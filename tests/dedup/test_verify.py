"""Pairs confirmed by their true Jaccard, against Python sets."""

from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.core.errors import ConfigError, DataError
from dolma.dedup.verify import verify_pairs
from dolma.engines import shuffle
from dolma.kernels.jaccard import jaccards
from dolma.kernels.unionfind import components
from dolma.kernels.words import words
from tests.dedup.groups import documents, marks

WORDS = st.lists(st.sampled_from("a b c D é 中文 :-) don't".split()), max_size=14).map(" ".join)


def shingles(text: str, size: int) -> set[tuple[str, ...]]:
    found = [word.lower() for word in words(text)]
    return {tuple(found[k : k + size]) for k in range(max(len(found) - size, 0) + 1)} if found else set()


def jaccard(a: str, b: str, size: int) -> float:
    one, other = shingles(a, size), shingles(b, size)
    return len(one & other) / len(one | other) if one | other else 0.0


def joined(nodes: int, pairs: list[tuple[int, int]]) -> list[int]:
    ends = np.array(pairs, np.int64).reshape(-1, 2)
    return components(nodes, ends[:, 0].copy(), ends[:, 1].copy()).tolist()


@settings(max_examples=100, deadline=None)
@given(st.lists(WORDS, min_size=2, max_size=9), st.integers(1, 4), st.floats(0.1, 1), st.integers(1, 3))
def test_what_is_joined_is_what_pairs_of_enough_similarity_join(texts: list[str], size: int, threshold: float, groups: int) -> None:
    cluster = pa.array([n % groups for n in range(len(texts))], pa.int64())
    batch = documents(list(texts)).append_column("cluster", cluster)
    made = [(row["key_a"], row["key_b"]) for row in marks(verify_pairs, batch, shingle=size, threshold=threshold)]
    pairs = [(a, b) for a, b in combinations(range(len(texts)), 2) if a % groups == b % groups and jaccard(texts[a], texts[b], size) >= np.float32(threshold)]
    assert joined(len(texts), made) == joined(len(texts), pairs)
    assert set(made) <= set(pairs) and len(made) < len(texts)


@settings(max_examples=100, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=8), st.integers(1, 4))
def test_similarities_equal_those_of_sets(texts: list[str], size: int) -> None:
    left, right = np.divmod(np.arange(len(texts) ** 2), len(texts))
    got = jaccards(pa.array(texts, pa.large_string()), left, right, shingle=size)
    assert got.tolist() == pytest.approx([jaccard(texts[a], texts[b], size) for a, b in zip(left, right, strict=True)], abs=1e-7)


def test_a_chain_of_bands_is_cut_where_its_ends_are_unlike() -> None:
    base = [f"w{n}" for n in range(100)]
    texts = [" ".join(["x"] * k + base[k:]) for k in (0, 4, 8, 60)]
    batch = documents(list(texts)).append_column("cluster", pa.array([7] * 4, pa.int64()))
    made = {(row["key_a"], row["key_b"]) for row in marks(verify_pairs, batch)}
    assert made == {(0, 1), (0, 2)}  # 1 and 2 are joined by 0 already; 3 is not .8 of any


def test_a_cluster_over_the_cap_is_refused_with_the_mend(monkeypatch) -> None:
    monkeypatch.setattr(shuffle, "CHUNK_ROWS", 10)
    batch = documents(["same"] * 30).append_column("cluster", pa.array([1] * 30, pa.int64()))
    with pytest.raises(DataError, match="one group has more rows than this step can take"):
        marks(verify_pairs, batch, size=5, cap=20)


@pytest.mark.parametrize("given", [{"threshold": 0.0}, {"threshold": 1.5}, {"threshold": float("nan")}, {"shingle": 0}])
def test_what_is_no_similarity_is_refused(given: dict) -> None:
    batch = documents(["a", "b"]).append_column("cluster", pa.array([1, 1], pa.int64()))
    with pytest.raises(ConfigError, match="what is similar"):
        marks(verify_pairs, batch, **given)
