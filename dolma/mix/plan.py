"""A mix is a manifest: for each cell of packed shards, how often it is repeated. Planning one copies no byte."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from dolma.core.errors import ConfigError
from dolma.core.step import reduce_step
from dolma.mix import curve as curves

MIX = {
    "dataset": pa.string(),
    "stream": pa.string(),
    "source": pa.string(),
    "topic": pa.string(),
    "vigintile": pa.int32(),
    "repeats": pa.float64(),
    "sequences": pa.int64(),
    "tokens": pa.int64(),
}


class Upsampling(BaseModel):
    """The quality curve within each topic; absent: every token of a source is worth the same."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    params: Literal["A", "B", "C"] = "C"
    cap: Annotated[float, Field(gt=0)] = 7.0
    throwaway: Annotated[float, Field(ge=0, lt=1)] = 0.4


@reduce_step(needs=("dataset", "stream", "source", "topic", "vigintile", "sequences", "tokens"), out=MIX, version=2)
def plan_mix(
    batches: Iterator[pa.RecordBatch],
    *,
    folder: Path,
    tokens: int,
    shares: dict[str, float],
    topics: dict[str, float] | None = None,
    upsampling: Upsampling | None = None,
    best: dict[str, int] | None = None,
    max_repeats: float = 7.0,
) -> pa.Table:
    """Repeats of every stream, so that sources get their shares of `tokens` and the best cells of a topic are repeated most.

    Args:
        tokens: of the whole mix.
        shares: of each source; they sum to 1. A source that is not named gets 0 repeats.
        topics: share of each topic within the sources that have quality; absent: as they are in the pool.
        upsampling: the quality curve for sources with vigintiles.
        best: for a source, the lowest vigintile that is taken (carry-over of the best data).
        max_repeats: most copies of a source, or of a topic without a curve.
    Returns:
        One row a stream; `sequences` and `tokens` are those served, within one sequence a stream of the plan.
    Raises:
        ConfigError: shares that do not sum to 1, are negative or name an absent source; a source or topic that cannot give its share under the caps.
    """
    rows = [row for batch in batches for row in batch.to_pylist()]
    if tokens < 1:
        raise ConfigError("plan_mix: tokens", "a mix has tokens", got=tokens, expected="1 or more", mend="say how many")
    _check_shares(shares, best or {}, {row["source"] for row in rows})
    for source, share in shares.items():
        mine = [row for row in rows if row["source"] == source]
        taken = [row for row in mine if row["vigintile"] >= (best or {}).get(source, 0)]
        for row in mine:
            row["repeats"] = 0.0
        _plan_source(source, taken, share * tokens, topics, upsampling, max_repeats)
    for row in rows:
        row.setdefault("repeats", 0.0)
        length = row["tokens"] / row["sequences"] if row["sequences"] else 0
        row["sequences"] = int(row["sequences"] * row["repeats"])
        row["tokens"] = int(row["sequences"] * length)
    return pa.Table.from_pylist(rows, schema=pa.schema(list(MIX.items())))


def _check_shares(shares: dict[str, float], best: dict[str, int], there: set[str]) -> None:
    if not _whole(shares):
        raise ConfigError(
            "plan_mix: shares", "shares must be at least 0 and sum to 1", got=f"{shares} (sum {sum(shares.values()):.6f})", expected="sum 1", mend="mend them"
        )
    for field, named in (("shares", {source for source, share in shares.items() if share > 0}), ("best", set(best))):
        if absent := sorted(named - there):
            raise ConfigError(
                f"plan_mix: {field}",
                f"no stream of source {', '.join(absent)}",
                got=", ".join(sorted(there)),
                expected=", ".join(absent),
                mend=f"pack it, or drop it from `{field}`",
            )


def _whole(shares: dict[str, float]) -> bool:
    """Whether shares are at least 0 and sum to 1; NaN is neither."""
    return all(share >= 0 for share in shares.values()) and abs(sum(shares.values()) - 1) <= 1e-9


def _even(where: str, rows: list[dict], target: float, max_repeats: float) -> None:
    """Repeat every token as often as any other."""
    total = sum(row["tokens"] for row in rows)
    if not target <= total * max_repeats:
        raise ConfigError(
            where,
            "its share needs more repeats than allowed",
            got=f"{target:,.0f} tokens from {total:,} ({target / max(total, 1):.2f} copies)",
            expected=f"at most {max_repeats} copies",
            mend="lower its share or `tokens`, raise `max_repeats`, or add data",
        )
    for row in rows:
        row["repeats"] = target / total if total else 0.0


def _plan_source(source: str, rows: list[dict], target: float, topics: dict[str, float] | None, upsampling: Upsampling | None, max_repeats: float) -> None:
    _even(f"plan_mix: source {source}", rows, target, max_repeats)
    if target == 0 or (topics is None and upsampling is None) or not any(row["vigintile"] for row in rows):
        return
    total = sum(row["tokens"] for row in rows)
    names = sorted({row["topic"] or "" for row in rows})
    natural = {name: sum(row["tokens"] for row in rows if (row["topic"] or "") == name) / total for name in names}
    wanted = topics or natural
    unknown = sorted(set(wanted) - set(names))
    if unknown or not _whole(wanted):
        raise ConfigError(
            f"plan_mix: topics of {source}",
            "topics must exist, be at least 0 and sum to 1",
            got=f"unknown {unknown}, {wanted} (sum {sum(wanted.values()):.6f})",
            expected=", ".join(names),
            mend="mend them",
        )
    for name in names:
        cells = [row for row in rows if (row["topic"] or "") == name]
        where, part = f"plan_mix: {source}/{name or 'all'}", wanted.get(name, 0.0) * target
        if upsampling is None:
            _even(where, cells, part, max_repeats)
            continue
        levels = sorted({row["vigintile"] for row in cells})  # a cell may lie in several streams: they are one bucket
        sizes = np.array([sum(row["tokens"] for row in cells if row["vigintile"] == level) for level in levels], float)
        params = curves.SETS[upsampling.params]
        solved = curves.solve(sizes, part, cap=upsampling.cap, throwaway=upsampling.throwaway, params=params, where=where)
        rates = dict(zip(levels, solved.rates.tolist(), strict=True))
        for row in cells:
            row["repeats"] = rates[row["vigintile"]]
