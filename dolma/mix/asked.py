"""What a recipe asks of streams that they cannot give, however many tokens they have: fields that would hold for nothing, and a mix of nothing."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from dolma.core.errors import ConfigError, DolmaError
from dolma.core.log import logger
from dolma.mix.rates import NONE, Streams
from dolma.mix.shares import Terms, refuse

log = logger(__name__)


def check(streams: Streams, terms: Terms) -> None:
    """Refuse what would be ignored, and warn of general `topics` that pass a source by because it has no topics.

    Raises:
        ConfigError: (or Errors with all of them) the shards are empty, `best` of a source without vigintiles or with none so high, or `topics` for all
            sources where none has vigintiles, or where one has these topics and no vigintiles.
    """
    if not streams.tokens.any():
        got = f"{len(streams.tokens)} streams without a sequence" if len(streams.tokens) else "no streams"
        mend = "`pack` documents into the shards that it reads; a cell with less than a sequence gives none"
        raise ConfigError("plan_mix: input", "there is nothing to mix", got=got, expected="packed sequences", mend=mend)
    rows = {str(source): np.flatnonzero(streams.source == source) for source in np.unique(streams.source)}
    refuse([*_best(streams, terms, rows), *_topics(streams, terms, rows)])


def some(served: np.ndarray, sequences: np.ndarray, terms: Terms, tokens: np.ndarray) -> None:
    """Refuse a mix that serves no sequence.

    Args:
        served: sequences of each stream in the mix, shape (streams,); `sequences` and `tokens`: those in the pool.
    Raises:
        ConfigError: none is served.
    """
    if served.any():
        return
    one = tokens.sum() / max(sequences.sum(), 1)
    field = "tokens" if terms.tokens is not None else "repeats"
    got = f"{terms.tokens:,} tokens" if terms.tokens is not None else ", ".join(f"{source}: {copies}" for source, copies in terms.repeats.items())
    mend = f"`tokens` of at least {round(one):,}" if terms.tokens is not None else "give some source copies"
    raise ConfigError(f"plan_mix: {field}", "the mix would have no sequence", got=got, expected=f"at least one, of {one:,.0f} tokens", mend=mend)


def _best(streams: Streams, terms: Terms, rows: Mapping[str, np.ndarray]) -> Iterator[DolmaError]:
    for source, lowest in terms.best.items():
        if source not in rows or lowest <= 0:
            continue
        filled = rows[source][streams.tokens[rows[source]] > 0]
        highest = int(streams.vigintile[filled].max(initial=0))
        wanted = source in terms.repeats or terms.shares is None
        if not streams.vigintile[rows[source]].any():
            mend = f"leave {source} out of `best`, or score its quality and cut it (`tag_quality`, `plan_vigintiles`) before it is packed"
            yield ConfigError(f"plan_mix: best.{source}", f"source {source} has no vigintiles", got=lowest, expected="a source with quality", mend=mend)
        elif highest < lowest and wanted:  # where a share asks for tokens, `rates` says how many are missing
            mend = f"`best` of at most {highest}" if highest else f"drop {source}, or pack it"
            yield ConfigError(f"plan_mix: best.{source}", f"takes nothing of source {source}", got=lowest, expected=f"at most {highest}", mend=mend)


def _topics(streams: Streams, terms: Terms, rows: Mapping[str, np.ndarray]) -> Iterator[DolmaError]:
    topics: Mapping[str, Any] = terms.topics or {}
    if not topics or any(isinstance(inner, Mapping) for inner in topics.values()):
        return
    wanted = [source for source in rows if source not in terms.repeats and (terms.shares is None or terms.shares.get(source, 0) > 0)]
    wanted = [source for source in wanted if streams.tokens[rows[source]].any()]
    without = [source for source in wanted if not streams.vigintile[rows[source]].any()]
    named = {source: sorted(set(topics) & set(streams.topic[rows[source]].tolist())) for source in without}
    each = f"say them by source: `topics: {{{(without or ['web'])[0]}: {{...}}}}`"
    if wanted and len(without) == len(wanted):
        what = f"topics for all sources are for those with vigintiles, and none has them: {', '.join(without)}"
        yield ConfigError("plan_mix: topics", what, got="vigintile 0 in every stream", expected="a source with vigintiles", mend=each)
    elif both := [source for source in without if named[source]]:
        what = f"topics for all sources are for those with vigintiles: source {', '.join(both)} has such topics, and no vigintiles"
        got, expected = f"{both[0]} with {', '.join(named[both[0]])}", "shares by source, or vigintiles"
        yield ConfigError("plan_mix: topics", what, got=got, expected=expected, mend="`topics: {SOURCE: {...}}` for each source that is meant")
    elif without:
        had = {source: sorted(set(streams.topic[rows[source]].tolist()) - {NONE["topic"]}) for source in without}
        names = ", ".join(f"{source} (topics {', '.join(there[:3])})" if (there := had[source]) else f"{source} (no topics)" for source in without)
        log.warning("%s", f"plan_mix: `topics` does not hold for {names}: no vigintiles; taken as in the pool, unless `topics: {{SOURCE: ...}}` says")
