"""Floors of topics and of languages of one source: they overlap, and what holds is each by itself, over the whole of the source.

A source is divided by language first, and each language by topic. A topic that few languages have must be more than its floor in these, and one that is large
in some need not be raised in the others: each floor is restated as the least share of the topic in every language that has it with which it just holds. Where
a language cannot keep these, those of topics that other languages have too are less in it and more in the others: a least share for each language.
"""

from dataclasses import dataclass, replace

import numpy as np

from dolma.core.errors import ConfigError, DolmaError
from dolma.mix.rates import Streams
from dolma.mix.shares import SUM, Terms, divide, refuse
from dolma.mix.spread import spread

ROUNDS, HALVINGS = 64, 50  # of the topics one after another; of a bisection, to one part in 1e15


def restated(streams: Streams, terms: Terms) -> Terms:
    """`terms` with the floors of topics as `rates` takes them: shares of each language where a source is divided by language.

    Raises:
        ConfigError: (or Errors with all of them) the floors of topics, or of languages, of a source are together more than the source, or one is of a topic
            whose languages get less than that, or of several that are together more than their languages get.
    """
    errors: list[DolmaError] = []
    floors, least, within = dict(terms.floors), dict(terms.min_repeats), dict(terms.within)
    targets = _targets(streams, terms)
    for source in sorted({path.partition("/")[0] for path in (*floors, *least) if "/" in path} & set(targets)):
        rows = np.flatnonzero((streams.source == source) & (streams.vigintile >= terms.best.get(source, 0)))
        found = _too_much(source, streams, terms, rows)
        errors += found
        both = None if found else _Both.of(source, streams, terms, rows, targets[source])
        if both is not None:
            errors += (found := both.out_of_reach())
        if both is None or found:
            continue
        shares = both.shares()
        if not both.holds(shares):
            made, short = spread(both.targets, both.weights, both.needs)
            errors += [both.beyond(topics) for topics in short]
            parts = np.divide(made, both.targets[:, None], out=np.zeros(made.shape), where=both.targets[:, None] > 0).tolist()
            named = [(n, topic) for n, topic in enumerate(both.topics) if both.needs[n] > 0]
            within |= {(source, language, topic): row[n] for language, row in zip(both.languages, parts, strict=True) for n, topic in named}
            shares = np.zeros(len(both.topics))
        for topic, share in zip(both.topics, shares.tolist(), strict=True):
            if (path := f"{source}/{topic}") in floors or path in least:
                floors[path] = share
                least.pop(path, None)
    refuse(errors)
    return replace(terms, floors=floors, min_repeats=least, within=within)


def _too_much(source: str, streams: Streams, terms: Terms, rows: np.ndarray) -> list[DolmaError]:
    found: list[DolmaError] = []
    for what, column in (("topics", streams.topic), ("languages", streams.lang)):
        named = {str(name): terms.floors[path] for name in np.unique(column[rows]) if (path := f"{source}/{name}") in terms.floors}
        if (total := sum(named.values())) > 1 + SUM:
            words = f"the least shares of {what} of {source} are more than all of it: {total - 1:.6g} is missing"
            got = f"{' + '.join(f'{least:g} ({name})' for name, least in named.items())} = {total:.6g}"
            found.append(ConfigError(f"plan_mix: floors of {source}", words, got=got, expected="at most 1", mend="lower one of them"))
    return found


def _targets(streams: Streams, terms: Terms) -> dict[str, float]:
    """Tokens of each source that is given a share, as `rates` divides them; without those whose floors are more than all, which it refuses."""
    if terms.tokens is None:
        return {}
    taken = {str(s): (streams.source == s) for s in np.unique(streams.source)}
    taken = {s: mask & (streams.vigintile >= terms.best.get(s, 0)) for s, mask in taken.items()}
    rest = float(terms.tokens)
    for source, copies in terms.repeats.items():
        by = copies if isinstance(copies, dict) else {}
        mask = taken.pop(source, np.zeros(len(streams.tokens), bool))
        rates = [by.get(int(level), 0.0) for level in streams.vigintile[mask]] if isinstance(copies, dict) else copies
        rest -= float((streams.tokens[mask] * np.array(rates)).sum())
    available = np.array([streams.tokens[mask].sum() for mask in taken.values()], float)
    if rest < 0 or not available.any():
        return {}
    weights = available / available.sum() if terms.shares is None else np.array([terms.shares.get(source, 0.0) for source in taken])
    return dict(zip(taken, _divided(rest, weights, _least(terms, list(taken), float(terms.tokens), available)).tolist(), strict=True))


def _least(terms: Terms, paths: list[str], target: float, available: np.ndarray) -> np.ndarray:
    return np.array([max(terms.floors.get(p, 0.0) * target, terms.min_repeats.get(p, 0.0) * n) for p, n in zip(paths, available, strict=True)])


def _divided(target: float, weights: np.ndarray, least: np.ndarray) -> np.ndarray:
    return divide(target, weights, least) if least.sum() <= target * (1 + SUM) and weights.any() else np.zeros(len(weights))


