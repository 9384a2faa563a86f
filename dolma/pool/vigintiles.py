"""Quality buckets within a topic, cut so that each holds the same share of tokens (spec of the mix: token-weighted vigintiles)."""

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dolma.core import manifest
from dolma.core.errors import ConfigError, DataError, DolmaError
from dolma.core.files import version
from dolma.core.log import logger
from dolma.core.schema import append
from dolma.core.step import Asset, Sizes, Taken, reduce_step, step
from dolma.io.spill import sort
from dolma.pool.bins import BINS, NEEDS, measured, topics

log = logger(__name__)
VIGINTILES = 20
CUTS = {
    "source": pa.string(),
    "topic": pa.string(),
    "first": pa.int32(),
    "vigintile": pa.int32(),
    "edge": pa.float64(),
    "documents": pa.int64(),
    "tokens": pa.int64(),
    "off": pa.int64(),
}


@dataclass(frozen=True)
class Bucket:
    """A run of vigintiles of one topic, and what is in it; `off`: by how many tokens an exact cut may differ."""

    first: int
    vigintile: int
    edge: float
    documents: int
    tokens: int
    off: int = 0


def _sizes(params: Any, taken: Taken) -> Sizes:
    return Sizes(taken.rows, 0, min(2 * 24 * taken.rows, 256_000_000))  # what the sort holds before it spills


@reduce_step(needs=NEEDS, out=CUTS, version=4, sizes=_sizes)
def plan_vigintiles(
    batches: Iterator[pa.RecordBatch],
    *,
    folder: Path,
    num_buckets: int = VIGINTILES,
    split: str | None = "train",
    lowest: int = 1,
    lowest_of: dict[str, int] = {},  # noqa: B006
    highest: int = VIGINTILES,
    min_tokens: int = 0,
) -> tuple[pa.Table, dict[str, int]]:
    """The lowest quality of each bucket of each (source, topic), and the tokens in it.

    A row says: quality >= edge and below the next bucket's edge. Documents of equal quality are in one bucket: it then covers the vigintiles from `first`
    to `vigintile` and is named by the last, as in the published pool, so that the best is always 20; a topic whose scores are all equal is one bucket,
    first 1, vigintile 20. With `num_buckets` = 5 the vigintiles are 4, 8, 12, 16, 20. Rows without a quality or tokens do not count.

    The input is documents, or the histogram of `bin_quality`: of documents the cuts are exact (`off` 0), sorted on disk above 256 MB; of a histogram a
    bucket's tokens differ from the exact ones by at most `off`: how far its two edges lie behind where the tokens would be cut, within a bin of several scores.

    Args:
        num_buckets: a divisor of 20; small pools need fewer.
        split: documents of this `split` count; NULL: all.
        lowest, lowest_of: all vigintiles up to this one are one bucket; `lowest_of` says it of one topic.
        highest: all from this one are one bucket, 20. The published pool has no 19, and begins at 2 to 7: `highest: 19, lowest_of: {games: 4, ...}`.
        min_tokens: a bucket with fewer is joined with the next better one, the best with the one below; `off` says nothing of that choice.
    Raises:
        DataError: no document of any source counts: which column says so of each; or a quality is NaN: it would lie above the best; or tokens are negative.
    """
    _check(num_buckets, [lowest, *lowest_of.values()], highest)
    rows = _Rows(batches, split)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".sort-") as spill:
        found = _fold(rows, rows.sorted(spill), num_buckets)
    columns: dict[str, list] = {name: [] for name in CUTS}
    for (source, topic), buckets in sorted(found.items()):
        for bucket in _joined(buckets, lowest_of.get(topic, lowest), highest, min_tokens):
            for name, value in {"source": source, "topic": topic, **vars(bucket)}.items():
                columns[name].append(value)
    made = pa.table([pa.array(columns[name], kind) for name, kind in CUTS.items()], schema=pa.schema(list(CUTS.items())))
    alone = [f"{source}/{topic or 'all'}" for (source, topic), buckets in sorted(found.items()) if len(buckets) == 1 < num_buckets]
    rows.refuse_none()
    if alone:
        log.warning("one bucket, 1 to 20, where one score has nearly all tokens: %s", ", ".join(alone))
    return made, {"one_bucket": len(alone)}


