"""New documents against a corpus that is not computed again: an index of the corpus, the documents of it that new ones meet, and the true Jaccard.

The index has a row for each band of a document's MinHash signature, one for its text and one for its id, 28 in all: some 500 bytes a document, sorted
by hash. A delivery is matched by a shuffle of two indexes; no text of the corpus is read. To verify what was found the corpus is read once, as a
filtered scan: only the texts that a new document meets are shuffled.

A new document matches by itself, not through other new ones: where a chain of near duplicates leads to the corpus only through a new document that is
dropped, deduplicating all at once would drop its end too. Deduplicate what is left of a delivery in the ordinary flow.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dolma.core import manifest
from dolma.core.errors import DataError
from dolma.core.step import Asset, Sizes, Taken, group_step
from dolma.dedup.minhash import Preset, band_rows, signature_shape

TEXT, ID = -1, -2  # in place of a band's number: the row of the whole text, and that of the id
BANDS = {"band_key": pa.int64(), "band": pa.int32(), "delivery": pa.int32(), "key": pa.int64(), "origin": pa.int64()}
SHARED = {"origin": pa.int64(), "key": pa.int64(), "match_key": pa.int64(), "band": pa.int32()}
MATCH = {"origin": pa.int64(), "key": pa.int64(), "match_key": pa.int64(), "bands": pa.int32(), "same_text": pa.bool_(), "same_id": pa.bool_()}
VERIFIED = {**MATCH, "match_id": pa.string(), "jaccard": pa.float32()}


def _entries(
    batch: pa.RecordBatch, *, delivery: int, shingle: int = 5, preset: Preset | None = None, bands: int | None = None, rows: int | None = None, seed: int = 1
) -> pa.RecordBatch:
    from dolma.kernels.minhash import text_hashes
    from dolma.kernels.words import buffers

    count, height = signature_shape("index_bands", preset, bands, rows)
    met = band_rows(batch, shingle=shingle, bands=count, rows=height, seed=seed)
    keys, origins = batch.column("key").to_numpy(), batch.column("origin").to_numpy()
    whole = (text_hashes(*buffers(batch.column("text")))[:, 0] >> np.uint64(1)).astype(np.int64)
    band = np.concatenate([np.arange(met.num_rows, dtype=np.int32) % count, np.full(len(keys), TEXT, np.int32), np.full(len(keys), ID, np.int32)])
    columns = [
        np.concatenate([met.column("band_key").to_numpy(), whole, keys]),
        band,
        np.full(len(band), delivery, np.int32),
        np.concatenate([met.column("key").to_numpy(), keys, keys]),
        np.concatenate([met.column("origin").to_numpy(), origins, origins]),
    ]
    return pa.RecordBatch.from_arrays([pa.array(column) for column in columns], schema=pa.schema(list(BANDS.items())))


def _signature(*, shingle: int, preset: Preset | None, bands: int | None, rows: int | None, seed: int, **_: Any) -> dict[str, Any]:
    count, height = signature_shape("index_bands", preset, bands, rows)
    return {"bands": {"shingle": shingle, "bands": count, "rows": height, "seed": seed}}


def _sizes(params: Any, taken: Taken) -> Sizes:
    rows = taken.rows * (signature_shape("index_bands", params.preset, params.bands, params.rows)[0] + 2)
    return Sizes(rows, 36, out=rows)  # band key, band, delivery, key, origin


@group_step(
    key=("band_key",), order=("key", "origin"), needs=("key", "text"), rows=_entries, out=BANDS, splittable=True, version=3, facts=_signature, sizes=_sizes
)
def index_bands(batch: pa.RecordBatch, starts: np.ndarray, *, cont: bool, every: bool = False) -> pa.RecordBatch:
    """The index of a corpus: for each band, text and id the first document that has it, sorted by hash within a shard.

    The signature is a fact of the dataset: indexes of other signatures cannot be read together.

    Args:
        delivery: number of these documents in time, 0 for the corpus; a later delivery is matched with all earlier ones.
        every: all documents of a band and not just the first; needed where these documents are to be matched.
        shingle, preset, bands, rows, seed: as for `mark_minhash`.
    """
    return batch.slice(int(cont)) if every else batch.take(pa.array(starts[int(cont) :]))


@group_step(key=("band_key",), order=("delivery", "key", "origin"), needs=tuple(BANDS), out=SHARED, splittable=True)
def match_bands(batch: pa.RecordBatch, starts: np.ndarray, *, cont: bool, delivery: int) -> pa.RecordBatch:
    """For each document of a delivery and each band, text or id that an earlier one has too: the first of these, by delivery and key.

    `origin` points to the rows of the input that comes last.

    Args:
        delivery: the number that the new documents have in their index, which holds `every` row.
    """
    del cont  # row 0 is then of an earlier delivery, or nothing of the group matches
    when = batch.column("delivery").to_numpy()
    first = np.repeat(starts, np.diff(np.append(starts, batch.num_rows)))
    hit = np.flatnonzero((when == delivery) & (when[first] < delivery))
    keys = batch.column("key").to_numpy()
    columns = [batch.column("origin").to_numpy()[hit], keys[hit], keys[first[hit]], batch.column("band").to_numpy()[hit]]
    return pa.RecordBatch.from_arrays([pa.array(column) for column in columns], schema=pa.schema(list(SHARED.items())))


@group_step(key=("key", "origin"), order=("match_key", "band"), needs=tuple(SHARED), out=MATCH)
def choose_match(batch: pa.RecordBatch, starts: np.ndarray, *, cont: bool) -> pa.RecordBatch:
    """Of the documents that a new one meets, the best: the same text before all, then most bands, then the same id, then the smallest key.

    `bands` is the number of bands that both share: about n s^r of n bands of r rows at a Jaccard of s. An index names one document of a band, so it is
    a lower bound where the corpus has near duplicates of its own. Only this best one is measured by `verify_matches`, so a copy in the corpus may be
    missed: where another document is named for the bands that it shares, or one that is less alike shares more.
    """
    origin, key, match, band = (batch.column(name).to_numpy() for name in SHARED)
    new = np.zeros(len(key), bool)
    new[starts] = True
    new[1:] |= match[1:] != match[:-1]
    pairs = np.flatnonzero(new)
    shared, text, same = (_sums(what, pairs) for what in (band >= 0, band == TEXT, band == ID))
    document = np.searchsorted(starts, pairs, side="right")
    order = np.lexsort((match[pairs], -same, -shared, -text, document))
    best = order[np.flatnonzero(np.diff(document[order], prepend=-1))]
    row = pairs[best]
    columns = [origin[row], key[row], match[row], shared[best].astype(np.int32), text[best] > 0, same[best] > 0]
    return pa.RecordBatch.from_arrays([pa.array(column) for column in columns], schema=pa.schema(list(MATCH.items())))


def _sums(rows: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """How many of the rows are true from each start to the next."""
    return np.add.reduceat(rows.astype(np.int32), starts) if len(starts) else np.zeros(0, np.int32)


@lru_cache(2)
def _matches(path: str, fingerprint: str) -> tuple[pa.Table, np.ndarray]:
    """The matches in `path` by origin, and their distinct match keys; once a process for each `fingerprint`."""
    found = manifest.read(path, list(MATCH)).sort_by("origin").combine_chunks()
    return found, np.unique(found.column("match_key").to_numpy())


def _found(matches: str) -> tuple[pa.Table, np.ndarray]:
    return _matches(matches, manifest.load(Path(matches)).fingerprint)


def _is_in(values: np.ndarray, ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each value stands in sorted distinct `ordered`, and whether it does."""
    if not len(ordered):
        return np.zeros(len(values), np.int64), np.zeros(len(values), bool)
    place = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    return place, ordered[place] == values


