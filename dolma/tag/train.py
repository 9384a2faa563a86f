"""Fit a fastText classifier on a labelled table; its card, with held-out metrics, travels with it: as `card.json`, and as the rows of the dataset."""

from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa

from dolma.core.errors import DataError
from dolma.core.step import reduce_step
from dolma.tag import card
from dolma.text import fasttext

ROWS = {"name": pa.string(), "value": pa.float64()}


@reduce_step(needs=lambda p: ("text", p.label, *((p.group,) if p.group else ())), out=ROWS, version=3, packages=fasttext.DISTRIBUTIONS)
def train_classifier(
    batches: Iterator[pa.RecordBatch],
    *,
    folder: Path,
    label: str,
    group: str | None = None,
    heldout: float = 0.2,
    lr: float = 0.5,
    epochs: int = 25,
    word_ngrams: int = 1,
    dim: int = 32,
    buckets: int = 200_000,
    seed: int = 1,
) -> pa.Table:
    """A classifier `model.bin` trained on all but the held-out rows, with its `card.json`; rows: held-out accuracy, macro F1, and precision, recall, F1 and
    support (held-out rows) of each class.

    White space in a class becomes `_`, as fastText cannot hold it.

    Args:
        label: column with the class.
        group: column whose equal values stay on one side of the split (pieces of one page leak otherwise: .985 by text against .953 by page on the kit).
        heldout: share of rows (by hash of text or group) that are not trained on.
        lr, epochs, word_ngrams, dim, buckets: of fastText.
    Raises:
        DataError: rows without a class, classes that become one, or fewer than two classes to train on.
    """
    texts: list[str] = []
    labels: list[str] = []
    out: list[bool] = []
    whole = sha256()
    for batch in batches:
        for text, value, side in zip(*(batch.column(name).to_pylist() for name in ("text", label, group or "text")), strict=True):
            texts.append(text or "")
            labels.append("" if value is None else str(value))
            out.append(int(sha256(str(side).encode()).hexdigest()[:8], 16) / 0xFFFFFFFF < heldout)
            whole.update(f"{len(labels[-1])}:{labels[-1]}{len(texts[-1])}:{texts[-1]}".encode())
    labels = _classes(labels, f"column {label}")
    kept, test = np.flatnonzero(~np.array(out, bool)), np.flatnonzero(out)
    trained = Counter(labels[n] for n in kept)
    if len(trained) < 2:
        raise DataError(
            f"column {label}",
            "nothing to learn",
            got=f"{len(trained)} classes in {len(kept)} rows to train on, {len(set(labels))} in all {len(labels)}",
            expected="at least 2 classes",
            mend="give more labelled text, or a smaller `heldout`",
        )
    settings = {"lr": lr, "epochs": epochs, "word_ngrams": word_ngrams, "dim": dim, "buckets": buckets, "seed": seed}
    model = folder / card.MODEL
    fasttext.train([texts[n] for n in kept], [labels[n] for n in kept], model, **settings)  # pyright: ignore[reportArgumentType]
    guesses = [guess[0] if guess else "" for guess in fasttext.load(str(model)).best(texts[n] for n in test)]
    rows = {"n_train": float(len(kept)), "n_heldout": float(len(test)), **metrics([labels[n] for n in test], guesses)}
    learnt = {"rows": len(labels), "sha256": whole.hexdigest(), "label": label, "classes": dict(sorted(trained.items()))}
    settings = {**settings, "heldout": heldout, "group": group}
    card.write(folder, text="words", classes=sorted(trained), trained_on=learnt, settings=settings, metrics=rows)
    return pa.table({"name": list(rows), "value": pa.array(list(rows.values()), pa.float64())})


def _classes(labels: list[str], where: str) -> list[str]:
    """The classes as fastText writes them.

    Raises:
        DataError: a row has none, or two of them become the same.
    """
    names = {value: fasttext.name(value) for value in sorted(set(labels))}
    blank = sum(not names[value] for value in labels)
    if blank:
        mend = "drop such rows before with `keep`: an unlabelled text is of no class"
        raise DataError(where, "rows without a class", got=f"{blank} of {len(labels)} rows NULL or blank", expected="a class in each", mend=mend)
    found: dict[str, str] = {}
    for value, made in names.items():
        if (other := found.setdefault(made, value)) != value:
            mend = "write them one way before with `set`"
            raise DataError(where, "two classes become one", got=f"`{other}` and `{value}`", expected=f"one is `{made}`", mend=mend)
    return [names[value] for value in labels]


def metrics(truth: list[str], guesses: list[str]) -> dict[str, float]:
    """Accuracy, macro F1 over the classes of `truth`, and precision, recall, F1 and support of each; nothing where there are no rows.

    F1 = 2 hits / (rows + guesses); a class that was never guessed has precision 0, as in scikit-learn's `zero_division=0`.
    """
    if not truth:
        return {}
    rows, guessed, hits = Counter(truth), Counter(guesses), Counter(t for t, g in zip(truth, guesses, strict=True) if t == g)
    found = {"accuracy": sum(hits.values()) / len(truth)}
    found["f1.macro"] = float(np.mean([2 * hits[name] / (rows[name] + guessed[name]) for name in sorted(rows)]))
    for name in sorted(rows):
        found[f"precision.{name}"] = hits[name] / max(guessed[name], 1)
        found[f"recall.{name}"] = hits[name] / rows[name]
        found[f"f1.{name}"] = 2 * hits[name] / (rows[name] + guessed[name])
        found[f"support.{name}"] = float(rows[name])
    return found
