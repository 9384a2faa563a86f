"""MinHash against plain Python and against datasketch and rensa; band hits against the formula that recipes are chosen by."""

import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.core.errors import DataError
from dolma.kernels import minhash
from dolma.kernels.words import buffers, hash_word, words

M32, M64 = (1 << 32) - 1, (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
PIECES = st.sampled_from(["the ", "The ", "quick ", "brown, ", "fox. ", "\n", "中文 ", "日本語、", "😀 ", "Été ", "don't ", "3.14 ", "\u0300", "नमस्ते "])
TEXT = st.one_of(st.lists(PIECES, max_size=30).map("".join), st.text(st.characters(exclude_categories=("Cs", "Cn")), max_size=60))


def column(texts: list[str | None]) -> pa.Array:
    return pa.array(texts, pa.large_string())


def mixed(state: int) -> int:
    """splitmix64's finaliser in Python integers."""
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & M64
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB & M64
    return state ^ (state >> 31)


def plain_sets(shingles: list[list[int]]) -> tuple[list[int], list[int]]:
    """Flat sorted distinct hashes and their borders."""
    sets = [sorted(set(row)) for row in shingles]
    return [s for row in sets for s in row], np.cumsum([0, *map(len, sets)]).tolist()


def plain_runs(hashes: list[int], size: int) -> list[int]:
    width = min(size, len(hashes))
    out = []
    for start in range(len(hashes) - width + 1 if hashes else 0):
        out.append(mixed(sum(value * GOLDEN ** (width - 1 - k) for k, value in enumerate(hashes[start : start + width])) & M64))
    return out


def plain_ids(ids: list[int]) -> list[int]:
    return [mixed(number + GOLDEN & M64) for number in ids]


def plain_shingles(text: str, size: int) -> list[int]:
    return plain_runs([hash_word(word) for word in words(text)], size)


def plain_signature(shingles: list[int], count: int, seed: int) -> list[int]:
    if not shingles:
        return [M32] * count
    rounds_a, rounds_b, a, b = (values.tolist() for values in minhash.permutations(count, seed))
    slots: list[int | None] = [None] * count
    for x, y in zip(rounds_a, rounds_b, strict=True):
        fell: list[list[int]] = [[] for _ in slots]
        for shingle in shingles:
            thrown = (x * shingle + y) & M64
            fell[(thrown >> 32) * count >> 32].append(thrown & M32)
        slots = [min(values) if held is None and values else held for held, values in zip(slots, fell, strict=True)]
    whole = [min((x * (s >> 32) + y) & M32 for s in shingles) for x, y in zip(a, b, strict=True)]
    return [least if held is None else held for held, least in zip(slots, whole, strict=True)]


@settings(max_examples=150, deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=4), st.integers(1, 6), st.integers(0, 5))
def test_signatures_equal_plain_python_on_any_text(texts: list[str], shingle: int, seed: int) -> None:
    got, counts = minhash.signatures(column(texts), shingle=shingle, count=7, seed=seed)
    expected = [plain_shingles(text, shingle) for text in texts]
    assert counts.tolist() == [len(shingles) for shingles in expected]
    assert got.tolist() == [plain_signature(shingles, 7, seed) for shingles in expected]


@pytest.mark.parametrize("count", [1, 5, 286, 600])
@pytest.mark.parametrize("words", [1, 3, 40, 900])
def test_signatures_equal_plain_python_where_rounds_leave_slots_empty_and_where_not(count: int, words: int) -> None:
    text = " ".join(f"w{number}" for number in range(words))
    got, _ = minhash.signatures(column([text]), shingle=1, count=count, seed=3)
    assert got[0].tolist() == plain_signature(plain_shingles(text, 1), count, 3)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.one_of(st.none(), TEXT), min_size=1, max_size=5), st.integers(1, 4), st.integers(0, 2))
def test_shingle_sets_equal_plain_python_on_any_text(texts: list[str | None], shingle: int, skip: int) -> None:
    flat, offsets = minhash.shingle_sets(column(texts).slice(skip), shingle=shingle)
    assert flat.dtype == np.uint64 and offsets.dtype == np.int64
    assert (flat.tolist(), offsets.tolist()) == plain_sets([plain_shingles(text or "", shingle) for text in texts[skip:]])


IDS = st.one_of(st.none(), st.lists(st.sampled_from([0, 1, 2, 50_280, M32]), max_size=12))


@settings(max_examples=80, deadline=None)
@given(st.lists(IDS, min_size=1, max_size=5), st.integers(1, 4), st.integers(0, 2), st.sampled_from([pa.list_, pa.large_list]))
def test_token_lists_equal_plain_python(lists: list[list[int] | None], shingle: int, skip: int, kind) -> None:
    tokens = pa.array(lists, kind(pa.uint32())).slice(skip)
    expected = [plain_runs(plain_ids(ids or []), shingle) for ids in lists[skip:]]
    flat, offsets = minhash.shingle_sets(tokens, shingle=shingle)
    assert (flat.tolist(), offsets.tolist()) == plain_sets(expected)
    found, counts = minhash.signatures(tokens, shingle=shingle, count=5, seed=2)
    assert counts.tolist() == [len(row) for row in expected]
    assert found.tolist() == [plain_signature(row, 5, 2) for row in expected]


