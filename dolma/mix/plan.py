"""A mix is a manifest: for each cell of packed shards, how often it is repeated. Planning one copies no byte."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, Field

from dolma.core.amounts import amount
from dolma.core.recipe import STREAMS
from dolma.core.step import reduce_step
from dolma.mix import asked, serve
from dolma.mix import floors as overlap
from dolma.mix.rates import Streams, rates
from dolma.mix.shares import Amount, Buckets, Cap, Fixed, Floors, Shares, Terms, Upsampling, Vigintile, Within

MIX = {
    "dataset": pa.string(),
    "stream": pa.string(),
    "source": pa.string(),
    "topic": pa.string(),
    "vigintile": pa.int32(),
    "lang": pa.string(),
    "repeats": pa.float64(),
    "sequences": pa.int64(),
    "tokens": pa.int64(),
}
Tokens = Annotated[int, Field(ge=1), BeforeValidator(lambda value: amount(value) if isinstance(value, str) else value)]


def _checked(params: BaseModel) -> dict[str, pa.DataType]:
    _terms({name: getattr(params, name) for name in type(params).model_fields}).check()
    return MIX


def _terms(params: dict[str, Any]) -> Terms:
    empty = ("buckets", "repeats", "best", "floors", "min_repeats", "max_repeats")
    given: dict[str, Any] = {name: {} if value is None and name in empty else value for name, value in params.items()}
    return Terms(**given)


@reduce_step(needs=("dataset", "stream", "source", "topic", "vigintile", "lang", "sequences", "tokens"), out=_checked, version=4)
def plan_mix(
    batches: Iterator[pa.RecordBatch],
    *,
    folder: Path,
    tokens: Tokens | None = None,
    shares: Shares | None = None,
    topics: Within | None = None,
    languages: Within | None = None,
    buckets: Buckets | None = None,
    repeats: Fixed | None = None,
    upsampling: Upsampling | None = None,
    best: dict[str, Vigintile] | None = None,
    floors: Floors | None = None,
    min_repeats: dict[str, Amount] | None = None,
    max_repeats: Cap | dict[str, Cap] | None = None,
) -> pa.Table:
    """Repeats of every stream: sources get their shares of `tokens`, topics and languages theirs of a source, and the best cells are repeated most.

    Where nothing is said, parts are as large as in the pool: with `tokens` alone, or with `shares` and no `upsampling`, every token of a source is repeated
    alike. Shares sum to 1 in each mapping, and what a mapping does not name gets nothing. A topic of NULL is named `all`, a language of NULL `und`.

    Args:
        tokens: of the whole mix, such as 2_000_000 or 6T; may be left out where `repeats` says all.
        shares: of each source, of the tokens that `repeats` leaves.
        topics: share of each topic within the sources that have quality; or by source: `{web: {law: 0.3, art: 0.7}}`.
        languages: share of each language within every source, or by source; cells must be separated by language (`by: [lang]` of `tag_cell` and `pack`).
        buckets: share of each vigintile of a source, in place of the curve: `{web: {20: 0.5, 16: 0.5}}`; within each topic where topics are given.
        repeats: copies of a source, or of its vigintiles, in place of a share: `{math: 4.5, web: {20: 4, 16: 1}}`.
        upsampling: the quality curve within each topic of the sources with vigintiles.
        best: for a source, the lowest vigintile that is taken: `{web: 15}` is a flat filter to the top 30 %.
        floors: least share of a source (of the mix) or of `source/topic`, `source/language` (of the source); others keep their proportions. Topics and
            languages overlap: each floor holds by itself, if need be by other shares of a topic in one language than in another.
        min_repeats: the same as a floor in copies of what there is.
        max_repeats: most copies of a token: a number for all, or by source, `source/topic` or `source/language`; the most specific holds, and of a topic and
            a language the least. Where nothing is said: 7, and under a curve its `cap`. Where something is said it holds under a curve too: the least of it
            and of `cap`.
    Returns:
        One row a stream. `sequences` are those that Streaming serves, int(rows x repeats), each the floor or ceiling of its plan; so are the sums of each
        topic, language and source and of the mix (largest remainders), which is therefore within one sequence of `tokens`.
    Raises:
        ConfigError: (or Errors with all of them) shares that do not sum to 1, names that no stream has, or a part that cannot give what is asked of it under
            the caps: what is missing, and each mend that suffices alone; or a field that would hold for nothing, or a mix of less than half a sequence.
    """
    held = list(batches)
    table = pa.Table.from_batches(held) if held else STREAMS.empty_table()
    streams = Streams.of(table)
    given = {"tokens": tokens, "shares": shares, "topics": topics, "languages": languages, "buckets": buckets, "repeats": repeats, "upsampling": upsampling}
    terms = _terms({**given, "best": best, "floors": floors, "min_repeats": min_repeats, "max_repeats": max_repeats})
    terms.check()
    asked.check(streams, terms)
    rate, part = rates(streams, overlap.restated(streams, terms))
    sources = np.unique(streams.source, return_inverse=True)[1]
    order = np.lexsort((_strings(table, "stream"), _strings(table, "dataset")))
    served = serve.whole(streams.sequences * rate, sources, part, ties=np.argsort(order))
    asked.some(served, streams.sequences, terms, streams.tokens)
    made = {"repeats": serve.exact(streams.sequences, served), "sequences": served, "tokens": served * streams.tokens // np.maximum(streams.sequences, 1)}
    return pa.table([pa.array(made[name], kind) if name in made else table[name] for name, kind in MIX.items()], schema=pa.schema(list(MIX.items())))


def _strings(table: pa.Table, name: str) -> np.ndarray:
    return np.asarray(table[name].to_pylist(), dtype=str)


__all__ = ["MIX", "Upsampling", "plan_mix"]
