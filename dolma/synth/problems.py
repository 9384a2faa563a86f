"""Problems with worked solutions and exact answers, made by rule: for SFT, DPO and RLVR, and held-out ones that never meet them.

The side that a problem belongs to (`train`, `tune` for choosing settings, `heldout` for the figures) is decided by a hash of what is asked, whatever the
seed: 3 + 5 and 5 + 3, or the same numbers to sort in another order, are one problem. Kinds:

    add, subtract, multiply   arithmetic on numbers up to `largest`             verifier number
    compare                   the larger of two numbers                         verifier number
    count                     how often a letter stands in a word               verifier number
    copy, reverse             letters, as they stand or backwards               verifier exact
    sort                      numbers in rising order                           verifier exact
    repeat                    one word written exactly n times                  verifier repeat (truth "word n")
    between                   any number of a range                             verifier between (truth "low high")
    round                     a multiple of ten of a range                      verifier round (truth "low high")
"""

import random
import re
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Literal

import pyarrow as pa

from dolma.core.errors import ConfigError
from dolma.core.schema import keys
from dolma.core.step import reader

PROBLEM = {
    "id": pa.string(),
    "key": pa.int64(),
    "kind": pa.string(),
    "prompt": pa.large_string(),
    "solution": pa.large_string(),
    "answer": pa.string(),
    "verifier": pa.string(),
    "truth": pa.string(),
}
WORDS = (
    "amber birch cedar delta ember flint grove harbor iris jade kelp lemon maple north olive pearl quartz river stone tulip umber violet willow zephyr".split()
)
LETTERS = "abcdefghijklmnopqrstuvwxyz"

Made = tuple[str, str, str, str, str]  # prompt, worked solution, answer, verifier, truth


def _add(rng: random.Random, largest: int) -> Made:
    a, b = rng.randint(0, largest), rng.randint(0, largest)
    return f"What is {a} + {b}?", f"{a} + {b} = {a + b}", str(a + b), "number", str(a + b)


def _subtract(rng: random.Random, largest: int) -> Made:
    b, rest = rng.randint(0, largest), rng.randint(0, largest)
    return f"What is {b + rest} - {b}?", f"{b + rest} - {b} = {rest}", str(rest), "number", str(rest)


def _multiply(rng: random.Random, largest: int) -> Made:
    a, b = rng.randint(0, largest), rng.randint(0, min(largest, 12))
    return f"What is {a} * {b}?", f"{a} * {b} = {a * b}", str(a * b), "number", str(a * b)


def _compare(rng: random.Random, largest: int) -> Made:
    a, b = rng.sample(range(largest * 10 + 2), 2)
    return f"Which is larger, {a} or {b}?", f"{max(a, b)} > {min(a, b)}", str(max(a, b)), "number", str(max(a, b))


def _count(rng: random.Random, largest: int) -> Made:
    letter = rng.choice(LETTERS[:4])
    word = "".join(rng.choice(LETTERS[:4]) for _ in range(rng.randint(3, 6)))
    steps = " ".join(f"{c}{word[: n + 1].count(letter)}" for n, c in enumerate(word))
    return f"How many {letter} in {' '.join(word)}?", steps, str(word.count(letter)), "number", str(word.count(letter))


def _copy(rng: random.Random, largest: int) -> Made:
    letters = [rng.choice(LETTERS) for _ in range(rng.randint(3, 6))]
    text = " ".join(letters)
    return f"Copy: {text}", text, text, "exact", text


def _reverse(rng: random.Random, largest: int) -> Made:
    letters = [rng.choice(LETTERS) for _ in range(rng.randint(2, 4))]
    back = " ".join(reversed(letters))
    return f"Reverse: {' '.join(letters)}", back, back, "exact", back


def _sort(rng: random.Random, largest: int) -> Made:
    numbers = rng.sample(range(10), rng.randint(3, 4))
    ordered = " ".join(map(str, sorted(numbers)))
    return f"Sort: {' '.join(map(str, numbers))}", ordered, ordered, "exact", ordered


