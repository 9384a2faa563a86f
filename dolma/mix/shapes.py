"""Shapes of decoders, their parameters and the work of a token, by formula: what a budget needs of a model. No model is built."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dolma.core import manifest as manifests
from dolma.core.config import parse
from dolma.core.errors import ConfigError

MOST = 10**9  # of any number of a shape
PAD = 128  # rows of an embedding are a multiple of it
VOCAB, CONTEXT = 100_352, 8192  # of all published sizes (OLMo-core, Olmo 3 scripts: 100,278 tokens padded to a multiple of 128)


@dataclass(frozen=True)
class Shape:
    """A decoder with reordered norm, QK-norm, SwiGLU, no biases, untied embeddings; `context` is the length of its sequences in tokens."""

    d: int
    layers: int
    heads: int
    kv_heads: int
    ffn: int
    vocab: int = VOCAB
    context: int = CONTEXT

    @property
    def body(self) -> int:
        """Parameters without embedding and head."""
        narrow = self.d // self.heads * self.kv_heads
        attention = 2 * self.d * self.d + 2 * self.d * narrow + self.d + narrow  # q, o; k, v; norms of q and k
        return self.layers * (attention + 3 * self.d * self.ffn + 2 * self.d) + self.d

    @property
    def active(self) -> int:
        """Parameters that a token is multiplied with: all but the embedding, the head included."""
        return self.body + self.vocab * self.d

    @property
    def parameters(self) -> int:
        """All parameters."""
        return self.active + self.vocab * self.d

    @property
    def flops(self) -> int:
        """Floating-point operations of a token, forward and backward: 6 N + 12 layers d context.

        N are the active parameters; attention is counted over the whole context, neither halved for causality nor cut to a window (the convention of
        PaLM, Chowdhery et al. 2022, appendix B, and of the published utilisation).
        """
        return 6 * self.active + 12 * self.layers * self.d * self.context


def _shape(d: int, layers: int, heads: int, ffn: int, kv_heads: int | None = None) -> Shape:
    return Shape(d, layers, heads, kv_heads or heads, ffn)


# OLMo-core, presets of the Olmo 3 family. Only 7B and 32B were released as Olmo 3; sizes are named after the active parameters.
PUBLISHED: dict[str, Shape] = {
    "30M": _shape(256, 4, 8, 768),
    "60M": _shape(384, 8, 8, 1536),
    "100M": _shape(512, 12, 8, 2048),
    "190M": _shape(768, 12, 12, 3072),
    "370M": _shape(1024, 16, 16, 4096),
    "600M": _shape(1280, 16, 16, 5120),
    "760M": _shape(1536, 16, 16, 6144),
    "1B": _shape(2048, 16, 16, 8192),
    "3B": _shape(3328, 16, 16, 13_312),
    "7B": _shape(4096, 32, 32, 11_008),
    "13B": _shape(5120, 40, 40, 13_824),
    "32B": _shape(5120, 64, 40, 27_648, 8),
}
FIELDS = ("d", "layers", "heads", "kv_heads", "ffn", "vocab", "context")


def is_stage(text: str) -> bool:
    """Whether a shape is named by the YAML of a stage."""
    return text.endswith((".yaml", ".yml"))


def read(text: str, *, vocab: int | None = None, context: int | None = None, root: Path | None = None) -> Shape:
    """The shape that `text` means: a published size, numbers (`d=4096,layers=32,heads=32,kv_heads=32,ffn=11008`), or the YAML of a stage.

    A stage's vocabulary and sequence length are those of its data: facts in the manifest of the mix or shards that it names below `root`.

    Args:
        vocab: rows of the embedding in place of those of `text`.
        context: tokens of a sequence in place of those of `text`.
    Raises:
        ConfigError: it is none of these, or lacks a number; or a stage's data is not there to say them.
    """
    changes = {name: value for name, value in (("vocab", vocab), ("context", context)) if value is not None}
    if is_stage(text):
        return _of_stage(Path(text), changes, root)
    if text in PUBLISHED:
        return _made({**vars(PUBLISHED[text]), **changes}, text)
    if "=" not in text:
        mend = f"one of {', '.join(PUBLISHED)}; or numbers; or a stage's YAML"
        raise ConfigError("--model", "no such size", got=text, expected="a published size", mend=mend)
    given = [part.partition("=") for part in text.split(",")]
    try:
        numbers = {name.strip(): int(value) for name, _, value in given}
    except ValueError as error:
        raise ConfigError("--model", "a shape is made of whole numbers", got=text, expected="d=4096,layers=32,...", mend="mend it") from error
    return _made({**numbers, **changes}, text)


def _made(values: dict[str, int], text: str) -> Shape:
    values = {"kv_heads": values.get("heads", 0), **values}
    lacking, unknown = [name for name in FIELDS[:5] if name not in values], sorted(set(values) - set(FIELDS))
    if lacking or unknown:
        words = f"lacks {', '.join(lacking)}" if lacking else f"no number of a shape: {', '.join(unknown)}"
        raise ConfigError("--model", f"the shape {words}", got=text, expected=", ".join(FIELDS), mend="give d, layers, heads, ffn; kv_heads as heads if absent")
    if not all(isinstance(one, int) and 1 <= one <= MOST for one in values.values()) or values["d"] % values["heads"] or values["heads"] % values["kv_heads"]:
        expected = "d a multiple of heads, heads of kv_heads, all from 1 to 1e9"
        raise ConfigError("--model", "there is no such decoder", got=text, expected=expected, mend="mend it")
    return Shape(**values)


def _of_stage(path: Path, changes: dict[str, int], root: Path | None) -> Shape:
    value = parse(path)
    model: Any = value.get("model") if isinstance(value, dict) else None
    if isinstance(model, dict) and model.get("size") in PUBLISHED:
        published = vars(PUBLISHED[model["size"]])
        dims = {name: published[name] for name in FIELDS[:5]}
    elif isinstance(model, dict) and isinstance(model.get("dims"), dict):
        dims = {name: number for name, number in model["dims"].items() if name in FIELDS}
    else:
        got = model.get("size") or model.get("init") if isinstance(model, dict) else type(value).__name__
        what, mend = "the stage names no published size and has no `dims`", "--model 7B, or numbers"
        raise ConfigError(str(path), what, got=str(got), expected="model: {size: 7B}", mend=mend)
    dims = {**dims, **changes}
    if lacking := [name for name in FIELDS[5:] if name not in dims]:
        dims |= _of_data(path, value.get("data"), lacking, root)
    return _made(dims, str(path))


def _of_data(path: Path, data: Any, lacking: list[str], root: Path | None) -> dict[str, int]:
    """Rows of the embedding and tokens of a sequence, as the manifest of a stage's data says; never those of the published sizes.

    The rows are the next multiple of 128 of the tokenizer's tokens, as in training (OLMo-core, Olmo 3 scripts: 100,278 become 100,352).
    """
    name = data.get("manifest") if isinstance(data, dict) else None
    facts = manifests.load(root / name).facts if root is not None and isinstance(name, str) and manifests.exists(root / name) else {}
    size, length = (facts.get("tokenizer") or {}).get("vocab_size"), facts.get("sequence_tokens")
    made = {**({"vocab": PAD * math.ceil(size / PAD)} if size else {}), **({"context": int(length)} if length else {})}
    if absent := [one for one in lacking if one not in made]:
        words = {"vocab": "its vocabulary", "context": "the length of its sequences"}
        what = f"the stage does not say {' and '.join(words[one] for one in absent)}: they are facts of its data"
        got = f"no manifest of {name}" if name and not facts else f"no such facts in {name}" if name else "no `data: {manifest: ...}`"
        give = " ".join({"vocab": "--vocab N", "context": "--context TOKENS"}[one] for one in absent)
        run = f"`dolma run {name}` first, or " if name and not facts else ""
        raise ConfigError(str(path), what, got=got, expected="facts of packed shards", mend=f"{run}give {give}")
    return {one: made[one] for one in lacking}
