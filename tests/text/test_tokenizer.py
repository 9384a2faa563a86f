"""The byte-level BPE: any text there and back, and the same file for the same texts."""

import json
import random
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.core.errors import DataError
from dolma.core.files import sha256
from dolma.text import tokenizer as tokenizers

TEXT = st.text(st.characters(codec="utf-8"), max_size=60) | st.lists(st.sampled_from([*tokenizers.SPECIAL, " ", "\r\n", "12", "\u0000", "it's"])).map("".join)


@settings(max_examples=200, deadline=None)
@given(TEXT)
def test_any_text_comes_back(tokenizer: str, text: str) -> None:
    model = tokenizers.load(tokenizer)
    ids = model.encode(text)
    assert model.decode(ids) == text
    assert all(0 <= one < model.vocab_size for one in ids) and not set(ids) & set(model.special.values())


@settings(max_examples=50, deadline=None)
@given(st.lists(TEXT | st.none(), max_size=6))
def test_a_column_is_its_texts_one_by_one(tokenizer: str, texts: list[str | None]) -> None:
    model = tokenizers.load(tokenizer)
    column = pa.array(["x", *texts], pa.large_string()).slice(1)
    made = model.encode_column(column)
    assert made.type == pa.large_list(pa.uint32())
    assert made.to_pylist() == [model.encode(text or "") for text in texts] == list(model.encode_batch(text or "" for text in texts))


def test_the_same_texts_give_the_same_file_and_others_another(tmp_path: Path) -> None:
    letters = random.Random(3)
    texts = ["".join(letters.choice("abcdef ") for _ in range(60)) for _ in range(200)]
    for name, some in {"a": texts, "b": iter(texts), "c": [text.replace("a", "x") for text in texts]}.items():
        tokenizers.train(some, 400, tmp_path / name)
    assert sha256(tmp_path / "a") == sha256(tmp_path / "b") != sha256(tmp_path / "c")
    assert tokenizers.load(str(tmp_path / "a")).vocab_size == 400


def test_digits_stand_alone_however_often_they_were_seen_together(tmp_path: Path) -> None:
    tokenizers.train(["in 2024 and 2024 and 2024"] * 100, 400, tmp_path / "t")
    model = tokenizers.load(str(tmp_path / "t"))
    assert [model.decode([one]) for one in model.encode(" 2024")] == [" ", "2", "0", "2", "4"]
    assert len(model.encode(" and")) == 1
    assert not [entry for entry in json.loads((tmp_path / "t").read_text())["model"]["vocab"] if len(entry) > 1 and any(map(str.isdigit, entry))]


def test_special_tokens_come_first_in_their_order(tokenizer: str) -> None:
    model = tokenizers.load(tokenizer)
    assert model.special == {name: number for number, name in enumerate(tokenizers.SPECIAL)}
    assert (model.eos, model.pad) == (0, 1) and model.decode([0]) == "<|endoftext|>"


def test_facts_hold_the_hash_and_agree_with_the_library(tokenizer: str) -> None:
    model = tokenizers.load(tokenizer)
    assert tokenizers.facts(tokenizer) == {"tokenizer": {"sha256": sha256(Path(tokenizer)), "vocab_size": model.vocab_size, "eos": model.eos, "pad": model.pad}}


@pytest.mark.parametrize("content", [None, b"", b"{}", b"{", b"\xff\x00"])
def test_a_missing_or_damaged_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "t").write_bytes(content)
    with pytest.raises(DataError, match="cannot read the tokenizer") as error:
        tokenizers.load(str(tmp_path / "t"))
    assert error.value.code == 3 and str(tmp_path / "t") in str(error.value)


def test_a_tokenizer_without_an_end_of_text_is_refused(tokenizer: str, tmp_path: Path) -> None:
    content = json.loads(Path(tokenizer).read_text())
    content["added_tokens"] = content["added_tokens"][1:]
    (tmp_path / "t").write_text(json.dumps(content))
    with pytest.raises(DataError, match="lacks special tokens") as error:
        tokenizers.load(str(tmp_path / "t"))
    assert error.value.expected == tokenizers.EOS


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    for texts in (["aa bb"] * 50, ["cc dd"] * 50):
        tokenizers.train(texts, 280, tmp_path / "t")
        model = tokenizers.load(str(tmp_path / "t"))
        assert len(model.encode(texts[0][:2])) == 1 and tokenizers.load(str(tmp_path / "t")) is model
