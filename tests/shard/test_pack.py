"""Packing: every token accounted for, and each method against a few lines that are plainly right."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dolma.core.errors import DataError
from dolma.core.schema import append
from dolma.shard.pack import pack
from dolma.text import tokenizer as tokenizers

FIRST = 1000  # token ids of documents begin here: above every special one
DOCUMENTS = st.lists(st.integers(0, 40), min_size=1, max_size=25)


def rows(sizes: list[int], cells: list[int] | None = None, masked: bool = False) -> tuple[pa.RecordBatch, np.ndarray]:
    """Documents of these sizes whose tokens are all different, sorted by cell, and the first row of each cell."""
    cells = cells or [0] * len(sizes)
    ends = FIRST + np.cumsum(sizes)
    tokens = [list(range(int(end) - size, int(end))) for end, size in zip(ends, sizes, strict=True)]
    columns: dict[str, pa.Array] = {
        "key": pa.array([7 * n + 3 for n in range(len(sizes))], pa.int64()),
        "cell_key": pa.array(cells, pa.int64()),
        "cell": pa.array([f"web/all/{c:02d}" for c in cells], pa.string()),
        "source": pa.array(["web"] * len(sizes), pa.string()),
        "topic": pa.array([None] * len(sizes), pa.string()),
        "vigintile": pa.array(cells, pa.int32()),
        "tokens": pa.array(tokens, pa.large_list(pa.uint32())),
    }
    if masked:
        columns["loss_mask"] = pa.array([[int(n % 3 > 0) for n in one] for one in tokens], pa.large_list(pa.uint8()))
    starts = np.flatnonzero(np.diff(cells, prepend=-1))
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns)), starts


def packed(tokenizer: str, sizes: list[int], length: int, cells: list[int] | None = None, **options: Any) -> tuple[list[dict[str, Any]], dict[str, int]]:
    batch, starts = rows(sizes, cells, options.get("masked", False))
    made, counts = pack(batch, starts, cont=False, length=length, tokenizer=tokenizer, **options)
    assert made.schema == pack.adds(pack.params(length=length, tokenizer=tokenizer, **options), pa.schema([]))
    return made.to_pylist(), counts


def first_fit_decreasing(sizes: list[int], length: int) -> int:
    rooms: list[int] = []
    for size in sorted(sizes, reverse=True):
        place = next((n for n, room in enumerate(rooms) if room >= size), None)
        if place is None:
            rooms.append(length - size)
        else:
            rooms[place] -= size
    return len(rooms)


@settings(max_examples=80, deadline=None)
@given(DOCUMENTS, st.integers(1, 30), st.sampled_from(["chunk", "cut", "split"]), st.booleans(), st.data())
def test_every_token_is_accounted_for(tokenizer: str, sizes: list[int], length: int, way: str, masked: bool, data: st.DataObject) -> None:
    cells = sorted(data.draw(st.lists(st.integers(0, 2), min_size=len(sizes), max_size=len(sizes))))
    options = {"method": "chunk"} if way == "chunk" else {"method": "best_fit", "overlong": way}
    made, counts = packed(tokenizer, sizes, length, cells, masked=masked, **options)
    model = tokenizers.load(tokenizer)
    flat = [token for row in made for token in row["tokens"]]
    assert all(len(row["tokens"]) == length for row in made)
    assert counts["tokens_in"] == sum(sizes) and counts["eos"] == (0 if masked else len(sizes))
    assert counts["tokens_in"] + counts["eos"] == counts["tokens_out"] + counts["dropped.tail_tokens"] + counts["dropped.cut_tokens"]
    assert counts["padding"] == flat.count(model.pad) and counts["tokens_out"] == len(flat) - counts["padding"]
    kept = [token for token in flat if token >= FIRST]
    assert len(set(kept)) == len(kept)  # nothing is there twice
    assert counts["tokens_out"] == len(kept) + flat.count(model.eos)
    if way == "split":
        assert counts["dropped.tail_tokens"] == counts["dropped.cut_tokens"] == 0


@settings(max_examples=60, deadline=None)
@given(DOCUMENTS, st.integers(1, 30))
def test_chunk_is_concatenate_and_cut(tokenizer: str, sizes: list[int], length: int) -> None:
    eos = tokenizers.load(tokenizer).eos
    batch, _ = rows(sizes)
    whole = np.concatenate([np.append(np.array(one, np.int64), eos) for one in batch.column("tokens").to_pylist()])
    expected = whole[: len(whole) // length * length].reshape(-1, length)
    made, counts = packed(tokenizer, sizes, length)
    assert [row["tokens"] for row in made] == expected.tolist()
    assert counts["dropped.tail_tokens"] == len(whole) % length and counts["padding"] == 0


@settings(max_examples=60, deadline=None)
@given(DOCUMENTS, st.integers(1, 45), st.sampled_from(["chunk", "best_fit"]), st.sampled_from(["cut", "split"]))
def test_keys_and_lengths_tell_which_document_each_token_is_of(tokenizer: str, sizes: list[int], length: int, method: str, overlong: str) -> None:
    batch, _ = rows(sizes)
    eos = tokenizers.load(tokenizer).eos
    documents = {row["key"]: [*row["tokens"], eos] for row in batch.to_pylist()}
    for row in packed(tokenizer, sizes, length, method=method, overlong=overlong)[0]:
        start = 0
        for key, size in zip(row["doc_keys"], row["doc_lens"], strict=True):
            part = row["tokens"][start : start + size]
            assert size > 0 and any(documents[key][at : at + size] == part for at in range(len(documents[key])))
            start += size


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=40), st.integers(2, 40), st.sampled_from(["cut", "split"]))
def test_best_fit_never_cuts_a_document_that_fits(tokenizer: str, sizes: list[int], length: int, overlong: str) -> None:
    made, counts = packed(tokenizer, sizes, length, method="best_fit", overlong=overlong)
    pieces: dict[int, list[int]] = {}
    for row in made:
        for key, size in zip(row["doc_keys"], row["doc_lens"], strict=True):
            pieces.setdefault(key, []).append(size)
    for number, size in enumerate(sizes):
        whole, mine = size + 1, sorted(pieces[7 * number + 3])
        if overlong == "split":
            assert mine == sorted([length] * (whole // length) + [whole % length] * (whole % length > 0))
        else:
            assert mine == [min(whole, length)]
    assert counts["dropped.cut_tokens"] == (sum(max(size + 1 - length, 0) for size in sizes) if overlong == "cut" else 0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(10, 59), min_size=1, max_size=40))
def test_best_fit_packs_no_worse_than_first_fit_where_that_is_a_theorem(tokenizer: str, sizes: list[int]) -> None:
    # documents of at least a sixth of a sequence: there best fit decreasing never takes more bins (Johnson et al. 1974)
    assert len(packed(tokenizer, sizes, 60, method="best_fit")[0]) <= first_fit_decreasing([size + 1 for size in sizes], 60)


@pytest.mark.parametrize("seed", range(4))
def test_best_fit_packs_no_worse_than_first_fit_on_lengths_like_those_of_documents(tokenizer: str, seed: int) -> None:
    sizes = np.clip(np.random.default_rng(seed).lognormal(3, 1, 200).astype(int), 1, 255).tolist()
    made, counts = packed(tokenizer, sizes, 256, method="best_fit")
    assert len(made) <= first_fit_decreasing([size + 1 for size in sizes], 256)
    assert counts["padding"] < 256  # small documents fill what is left: all but the last sequence are full


def test_a_document_over_the_length_is_cut_or_goes_on(tokenizer: str) -> None:
    eos = tokenizers.load(tokenizer).eos
    tokens = [*range(FIRST, FIRST + 10), eos]
    cut, counts = packed(tokenizer, [10], 4, method="best_fit")
    assert [row["tokens"] for row in cut] == [tokens[:4]] and counts["dropped.cut_tokens"] == 7
    split, _ = packed(tokenizer, [10], 4, method="best_fit", overlong="split")
    assert [token for row in split for token in row["tokens"]][:11] == tokens and len(split) == 3


def test_documents_without_tokens_are_an_end_of_text_or_nothing(tokenizer: str) -> None:
    made, counts = packed(tokenizer, [0, 0, 0], 3)
    assert made[0]["tokens"] == [tokenizers.load(tokenizer).eos] * 3 and counts["eos"] == 3
    assert packed(tokenizer, [0, 0], 3, method="best_fit", masked=True)[0] == []
    assert packed(tokenizer, [1], 3)[0] == []


@settings(max_examples=60, deadline=None)
@given(DOCUMENTS, st.integers(1, 45), st.sampled_from(["chunk", "best_fit"]))
def test_the_mask_goes_with_its_tokens_and_padding_is_not_learnt(tokenizer: str, sizes: list[int], length: int, method: str) -> None:
    batch, _ = rows(sizes, masked=True)
    flags = {token: flag for row in batch.to_pylist() for token, flag in zip(row["tokens"], row["loss_mask"], strict=True)}
    for row in packed(tokenizer, sizes, length, method=method, masked=True)[0]:
        assert row["loss_mask"] == [flags.get(token, 0) for token in row["tokens"]]


@settings(max_examples=40, deadline=None)
@given(DOCUMENTS, st.integers(1, 20), st.data())
def test_cells_are_packed_apart(tokenizer: str, sizes: list[int], length: int, data: st.DataObject) -> None:
    assume(len(sizes) > 1)
    cells = sorted(data.draw(st.lists(st.integers(0, 3), min_size=len(sizes), max_size=len(sizes))))
    cell_of = {7 * n + 3: cell for n, cell in enumerate(cells)}
    for row in packed(tokenizer, sizes, length, cells, method="best_fit")[0]:
        assert {f"web/all/{cell_of[key]:02d}" for key in row["doc_keys"]} == {row["stream"]}
        assert row["vigintile"] == int(row["stream"][-2:]) and row["topic"] is None


def test_facts_say_the_length(tokenizer: str) -> None:
    assert pack.facts(length=64, tokenizer=tokenizer, method="chunk") == {"sequence_tokens": 64}


def test_a_cell_of_one_language_carries_it_and_one_of_several_is_refused(tokenizer: str) -> None:
    batch, starts = rows([30, 30, 30], [0, 0, 1])
    tagged = append(batch, {"lang": pa.array(["en", "en", None], pa.string())})
    options = {"length": 10, "tokenizer": tokenizer, "by": ("lang",)}
    made, _ = pack(tagged, starts, cont=False, **options)
    assert made.schema == pack.adds(pack.params(**options), pa.schema([]))
    assert {(row["stream"], row["lang"]) for row in made.to_pylist()} == {("web/all/00", "en"), ("web/all/01", None)}
    with pytest.raises(DataError, match=r"cell web/all/00: holds several values of `lang`\n  got de, en"):
        pack(append(batch, {"lang": pa.array(["en", "de", None], pa.string())}), starts, cont=False, **options)
