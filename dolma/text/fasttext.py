"""fastText: train a classifier on labelled text, apply one to Arrow text. The one door to the package, and to its faults.

Text is made comparable first: lower case, punctuation set apart by blanks, white space collapsed. `m.f.predict` with the packed label list avoids the
NumPy 2 fault of the Python wrapper's single `predict`. With one thread the library sets only the first tenth of its matrix and leaves in the rest what
the memory held before: models differ from run to run, or meet NaN. So memory is handed out zeroed while it trains.
"""

import contextlib
import ctypes
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from dolma.core.errors import DataError, EnvironmentFault
from dolma.core.files import version
from dolma.text import fasttext_file

PUNCTUATION = re.compile(r"([^\w\s])")
LABEL = "__label__"
DISTRIBUTIONS = ("fasttext", "fasttext-numpy2-wheel")  # either brings the package `fasttext`
PERTURB = -6  # M_PERTURB of glibc's mallopt: new memory is filled with the complement of this byte


def _library() -> Any:
    try:
        import fasttext
    except ImportError as error:
        raise EnvironmentFault(
            "dolma.text.fasttext", "no fastText here", mend="pip install fasttext-numpy2-wheel (not `fasttext`, whose code fails on NumPy 2)"
        ) from error
    return fasttext


def normalise(text: str) -> str:
    """One line: lower case, punctuation set apart, white space collapsed; a word that the library would take for a label loses its mark."""
    return " ".join(PUNCTUATION.sub(r" \1 ", text.lower().replace(LABEL, " label ")).split())


def plain(text: str) -> str:
    """One line: the text as it stands, line breaks as blanks, the way that most published models saw theirs."""
    return text.replace("\n", " ") if any(map(str.isalpha, text)) else ""


LINES: dict[str, Callable[[str], str]] = {"words": normalise, "plain": plain}


def name(label: str) -> str:
    """A class as the library can hold it: white space as `_`."""
    return "_".join(label.split())


def train(texts: Sequence[str], labels: Sequence[str], path: Path, *, lr: float, epochs: int, word_ngrams: int, dim: int, buckets: int, seed: int) -> None:
    """Fit a supervised classifier and write it to `path`; one thread and a seed, so the same data give the same model.

    Raises:
        DataError: the training diverged.
    """
    library = _library()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "train.txt"
        file.write_text("".join(f"{LABEL}{name(label)} {normalise(text)}\n" for text, label in zip(texts, labels, strict=True)), encoding="utf-8")
        try:
            with _silent(), _zeroed():
                model = library.train_supervised(
                    str(file), lr=lr, epoch=epochs, wordNgrams=word_ngrams, dim=dim, bucket=buckets, minCount=1, thread=1, seed=seed, verbose=0
                )
                model.save_model(str(path))
        except RuntimeError as error:
            raise DataError(str(path.name), "the training diverged", got=str(error), expected="finite weights", mend="lower `lr`") from error


def load(path: str) -> "Classifier":
    """The classifier in `path`, read once a process while the file stays the same.

    Raises:
        DataError: no such file, or not a whole fastText classifier.
    """
    return _load(path, *version(path))


@lru_cache(4)
def _load(path: str, *version: int) -> "Classifier":
    fasttext_file.check(path)
    try:
        with _silent():
            model = _library().load_model(path)
    except ValueError as error:
        raise DataError(
            path, "cannot read the classifier", got=str(error), expected="a fastText model", mend="run the recipe that trains it, or mend the path"
        ) from error
    return Classifier(model)


class Classifier:
    """A fastText model and its labels."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.labels = sorted(label.removeprefix(LABEL) for label in model.get_labels())

    def best(self, texts: Iterable[str | None], line: Callable[[str], str] = normalise) -> Iterator[tuple[str, float] | None]:
        """The most likely label and its probability; None for a text without words.

        Args:
            line: makes a text the one line that the model was trained on.
        """
        for text in texts:
            found = self._predict(line(text or ""), 1)
            yield found[0] if found else None

    def score(self, texts: Iterable[str | None], label: str, line: Callable[[str], str] = normalise) -> Iterator[float | None]:
        """The probability of `label`; None for a text without words.

        Args:
            line: makes a text the one line that the model was trained on.
        Raises:
            DataError: the model does not know `label`.
        """
        if label not in self.labels:
            raise DataError("classifier", f"no class `{label}`", got=", ".join(self.labels), expected=label, mend="name a class that the model was trained on")
        for text in texts:
            found = self._predict(line(text or ""), len(self.labels))
            yield dict(found)[label] if found else None

    def _predict(self, line: str, count: int) -> list[tuple[str, float]]:
        if not line:
            return []
        return [(label.removeprefix(LABEL), min(max(float(p), 0.0), 1.0)) for p, label in self.model.f.predict(f"{line}\n", count, 0.0, "strict")]


@contextlib.contextmanager
def _zeroed() -> Iterator[None]:
    """Let glibc fill new memory with zeros; another C library has no such switch and stays as it is."""
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is None:
        yield
        return
    set_option(PERTURB, 0xFF)
    try:
        yield
    finally:
        set_option(PERTURB, 0)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """fastText prints from C++: point the two streams elsewhere while it works."""
    kept = os.dup(1), os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        for stream, old in zip((1, 2), kept, strict=True):
            os.dup2(old, stream)
            os.close(old)
        os.close(nowhere)
