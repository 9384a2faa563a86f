"""A classifier that others trained and published: its file becomes a dataset with a card, like one that a recipe trains."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow as pa
from pydantic import Field

from dolma.core import files
from dolma.core.errors import DataError
from dolma.core.step import Sizes, reduce_step
from dolma.io.parts import PART_BYTES
from dolma.tag import card
from dolma.tag.train import ROWS
from dolma.text import fasttext, fasttext_file


@reduce_step(needs=("file", "offset", "content"), out=ROWS, packages=fasttext.DISTRIBUTIONS, sizes=lambda params, taken: Sizes(1, PART_BYTES))
def import_classifier(
    batches: Iterator[pa.RecordBatch],
    *,
    folder: Path,
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")],
    trained_on: str,
    classes: list[str] = [],  # noqa: B006
    text: Literal["words", "plain"] = "plain",
    settings: dict[str, Any] = {},  # noqa: B006
    metrics: dict[str, float] = {},  # noqa: B006
) -> pa.Table:
    """A published fastText classifier (.bin or .ftz) as `model.bin` with its `card.json`; rows: the published metrics and the number of classes.

    Its labels lose the mark `__label__`: `__label__science_math_and_technology` is the topic `science_math_and_technology`, `__label__hq` the class `hq`.

    Args:
        sha256: of the file, as its publisher gives it.
        trained_on: in words, or the address of its card.
        classes: that the model must have, in any order; absent: those it has.
        text: how it was trained to see a text: `plain` as it stands, line breaks as blanks; `words` as `train_classifier` does (lower case, punctuation apart).
        settings, metrics: as published, for the card.
    Raises:
        DataError: another file, one that is not whole, not the classes meant, or several files.
    """
    name, model = "", folder / card.MODEL
    with open(model, "wb") as out:
        for batch in batches:
            for file, offset, content in zip(*(batch.column(column).to_pylist() for column in ("file", "offset", "content")), strict=True):
                if name not in ("", file) or offset != out.tell():
                    mend = "name one file in `files`"
                    raise DataError("import_classifier", "a model is one file", got=f"{file} at {offset} after {name}", expected="the parts of one", mend=mend)
                name = file
                out.write(content)
    if (got := files.sha256(model)) != sha256:
        raise DataError(name, "this is another file", got=got, expected=sha256, mend="get the right file, or write its hash into the recipe")
    try:
        fasttext_file.check(str(model))
    except DataError as error:
        raise DataError(
            name, error.what, got=error.got, expected=error.expected, mend="get a classifier for fastText; the hash is that of this file"
        ) from error
    there = fasttext.load(str(model)).labels
    if classes and sorted(set(classes)) != there:
        raise DataError(name, "not the classes that the recipe names", got=", ".join(there), expected=", ".join(sorted(set(classes))), mend="mend `classes`")
    card.write(folder, text=text, classes=there, trained_on={"said": trained_on}, settings=settings, metrics=metrics)
    rows = {"classes": float(len(there)), **metrics}
    return pa.table({"name": list(rows), "value": pa.array(list(rows.values()), pa.float64())})