def _repeat(rng: random.Random, largest: int) -> Made:
    word, times = rng.choice(WORDS), rng.randint(2, 6)
    answer = " ".join([word] * times)
    return f"Write {word} {times} times.", f"{word} {times}", answer, "repeat", f"{word} {times}"


def _between(rng: random.Random, largest: int) -> Made:
    low, width = rng.randint(10, 89), rng.randint(1, 20)
    number = rng.randint(low, low + width)
    return f"Write a number between {low} and {low + width}.", f"{low} <= {number} <= {low + width}", str(number), "between", f"{low} {low + width}"


def _round(rng: random.Random, largest: int) -> Made:
    number = 10 * rng.randint(2, 9)
    low, high = number - rng.randint(0, 9), number + rng.randint(1, 9)
    return f"Write a round number between {low} and {high}.", f"{low} <= {number} <= {high}", str(number), "round", f"{low} {high}"


KINDS: dict[str, Callable[[random.Random, int], Made]] = {
    "add": _add,
    "subtract": _subtract,
    "multiply": _multiply,
    "compare": _compare,
    "count": _count,
    "copy": _copy,
    "reverse": _reverse,
    "sort": _sort,
    "repeat": _repeat,
    "between": _between,
    "round": _round,
}


ORDERLESS = ("add", "multiply", "compare", "sort")  # asked in another order these are the same problem
Side = Literal["train", "tune", "heldout"]
SHARE = 0.1  # of the problems, for each of the two sides that no stage trains on


def side(kind: str, prompt: str) -> Side:
    """The side that a problem belongs to, by the hash of what it asks."""
    asked = " ".join(sorted(re.findall("[0-9]+", prompt))) if kind in ORDERLESS else prompt
    place = int.from_bytes(sha256(f"{kind} {asked}".encode()).digest()[:8], "big") / 2**64
    return "heldout" if place < SHARE else "tune" if place < 2 * SHARE else "train"


@reader(out=PROBLEM, version=2)
def problems(
    path: str | None, *, file: str, count: int, seed: int, kinds: dict[str, float], split: Side = "train", largest: int = 12, distinct: bool = True
) -> Iterator[pa.RecordBatch]:
    """`count` problems of one side of the split.

    Args:
        count: rows.
        seed: of the choice; the same seed gives the same rows.
        kinds: relative frequency of each kind, over 0.
        split: `train`, `tune` or `heldout`; no problem is on two sides.
        largest: largest operand of the arithmetic kinds.
        distinct: no prompt twice (fails loudly when there are not enough).
    """
    wrong = sorted(kind for kind, weight in kinds.items() if kind not in KINDS or weight <= 0)
    if wrong or not kinds:
        raise ConfigError(
            "problems: kinds", f"unknown kinds, or without weight: {wrong}", got=kinds, expected=", ".join(KINDS), mend="name kinds that exist, each over 0"
        )
    rng = random.Random(f"{seed}-{split}")
    seen: set[str] = set()
    rows: list[dict[str, str]] = []
    tries = 0
    while len(rows) < count:
        tries += 1
        if tries > 200 * count + 10_000:
            raise ConfigError(
                "problems",
                "there are not so many different problems",
                got=len(rows),
                expected=count,
                mend="raise `largest`, add kinds, or set `distinct: false`",
            )
        kind = rng.choices(list(kinds), list(kinds.values()))[0]
        prompt, solution, answer, verifier, truth = KINDS[kind](rng, largest)
        if side(kind, prompt) != split or (distinct and prompt in seen):
            continue
        seen.add(prompt)
        rows.append(
            {
                "id": f"{split}-{seed}-{len(rows):06d}",
                "kind": kind,
                "prompt": prompt,
                "solution": solution,
                "answer": answer,
                "verifier": verifier,
                "truth": truth,
            }
        )
    for start in range(0, len(rows), 4096):
        part = rows[start : start + 4096]
        columns = {name: pa.array([row[name] for row in part], kind) for name, kind in PROBLEM.items() if name != "key"}
        columns["key"] = keys(columns["id"])
        yield pa.RecordBatch.from_arrays([columns[name] for name in PROBLEM], schema=pa.schema(list(PROBLEM.items())))
