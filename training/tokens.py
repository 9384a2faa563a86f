"""The tokenizer as the training sees it: text to ids and back, and the ids of the special tokens. The door to `tokenizers`."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from dolma.core.errors import DataError, EnvironmentFault
from dolma.core.files import sha256

EOS, PAD, START, END = "<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"


@dataclass(frozen=True)
class Tokenizer:
    """A byte-level BPE tokenizer read from `tokenizer.json`."""

    path: Path
    sha256: str
    special: dict[str, int]
    _plain: Any
    _marked: Any

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a `tokenizer.json`.

        Raises:
            DataError: there is no such file, it is damaged, or it has no end-of-text or padding token.
            EnvironmentFault: `tokenizers` is not installed.
        """
        path = Path(path)
        try:
            from tokenizers import Tokenizer as Reader
        except ImportError as error:
            raise EnvironmentFault("training.tokens", "package `tokenizers` is missing", mend="pip install 'dolma-flow[train]'") from error
        if not path.is_file():
            raise DataError(str(path), "no tokenizer there", got="no file", expected="tokenizer.json", mend="run the recipe that trains the tokenizer")
        text = path.read_text(encoding="utf-8")
        try:
            plain, marked = Reader.from_str(text), Reader.from_str(text)
        except Exception as error:  # the reader raises bare Exception for a damaged file
            raise DataError(str(path), "damaged tokenizer", got=str(error), expected="a tokenizer.json", mend="train the tokenizer again") from error
        plain.encode_special_tokens = True  # text from data that spells a special token stays text
        special = {token.content: i for i, token in marked.get_added_tokens_decoder().items() if token.special}
        missing = [name for name in (EOS, PAD) if name not in special]
        if missing:
            raise DataError(str(path), "special tokens are missing", got=sorted(special), expected=missing, mend="train the tokenizer with them")
        return cls(path, sha256(path), special, plain, marked)

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Token ids of `text`; a special token spelled in it becomes its one id only with `special` (for templates, never for data)."""
        return (self._marked if special else self._plain).encode(text, add_special_tokens=False).ids

    def decode(self, ids: list[int], *, special: bool = False) -> str:
        """Text of token ids; special tokens are left out unless `special`."""
        return self._marked.decode(ids, skip_special_tokens=not special)

    def chat(self, prompt: str) -> list[int]:
        """The prompt as one user turn, up to where the assistant's answer begins."""
        turn = [self.special[START], *self.encode(f"user\n{prompt}"), self.special[END], *self.encode("\n")]
        return [*turn, self.special[START], *self.encode("assistant\n")]

    @cached_property
    def sizes(self) -> list[int]:
        """UTF-8 bytes of each token id; 0 for special tokens. A byte-level tokenizer spells each byte as one character."""
        special = set(self.special.values())
        return [0 if i in special else len(self._marked.id_to_token(i) or "") for i in range(self.vocab)]

    @property
    def eos(self) -> int:
        """Id of the end-of-text token."""
        return self.special[EOS]

    @property
    def pad(self) -> int:
        """Id of the padding token."""
        return self.special[PAD]

    @property
    def vocab(self) -> int:
        """Number of tokens, special ones included."""
        return self._marked.get_vocab_size(with_added_tokens=True)
