"""Byte-level BPE: trained on the pool, saved as `tokenizer.json`, applied to Arrow text. The corpus package's door to `tokenizers`."""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dolma.core.errors import DataError, EnvironmentFault
from dolma.core.files import sha256, version

EOS, PAD, START, END = "<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"
SPECIAL = (EOS, PAD, START, END, "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>")  # spec of the flow: eos and pad, chat turns, infilling
# Words with their leading blank, digits one by one, runs of other signs, line ends: the split of cl100k with single digits.
SPLIT = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"


def _library() -> Any:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # workers are processes; threads in them would make every count a race
    try:
        import tokenizers
    except ImportError as error:
        raise EnvironmentFault("dolma.text.tokenizer", "package `tokenizers` is missing", mend="pip install 'dolma-flow[models]'") from error
    return tokenizers


def train(texts: Iterable[str], vocab_size: int, path: Path) -> None:
    """Train a byte-level BPE with `vocab_size` entries (all bytes and the special tokens included) and write it to `path`.

    The same texts in the same order give the same file.
    """
    library = _library()
    made = library.Tokenizer(library.models.BPE())
    split = library.pre_tokenizers.Split(library.Regex(SPLIT), behavior="isolated")
    made.pre_tokenizer = library.pre_tokenizers.Sequence([split, library.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    made.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=list(SPECIAL), initial_alphabet=sorted(library.pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    made.train_from_iterator(texts, trainer=trainer)
    path.write_text(made.to_str(), encoding="utf-8")


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer read from a file, with the ids of its special tokens."""

    path: str
    special: dict[str, int]
    vocab_size: int
    model: Any

    @property
    def eos(self) -> int:
        """Id of the end-of-text token."""
        return self.special[EOS]

    @property
    def pad(self) -> int:
        """Id of the padding token."""
        return self.special[PAD]

    def encode(self, text: str) -> list[int]:
        """Token ids of a text; special tokens that stand in it are plain text."""
        return self.model.encode(text, add_special_tokens=False).ids

    def encode_places(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids of a text, and the characters (first, one past the last) of each."""
        made = self.model.encode(text, add_special_tokens=False)
        return made.ids, made.offsets

    def encode_batch(self, texts: Iterable[str]) -> Iterator[list[int]]:
        """Token ids of many texts."""
        return (one.ids for one in self.model.encode_batch_fast(list(texts), add_special_tokens=False))

    def encode_column(self, texts: pa.Array) -> pa.LargeListArray:
        """A large_list<uint32> column of token ids, one list a text; NULL text has no tokens."""
        lists = [np.asarray(ids, np.uint32) for ids in self.encode_batch(text or "" for text in texts.to_pylist())]
        offsets = np.concatenate([[0], np.cumsum([len(ids) for ids in lists])]).astype(np.int64)
        flat = np.concatenate(lists) if lists else np.array([], np.uint32)
        return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(flat, pa.uint32()))

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids, special tokens shown."""
        return self.model.decode(list(ids), skip_special_tokens=False)


def load(path: str) -> Tokenizer:
    """The tokenizer in `path`, read once a process while the file stays the same.

    Raises:
        DataError: no such file, a damaged one, or one without the end-of-text and padding tokens.
    """
    return _load(path, *version(path))


@lru_cache(4)
def _load(path: str, *version: int) -> Tokenizer:
    library = _library()
    try:
        model = library.Tokenizer.from_file(path)
    except Exception as error:  # the library raises bare Exception
        raise DataError(path, "cannot read the tokenizer", got=str(error), expected="a tokenizer.json", mend="run the recipe that trains it") from error
    model.encode_special_tokens = True
    special = {token.content: number for number, token in model.get_added_tokens_decoder().items()}
    missing = [name for name in (EOS, PAD) if name not in special]
    if missing:
        raise DataError(path, "the tokenizer lacks special tokens", got=", ".join(special) or "none", expected=", ".join(missing), mend="train it with them")
    return Tokenizer(path, special, model.get_vocab_size(with_added_tokens=True), model)


def facts(path: str) -> dict[str, Any]:
    """What manifests say of a tokenizer: sha256 of the file, vocab_size, eos, pad; read without the library."""
    found = json.loads(Path(path).read_bytes())
    special = {token["content"]: token["id"] for token in found["added_tokens"]}
    size = max([*found["model"]["vocab"].values(), *special.values()]) + 1
    return {"tokenizer": {"sha256": sha256(Path(path)), "vocab_size": size, "eos": special.get(EOS), "pad": special.get(PAD)}}
