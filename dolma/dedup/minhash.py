"""Near duplicates: texts that share a band of their MinHash signatures are joined to the first of the band by an edge.

With b bands of r rows two texts of Jaccard similarity s meet with probability 1 - (1 - s^r)^b. Texts are compared as they stand (no NFC: the composed and
the decomposed form of a word are two words), in lower case, by word rule v1. A text of fewer words than a shingle is one shingle of all of them: it meets its
equals only. A text without words is in no band.
"""

from typing import Literal

import numpy as np
import pyarrow as pa

from dolma.core.errors import ConfigError, DataError
from dolma.core.schema import TABLES
from dolma.core.step import group_step

Preset = Literal["olmo3", "fineweb", "olmo3_strict"]
SHAPES: dict[Preset, tuple[int, int]] = {  # bands, rows; the similarity that meets with probability .5
    "olmo3": (26, 11),  # .72; spec/01 s.4: aim .80
    "fineweb": (14, 8),  # .69; FineWeb, arXiv:2406.17557
    "olmo3_strict": (200, 31),  # .83; spec/01 s.4: within components of 500 and more
}


def signature_shape(where: str, preset: Preset | None, bands: int | None, rows: int | None) -> tuple[int, int]:
    """Bands and rows of a signature: those given, or the preset's (`olmo3` when nothing is given).

    Raises:
        ConfigError: both or half of them are given, or one is below 1.
    """
    if preset is None and bands is None and rows is None:
        preset = "olmo3"
    if preset is not None and bands is None and rows is None:
        return SHAPES[preset]
    got = f"preset {preset}, bands {bands}, rows {rows}"
    if preset is not None or bands is None or rows is None:
        raise ConfigError(where, "a signature's shape is a preset, or bands and rows", got=got, expected="one of the two", mend="mend the recipe")
    for name, value in (("bands", bands), ("rows", rows)):
        if value < 1:  # the kernel checks no borders
            raise ConfigError(f"{where}: {name}", "a signature needs at least one of each", got=value, expected="1 or more", mend="mend the recipe")
    return bands, rows


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
    """(band_key, key, origin) of each band of each text that has shingles, the bands of a text one after the other."""
    from dolma.kernels.minhash import band_keys, token_band_keys

    if shingle < 1:
        raise ConfigError("mark_minhash: shingle", "a shingle has words", got=shingle, expected="1 or more", mend="mend the recipe")
    shape = signature_shape("mark_minhash", preset, bands, rows)
    options = {"shingle": shingle, "bands": shape[0], "rows": shape[1], "seed": seed}
    keys, counts = token_band_keys(batch.column(tokens), **options) if tokens else band_keys(batch.column("text"), **options)
    if within is not None:
        keys = _within(keys, batch.column(within), within)
    some = np.flatnonzero(counts)
    place = np.repeat(some, shape[0])
    columns = {
        "band_key": pa.array(keys[some].ravel()),
        "key": batch.column("key").take(pa.array(place)),
        "origin": batch.column("origin").take(pa.array(place)),
    }
    return pa.RecordBatch.from_pydict(columns)


def _within(keys: np.ndarray, column: pa.Array, name: str) -> np.ndarray:
    """Band keys that only rows of one value of `column` share."""
    from dolma.kernels.minhash import mixed

    if column.null_count or column.type != pa.int64():
        got = f"{column.type} with {column.null_count} nulls"
        raise DataError(f"mark_minhash: {name}", "`within` needs a value in every row", got=got, expected="int64", mend="drop the others with `keep` before")
    return mixed(keys, column.to_numpy())


@group_step(
    key=("band_key",),
    order=("key", "origin"),
    needs=lambda p: ("key", p.tokens or "text", *([p.within] if p.within else [])),
    rows=band_rows,
    out=TABLES["edge"],
    splittable=True,
)
def mark_minhash(batch: pa.RecordBatch, starts: np.ndarray, *, cont: bool) -> pa.RecordBatch:
    """An edge from each text of a band to the band's first, the one with the smallest key.

    Args:
        shingle: words of a shingle.
        preset: `olmo3` (26 bands of 11 rows; the default), `fineweb` (14 of 8), `olmo3_strict` (200 of 31), in place of `bands` and `rows`.
        seed: of the hash functions.
        tokens: a column of token ids, whose runs are the shingles in place of words (Olmo 3: 5-grams of p50k tokens).
        within: an int64 column; only texts of one value of it meet.
    """
    sizes = np.diff(np.append(starts, batch.num_rows))
    first = np.repeat(starts, sizes)
    later = np.ones(batch.num_rows, bool)
    later[starts] = False
    later = np.flatnonzero(later)
    leads, members = batch.take(pa.array(first[later])), batch.take(pa.array(later))
    columns = [leads.column("origin"), leads.column("key"), members.column("origin"), members.column("key")]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(list(TABLES["edge"].items())))
