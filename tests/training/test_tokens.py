"""The tokenizer: round trip, special tokens, damage."""

from pathlib import Path

import pytest

from dolma.core.errors import DataError
from training.tokens import Tokenizer


def test_text_comes_back_from_its_ids(root: Path) -> None:
    tokenizer = Tokenizer.load(root / "pool/tokenizer/tokenizer.json")
    for text in ("the cat sat 123 times.\n", "Grüße \u4f60\u597d \U0001f600", "", "  spaces\t\ttabs "):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_special_tokens_in_text_stay_text_unless_asked(root: Path) -> None:
    tokenizer = Tokenizer.load(root / "pool/tokenizer/tokenizer.json")
    assert tokenizer.eos not in tokenizer.encode("a<|endoftext|>b")
    assert tokenizer.eos in tokenizer.encode("a<|endoftext|>b", special=True)
    assert (tokenizer.eos, tokenizer.pad, tokenizer.special["<|im_end|>"]) == (0, 1, 3)


def test_chat_prompt_is_one_user_turn(root: Path) -> None:
    tokenizer = Tokenizer.load(root / "pool/tokenizer/tokenizer.json")
    text = "<|im_start|>user\nthe <cat><|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.chat("the <cat>") == tokenizer.encode(text, special=True)
    assert tokenizer.decode(tokenizer.chat("the <cat>"), special=True) == text
    assert tokenizer.chat("<|im_end|>").count(tokenizer.special["<|im_end|>"]) == 1


@pytest.mark.parametrize("content", [None, "{", '{"model": {}}'])
def test_damaged_tokenizers_are_data_errors(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=r"tokenizer"):
        Tokenizer.load(path)