def _texts(batch: pa.RecordBatch, *, matches: Asset) -> pa.RecordBatch:
    found, wanted = _found(matches)
    keys, origins = batch.column("key").to_numpy(), batch.column("origin").to_numpy()
    place, new = _is_in(origins, found.column("origin").to_numpy())
    if len(found):
        new &= found.column("key").to_numpy()[place] == keys
    old = _is_in(keys, wanted)[1] & ~new
    rows = np.flatnonzero(new | old)
    is_new = new[rows]
    match = keys[rows].copy()
    match[is_new] = found.column("match_key").to_numpy()[place[rows[is_new]]]
    taken = batch.take(pa.array(rows))
    columns = {"match_key": pa.array(match), "new": pa.array(is_new.astype(np.int32)), **{n: taken.column(n) for n in ("key", "origin", "id", "text")}}
    return pa.RecordBatch.from_pydict(columns)


def _origin(*, matches: str, **_: Any) -> dict[str, Any]:
    return {"origin": manifest.load(Path(matches)).facts.get("origin")}


@group_step(key=("match_key",), order=("new", "origin"), needs=("id", "key", "text"), rows=_texts, out=VERIFIED, splittable=True, cap=65_536, facts=_origin)
def verify_matches(batch: pa.RecordBatch, starts: np.ndarray, *, cont: bool, matches: Asset, shingle: int = 5) -> pa.RecordBatch:
    """The matches of `choose_match` with the id of the matched document and the true Jaccard of both texts, by word shingles.

    `jaccard` is NULL where neither text has a word; `same_text` is by comparison, no longer by hash. The recipe's `input` lists the new documents first,
    then the corpus; they need the same columns. Holds 34 bytes a match in memory.

    Args:
        matches: dataset of `choose_match` over the index of the new documents.
        shingle: words of a shingle; a text of fewer words is one.
    Raises:
        DataError: a matched document, or a new one, is not among the inputs.
    """
    from dolma.kernels.jaccard import jaccards, shingle_sets

    new = batch.column("new").to_numpy() == 1
    first = np.repeat(starts, np.diff(np.append(starts, batch.num_rows)))
    _complete(batch, starts, new)
    rows = np.flatnonzero(new)
    lead = first[rows]
    texts = batch.column("text")
    sizes = np.diff(shingle_sets(texts, shingle=shingle)[1])
    true = jaccards(texts, lead, rows, shingle=shingle)
    same = pc.equal(texts.take(pa.array(lead)), texts.take(pa.array(rows)))
    found = _found(matches)[0]
    place = _is_in(batch.column("origin").to_numpy()[rows], found.column("origin").to_numpy())[0]
    known = found.take(pa.array(place)).combine_chunks()
    columns: dict[str, Any] = {name: known.column(name).combine_chunks() for name in MATCH}
    columns |= {"same_text": same, "match_id": batch.column("id").take(pa.array(lead)), "jaccard": pa.array(true, mask=(sizes[rows] + sizes[lead]) == 0)}
    return pa.RecordBatch.from_pydict({name: columns[name] for name in VERIFIED}, schema=pa.schema(list(VERIFIED.items())))


def _complete(batch: pa.RecordBatch, starts: np.ndarray, new: np.ndarray) -> None:
    """Each group begins with the document of the corpus and has a new one."""
    lost = new[starts] | (_sums(new, starts) == 0)
    if lost.any():
        row = int(starts[np.flatnonzero(lost)[0]])
        raise DataError(
            "verify_matches",
            f"document {batch.column('id')[row].as_py()!r:.120} comes without {'the one of the corpus that it met' if new[row] else 'the new one that met it'}",
            got=f"match_key {batch.column('match_key')[row]}",
            expected="both among the inputs",
            mend="input: the new documents, from which `matches` was made, first; then the corpus that was indexed",
        )
