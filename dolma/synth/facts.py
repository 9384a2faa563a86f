"""Long documents that tell a fact and ask for it far behind: training text for recall beyond the old context.

    The code is 7. ... filler sentences ... Again, the code is 7. ... filler sentences ... Again, the code is 7.

The digit can only be known from where it stood before, and what lies between is longer than the window of most layers. The loss is on the repeated digits
alone (`encode_marked`): they are one token in a hundred. Held-out documents have other seeds and ask once.
"""

import random
from collections.abc import Iterator

import pyarrow as pa

from dolma.core.errors import ConfigError
from dolma.core.schema import keys
from dolma.core.step import reader

FACT = {"id": pa.string(), "key": pa.int64(), "source": pa.string(), "text": pa.large_string()}
SUBJECTS = "The wind,A small boat,The old clock,A grey cat,The long road,A quiet garden,The red door,A tall tree,The cold water,A paper lamp".split(",")
VERBS = "moves past,stands near,waits for,turns to,looks over,comes from,leads to,rests by".split(",")
OBJECTS = "the hill,the station,a low wall,the market,an empty field,the bridge,a narrow street,the harbour".split(",")


def sentence(rng: random.Random) -> str:
    """One sentence of filler."""
    return f"{rng.choice(SUBJECTS)} {rng.choice(VERBS)} {rng.choice(OBJECTS)}."


def document(rng: random.Random, asks: int, fillers: tuple[int, int]) -> str:
    """A fact, then `asks` times filler and the fact again."""
    digit = rng.randint(0, 9)
    lines = [f"The code is {digit}."]
    for _ in range(asks):
        lines += [sentence(rng) for _ in range(rng.randint(*fillers))]
        lines.append(f"Again, the code is {digit}.")
    return " ".join(lines)


@reader(out=FACT, version=3)
def facts(path: str | None, *, file: str, count: int, seed: int, asks: int, fillers: tuple[int, int]) -> Iterator[pa.RecordBatch]:
    """`count` documents that tell a digit and ask for it `asks` times, each after `fillers` (least, most) sentences of filler."""
    if asks < 1 or not 0 <= fillers[0] <= fillers[1]:
        raise ConfigError(
            "facts", "no such documents can be made", got=f"{asks} asks, fillers {fillers}", expected="asks from 1, and least <= most fillers", mend="mend them"
        )
    rng = random.Random(f"facts-{seed}")
    texts = [document(rng, asks, fillers) for _ in range(count)]
    ids = pa.array([f"facts-{seed}-{n:06d}" for n in range(count)], pa.string())
    columns = [ids, keys(ids), pa.array(["facts"] * count, pa.string()), pa.array(texts, pa.large_string())]
    yield pa.RecordBatch.from_arrays(columns, schema=pa.schema(list(FACT.items())))
