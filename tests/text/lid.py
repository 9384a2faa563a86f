"""Small fastText models of languages, trained on characters as lid.176 is."""

from hashlib import sha256
from pathlib import Path
from typing import Any

from dolma.text import fasttext
from dolma.text.fasttext_file import ModelFile

WORDS = {"en": "the of and house river with that sleep", "de": "der die und Haus Fluss mit das schlafen", "zxx": "0x1f ret mov eax push"}


def train(path: Path, rows: list[tuple[str, str]], squeeze: bool = False, qout: bool = False, **settings: Any) -> str:
    """A classifier on characters, as lid models are; `squeeze` it to an .ftz, with `qout` its labels too (256 or more)."""
    library = fasttext._library()
    file = path.with_suffix(".txt")
    file.write_text("".join(f"__label__{label} {text}\n" for text, label in rows), encoding="utf-8")
    with fasttext._silent(), fasttext._zeroed():
        options = {"lr": 1.0, "epoch": 40, "dim": 16, "minn": 1, "maxn": 3, "bucket": 20_000, "minCount": 1, "thread": 1, "seed": 1, "verbose": 0}
        model = library.train_supervised(str(file), **{**options, **settings})
        if squeeze:
            model.quantize(input=str(file), qnorm=True, qout=qout, cutoff=8_000, retrain=False, thread=1)
        model.save_model(str(path))
    return str(path)


def train_small(folder: Path) -> Path:
    """`folder` with lid.bin and lid.ftz, which know three languages."""
    rows = [(" ".join(words.split()[k:] + words.split()[:k]), label) for label, words in WORDS.items() for k in range(5)] * 8
    train(folder / "lid.bin", rows, bucket=400)
    train(folder / "lid.ftz", rows, squeeze=True, bucket=400)
    return folder


def pinned(path: Path | str) -> ModelFile:
    return ModelFile(file=str(path), sha256=sha256(Path(path).read_bytes()).hexdigest())
