"""Conversations to tokens: the chat template, and which of its tokens the loss sees.

    <|im_start|>user\\nPROMPT<|im_end|>\\n<|im_start|>assistant\\n<think>\\nWORKING\\n</think>\\n\\nANSWER<|endoftext|>

The last assistant turn ends with end-of-text (spec of post-training, chat template). The prompt and the response are encoded apart, so the mask comes from the
parts themselves and never from re-tokenising a whole whose pieces may merge.
"""

from typing import Any

import pyarrow as pa

from dolma.core.schema import append
from dolma.core.step import Asset, step
from dolma.shard.encode import MASK, TOKENS, lists
from dolma.text import tokenizer as tokenizers
from dolma.text.tokenizer import END, START, Tokenizer


def response(solution: str, answer: str) -> str:
    """The assistant's turn: the working between `<think>` and `</think>`, then the answer; without working, the answer alone."""
    return f"<think>\n{solution}\n</think>\n\n{answer}" if solution else answer


def encode_prompt_text(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """One user turn, up to where the assistant begins."""
    head = [tokenizer.special[START], *tokenizer.encode(f"user\n{prompt}"), tokenizer.special[END], *tokenizer.encode("\n")]
    return [*head, tokenizer.special[START], *tokenizer.encode("assistant\n")]


def _facts(*, tokenizer: str, **_: Any) -> dict[str, Any]:
    return tokenizers.facts(tokenizer)


@step(needs=("solution", "answer"), adds={"response": pa.large_string()})
def write_response(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The response of the template from `solution` and `answer`."""
    pairs = zip(batch.column("solution").to_pylist(), batch.column("answer").to_pylist(), strict=True)
    return append(batch, {"response": pa.array([response(s, a) for s, a in pairs], pa.large_string())})


@step(needs=("solution", "answer", "bad_solution", "bad_answer"), adds={"chosen": pa.large_string(), "rejected": pa.large_string()})
def write_pair(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The chosen and the rejected response of the template."""
    good = zip(batch.column("solution").to_pylist(), batch.column("answer").to_pylist(), strict=True)
    bad = zip(batch.column("bad_solution").to_pylist(), batch.column("bad_answer").to_pylist(), strict=True)
    return append(
        batch,
        {"chosen": pa.array([response(s, a) for s, a in good], pa.large_string()), "rejected": pa.array([response(s, a) for s, a in bad], pa.large_string())},
    )


@step(
    needs=("prompt", "response"),
    adds={"tokens": TOKENS, "loss_mask": MASK, "n_tokens": pa.int32()},
    removes=("prompt", "response"),
    facts=_facts,
    packages=("tokenizers",),
)
def encode_chat(batch: pa.RecordBatch, *, tokenizer: Asset, length: int) -> pa.RecordBatch:
    """Tokens and loss mask (1 on the assistant's tokens, its end-of-text included) of each conversation; one longer than `length` is quarantined."""
    made = _encoded(batch, tokenizer, "response")
    long = [f"{len(t):,} tokens, over {length:,}" if len(t) > length else None for t, _ in made]
    counts = pa.array([len(t) for t, _ in made], pa.int32())
    columns = {
        "tokens": lists([t for t, _ in made], TOKENS),
        "loss_mask": lists([m for _, m in made], MASK),
        "n_tokens": counts,
        "_error": pa.array(long, pa.string()),
    }
    return append(batch, columns).drop_columns(["prompt", "response"])


PAIR = {"chosen": TOKENS, "chosen_mask": MASK, "rejected": TOKENS, "rejected_mask": MASK}


def _pair_facts(*, tokenizer: str, length: int, **_: Any) -> dict[str, Any]:
    return {**tokenizers.facts(tokenizer), "sequence_tokens": length}


@step(needs=("prompt", "chosen", "rejected"), adds=PAIR, removes=("prompt",), facts=_pair_facts, packages=("tokenizers",))
def encode_pair(batch: pa.RecordBatch, *, tokenizer: Asset, length: int) -> pa.RecordBatch:
    """Tokens and loss masks of both responses; a pair that is equal, or with a side longer than `length`, is quarantined."""
    sides = {name: _encoded(batch, tokenizer, name) for name in ("chosen", "rejected")}
    errors: list[str | None] = []
    for (good, _), (bad, _) in zip(sides["chosen"], sides["rejected"], strict=True):
        longest = max(len(good), len(bad))
        errors.append("chosen and rejected are the same" if good == bad else f"{longest:,} tokens, over {length:,}" if longest > length else None)
    columns: dict[str, pa.Array] = {"_error": pa.array(errors, pa.string())}
    for name, made in sides.items():
        columns[name] = lists([t for t, _ in made], TOKENS)
        columns[f"{name}_mask"] = lists([m for _, m in made], MASK)
    return append(batch, columns).drop_columns(["prompt"])


@step(needs=("prompt",), adds={"prompt": TOKENS}, facts=_pair_facts, version=2, packages=("tokenizers",))
def encode_prompt(batch: pa.RecordBatch, *, tokenizer: Asset, length: int) -> pa.RecordBatch:
    """Prompt tokens up to where the assistant begins; one that leaves no room for an answer is quarantined.

    Args:
        length: the most tokens that prompt and answer may take together (a fact for the trainer).
    """
    found = tokenizers.load(tokenizer)
    made = [encode_prompt_text(found, text) for text in batch.column("prompt").to_pylist()]
    long = [f"{len(tokens):,} tokens leave no room below {length:,}" if len(tokens) >= length else None for tokens in made]
    return append(batch, {"prompt": lists(made, TOKENS), "_error": pa.array(long, pa.string())})


def _encoded(batch: pa.RecordBatch, path: str, name: str) -> list[tuple[list[int], list[int]]]:
    tokenizer = tokenizers.load(path)
    made = []
    for prompt, text in zip(batch.column("prompt").to_pylist(), batch.column(name).to_pylist(), strict=True):
        head, tail = encode_prompt_text(tokenizer, prompt), [*tokenizer.encode(text), tokenizer.eos]
        made.append((head + tail, [0] * len(head) + [1] * len(tail)))
    return made
