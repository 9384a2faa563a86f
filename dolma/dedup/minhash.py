"""Near duplicates: texts that share a band of their MinHash signatures are joined to the first of the band by an edge.

With b bands of r rows two texts of Jaccard similarity s meet with probability 1 - (1 - s^r)^b: 26 x 11 (published) .90 at .8; 14 x 8 .92 at .8.
"""

from typing import Any

import numpy as np
import pyarrow as pa

from dolma.core.errors import ConfigError
from dolma.core.schema import TABLES
from dolma.core.step import Sizes, group_step


def _rows(batch: pa.RecordBatch, *, shingle: int = 5, bands: int = 26, rows: int = 11, seed: int = 1) -> pa.RecordBatch:
    from dolma.kernels.minhash import band_keys

    for name, value in (("shingle", shingle), ("bands", bands), ("rows", rows)):
        if value < 1:  # the kernel checks no borders
            raise ConfigError(f"mark_minhash: {name}", "a signature needs at least one of each", got=value, expected="1 or more", mend="mend the recipe")
    keys, counts = band_keys(batch.column("text"), shingle=shingle, bands=bands, rows=rows, seed=seed)
    some = np.flatnonzero(counts)
    place = np.repeat(some, bands)
    columns = {
        "band_key": pa.array(keys[some].ravel()),
        "key": batch.column("key").take(pa.array(place)),
        "origin": batch.column("origin").take(pa.array(place)),
    }
    return pa.RecordBatch.from_pydict(columns)


def _sizes(params: Any, rows: int, text: int) -> Sizes:
    return Sizes(rows * params.bands, 24, out=rows * params.bands)  # band key, key, origin


@group_step(key=("band_key",), order=("key", "origin"), needs=("key", "text"), rows=_rows, out=TABLES["edge"], splittable=True, sizes=_sizes)
def mark_minhash(batch: pa.RecordBatch, starts: np.ndarray, *, cont: bool, shingle: int = 5, bands: int = 26, rows: int = 11, seed: int = 1) -> pa.RecordBatch:
    """An edge from each text of a band to the band's first, the one with the smallest key.

    Args:
        shingle: words of a shingle (word rule v1); a text of fewer words is one shingle, one without words has none and is in no band.
        bands, rows: of the signature; bands x rows hashes.
        seed: of the hash functions.
    """
    sizes = np.diff(np.append(starts, batch.num_rows))
    first = np.repeat(starts, sizes)
    later = np.ones(batch.num_rows, bool)
    later[starts] = False
    later = np.flatnonzero(later)
    leads, members = batch.take(pa.array(first[later])), batch.take(pa.array(later))
    columns = [leads.column("origin"), leads.column("key"), members.column("origin"), members.column("key")]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(list(TABLES["edge"].items())))
