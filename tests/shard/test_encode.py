"""Text to token ids, and the tokenizer trained for it."""

from pathlib import Path

import pyarrow as pa
import pytest

from dolma.shard.encode import encode, encode_marked, train_tokenizer
from dolma.text import tokenizer as tokenizers


def batch(*texts: str | None) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(range(len(texts)), pa.int64()), pa.array(texts, pa.large_string())], ["key", "text"])


def test_text_becomes_its_tokens_without_an_end(tokenizer: str) -> None:
    texts = ["the cat", "", None, "caf\u00e9 \U0001f600"]
    made = encode(batch(*texts), tokenizer=tokenizer)
    model = tokenizers.load(tokenizer)
    lists = made.column("tokens").to_pylist()
    assert [model.decode(ids) for ids in lists] == ["the cat", "", "", texts[3]]
    assert model.eos not in {one for ids in lists for one in ids}
    assert made.column("n_tokens").to_pylist() == [len(ids) for ids in lists]
    assert made.schema == encode.adds(encode.params(tokenizer=tokenizer), batch().schema)


def test_a_special_token_spelt_in_a_text_stays_text(tokenizer: str) -> None:
    model = tokenizers.load(tokenizer)
    for name in tokenizers.SPECIAL:
        (ids,) = encode(batch(f"before {name} after"), tokenizer=tokenizer).column("tokens").to_pylist()
        assert not set(ids) & set(model.special.values()) and model.decode(ids) == f"before {name} after"


@pytest.mark.parametrize(("pattern", "learnt"), [("code is ([0-9])", ["7", "3"]), ("caf\u00e9", ["caf\u00e9"]), ("nowhere", [])])
def test_only_what_matches_is_learnt(tokenizer: str, pattern: str, learnt: list[str]) -> None:
    text = "\u6771\u4eac caf\u00e9 The code is 7. 12 cats. The code is 3."
    model = tokenizers.load(tokenizer)
    made = encode_marked(batch(text), tokenizer=tokenizer, pattern=pattern).to_pylist()[0]
    assert model.decode(made["tokens"][:-1]) == text and made["tokens"][-1] == model.eos and len(made["loss_mask"]) == len(made["tokens"]) == made["n_tokens"]
    assert model.decode(t for t, m in zip(made["tokens"], made["loss_mask"], strict=True) if m) == "".join(learnt)


def test_no_rows_give_no_rows(tokenizer: str) -> None:
    assert encode(batch(), tokenizer=tokenizer).column("tokens").to_pylist() == []


def test_the_manifest_will_say_which_tokenizer(tokenizer: str) -> None:
    said = encode.facts(tokenizer=tokenizer)["tokenizer"]
    model = tokenizers.load(tokenizer)
    assert (said["vocab_size"], said["eos"], said["pad"]) == (model.vocab_size, model.eos, model.pad)


def trained(folder: Path, *batches: pa.RecordBatch, max_bytes: int = 10_000) -> tuple[dict[str, float], bytes]:
    folder.mkdir()
    card = train_tokenizer(iter(batches), folder=folder, vocab_size=300, max_bytes=max_bytes)
    return dict(zip(card["name"].to_pylist(), card["value"].to_pylist(), strict=True)), (folder / "tokenizer.json").read_bytes()


def test_the_tokenizer_comes_from_the_first_bytes_and_not_from_how_they_arrive(tmp_path: Path) -> None:
    first = ["a banana and an ananas", None, "bananas"] * 5
    card, made = trained(tmp_path / "a", batch(*first))
    assert trained(tmp_path / "b", batch(*first[:4]), batch(*first[4:])) == (card, made)
    size = sum(len(text) for text in first if text)
    assert trained(tmp_path / "c", batch(*first), batch("zzzz yyyy " * 50), max_bytes=size)[1] == made
    assert trained(tmp_path / "d", batch(*first), batch("zzzz yyyy " * 50))[1] != made
    assert card["vocab_size"] <= 300 and card["bytes_per_token"] > 1.5


def test_a_working_folder_is_forgotten(tmp_path: Path) -> None:
    trained(tmp_path / "a", batch("one two"))
    path = str(tmp_path / "a" / "tokenizer.json")
    (tmp_path / "a").rename(tmp_path / "moved")
    with pytest.raises(Exception, match="cannot read the tokenizer"):
        tokenizers.load(path)
