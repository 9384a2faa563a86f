"""Fit a fastText classifier on a labelled table; its card, with held-out metrics, travels with it as the rows of the dataset."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa

from dolma.core.errors import DataError
from dolma.core.step import reduce_step
from dolma.text import fasttext


@reduce_step(
    needs=lambda p: ("text", p.label, *((p.group,) if p.group else ())),
    out={"name": pa.string(), "value": pa.float64()},
    version=2,
    packages=fasttext.DISTRIBUTIONS,
)
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
    """A classifier `model.bin` trained on all but the held-out rows, and its held-out accuracy, macro F1 and F1 by class.

    Args:
        label: column with the class, a string.
        group: column whose equal values stay on one side of the split (pieces of one page leak otherwise: .985 by text against .953 by page on the kit).
        heldout: share of rows (by hash of text or group) that are not trained on.
        lr, epochs, word_ngrams, dim, buckets: of fastText.
    """
    texts: list[str] = []
    labels: list[str] = []
    sides: list[str] = []
    for batch in batches:
        texts += [text or "" for text in batch.column("text").to_pylist()]
        labels += [str(value) for value in batch.column(label).to_pylist()]
        sides += [str(value) for value in batch.column(group or "text").to_pylist()]
    out = np.array([int(sha256(side.encode()).hexdigest()[:8], 16) / 0xFFFFFFFF < heldout for side in sides], bool)
    if len(set(labels)) < 2 or out.all():
        raise DataError(
            f"column {label}",
            "nothing to learn",
            got=f"{len(set(labels))} classes in {len(labels)} rows",
            expected="at least 2 classes",
            mend="give more labelled text",
        )
    kept = np.flatnonzero(~out)
    model = folder / "model.bin"
    fasttext.train(
        [texts[n] for n in kept], [labels[n] for n in kept], model, lr=lr, epochs=epochs, word_ngrams=word_ngrams, dim=dim, buckets=buckets, seed=seed
    )
    found = fasttext.load(str(model))
    test = np.flatnonzero(out)
    guesses = [guess[0] if guess else "" for guess in found.best(texts[n] for n in test)]
    return _card([labels[n].replace(" ", "_") for n in test], guesses, len(kept))


def _card(truth: list[str], guesses: list[str], trained: int) -> pa.Table:
    rows: dict[str, float] = {"n_train": trained, "n_heldout": len(truth)}
    if truth:
        rows["accuracy"] = float(np.mean([t == g for t, g in zip(truth, guesses, strict=True)]))
    scores = []
    for name in sorted(set(truth)):
        hits = sum(t == g == name for t, g in zip(truth, guesses, strict=True))
        scores.append(2 * hits / max(truth.count(name) + guesses.count(name), 1))
        rows[f"f1.{name}"] = scores[-1]
    if scores:
        rows["f1.macro"] = float(np.mean(scores))
    return pa.table({"name": list(rows), "value": pa.array(list(rows.values()), pa.float64())})