def test_token_lists_hide_nothing_below_a_null_and_refuse_other_types() -> None:
    values, borders = pa.array([1, 2, 3, 4, 5], pa.uint32()), pa.array([0, 2, 4, 5], pa.int32())
    hidden = pa.ListArray.from_arrays(borders, values, mask=pa.array([False, True, False]))
    flat, offsets = minhash.shingle_sets(hidden, shingle=2)
    assert offsets.tolist() == [0, 1, 1, 2] and flat.tolist() == [plain_runs(plain_ids(ids), 2)[0] for ids in ([1, 2], [5])]
    for wrong in (pa.array([[1]], pa.list_(pa.int32())), pa.array([7], pa.uint32())):
        with pytest.raises(DataError, match=re.escape(f"got {wrong.type}, expected list or large_list of uint32")):
            minhash.shingle_sets(wrong, shingle=2)
    with pytest.raises(DataError, match="token id is NULL"):
        minhash.signatures(pa.array([[1, None]], pa.list_(pa.uint32())), shingle=2, count=1, seed=1)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.none(), TEXT), min_size=1, max_size=6), st.data())
def test_a_row_does_not_depend_on_its_neighbours(texts: list[str | None], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(texts) - 1))
    keys, counts = minhash.band_keys(column(texts), shingle=3, bands=4, rows=2, seed=1)
    alone, count = minhash.band_keys(column(texts).slice(place, 1), shingle=3, bands=4, rows=2, seed=1)
    assert alone.tolist() == [keys[place].tolist()] and count.tolist() == [counts[place]]


@pytest.mark.parametrize("held", [1, 24])
def test_signatures_in_chunks_are_those_of_all_at_once(held: int, monkeypatch) -> None:
    texts = column([f"one two {k} three {k % 3} four" if k % 4 else None for k in range(11)])
    whole = minhash.band_keys(texts, shingle=2, bands=4, rows=2, seed=1)
    monkeypatch.setattr(minhash, "_SIGNED", held)  # chunks of 1 and of 3 texts
    for one, other in zip(whole, minhash.band_keys(texts, shingle=2, bands=4, rows=2, seed=1), strict=True):
        assert one.tolist() == other.tolist()


def test_a_text_shorter_than_a_shingle_is_one_shingle_and_one_without_words_has_none() -> None:
    texts = ["", None, " \n", "😀 … ?!", "one", "one two", "one two three", "one two three four", "中文没有空格"]
    _, counts = minhash.signatures(column(texts), shingle=3, count=2, seed=1)
    assert counts.tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 1]
    found, _ = minhash.signatures(column(["One, TWO!", "one two", "two one", "one"]), shingle=5, count=4, seed=1)
    assert found[0].tolist() == found[1].tolist()
    assert len({tuple(row) for row in found.tolist()}) == 3


def test_keys_are_the_same_in_every_run_and_never_negative() -> None:
    texts = ["the quick brown fox jumps over the lazy dog", "中文 and 😀", ""]
    keys, _ = minhash.band_keys(column(texts), shingle=3, bands=2, rows=3, seed=1)
    # datasets hold such keys: what changes them (numpy's generator too) is a new version of mark_minhash
    assert keys[:, 1].tolist() == [2685177590812541807, 2985079519876704720, 165734124044529690]
    assert (keys >= 0).all()


def test_factors_are_odd_so_that_every_hash_is_a_permutation() -> None:
    for count, rounds in ((500, 1), (112, 1), (6200, 24)):
        drawn = minhash.permutations(count, 3)
        assert [values.dtype for values in drawn] == [np.uint64, np.uint64, np.uint32, np.uint32]
        assert [len(values) for values in drawn] == [rounds, rounds, count, count]
        assert all((a & 1).all() and len(set(a.tolist())) == len(a) for a in (drawn.round_a, drawn.slot_a))
        assert all((one == other).all() for one, other in zip(drawn, minhash.permutations(count, 3), strict=True))
        assert all((one != other).any() for one, other in zip(drawn, minhash.permutations(count, 4), strict=True))


def test_bands_share_a_key_exactly_where_all_their_rows_agree() -> None:
    texts = [" ".join(f"w{k}" for k in range(start, start + 30)) for start in range(12)]
    signatures, _ = minhash.signatures(column(texts), shingle=1, count=24, seed=2)
    keys, _ = minhash.band_keys(column(texts), shingle=1, bands=8, rows=3, seed=2)
    same = (signatures[:, None] == signatures[None]).reshape(12, 12, 8, 3).all(-1)
    assert ((keys[:, None] == keys[None]) == same).all() and 0 < same[~np.eye(12, dtype=bool)].mean() < 1
    assert len(np.unique(minhash._bands(np.zeros((1, 6), np.uint32), 3, 2))) == 3  # equal minima in two bands do not meet: the band is part of the key


