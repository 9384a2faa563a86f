"""Naive Bayes over byte n-grams: an automaton finds the n-grams of a text, a table weighs them by language. Text in Arrow buffers, scores out.

Both tables are larger than the caches, so the time goes into waiting for them: texts are read several at once, and weights stay in 16 bits.
"""

from dataclasses import dataclass

import numba
import numpy as np

_LANES = 8  # texts read at once: 14 ns a byte, 47 with one
_TEXT, _AT, _END, _PUT, _STATE = range(5)  # of a lane: its text, the byte it is at, the text's end, where its next n-gram goes, the automaton's state
_SCALE = 2.0**112  # float16 bits moved to the places of float32 are too small by the difference of the two exponents' biases


@dataclass(frozen=True)
class Model:
    """The tables of a langid.py model: the automaton, and the weights of the n-grams that it finds."""

    moves: np.ndarray  # uint32, distinct rows of 256: the next state by byte
    rows: np.ndarray  # per state: its row in `moves`
    found: np.ndarray  # int32 per state: the n-gram that ends there, or -1
    weights: np.ndarray  # uint16 (n-grams, classes): the bits of log P(n-gram | class) as float16
    prior: np.ndarray  # float32 (classes,): log P(class)


@numba.njit(cache=True)
def _enter(lane: np.ndarray, text: int, offsets: np.ndarray) -> None:
    lane[_TEXT], lane[_STATE] = text, 0
    lane[_AT] = lane[_PUT] = offsets[text]
    lane[_END] = offsets[text + 1]


@numba.njit(cache=True)
def _grams(data: np.ndarray, offsets: np.ndarray, moves: np.ndarray, rows: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The n-grams of text t in the order of their ends, `grams[offsets[t]:ends[t]]`: never more than the text has bytes."""
    grams, ends = np.empty(len(data), np.int32), np.zeros(len(offsets) - 1, np.int64)
    lanes = coming = min(_LANES, len(ends))
    lane = np.zeros((_LANES, 5), np.int64)
    for j in range(lanes):
        _enter(lane[j], j, offsets)
    while lanes > 0:
        steps, j = len(data), 0
        while j < lanes:  # a lane at the end of its text takes the next text, or closes
            if lane[j, _AT] < lane[j, _END]:
                steps = min(steps, lane[j, _END] - lane[j, _AT])
                j += 1
                continue
            ends[lane[j, _TEXT]] = lane[j, _PUT]
            if coming < len(ends):
                _enter(lane[j], coming, offsets)
                coming += 1
            else:
                lanes -= 1
                lane[j] = lane[lanes]
        for _ in range(steps if lanes else 0):
            for j in range(lanes):
                state = np.int64(moves[(np.int64(rows[lane[j, _STATE]]) << 8) + data[lane[j, _AT]]])
                gram = found[state]
                grams[lane[j, _PUT]] = gram
                lane[j, _PUT] += gram >= 0
                lane[j, _STATE] = state
                lane[j, _AT] += 1
    return grams, ends


@numba.njit(cache=True)
def _scores(grams: np.ndarray, offsets: np.ndarray, ends: np.ndarray, weights: np.ndarray, prior: np.ndarray) -> np.ndarray:
    scores = np.empty((len(ends), len(prior)), np.float64)
    counts = np.zeros(len(weights), np.int64)
    seen = np.empty(len(grams), np.int64)
    damped = np.log1p(np.arange(len(grams) + 1)) * _SCALE  # what a text repeats counts less than its count
    bits = np.empty(len(prior), np.uint32)
    values = bits.view(np.float32)
    for text in range(len(ends)):
        many = 0
        for gram in grams[offsets[text] : ends[text]]:
            if counts[gram] == 0:
                seen[many] = gram
                many += 1
            counts[gram] += 1
        total = scores[text]
        total[:] = prior
        for gram in seen[:many]:
            weight = damped[counts[gram]]
            counts[gram] = 0
            for c in range(len(prior)):
                half = np.uint32(weights[gram, c])
                bits[c] = (half & np.uint32(0x8000)) << np.uint32(16) | (half & np.uint32(0x7FFF)) << np.uint32(13)
            for c in range(len(prior)):
                total[c] += weight * values[c]
    return scores


def probabilities(data: np.ndarray, offsets: np.ndarray, model: Model) -> tuple[np.ndarray, np.ndarray]:
    """The probability of each class for each text, and which texts have an n-gram that the model knows.

    Args:
        data, offsets: text i is the UTF-8 in `data[offsets[i]:offsets[i + 1]]`; the first begins at 0.
    Returns:
        float64 of shape (texts, classes), rows that add up to 1; bool of shape (texts,).
    Source: the softmax is at a temperature of the root of the text's bytes, as in py3langid 0.4: at 1 a naive Bayes is sure of all it says.
    """
    grams, ends = _grams(data, offsets, model.moves, model.rows, model.found)
    scores = _scores(grams, offsets, ends, model.weights, model.prior)
    scores /= np.sqrt(np.maximum(np.diff(offsets), 1))[:, None]
    scores = np.exp(scores - scores.max(axis=1, keepdims=True, initial=-np.inf))
    return scores / scores.sum(axis=1, keepdims=True), ends > offsets[:-1]
