"""Repeated substrings of 500 bytes or more: our kernel against a suffix array with its LCP array."""

import json
import random
from pathlib import Path
from typing import Any

from benchmarks import corpus
from benchmarks.pair import Pair, Peer

LEAST = 500
KEPT = 0.2  # share of the paragraphs that come again as they were, in texts that are written a second time


def prepare(folder: Path, size: int) -> str:
    """The bytes of all texts in `texts.bin` and their borders in `offsets.npy`.

    Texts that the corpus repeats, for it is shorter than `size`, come with the words of most paragraphs shuffled: or all of them would be copies.
    """
    import numpy as np

    described = corpus.write(folder, size)
    draw, borders, file = random.Random(1), [0], folder / "texts" / "texts.jsonl"
    with file.open(encoding="utf-8") as lines, (folder / "texts.bin").open("wb") as out:
        for line in lines:
            row = json.loads(line)
            text = row["text"] if row["id"].endswith("-0") else _shuffled(row["text"], draw)
            borders.append(borders[-1] + out.write(text.encode()))
    file.unlink()
    np.save(folder / "offsets.npy", np.array(borders))
    return f"{described}; texts of later turns with the words of {1 - KEPT:.0%} of their paragraphs shuffled"


def _shuffled(text: str, draw: random.Random) -> str:
    paragraphs = text.split("\n")
    for k, paragraph in enumerate(paragraphs):
        if draw.random() >= KEPT:
            words = paragraph.split(" ")
            draw.shuffle(words)
            paragraphs[k] = " ".join(words)
    return "\n".join(paragraphs)


def ours(inputs: Path, out: Path) -> None:
    """Spans of repeats, as places in the bytes."""
    import numpy as np

    from dolma.kernels.windows import repeats

    data, offsets = np.asarray(np.memmap(inputs / "texts.bin", np.uint8, "r")), np.load(inputs / "offsets.npy")
    offsets.flags.writeable = False  # as Arrow's buffers are
    _, begins, ends = repeats(data, offsets, least=LEAST)
    np.save(out / "spans.npy", np.stack([begins, ends]))


def theirs(inputs: Path, out: Path) -> None:
    """The same by a suffix array: neighbours with a common prefix of `LEAST` bytes are one string, and all of its places but the first are marked."""
    import numpy as np
    from pydivsufsort import divsufsort, kasai  # pyright: ignore[reportMissingImports]

    texts, offsets = np.asarray(np.memmap(inputs / "texts.bin", np.uint8, "r")), np.load(inputs / "offsets.npy")
    data = np.insert(texts, offsets[1:], 0xFF)  # no byte of UTF-8
    places: Any = divsufsort(data)
    common = kasai(data, places) >= LEAST  # of each suffix with the next
    border = offsets[1:] + np.arange(len(offsets) - 1)  # of the separators
    some = np.flatnonzero(common | np.concatenate([[False], common[:-1]]))
    at, new = places[some].astype(np.int64), ~np.concatenate([[False], common[:-1]])[some]
    inside = border[np.searchsorted(border, at)] - at >= LEAST  # else the string holds a separator: it is in no text
    first = np.minimum.reduceat(np.where(inside, at, len(data)), np.flatnonzero(new)) if len(some) else at
    later = np.sort(at[inside & (at != first[np.cumsum(new) - 1])]) if len(some) else at
    begun = np.concatenate([[True], later[1:] > later[:-1] + LEAST])[: len(later)]
    begins, ends = later[begun], later[np.append(begun[1:], True)[: len(later)]] + LEAST
    text = np.searchsorted(border, begins)
    np.save(out / "spans.npy", np.stack([begins, ends]) - text)


def agree(inputs: Path, ours: Path, theirs: Path) -> str:
    """How many of the suffix array's bytes ours marks, and how many of the text's."""
    import numpy as np

    size = int(np.load(inputs / "offsets.npy")[-1])
    marked = []
    for side in (ours, theirs):
        begins, ends = np.load(side / "spans.npy")
        step = np.zeros(size + 1, np.int8)
        np.add.at(step, begins, 1)
        np.add.at(step, ends, -1)
        marked.append(np.cumsum(step[:-1], dtype=np.int8) > 0)
    mine, other = marked
    both = int((mine & other).sum())
    return (
        f"The suffix array marks {other.sum() / size:.1%} of {size:,} bytes; ours marks {both / max(int(other.sum()), 1):.2%} of these, and "
        f"{int(mine.sum()) - both:,} others."
    )


PAIR = Pair(
    name="substring/pydivsufsort",
    peer=Peer("pydivsufsort", packages=("pydivsufsort==0.0.*", "numpy>=2,<3")),
    ours=ours,
    theirs=theirs,
    prepare=prepare,
    agree=agree,
    size=100_000_000,
    note=f"All strings of {LEAST} bytes or more that stand in the texts before, as spans; bytes of a file to spans, one thread. Ours: content-defined "
    "anchors, compared byte by byte. Theirs: libdivsufsort's suffix array, Kasai's LCP array, and all places of a common prefix but the first, in numpy. "
    "Of a string that repeats itself ours keeps the first whole periods of so many bytes, theirs the first period. Ours may miss "
    "repeats around strings that stand at many places, and inside of runs.",
)
