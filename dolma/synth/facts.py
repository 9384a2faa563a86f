"""Long documents whose last line asks for facts told in their first: training text for recall beyond the old context.

    Codes: K7, B3, X0. ... filler sentences ... Codes: X0, K7, B3.

Each letter has one digit, told once and asked for once, in another order, so that the digit can only be known from far away. A letter and a digit are one
token each: what is trained and measured is the distance, not the spelling. Held-out evaluation uses other seeds.
"""

import random
from collections.abc import Iterator
from string import ascii_uppercase

import pyarrow as pa

from dolma.core.errors import ConfigError
from dolma.core.schema import keys
from dolma.core.step import reader

FACT = {"id": pa.string(), "key": pa.int64(), "source": pa.string(), "text": pa.large_string()}
NAMES = ascii_uppercase
SUBJECTS = "The wind,A small boat,The old clock,A grey cat,The long road,A quiet garden,The red door,A tall tree,The cold water,A paper lamp".split(",")
VERBS = "moves past,stands near,waits for,turns to,looks over,comes from,leads to,rests by".split(",")
OBJECTS = "the hill,the station,a low wall,the market,an empty field,the bridge,a narrow street,the harbour".split(",")


def sentence(rng: random.Random) -> str:
    """One sentence of filler."""
    return f"{rng.choice(SUBJECTS)} {rng.choice(VERBS)} {rng.choice(OBJECTS)}."


def document(rng: random.Random, facts: int, fillers: tuple[int, int]) -> str:
    """Facts, filler, and the same facts asked for again, in another order."""
    told = [(name, rng.randint(0, 9)) for name in rng.sample(NAMES, facts)]
    filler = [sentence(rng) for _ in range(rng.randint(*fillers))]
    asked = rng.sample(told, len(told))
    return " ".join([_codes(told), *filler, _codes(asked)])


def _codes(pairs: list[tuple[str, int]]) -> str:
    return f"Codes: {', '.join(f'{name}{digit}' for name, digit in pairs)}."


@reader(out=FACT, version=2)
def facts(path: str | None, *, file: str, count: int, seed: int, facts: int, fillers: tuple[int, int]) -> Iterator[pa.RecordBatch]:
    """`count` documents with `facts` codes told at the start and asked for after `fillers` (least, most) sentences of filler."""
    if not 1 <= facts <= len(NAMES) or not 0 <= fillers[0] <= fillers[1]:
        expected = f"1 to {len(NAMES)} facts, and least <= most fillers"
        raise ConfigError("facts", "no such documents can be made", got=f"{facts} facts, fillers {fillers}", expected=expected, mend="mend the numbers")
    rng = random.Random(f"facts-{seed}")
    texts = [document(rng, facts, fillers) for _ in range(count)]
    ids = pa.array([f"facts-{seed}-{n:06d}" for n in range(count)], pa.string())
    columns = [ids, keys(ids), pa.array(["facts"] * count, pa.string()), pa.array(texts, pa.large_string())]
    yield pa.RecordBatch.from_arrays(columns, schema=pa.schema(list(FACT.items())))