def _check(num_buckets: int, lowest: list[int], highest: int) -> None:
    if num_buckets < 1 or VIGINTILES % num_buckets:
        raise ConfigError(
            "plan_vigintiles", "buckets must divide the 20 vigintiles", got=num_buckets, expected="1, 2, 4, 5, 10 or 20", mend="choose one of these"
        )
    if min(lowest) < 1 or max(lowest) >= highest or highest > VIGINTILES:
        raise ConfigError(
            "plan_vigintiles",
            "`lowest` must lie below `highest`",
            got=f"lowest {lowest}, highest {highest}",
            expected="1 <= lowest < highest <= 20",
            mend="mend them",
        )


class _Rows:
    """The rows that count, with the number of their topic in place of its names; the tokens of each topic are known when all were read."""

    def __init__(self, batches: Iterable[pa.RecordBatch], split: str | None) -> None:
        self.batches, self.split = iter(batches), split
        self.numbers: dict[tuple[str, str], int] = {}
        self.totals = np.zeros(0, np.int64)
        self.tallies: dict[str, np.ndarray] = {}
        self.error: DolmaError | None = None
        self.held = next(self.batches, None)
        binned = self.held is not None and set(BINS) <= set(self.held.schema.names)
        more = [(name, BINS[name]) for name in ("quality_max", "bin", "n_documents")] if binned else []
        self.schema = pa.schema([("topic", pa.int32()), ("quality", pa.float64()), ("n_tokens", pa.int64()), *more])

    def sorted(self, folder: str) -> Iterator[pa.RecordBatch]:
        """All rows by topic and quality.

        Raises:
            DolmaError: that of a step or shard, which DuckDB would only pass on as text.
        """
        order = [name for name in ("topic", "quality", "quality_max") if name in self.schema.names]
        for batch in sort(pa.RecordBatchReader.from_batches(self.schema, self._coded()), order, folder):
            if self.error is not None:
                break
            yield batch
        if self.error is not None:
            raise self.error

    def _coded(self) -> Iterator[pa.RecordBatch]:
        try:
            while self.held is not None:
                if not self.totals.any():
                    self._tally(self.held)
                yield self._code(measured(self.held, self.split, "plan_vigintiles"))
                self.held = next(self.batches, None)
        except DolmaError as error:
            self.error = error

    def _tally(self, batch: pa.RecordBatch) -> None:
        """Documents of each source, those with a quality, those with tokens too, and those of the split too: what to say where none counts."""
        sources = pc.fill_null(batch.column("source"), "").dictionary_encode()
        counts = [pa.array(np.ones(batch.num_rows, bool)), batch.column("quality").is_valid(), pc.fill_null(pc.greater(batch.column("n_tokens"), 0), False)]
        counts += [pc.fill_null(pc.equal(batch.column("split"), self.split), False)] if self.split is not None and "split" in batch.schema.names else []
        passed = np.logical_and.accumulate([count.to_numpy(zero_copy_only=False) for count in counts])
        places = sources.indices.to_numpy(zero_copy_only=False)
        for number, source in enumerate(sources.dictionary.to_pylist()):
            self.tallies[source] = self.tallies.get(source, 0) + passed[:, places == number].sum(1)

    def refuse_none(self) -> None:
        """Say of each source which column keeps its documents out, where none counts; of no documents at all, that they are none.

        Raises:
            DataError: there are documents, or a histogram, and none counts.
        """
        if self.totals.any():
            return
        if not self.tallies and "bin" not in self.schema.names:
            log.warning("plan_vigintiles: no documents: there is nothing to cut")
            return
        columns, found, said = ("quality", "n_tokens", "split"), [], list[str]()
        for source, passed in sorted(self.tallies.items()):
            found.append(column := columns[int(np.argmin(passed[1:] > 0))])
            of = {"quality": "NULL", "n_tokens": "NULL or 0", "split": f"not {self.split}"}[column] + ("" if column == "quality" else " where the others count")
            said.append(f"{source or 'no source'}: `{column}` is {of} in all of {passed[0]:,}")
        got = "; ".join(said) or "an empty histogram: `quality` or `n_tokens` is NULL, or `split` another, in every document"
        mend = "`tag_quality` scores documents; without scores leave out `tag_vigintile`'s cuts, and `best`, `buckets` and `upsampling` of mixes"
        raise DataError(
            f"plan_vigintiles: {(found or columns)[0]}", "no document counts, so there is nothing to cut", got=got, expected="scored documents", mend=mend
        )

    def _code(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        pairs, places = topics(batch)
        for pair in pairs:
            self.numbers.setdefault(pair, len(self.numbers))
        numbers = np.array([self.numbers[pair] for pair in pairs], np.int32)[places]
        self.totals = np.concatenate([self.totals, np.zeros(len(self.numbers) - len(self.totals), np.int64)])
        np.add.at(self.totals, numbers, batch.column("n_tokens").to_numpy(zero_copy_only=False))
        return pa.RecordBatch.from_arrays([pa.array(numbers), *(batch.column(f.name) for f in list(self.schema)[1:])], schema=self.schema)


def _fold(rows: _Rows, batches: Iterable[pa.RecordBatch], num_buckets: int) -> dict[tuple[str, str], list[Bucket]]:
    """The buckets of each topic that has tokens, worst first, from sorted batches: only the bucket at hand is in memory."""
    cutters: dict[int, _Cutter] = {}
    for batch in batches:
        number = batch.column("topic").to_numpy()
        starts = np.flatnonzero(np.concatenate([[True], number[1:] != number[:-1]]))
        for start, end in zip(starts, np.append(starts[1:], len(number)), strict=True):
            if rows.totals[number[start]] > 0:
                cutters.setdefault(int(number[start]), _Cutter(int(rows.totals[number[start]]), num_buckets)).take(batch.slice(start, end - start))
    names = {number: pair for pair, number in rows.numbers.items()}
    return {names[number]: cutter.buckets() for number, cutter in cutters.items()}


class _Cutter:
    """Cuts one topic whose rows come in the order of quality: where more than k/n of its tokens are worse, bucket k begins."""

    def __init__(self, total: int, num_buckets: int) -> None:
        self.total, self.n = total, num_buckets
        self.before = 0  # tokens of the rows so far
        self.tie = 0  # tokens that are worse than the last row
        self.value: Any = np.nan  # the quality, or the bin, of the last row
        self.quality: Any = np.nan
        self.spread = False  # whether the last bin holds several scores
        self.open: dict[int, list[Any]] = {}  # place of a bucket: its edge, documents, tokens, tokens before it, whether a bin of several scores ends there

    def take(self, rows: pa.RecordBatch) -> None:
        """More rows, none of them worse than those before."""
        columns = {name: rows.column(name).to_numpy(zero_copy_only=False) for name in rows.schema.names}
        quality, tokens, documents = columns["quality"], columns["n_tokens"], columns.get("n_documents", np.ones(rows.num_rows, np.int64))
        same = columns.get("bin", quality)
        new = np.concatenate([[same[0] != self.value], same[1:] != same[:-1]])
        differs = np.concatenate([[quality[0] != self.quality], quality[1:] != quality[:-1]])
        spread = (columns.get("quality_max", quality) > quality) | (differs & ~new)  # histograms that are added have several rows a bin
        ends = self.before + np.cumsum(tokens)
        worse = np.maximum.accumulate(np.where(new, ends - tokens, self.tie))
        places = np.minimum(worse * self.n // self.total, self.n - 1)  # equal quality, equal bucket
        starts = np.flatnonzero(np.concatenate([[True], places[1:] != places[:-1]]))
        for start, more, taken in zip(starts, np.add.reduceat(documents, starts), np.add.reduceat(tokens, starts), strict=True):
            wide = bool(spread[start - 1]) if start else self.spread
            one = self.open.setdefault(int(places[start]), [float(quality[start]), 0, 0, int(worse[start]), wide])
            one[1] += int(more)
            one[2] += int(taken)
        self.before, self.tie, self.spread = int(ends[-1]), int(worse[-1]), bool(spread[-1])
        self.value, self.quality = same[-1], quality[-1]

    def buckets(self) -> list[Bucket]:
        """All buckets, when the last row was taken."""
        width, places = VIGINTILES // self.n, sorted(self.open)
        made = []
        for place, after in zip(places, [*places[1:], self.n], strict=True):
            edge, documents, tokens, before, wide = self.open[place]
            below = self._behind(before, place, places, wide)
            above = self._behind(self.open[after][3], after, places, self.open[after][4]) if after < self.n else 0
            ends_wide = self.open[after][4] if after < self.n else self.spread
            swallowed = after > place + 1 and ends_wide  # a bin that is more than a bucket: exact cuts would lie in it
            made.append(Bucket(place * width + 1, after * width, edge, documents, tokens, tokens + below if swallowed else max(below, above)))
        return made

    def _behind(self, before: int, place: int, places: list[int], wide: bool) -> int:
        """Tokens between the first place where a bucket could be cut and where it is: 0 unless a bin of several scores lies there."""
        earlier = max((one for one in places if one < place), default=None)
        return 0 if earlier is None or not wide else before - -(-(earlier + 1) * self.total // self.n)


def _joined(buckets: list[Bucket], lowest: int, highest: int, min_tokens: int) -> list[Bucket]:
    """Buckets up to `lowest`, those from `highest`, and those with too few tokens joined with the next better one."""
    made: list[Bucket] = []
    for bucket in buckets:
        last = made[-1] if made else None
        if last and (bucket.first <= lowest or last.vigintile >= highest or last.tokens < min_tokens):
            made[-1] = _plus(last, bucket)
        else:
            made.append(bucket)
    if len(made) > 1 and made[-1].tokens < min_tokens:
        made[-2:] = [_plus(*made[-2:])]
    return made


def _plus(worse: Bucket, better: Bucket) -> Bucket:
    sums = {name: getattr(worse, name) + getattr(better, name) for name in ("documents", "tokens")}
    return replace(worse, vigintile=better.vigintile, off=max(worse.off, better.off), **sums)


@lru_cache(4)
def _cuts(path: str, *version: int) -> tuple[dict[tuple[str, str], int], np.ndarray, np.ndarray]:
    """Numbers of the topics in `path`, and the edges and vigintiles of each, shape (topics, most buckets); edges that are not there are NaN. Read once a
    process and `version`: a process may see the dataset made anew.

    Raises:
        DataError: edges that do not rise with the vigintile, or a vigintile that is none.
    """
    made: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for row in manifest.read(path, ["source", "topic", "vigintile", "edge"]).to_pylist():
        made.setdefault((row["source"], row["topic"] or ""), []).append((row["vigintile"], row["edge"]))
    width = max(map(len, made.values()), default=0)
    edges, numbers = np.full((len(made), width), np.nan), np.zeros((len(made), width + 1), np.int32)
    for n, (name, rows) in enumerate(made.items()):
        wrong = [row for row in rows if row[0] is None or row[1] is None or row[1] != row[1] or not 1 <= row[0] <= VIGINTILES]
        rows.sort(key=lambda row: row if row not in wrong else (0, 0.0))
        low = [edge for _, edge in rows]
        if wrong or len({row[0] for row in rows}) < len(rows) or any(a >= b for a, b in pairwise(low)):
            raise DataError(
                path,
                f"no buckets of {'/'.join(name)}",
                got=wrong or rows,
                expected="vigintiles from 1 to 20 once each, edges that rise with them",
                mend="mend the cuts",
            )
        edges[n, : len(rows)] = low
        numbers[n, 1 : len(rows) + 1] = [vigintile for vigintile, _ in rows]
        numbers[n, 0] = rows[0][0]  # worse than what the cuts were planned from
    return {name: n for n, name in enumerate(made)}, edges, numbers


@step(needs=("source", "topic", "quality"), adds={"vigintile": pa.int32()}, version=2)
def tag_vigintile(batch: pa.RecordBatch, *, cuts: Asset) -> pa.RecordBatch:
    """The vigintile of each document by the edges of its (source, topic): 1 worst to 20 best, 0 where it has no quality or no edges.

    `cuts` is what `plan_vigintiles` made, or any dataset with source, topic, vigintile and edge: a recipe can read published edges.
    """
    known, edges, numbers = _cuts(cuts, *version(Path(cuts) / manifest.NAME))
    quality = batch.column("quality").cast(pa.float64()).to_numpy(zero_copy_only=False)  # NULL becomes NaN, which no edge is below
    pairs, places = topics(batch)
    rows = np.array([known.get(pair, -1) for pair in pairs], np.int64)[places]
    out = np.zeros(batch.num_rows, np.int32)
    there = np.flatnonzero((rows >= 0) & ~np.isnan(quality))
    passed = (edges[rows[there]] <= quality[there, None]).sum(axis=1)
    out[there] = numbers[rows[there], passed]
    return append(batch, {"vigintile": pa.array(out)})
