"""Naive Bayes over byte n-grams: an automaton finds the n-grams of a text, a table weighs them by language. Text in Arrow buffers, scores out."""

from dataclasses import dataclass

import numba
import numpy as np


@dataclass(frozen=True)
class Model:
    """The tables of a langid.py model: the automaton, and the weights of the n-grams that it finds."""

    moves: np.ndarray  # uint32, distinct rows of 256: the next state by byte
    rows: np.ndarray  # per state: its row in `moves`
    found: np.ndarray  # int32 per state: the n-gram that ends there, or -1
    weights: np.ndarray  # float32 (n-grams, classes): log P(n-gram | class)
    prior: np.ndarray  # float32 (classes,): log P(class)


@numba.njit(cache=True)
def _scores(
    data: np.ndarray, offsets: np.ndarray, moves: np.ndarray, rows: np.ndarray, found: np.ndarray, weights: np.ndarray, prior: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    texts, classes = len(offsets) - 1, len(prior)
    scores = np.zeros((texts, classes), np.float64)
    known = np.zeros(texts, np.bool_)
    counts = np.zeros(len(weights), np.int64)
    longest = 0
    for t in range(texts):
        longest = max(longest, offsets[t + 1] - offsets[t])
    seen = np.zeros(longest, np.int64)
    damped = np.log1p(np.arange(longest + 1))  # what a text repeats counts less than its count
    for t in range(texts):
        state = many = 0
        for i in range(offsets[t], offsets[t + 1]):
            state = np.int64(moves[(np.int64(rows[state]) << 8) + data[i]])
            gram = found[state]
            if gram >= 0:
                if counts[gram] == 0:
                    seen[many] = gram
                    many += 1
                counts[gram] += 1
        known[t] = many > 0
        total = scores[t]
        total[:] = prior
        for k in range(many):
            gram = seen[k]
            weight = damped[counts[gram]]
            counts[gram] = 0
            for c in range(classes):
                total[c] += weight * weights[gram, c]
    return scores, known


def probabilities(data: np.ndarray, offsets: np.ndarray, model: Model) -> tuple[np.ndarray, np.ndarray]:
    """The probability of each class for each text, and which texts have an n-gram that the model knows.

    Args:
        data, offsets: text i is the UTF-8 in `data[offsets[i]:offsets[i + 1]]`.
    Returns:
        float64 of shape (texts, classes), rows that add up to 1; bool of shape (texts,).
    Source: the softmax is at a temperature of the root of the text's bytes, as in py3langid 0.4: at 1 a naive Bayes is sure of all it says.
    """
    scores, known = _scores(data, offsets, model.moves, model.rows, model.found, model.weights, model.prior)
    scores /= np.sqrt(np.maximum(np.diff(offsets), 1))[:, None]
    scores = np.exp(scores - scores.max(axis=1, keepdims=True, initial=-np.inf))
    return scores / scores.sum(axis=1, keepdims=True), known
