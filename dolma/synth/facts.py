"""Long documents whose last lines ask for facts told at their start: training text for recall beyond the old context.

    The code of amber is 7. ... filler sentences ... The code of amber is 7.

Facts are told in the first lines, then filler follows, then each fact is asked for again in the same words, so that the digit can only be known
from far away. Held-out evaluation uses the same words with other seeds.
"""

import random
from collections.abc import Iterator

import pyarrow as pa

from dolma.core.errors import ConfigError
from dolma.core.schema import keys
from dolma.core.step import reader

FACT = {"id": pa.string(), "key": pa.int64(), "source": pa.string(), "text": pa.large_string()}
NAMES = (
    "amber birch cedar delta ember flint grove harbor iris jade kelp lemon maple north olive pearl quartz river stone tulip umber violet willow zephyr".split()
)
SUBJECTS = "The wind,A small boat,The old clock,A grey cat,The long road,A quiet garden,The red door,A tall tree,The cold water,A paper lamp".split(",")
VERBS = "moves past,stands near,waits for,turns to,looks over,comes from,leads to,rests by".split(",")
OBJECTS = "the hill,the station,a low wall,the market,an empty field,the bridge,a narrow street,the harbour".split(",")


def sentence(rng: random.Random) -> str:
    """One sentence of filler."""
    return f"{rng.choice(SUBJECTS)} {rng.choice(VERBS)} {rng.choice(OBJECTS)}."


def document(rng: random.Random, facts: int, fillers: tuple[int, int]) -> str:
    """Facts, filler, and the same facts asked for again, in another order."""
    told = [(name, rng.randint(0, 9)) for name in rng.sample(NAMES, facts)]
    lines = [f"The code of {name} is {digit}." for name, digit in told]
    lines += [sentence(rng) for _ in range(rng.randint(*fillers))]
    rng.shuffle(told)
    lines += [f"The code of {name} is {digit}." for name, digit in told]
    return " ".join(lines)


@reader(out=FACT)
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