@dataclass(frozen=True)
class _Both:
    """A source that is divided by language and by topic.

    `targets`: tokens of each language, shape (languages,); `weights`: of each topic in it, shape (languages, topics); `needs`: least tokens of each topic;
    `fields`: which says so.
    """

    source: str
    topics: list[str]
    languages: list[str]
    targets: np.ndarray
    weights: np.ndarray
    needs: np.ndarray
    fields: list[str]

    @classmethod
    def of(cls, source: str, streams: Streams, terms: Terms, rows: np.ndarray, target: float) -> "_Both | None":
        """None where no floor of a topic meets a division by language."""
        topics, topic = np.unique(streams.topic[rows], return_inverse=True)
        languages, language = np.unique(streams.lang[rows], return_inverse=True)
        named, given = terms.named(source), terms.languages_of(source)
        paths = [f"{source}/{name}" for name in languages]
        floored = any(f"{source}/{name}" in (*terms.floors, *terms.min_repeats) for name in topics)
        if not floored or (given is None and not named & set(languages)) or set(topics) & set(languages) or not target > 0:
            return None
        sizes = np.zeros((len(languages), len(topics)))
        np.add.at(sizes, (language, topic), streams.tokens[rows])
        shares = sizes.sum(1) / max(sizes.sum(), 1) if given is None else np.array([given.get(str(name), 0.0) for name in languages])
        targets = _divided(target, shares, _least(terms, paths, target, sizes.sum(1)))
        within = terms.topics_of(source, bool(streams.vigintile[rows].any()))
        weights = sizes / np.maximum(sizes.sum(1, keepdims=True), 1)
        if within is not None:
            weights = np.where(sizes > 0, [within.get(str(name), 0.0) for name in topics], 0.0)
        if not targets.any() or ((targets > 0) & ~weights.any(1)).any():
            return None
        paths = [f"{source}/{name}" for name in topics]
        needs = _least(terms, paths, target, sizes.sum(0))
        fields = ["floors" if terms.floors.get(path, 0.0) * target >= need else "min_repeats" for path, need in zip(paths, needs.tolist(), strict=True)]
        weights = np.where(sizes > 0, np.maximum(weights, 0.0), -1.0)  # -1: the language has no such topic
        return cls(source, [str(name) for name in topics], [str(name) for name in languages], targets, weights, needs, fields)

    def out_of_reach(self) -> list[DolmaError]:
        """Floors that are more than all languages with the topic get."""
        reach = np.array([self.targets[column >= 0].sum() for column in self.weights.T])
        return [self.beyond([topic]) for topic in np.flatnonzero(self.needs > reach * (1 + SUM)).tolist()]

    def beyond(self, topics: list[int]) -> DolmaError:
        """The error of topics whose least amounts are together more than all languages with one of them get."""
        topics = [topic for topic in topics if self.needs[topic] > 0]
        have = (self.weights[:, topics] >= 0).any(1)
        need, reach = float(self.needs[topics].sum()), float(self.targets[have].sum())
        where = f"plan_mix: {' and '.join(sorted({self.fields[topic] for topic in topics}))} of {self.source}"
        of = ", ".join(name for name, there in zip(self.languages, have, strict=True) if there) or "no language"
        names, one = ", ".join(self.topics[topic] for topic in topics), len(topics) == 1
        what = f"topic {names} is in {of} only, which get less than its least" if one else f"topics {names} are in {of} only, which get less than their least"
        lower = " or ".join(f"`{self.fields[topic]}` of `{self.source}/{self.topics[topic]}`" for topic in topics)
        mend = f"lower {lower}, or raise the share of {of}"
        expected = f"at most {reach:,.0f}"
        return ConfigError(where, f"{what}: {need - reach:,.0f} tokens are missing", got=f"{need:,.0f} tokens", expected=expected, mend=mend)

    def holds(self, shares: np.ndarray) -> bool:
        """Whether every language can keep these least shares, and all floors hold with them."""
        sums = np.where(self.weights >= 0, shares, 0.0).sum(1)
        return bool((sums[self.targets > 0] <= 1 + SUM).all() and (self._totals(shares) >= self.needs * (1 - SUM)).all())

    def shares(self) -> np.ndarray:
        """The smallest least share of each topic, the same in every language that has it, with which all floors hold if any such do; shape (topics,).

        Raising one lowers only those that are not raised, so topics are raised one after another until none is short.
        """
        found = np.zeros(len(self.topics))
        for _ in range(ROUNDS):
            short = np.flatnonzero(self._totals(found) < self.needs * (1 - SUM))
            if not len(short):
                break
            for topic in short:
                low, high = found[topic], 1.0
                for _ in range(HALVINGS):
                    found[topic] = middle = (low + high) / 2
                    low, high = (middle, high) if self._totals(found)[topic] < self.needs[topic] else (low, middle)
                found[topic] = high
        return found

    def _totals(self, least: np.ndarray) -> np.ndarray:
        """Tokens of each topic under these least shares. Where a language cannot keep them all, each is at its least there."""
        made = np.zeros(len(self.topics))
        for target, weights in zip(self.targets.tolist(), self.weights, strict=True):
            there = weights >= 0
            floor = np.where(there, least, 0.0) * target
            made += divide(target, np.where(there, weights, 0.0), floor) if floor.sum() <= target else floor
        return made
