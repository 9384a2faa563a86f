"""The chat template: what the loss sees is the assistant's turn with its end of text, no token more or less."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma.shard import chat
from dolma.text import tokenizer as tokenizers

TEXT = st.text(st.characters(codec="utf-8"), max_size=40) | st.sampled_from([*tokenizers.SPECIAL, "\n", "<think>", "<|im_end|>\n<|im_start|>assistant\n"])


def batch(**columns: Sequence[str | None]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(values, pa.large_string()) for values in columns.values()], names=list(columns))


def seen(tokens: list[int], mask: list[int], wanted: int) -> list[int]:
    return [token for token, flag in zip(tokens, mask, strict=True) if flag == wanted]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(TEXT, TEXT), max_size=4))
def test_masked_tokens_are_exactly_the_answer_and_its_end(tokenizer: str, rows: list[tuple[str, str]]) -> None:
    model = tokenizers.load(tokenizer)
    made = chat.encode_chat(batch(prompt=[p for p, _ in rows], response=[r for _, r in rows]), tokenizer=tokenizer, length=10_000)
    for (prompt, answer), tokens, mask in zip(rows, made.column("tokens").to_pylist(), made.column("loss_mask").to_pylist(), strict=True):
        target = seen(tokens, mask, 1)
        assert target[-1] == model.eos and tokens.count(model.eos) == 1
        assert model.decode(target[:-1]) == answer
        assert model.decode(seen(tokens, mask, 0)) == f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
        assert mask == sorted(mask)
        assert [tokens.count(model.special[name]) for name in (tokenizers.START, tokenizers.END)] == [2, 1]


def test_working_stands_between_think_marks_and_may_be_absent() -> None:
    made = chat.write_response(batch(solution=["3 + 4 = 7", ""], answer=["7", "7"]))
    assert made.column("response").to_pylist() == ["<think>\n3 + 4 = 7\n</think>\n\n7", "7"]


def test_a_conversation_over_the_length_is_quarantined_with_its_size(tokenizer: str) -> None:
    rows = batch(prompt=["a", "a"], response=["b", "b" * 50])
    sizes = chat.encode_chat(rows, tokenizer=tokenizer, length=1000).column("n_tokens").to_pylist()
    made = chat.encode_chat(rows, tokenizer=tokenizer, length=sizes[0])
    assert made.column("_error").to_pylist() == [None, f"{sizes[1]} tokens, over {sizes[0]}"]
    assert made.column("n_tokens").to_pylist() == pc.list_value_length(made.column("tokens")).to_pylist() == sizes


def pairs(tokenizer: str, length: int, *rows: tuple[str, str, str]) -> pa.RecordBatch:
    return chat.encode_pair(batch(prompt=[r[0] for r in rows], chosen=[r[1] for r in rows], rejected=[r[2] for r in rows]), tokenizer=tokenizer, length=length)


def test_both_sides_of_a_pair_share_the_prompt_and_differ_in_what_is_masked(tokenizer: str) -> None:
    model = tokenizers.load(tokenizer)
    (row,) = pairs(tokenizer, 100, ("3 + 4?", "7", "the mat")).to_pylist()
    heads = [seen(row[side], row[f"{side}_mask"], 0) for side in ("chosen", "rejected")]
    assert heads[0] == heads[1] == chat.encode_prompt_text(model, "3 + 4?")
    assert model.decode(seen(row["chosen"], row["chosen_mask"], 1)) == "7<|endoftext|>"
    assert model.decode(seen(row["rejected"], row["rejected_mask"], 1)) == "the mat<|endoftext|>"
    assert row["_error"] is None and "prompt" not in row


def test_pairs_that_are_equal_or_too_long_on_either_side_are_quarantined(tokenizer: str) -> None:
    made = pairs(tokenizer, 30, ("a", "7", "8"), ("a", "7", "7"), ("a", "7", "q" * 50), ("a", "q" * 50, "7"))
    errors = made.column("_error").to_pylist()
    assert errors[0] is None and "the same" in errors[1]
    assert "over 30" in errors[2] and "over 30" in errors[3]


def test_write_pair_gives_the_right_and_the_spoiled_turn() -> None:
    made = chat.write_pair(batch(solution=["s"], answer=["7"], bad_solution=[""], bad_answer=["8"]))
    assert made.to_pylist()[0] | {"chosen": "<think>\ns\n</think>\n\n7", "rejected": "8"} == made.to_pylist()[0]


def test_a_prompt_ends_where_the_assistant_begins(tokenizer: str) -> None:
    model = tokenizers.load(tokenizer)
    (prompt,) = chat.encode_prompt(batch(prompt=["Copy: a <|endoftext|>"]), tokenizer=tokenizer, length=100).column("prompt").to_pylist()
    assert model.decode(prompt) == "<|im_start|>user\nCopy: a <|endoftext|><|im_end|>\n<|im_start|>assistant\n" and model.eos not in prompt


def test_a_prompt_that_leaves_no_room_is_quarantined(tokenizer: str) -> None:
    size = len(chat.encode_prompt_text(tokenizers.load(tokenizer), "the cat"))
    for length, refused in ((size, True), (size + 1, False)):
        (error,) = chat.encode_prompt(batch(prompt=["the cat"]), tokenizer=tokenizer, length=length).column("_error").to_pylist()
        assert (error is not None) == refused


@pytest.mark.parametrize("step", [chat.encode_chat, chat.encode_pair, chat.encode_prompt])
def test_no_rows_give_no_rows_of_the_declared_types(tokenizer: str, step) -> None:
    names = {chat.encode_chat: ("prompt", "response"), chat.encode_pair: ("prompt", "chosen", "rejected"), chat.encode_prompt: ("prompt",)}[step]
    empty = batch(**{name: [] for name in names})
    made = step(empty, tokenizer=tokenizer, length=10)
    declared = step.adds(step.params(tokenizer=tokenizer, length=10), empty.schema)
    assert made.num_rows == 0 and made.select(declared.names).schema == declared