def pairs(count: int, common: int, own: int, seed: int) -> list[str]:
    """Texts 2k and 2k+1 share `common` words and have `own` more each, all at random: Jaccard common / (common + 2 own)."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(count):
        drawn = [f"w{number:x}" for number in rng.integers(0, 1 << 48, common + 2 * own).tolist()]
        for mine in (drawn[: common + own], drawn[:common] + drawn[common + own :]):
            out.append(" ".join(rng.permutation(mine).tolist()))
    return out


@pytest.mark.parametrize(("bands", "rows"), [(26, 11), (14, 8), (200, 31)])
@pytest.mark.parametrize(("common", "own"), [(8, 1), (48, 16), (70, 15), (80, 10), (36, 2), (300, 100), (800, 100)])
def test_band_hits_follow_the_formula_within_a_binomial_band(bands: int, rows: int, common: int, own: int) -> None:
    count, jaccard = 600, common / (common + 2 * own)
    keys, _ = minhash.band_keys(column(pairs(count, common, own, seed=common)), shingle=1, bands=bands, rows=rows, seed=1)
    hits = int((keys[::2] == keys[1::2]).any(1).sum())
    chance = 1 - (1 - jaccard**rows) ** bands
    assert abs(hits - count * chance) <= 4 * np.sqrt(count * chance * (1 - chance)) + 1


@pytest.mark.parametrize("times", [1, 4, 20])
def test_estimates_are_unbiased_with_no_more_than_the_spread_of_a_binomial(times: int) -> None:
    jaccard, count = 0.6, 256
    found, _ = minhash.signatures(column(pairs(400, 60 * times, 20 * times, seed=9)), shingle=1, count=count, seed=5)
    estimates = (found[::2] == found[1::2]).mean(1)
    spread = np.sqrt(jaccard * (1 - jaccard) / count)
    assert abs(estimates.mean() - jaccard) < 4 * spread / 20
    # worse permutations have a wider spread though their mean is right; a round draws without replacement, which makes it narrower, .7 at the least
    assert 0.6 < estimates.std() / spread < 1.15


def test_estimates_agree_with_datasketch_and_rensa() -> None:
    datasketch, rensa = pytest.importorskip("datasketch"), pytest.importorskip("rensa")
    count, truth, ours, theirs = 256, [], [], {"datasketch": [], "rensa": []}
    for jaccard, (common, own) in {0.2: (20, 40), 0.5: (50, 25), 0.8: (80, 10)}.items():
        texts = pairs(40, common, own, seed=own)
        found, _ = minhash.signatures(column(texts), shingle=1, count=count, seed=1)
        ours += (found[::2] == found[1::2]).mean(1).tolist()
        truth += [jaccard] * 40
        sets = [[word.encode() for word in text.split()] for text in texts]
        made = datasketch.MinHash.bulk(sets, num_perm=count, seed=1)
        theirs["datasketch"] += [one.jaccard(other) for one, other in zip(made[::2], made[1::2], strict=True)]
        sketches = []
        for text in texts:
            sketches.append(rensa.RMinHash(num_perm=count, seed=1))
            sketches[-1].update(text.split())
        theirs["rensa"] += [one.jaccard(other) for one, other in zip(sketches[::2], sketches[1::2], strict=True)]
    error = {name: np.sqrt(np.mean(np.subtract(estimates, truth) ** 2)) for name, estimates in {"ours": ours, **theirs}.items()}
    assert error["ours"] < 1.25 * error["datasketch"]
    assert error["ours"] < 1.1 * np.sqrt(np.mean([0.16, 0.25, 0.16]) / count)  # rensa's slots are not independent: its error is below the binomial one
    for name, estimates in theirs.items():
        assert abs(np.mean(np.subtract(ours, estimates))) < 4 * np.sqrt(2 * 0.25 / count / len(truth)), name
        assert np.abs(np.subtract(ours, estimates)).max() < 4 * np.sqrt(2 * 0.25 / count), name


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(TEXT, st.text("a\0", max_size=18)), min_size=2, max_size=8))
def test_text_hashes_are_equal_exactly_where_the_bytes_are(texts: list[str]) -> None:
    hashes = [tuple(row) for row in minhash.text_hashes(*buffers(column(texts))).tolist()]
    for one, first in zip(texts, hashes, strict=True):
        for other, second in zip(texts, hashes, strict=True):
            assert (first == second) == (one == other)
            assert (first[0] == second[0]) == (first[1] == second[1])


def test_text_hashes_tell_lengths_and_every_byte_apart() -> None:
    texts = ["\0" * size for size in range(40)] + ["x" * k + "y" + "x" * (32 - k) for k in range(33)]
    hashes = minhash.text_hashes(*buffers(column(texts)))
    assert [len(np.unique(hashes[:, side])) for side in (0, 1)] == [len(texts)] * 2
    middle = minhash.text_hashes(*buffers(column(texts).slice(7, 3)))
    assert (middle == hashes[7:10]).all()
