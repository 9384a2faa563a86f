"""Contrasting pairs: a right worked answer against one that is spoiled in a way that a small model gets wrong itself.

The fault is one number or letter, made in the working and carried into the answer. Easier contrasts (an answer that its own working denies, no working
at all) teach nothing: after SFT the right side of .98 of them was preferred already.
"""

import random
import re

import pyarrow as pa

from dolma.core.schema import append
from dolma.core.step import step

NUMBER = re.compile(r"-?[0-9]+")


def _wrong(rng: random.Random, text: str) -> str:
    """`text` with its last number moved by 1 or 2, or two of its words swapped, or one letter changed: never `text` itself."""
    words = text.split(" ")
    spots = [n for n, word in enumerate(words) if NUMBER.fullmatch(word)]
    if spots and (len(words) == 1 or rng.random() < 0.7):
        number = int(words[spots[-1]])
        # never below 0, which would give itself away; never the same number in other digits, which a verifier takes for right
        words[spots[-1]] = str(rng.choice([moved for by in (-2, -1, 1, 2) if (moved := max(number + by, 0)) != number]))
    elif len(set(words)) > 1:
        a, b = rng.sample(range(len(words)), 2)
        words[a], words[b] = words[b], words[a]
    else:
        words = words[:-1] if len(words) > 1 and rng.random() < 0.5 else [*words, words[-1]]
    spoiled = " ".join(words)
    return spoiled if spoiled != text else f"{text}{text[-1:] or '0'}"


def spoil(solution: str, answer: str, rng: random.Random) -> tuple[str, str]:
    """A working that ends in a wrong answer, and that answer; a working that never says the right answer stays as it is."""
    bad = _wrong(rng, answer)
    said = list(re.finditer(rf"(?<!\S){re.escape(answer)}(?!\S)", solution)) if answer else []
    if not said:
        return solution, bad
    return solution[: said[-1].start()] + bad + solution[said[-1].end() :], bad


@step(needs=("key", "solution", "answer"), adds={"bad_solution": pa.large_string(), "bad_answer": pa.string()}, version=3)
def spoil_answer(batch: pa.RecordBatch, *, seed: int = 0) -> pa.RecordBatch:
    """A spoiled working and answer beside the right ones; the fault is chosen by the row's key and `seed`."""
    rows = zip(*(batch.column(name).to_pylist() for name in ("key", "solution", "answer")), strict=True)
    made = [spoil(solution, answer, random.Random(f"{seed}-{key}")) for key, solution, answer in rows]
    return append(batch, {"bad_solution": pa.array([m[0] for m in made], pa.large_string()), "bad_answer": pa.array([m[1] for m in made], pa.string())})
