"""Tokens of each topic in each language where least amounts of topics hold over all languages together."""

import numpy as np

from dolma.mix.shares import SUM

SCALINGS = 1000  # of all topics; what they leave is carried, so more would only change which of the answers is found
LARGEST = 1e100  # factor of a topic that cannot have its least: neither it nor its product with a share of 1e-15 overflows
DUST = 1e-15  # of all tokens: less is a rounding, and not carried


def spread(targets: np.ndarray, weights: np.ndarray, needs: np.ndarray) -> tuple[np.ndarray, list[list[int]]]:
    """Tokens of each topic in each language, shape (languages, topics), and the sets of topics that cannot have their least together: empty where all have.

    Each language has its target. A topic below its least gets the odds with which it just has it, raised by one factor in every language: the least change
    of the proportions (relative entropy; found by scaling rows and columns in turn, Deming and Stephan 1940). Where scaling does not get there, as where a
    language must give all of a topic up, tokens are carried along the shortest chain of topics and languages (Edmonds and Karp 1972), which finds an answer if
    there is one.

    Args:
        targets: tokens of each language, shape (languages,).
        weights: of each topic in each, -1 where the language has none of it, shape (languages, topics).
        needs: least tokens of each topic, shape (topics,).
    """
    made = _scaled(targets, np.maximum(weights, 0.0), needs)
    there, short = (weights >= 0) & (targets > 0)[:, None], []
    for topic in np.flatnonzero(needs > 0).tolist():
        reached = _carried(made, there, needs, topic)
        if reached and reached not in short:
            short.append(reached)
    return made, short


def _scaled(targets: np.ndarray, weights: np.ndarray, needs: np.ndarray) -> np.ndarray:
    factor, made = np.ones(len(needs)), np.zeros(weights.shape)
    for _ in range(SCALINGS):
        made = weights * factor
        sums = made.sum(1, keepdims=True)
        made *= targets[:, None] / np.where(sums > 0, sums, 1.0)
        totals = made.sum(0)
        raised = np.clip(factor * np.divide(needs, totals, out=np.ones(len(needs)), where=totals > 0), 1.0, LARGEST)
        if np.allclose(raised, factor, rtol=DUST, atol=0):
            break
        factor = raised
    return made


def _carried(made: np.ndarray, there: np.ndarray, needs: np.ndarray, topic: int) -> list[int]:
    """Carry tokens to `topic` from those that have more than their least, in place; where that does not do, those that none can be carried to."""
    dust = made.sum() * DUST
    while (missing := needs[topic] - made[:, topic].sum()) > max(needs[topic] * SUM, dust):
        spare = made.sum(0) - needs
        way: dict[int, tuple[int, int]] = {topic: (-1, topic)}  # of each topic: the language in which it gives, and to which topic
        queue = [topic]
        for taker in queue:
            for language in np.flatnonzero(there[:, taker]).tolist():
                found = [giver for giver in np.flatnonzero(made[language] > dust).tolist() if giver not in way]
                way |= {giver: (language, taker) for giver in found}
                queue += found
        giver = next((one for one in queue[1:] if spare[one] > dust), -1)
        if giver < 0:
            return sorted(queue)
        chain = []
        while giver != topic:
            chain.append((giver, *way[giver]))
            giver = way[giver][1]
        much = min(missing, spare[chain[0][0]], *(made[language, one] for one, language, _ in chain))
        for one, language, taker in chain:
            made[language, one] -= much
            made[language, taker] += much
    return []
