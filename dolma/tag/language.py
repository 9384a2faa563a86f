"""The language of a text with the model of py3langid; the only file that imports it. The scan is our own: the same labels, eight to twelve times as fast."""

import unicodedata
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dolma.core.errors import ConfigError, EnvironmentFault
from dolma.core.schema import append
from dolma.core.step import step

if TYPE_CHECKING:
    from dolma.kernels.langid import Model

UNKNOWN = "und"  # ISO 639-2: undetermined


@step(needs=("text",), adds={"lang": pa.string(), "lang_score": pa.float32()}, version=2, packages=("py3langid",))
def tag_language(batch: pa.RecordBatch, *, max_chars: int = 1_000, languages: tuple[str, ...] = ()) -> pa.RecordBatch:
    """The likeliest of 139 languages as `lang` (ISO 639-1, or 639-3 where that has none; `zxx`: no language) and its probability `lang_score`.

    A text without a letter, or without an n-gram that the model knows, is `und` with score 0. Labels are those of py3langid's `classify`; scores are rounded
    to 4 decimals, coarser than what another order of adding up changes.

    Args:
        max_chars: characters that are looked at, white space at the beginning left out.
        languages: the only labels to choose from, where the languages of a source are known; all when empty.
    Raises:
        ConfigError: the model does not know one of `languages`.
    Source: langid.py, Lui and Baldwin 2012 (naive Bayes over byte n-grams), in the model of py3langid 0.4.
    """
    from dolma.kernels.langid import probabilities

    model, labels = _model(languages)
    data, offsets = _heads(batch.column("text"), max_chars)
    scores, known = probabilities(data, offsets, model)
    for first, other in _aliases(labels):
        scores[:, first] += scores[:, other]
        scores[:, other] = 0
    best = scores.argmax(axis=1)
    names = np.where(known, np.array(labels, object)[best], UNKNOWN)
    top = np.where(known, scores[np.arange(len(best)), best], 0).round(4)
    return append(batch, {"lang": pa.array(names, pa.string()), "lang_score": pa.array(top.astype(np.float32), pa.float32())})


def _heads(texts: pa.Array, max_chars: int) -> tuple[np.ndarray, np.ndarray]:
    """The beginnings of texts as the model was trained on them: composed (NFC), in lower case where all is in capitals; empty without a letter."""
    heads = pc.utf8_slice_codeunits(pc.utf8_ltrim_whitespace(pc.fill_null(texts, "")), 0, max_chars)
    made = [_bytes(head) for head in heads.to_pylist()]
    return np.frombuffer(b"".join(made), np.uint8), np.cumsum([0, *map(len, made)], dtype=np.int64)


def _bytes(head: str) -> bytes:
    if not any(map(str.isalpha, head)):
        return b""
    return unicodedata.normalize("NFC", head.lower() if head.isupper() else head).encode()


def _aliases(labels: tuple[str, ...]) -> list[tuple[int, int]]:
    """Pairs of columns with one label (Serbian in two scripts): the first, and one that is added to it."""
    return [(labels.index(label), n) for n, label in enumerate(labels) if labels.index(label) < n]


def _file() -> Path:
    found = find_spec("py3langid")
    if found is None or found.origin is None:
        raise EnvironmentFault("dolma.tag.language", "py3langid is not installed", mend="pip install 'dolma-flow[web]'")
    return Path(found.origin).parent / "data" / "model.npz.xz"


@lru_cache(2)
def _model(languages: tuple[str, ...]) -> tuple["Model", tuple[str, ...]]:
    """The tables in the installed package, cut to `languages`, and the label of each column."""
    from dolma.kernels.langid import Model

    try:
        from py3langid.modelio import load_model
    except ImportError as error:
        mend = "pip install 'dolma-flow[web]'"
        raise EnvironmentFault("dolma.tag.language", "no py3langid 0.4 or newer here", got=str(error), expected="py3langid>=0.4", mend=mend) from error
    weights, prior, labels, moves, rows, found = load_model(_file())
    unknown = sorted(set(languages) - set(labels))
    if unknown:
        known = ", ".join(sorted(set(labels)))
        raise ConfigError("tag_language", f"the model does not know {', '.join(unknown)}", got=unknown[0], expected=f"one of {known}", mend="mend `languages`")
    columns = [n for n, label in enumerate(labels) if not languages or label in languages]
    bits = np.ascontiguousarray(weights[:, columns], np.float16).view(np.uint16)
    return Model(np.asarray(moves), np.asarray(rows), np.array(found, np.int32), bits, np.ascontiguousarray(prior[columns])), tuple(labels[n] for n in columns)
