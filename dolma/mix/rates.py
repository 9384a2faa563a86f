"""Copies of a token of each stream: a mix's tokens divided among sources, in each among languages and topics, in each of these among vigintiles."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dolma.core.errors import ConfigError, DolmaError
from dolma.core.log import logger
from dolma.mix import curve as curves
from dolma.mix.shares import MOST, SUM, Terms, divide, refuse
from dolma.mix.shortage import Shortage, for_a_curve

log = logger(__name__)
NONE = {"topic": "all", "lang": "und"}  # how cells are named where there is none


@dataclass(frozen=True)
class Streams:
    """The streams of a mix as columns, one value a stream."""

    source: np.ndarray
    topic: np.ndarray
    lang: np.ndarray
    vigintile: np.ndarray
    sequences: np.ndarray
    tokens: np.ndarray

    @classmethod
    def of(cls, table: pa.Table) -> "Streams":
        """Those of a table with the columns of `STREAMS`."""
        names = {name: _names(table[name], NONE.get(name, "")) for name in ("source", "topic", "lang")}
        numbers = {name: pc.fill_null(table[name], 0).to_numpy().astype(np.int64) for name in ("vigintile", "sequences", "tokens")}
        return cls(**names, **numbers)


def _names(column: pa.ChunkedArray, none: str) -> np.ndarray:
    filled = pc.fill_null(column, "")
    return np.asarray(pc.if_else(pc.equal(filled, ""), none, filled).to_pylist(), dtype=str)


def rates(streams: Streams, terms: Terms) -> tuple[np.ndarray, np.ndarray]:
    """Copies of each stream (float64), and the number of the part that it was planned in (source, language and topic; int64), both of shape (streams,).

    Raises:
        ConfigError: (or Errors with all of them) names that no stream has, or parts that cannot give what is asked of them: what is missing, and each mend
            that suffices alone.
    """
    terms.check()
    plan = _Plan(streams, terms)
    plan.names()
    refuse(plan.errors)
    plan.run()
    refuse(plan.errors)
    return plan.rate, plan.part


class _Plan:
    def __init__(self, streams: Streams, terms: Terms) -> None:
        self.streams, self.terms = streams, terms
        self.rate, self.part, self.parts = np.zeros(len(streams.tokens)), np.zeros(len(streams.tokens), np.int64), 0
        self.errors: list[DolmaError] = []
        self.sources = {str(source): np.flatnonzero(streams.source == source) for source in np.unique(streams.source)}

    def names(self) -> None:
        """Note the sources, and the topics and languages of one, that no stream has."""
        terms, caps = self.terms, self.terms.max_repeats if isinstance(self.terms.max_repeats, dict) else {}
        nested = {field: [s for s, inner in (value or {}).items() if isinstance(inner, dict)] for field, value in _inner(terms)}
        paths = {"floors": [path for path, least in terms.floors.items() if least > 0], "min_repeats": terms.min_repeats, "max_repeats": caps}
        shares = {"shares": [source for source, share in (terms.shares or {}).items() if share > 0]}
        for field, named in {**shares, "repeats": terms.repeats, "best": terms.best, "buckets": terms.buckets, **nested, **paths}.items():
            known = sorted(self.sources)
            self._unknown(field, "source", {path.partition("/")[0] for path in named}, known, f"pack it, or drop it from `{field}`")
            for source, part in (path.split("/", 1) for path in named if "/" in path):
                if source in self.sources:
                    rows = self.sources[source]
                    there = {str(name) for column in (self.streams.topic, self.streams.lang) for name in column[rows]}
                    self._unknown(f"{field} of {source}", "topic or language", {part}, sorted(there), f"mend it, or drop it from `{field}`")

    def _unknown(self, field: str, what: str, named: Iterable[str], known: list[str], mend: str) -> None:
        if absent := sorted(set(named) - set(known)):
            near = get_close_matches(absent[0], known, n=1)
            mend = f"did you mean `{near[0]}`?" if near else mend
            got, expected = ", ".join(known) or "no streams", ", ".join(absent)
            self.errors.append(ConfigError(f"plan_mix: {field}", f"no stream of {what} {expected}", got=got, expected=expected, mend=mend))

    def run(self) -> None:
        terms, tokens = self.terms, self.streams.tokens
        taken = {source: rows[self.streams.vigintile[rows] >= terms.best.get(source, 0)] for source, rows in self.sources.items()}
        for source, copies in terms.repeats.items():
            self._fixed(source, taken[source], copies)
        if terms.upsampling is not None and not self.streams.vigintile.any():
            log.warning("plan_mix: `upsampling` has no effect: no stream has a vigintile, so every token of a source is repeated alike")
        if terms.tokens is None:
            return
        fixed = float(self.rate @ tokens)
        rest = terms.tokens - fixed
        free = [source for source in taken if source not in terms.repeats]
        available = np.array([tokens[taken[source]].sum() for source in free], float)
        if rest < 0 or (rest >= self._sequence() and not available.any()):
            what = "`repeats` give more than that" if rest < 0 else "`repeats` give less than that, and there is no other source"
            mend = f"`tokens: {math.ceil(fixed)}`, or other `repeats`"
            self.errors.append(ConfigError("plan_mix: tokens", what, got=f"{terms.tokens:,}", expected=f"{fixed:,.0f}", mend=mend))
            return
        if not available.any():
            return
        given = terms.shares
        weights = available / available.sum() if given is None else np.array([given.get(source, 0.0) for source in free])
        least = [max(terms.floors.get(s, 0.0) * terms.tokens, terms.min_repeats.get(s, 0.0) * n) for s, n in zip(free, available, strict=True)]
        for source, target in zip(free, self._divided("sources", rest, weights, np.array(least)), strict=True):
            short = Shortage(source, target, self._linear(rest), "" if given is None else f"shares.{source}", rest)
            self._source(source, taken[source], target, short)

    def _sequence(self) -> float:
        """Tokens of a sequence: less than one is nothing that could be served."""
        return float(self.streams.tokens.sum() / max(self.streams.sequences.sum(), 1))

    def _linear(self, rest: float) -> tuple[float, float] | None:
        """Tokens that `repeats` take and those that the others share, where the target of each grows with the latter; None where it does not."""
        terms = self.terms
        assert terms.tokens is not None
        return None if terms.min_repeats or (terms.floors and terms.repeats) else (terms.tokens - rest, rest)

    def _divided(self, what: str, target: float, weights: np.ndarray, least: np.ndarray) -> np.ndarray:
        if least.sum() > target * (1 + SUM):
            got, mend = f"{least.sum():,.0f} tokens", "lower `floors` or `min_repeats`, or raise `tokens`"
            where = f"plan_mix: floors of {what}"
            self.errors.append(ConfigError(where, "the least amounts are more than all", got=got, expected=f"at most {target:,.0f}", mend=mend))
            return np.zeros(len(weights))
        return divide(target, weights, least)

    def _fixed(self, source: str, rows: np.ndarray, copies: float | dict[int, float]) -> None:
        """Repeats that the recipe gives itself: of a source, or of its vigintiles."""
        by = copies if isinstance(copies, dict) else {}
        self._vigintiles(f"repeats.{source}", rows, by)
        most = self.terms.most(source)
        if (high := max(by.values(), default=0.0) if isinstance(copies, dict) else copies) > most:
            mend = f"`max_repeats: {{{source}: {high:g}}}`, or lower them"
            self.errors.append(ConfigError(f"plan_mix: repeats.{source}", "over `max_repeats`", got=f"{high:g}", expected=f"at most {most:g}", mend=mend))
        levels, mine = np.unique(self.streams.vigintile[rows], return_inverse=True)
        self.rate[rows] = np.array([by.get(int(level), 0.0) for level in levels])[mine] if isinstance(copies, dict) else copies
        self._close(rows)

    def _vigintiles(self, field: str, rows: np.ndarray, by: dict[int, float]) -> None:
        filled = rows[self.streams.tokens[rows] > 0]
        there = sorted({int(level) for level in self.streams.vigintile[filled]})
        if absent := sorted(level for level, value in by.items() if value > 0 and level not in there):
            got, expected = ", ".join(map(str, there)) or "none", ", ".join(map(str, absent))
            self.errors.append(ConfigError(f"plan_mix: {field}", f"no tokens in vigintile {expected}", got=got, expected=expected, mend="name those that are"))

    def _close(self, rows: np.ndarray) -> None:
        self.parts += 1
        self.part[rows] = self.parts

    def _source(self, source: str, rows: np.ndarray, target: float, short: Shortage) -> None:
        streams, terms = self.streams, self.terms
        self._close(self.sources[source])
        if target == 0:
            return
        ranked, named = bool(streams.vigintile[rows].any()), terms.named(source)
        curve = terms.upsampling is not None and ranked and source not in terms.buckets
        total, caps = float(streams.tokens[rows].sum()), terms.caps(source, otherwise=math.inf if curve else MOST)
        if not total or (target > total * min(caps.values()) and not terms.by_part(source)):
            lowest = int(streams.vigintile[self.sources[source]].max(initial=0)) if source in terms.best else None
            self.errors.append(short.of_repeats(total, caps if total else terms.caps(source), lowest))
            return
        languages, topics = terms.languages_of(source), terms.topics_of(source, ranked)
        dims = [("languages", streams.lang, languages)] if languages is not None or named & set(streams.lang[rows]) else []
        dims += [("topics", streams.topic, topics)] if topics is not None or curve or named & set(streams.topic[rows]) else []
        self._divide(source, (), rows, target, dims, short)

    def _divide(self, source: str, parts: tuple[str, ...], rows: np.ndarray, target: float, dims: list, short: Shortage) -> None:
        """Give `target` to the parts of the first of `dims` (field, names of the streams, given shares), and within each go on."""
        if not dims:
            self._close(rows)
            self._leaf(source, parts, rows, target, short)
            return
        (field, column, given), *rest = dims
        names, mine = np.unique(column[rows], return_inverse=True)
        if unknown := {name for name, share in (given or {}).items() if share > 0 and name not in names}:
            what = field.removesuffix("s")
            nested = isinstance((getattr(self.terms, field) or {}).get(source), dict)
            mend = f"mend it, or drop it from `{field}.{source}`" if nested else f"mend it, or give shares by source: `{field}: {{{source}: ...}}`"
            if field == "languages" and set(names) == {NONE["lang"]}:
                mend = "`tag_cell: {by: [lang]}` and `pack: {by: [lang]}` separate cells by language"
            self._unknown(f"{field} of {'/'.join((source, *parts))}", what, unknown, [str(name) for name in names], mend)
            return
        available = np.bincount(mine, self.streams.tokens[rows], len(names))
        weights = available / available.sum() if given is None else np.array([given.get(name, 0.0) for name in names])
        paths = [f"{source}/{name}" for name in names]
        least = [self.terms.within.get((source, *parts, str(name)), self.terms.floors.get(path, 0.0)) for name, path in zip(names, paths, strict=True)]
        floors = [max(share * target, self.terms.min_repeats.get(p, 0.0) * n) for share, p, n in zip(least, paths, available, strict=True)]
        got = self._divided("/".join((source, *parts)), target, weights, np.array(floors))
        for n, (name, part) in enumerate(zip(names, got, strict=True)):
            path = "" if given is None else f"{field}.{name}" if name in (getattr(self.terms, field) or {}) else f"{field}.{source}.{name}"
            inner = Shortage("/".join((source, *parts, name)), part, short.linear, path, target)
            self._divide(source, (*parts, str(name)), rows[mine == n], part, rest, inner)

    def _leaf(self, source: str, parts: tuple[str, ...], rows: np.ndarray, target: float, short: Shortage) -> None:
        """Copies of the vigintiles of one part: as the recipe shares them, by the curve, or all alike."""
        if target == 0:
            return
        streams, terms, caps = self.streams, self.terms, self.terms.caps(source, *parts)
        levels, mine = np.unique(streams.vigintile[rows], return_inverse=True)
        sizes, most = np.bincount(mine, streams.tokens[rows], len(levels)), min(caps.values())
        if buckets := terms.buckets.get(source):
            self._vigintiles(f"buckets.{source}", rows, buckets)
            asked = target * np.array([buckets.get(int(level), 0.0) for level in levels])
            for level, want, size in zip(levels.tolist(), asked.tolist(), sizes.tolist(), strict=True):
                if size > 0 and want > size * most:
                    path = f"buckets.{source}.{level}"
                    self.errors.append(Shortage(f"{short.name}, vigintile {level}", want, short.linear, path, target).of_repeats(size, caps))
            self.rate[rows] = np.divide(asked, sizes, out=np.zeros(len(sizes)), where=sizes > 0)[mine]
        elif terms.upsampling is None or not levels.any():
            if not target <= sizes.sum() * most:
                self.errors.append(short.of_repeats(float(sizes.sum()), caps))
                return
            self.rate[rows] = target / sizes.sum()
        elif not sizes.any():
            self.errors.append(short.of_repeats(0.0, caps))
        else:
            curve = {"throwaway": terms.upsampling.throwaway, "params": curves.SETS[terms.upsampling.params], "where": f"plan_mix: {short.name}"}
            said = terms.caps(source, *parts, otherwise=math.inf)  # a curve has a cap of its own
            own = min(said.values())
            cap = min(terms.upsampling.cap, own)
            try:
                solved = curves.solve(sizes, target, cap=cap, fallback=terms.upsampling.fallback, **curve)
            except ConfigError:
                solved = None
            if solved is None or solved.cap > own:
                given = {"cap": math.inf if terms.upsampling.fallback == "cap" else terms.upsampling.cap, **said}
                self.errors.append(for_a_curve(short, sizes, cap, curve, given))
                return
            if solved.note:
                log.warning("%s", f"plan_mix: {short.name}: {solved.note}")
            self.rate[rows] = solved.rates[mine]


def _inner(terms: Terms) -> tuple[tuple[str, dict | None], ...]:
    return (("topics", terms.topics), ("languages", terms.languages))
