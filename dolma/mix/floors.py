"""Floors of topics and of languages of one source: they overlap, and what holds is each by itself, over the whole of the source.

A source is divided by language first, and each language by topic. A topic that few languages have must be more than its floor in these, and one that is large
in some need not be raised in the others: each floor is restated as the least share of the topic in every language that has it with which it just holds.
"""

from dataclasses import dataclass, replace

import numpy as np

from dolma.core.errors import ConfigError, DolmaError
from dolma.mix.rates import Streams
from dolma.mix.shares import SUM, Terms, divide, refuse

ROUNDS, HALVINGS = 64, 50  # of the topics one after another; of a bisection, to one part in 1e15


def restated(streams: Streams, terms: Terms) -> Terms:
    """`terms` with the floors of topics as `rates` takes them: shares of each language where a source is divided by language.

    Raises:
        ConfigError: (or Errors with all of them) the floors of topics, or of languages, of a source are together more than the source, or one is of a topic
            whose languages get less than that.
    """
    errors: list[DolmaError] = []
    floors, least = dict(terms.floors), dict(terms.min_repeats)
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
        for topic, share in zip(both.topics, both.shares().tolist(), strict=True):
            if (path := f"{source}/{topic}") in floors or path in least:
                floors[path] = share
                least.pop(path, None)
    refuse(errors)
    return replace(terms, floors=floors, min_repeats=least)


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

    `targets`: tokens of each language, shape (languages,); `weights`: of each topic in it, shape (languages, topics); `needs`: least tokens of each topic.
    """

    source: str
    topics: list[str]
    languages: list[str]
    targets: np.ndarray
    weights: np.ndarray
    needs: np.ndarray

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
        needs = _least(terms, [f"{source}/{name}" for name in topics], target, sizes.sum(0))
        weights = np.where(sizes > 0, np.maximum(weights, 0.0), -1.0)  # -1: the language has no such topic
        return cls(source, [str(name) for name in topics], [str(name) for name in languages], targets, weights, needs)

    def out_of_reach(self) -> list[DolmaError]:
        """Floors that are more than all languages with the topic get, or more than the source together."""
        found: list[DolmaError] = []
        for topic, need, column in zip(self.topics, self.needs.tolist(), self.weights.T, strict=True):
            reach = float(self.targets[column >= 0].sum())
            if need > reach * (1 + SUM):
                where, missing = f"plan_mix: floors of {self.source}", need - reach
                of = ", ".join(name for name, weight in zip(self.languages, column, strict=True) if weight >= 0) or "no language"
                words = f"topic {topic} is in {of} only, which get less than its least: {missing:,.0f} tokens are missing"
                mend = f"lower the floor of `{self.source}/{topic}`, or raise the share of {of}"
                found.append(ConfigError(where, words, got=f"{need:,.0f} tokens", expected=f"at most {reach:,.0f}", mend=mend))
        return found

    def shares(self) -> np.ndarray:
        """The smallest least share of each topic, the same in every language that has it, with which all floors hold; shape (topics,).

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
        """Tokens of each topic under these least shares. Where a language cannot keep them all, each is at its least there: `rates` refuses that."""
        made = np.zeros(len(self.topics))
        for target, weights in zip(self.targets.tolist(), self.weights, strict=True):
            there = weights >= 0
            floor = np.where(there, least, 0.0) * target
            made += divide(target, np.where(there, weights, 0.0), floor) if floor.sum() <= target else floor
        return made
