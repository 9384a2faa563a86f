"""Near duplicates: texts that share a band of their MinHash signatures are joined to the first of the band by an edge.

With b bands of r rows two texts of Jaccard similarity s meet with probability 1 - (1 - s^r)^b (Broder 1997; Leskovec, Rajaraman, Ullman: Mining of
Massive Datasets, s. 3.4): 26 x 11 .90 at .8 and .09 at .6, 14 x 8 .92 and .21, 200 x 31 .18 and 3e-5. Edges are candidates: true similarities are
counted afterwards.

What two texts have in common is decided by word rule v1 (`kernels.words`):
    - empty, or without letters and digits (emoji, punctuation): no shingle, in no band, never a duplicate here (`mark_exact` finds equal ones);
    - fewer words than a shingle: one shingle of all of them, so such texts meet if their words are the same and never otherwise;
    - equal but for case, punctuation and white space: the same words, Jaccard 1;
    - Chinese, Japanese, Thai without spaces: a run of letters is one word, so only whole runs between punctuation are compared; name token ids
      with `tokens` where that is too coarse;
    - right-to-left scripts: in logical order, as stored; direction marks (category Cf) separate words like spaces;
    - NFC and NFD of a text are different words (no normalisation: text is taken as it stands), so they meet by their other words only.
"""

from typing import Any, Literal

import numpy as np
import pyarrow as pa

from dolma.core.errors import ConfigError, DataError
from dolma.core.schema import TABLES
from dolma.core.step import Sizes, Taken, group_step

Preset = Literal["olmo3", "fineweb", "olmo3_strict"]
PRESETS = {"olmo3": (26, 11), "fineweb": (14, 8), "olmo3_strict": (200, 31)}


def signature_shape(where: str, preset: Preset | None, bands: int | None, rows: int | None) -> tuple[int, int]:
    """Bands and rows of a signature, those of `olmo3` where nothing else is given.

    Raises:
        ConfigError: a preset is given, and bands or rows; or one of these is below 1.
    """
    given = [name for name, value in (("bands", bands), ("rows", rows)) if value is not None]
    if preset and given:
        raise ConfigError(
            f"{where}: preset, {', '.join(given)}",
            "a preset is bands and rows by name",
            got=f"{preset} and {' and '.join(given)}",
            expected="the one or the other",
            mend=f"leave out `preset` or `{'` and `'.join(given)}`",
        )
    default = PRESETS[preset or "olmo3"]
    shape = default[0] if bands is None else bands, default[1] if rows is None else rows
    for name, value in zip(("bands", "rows"), shape, strict=True):
        _at_least_one(where, name, value)
    return shape


def _at_least_one(where: str, name: str, value: int) -> None:
    if value < 1:  # the kernel checks no borders
        raise ConfigError(f"{where}: {name}", "a signature needs at least one of each", got=value, expected="1 or more", mend="mend the recipe")


def band_rows(
    batch: pa.RecordBatch,
    *,
    shingle: int = 5,
    preset: Preset | None = None,
    bands: int | None = None,
    rows: int | None = None,
    seed: int = 1,
    tokens: str | None = None,
    within: str | None = None,
) -> pa.RecordBatch:
    """(band_key, key, origin) of each band of each text that has shingles, the bands of a text one after the other; parameters as `mark_minhash`."""
    from dolma.kernels.minhash import band_keys

    count, height = signature_shape("mark_minhash", preset, bands, rows)
    _at_least_one("mark_minhash", "shingle", shingle)
    keys, counts = band_keys(_compared(batch, tokens), shingle=shingle, bands=count, rows=height, seed=seed)
    if within is not None:
        keys = _apart(keys, batch.column(within), within)
    some = np.flatnonzero(counts)
    place = np.repeat(some, count)
    columns = {
        "band_key": pa.array(keys[some].ravel()),
        "key": batch.column("key").take(pa.array(place)),
        "origin": batch.column("origin").take(pa.array(place)),
    }
    return pa.RecordBatch.from_pydict(columns)


def _compared(batch: pa.RecordBatch, tokens: str | None) -> pa.Array:
    if tokens is None:
        return batch.column("text")
    ids = batch.column(tokens)
    if not (pa.types.is_list(ids.type) or pa.types.is_large_list(ids.type)) or ids.type.value_type != pa.uint32():
        raise ConfigError(
            "mark_minhash: tokens", f"`{tokens}` holds no token ids", got=ids.type, expected="list or large_list of uint32", mend="name such a column"
        )
    return ids


def _apart(keys: np.ndarray, values: pa.Array, name: str) -> np.ndarray:
    """The band keys of each value of the column: those of two values never meet (but by chance, 2^-63 a pair)."""
    from dolma.kernels.minhash import keys_within

    if values.type != pa.int64():
        raise ConfigError("mark_minhash: within", f"`{name}` is no group key", got=values.type, expected="int64", mend="cast it, or name another column")
    if values.null_count:
        raise DataError(
            f"mark_minhash: {name}",
            "a row belongs to no group to look within",
            got=f"{values.null_count} nulls",
            expected="int64 without nulls",
            mend=f"keep rows `{name} IS NOT NULL`, or give the others a value",
        )
    return keys_within(keys, values.to_numpy())


def _needs(params: Any) -> tuple[str, ...]:
    return ("key", params.tokens or "text", *((params.within,) if params.within else ()))


def _sizes(params: Any, taken: Taken) -> Sizes:
    count, _ = signature_shape("mark_minhash", params.preset, params.bands, params.rows)
    return Sizes(taken.rows * count, 24, out=taken.rows * count)  # band key, key, origin


@group_step(key=("band_key",), order=("key", "origin"), needs=_needs, rows=band_rows, out=TABLES["edge"], sizes=_sizes, splittable=True, version=4)
def mark_minhash(batch: pa.RecordBatch, starts: np.ndarray, *, cont: bool) -> pa.RecordBatch:
    """An edge from each text of a band to the band's first, the one with the smallest key.

    Args:
        shingle: words of a shingle (word rule v1), or tokens; a text of fewer is one shingle, one without any has none and is in no band.
        preset: bands x rows by name: `olmo3` 26 x 11, aim Jaccard .80 (spec/01 s. 4: Olmo 3, s. 3.4.1); `fineweb` 14 x 8, aim .75 (default of DataTrove
            and FineWeb); `olmo3_strict` 200 x 31, for components of 500 documents or more (spec/01 s. 4).
        bands, rows: of the signature, in place of a preset; bands x rows hashes of 32 bits (what that means: `kernels.minhash.signatures`). Default 26, 11.
        seed: of the hash functions.
        tokens: a column of token ids (list or large_list of uint32), shingled in place of the words of `text`; Olmo 3 took 5-grams of p50k tokens.
        within: an int64 column without nulls; only rows that have the same value in it meet.

    Raises:
        ConfigError: a preset and bands or rows; less than one of anything; a column of another type.
        DataError: a NULL in `within` or among the ids of `tokens`.
    """
    sizes = np.diff(np.append(starts, batch.num_rows))
    first = np.repeat(starts, sizes)
    later = np.ones(batch.num_rows, bool)
    later[starts] = False
    later = np.flatnonzero(later)
    leads, members = batch.take(pa.array(first[later])), batch.take(pa.array(later))
    columns = [leads.column("origin"), leads.column("key"), members.column("origin"), members.column("key")]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(list(TABLES["edge"].items())))
