"""The Olmo 3 decoder in plain torch, with the parameter names of Hugging Face's `Olmo3ForCausalLM`.

Reordered norm (on what a sublayer puts out), QK-norm over the whole projected width, rotary positions, SwiGLU, no biases, untied embeddings; three
layers of four see a sliding window, the fourth and the last see everything (Olmo 3 report, section 3.2 and the presets of OLMo-core).
YaRN stretches the full layers only. Document ids mask attention between the documents of a packed sequence.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.attention import Mask, attend, masks

BETA_FAST, BETA_SLOW = 32.0, 1.0  # rotations within the old context between which YaRN blends (Peng et al. 2023, section 3.2)


@dataclass(frozen=True)
class ModelConfig:
    """Shape of a decoder.

    Args:
        vocab: rows of the embedding.
        window: keys that a query of a window layer sees, itself included.
        context: sequence length in tokens of the pre-training; YaRN stretches it by `yarn`.
        yarn: factor of the context extension, or None before it.
    """

    vocab: int
    d: int
    layers: int
    heads: int
    kv_heads: int
    ffn: int
    window: int
    context: int
    rope_theta: float = 500_000.0
    eps: float = 1e-6
    yarn: float | None = None

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.d // self.heads

    @property
    def reach(self) -> int:
        """Longest sequence in tokens that the positions are made for."""
        return round(self.context * (self.yarn or 1))

    def full(self, layer: int) -> bool:
        """Whether layer `layer` sees beyond the window: every fourth, and the last one."""
        return layer % 4 == 3 or layer == self.layers - 1

    def stretched(self, factor: float) -> Self:
        """The same model with its context extended by YaRN."""
        return replace(self, yarn=factor)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as they go into a checkpoint's `model.json`."""
        return asdict(self)


def ffn_width(d: int, times: float = 1.5) -> int:
    """SwiGLU width: the next multiple of 256 of int(times * int(8 d / 3)) (OLMo-core, `hidden_size_multiplier`)."""
    return 256 * math.ceil(int(times * int(8 * d / 3)) / 256)


def _size(d: int, layers: int, heads: int, kv_heads: int | None = None, ffn: int | None = None, window: int = 4096, context: int = 8192) -> dict[str, int]:
    return {"d": d, "layers": layers, "heads": heads, "kv_heads": kv_heads or heads, "ffn": ffn or ffn_width(d), "window": window, "context": context}


# The presets of OLMo-core, named after non-embedding plus head parameters at 100,352 tokens; `demo` keeps every rule of them at 1.3M with 2,048 tokens.
# (Its preset 1M has heads of width 3, which rotary positions cannot halve.)
SIZES: dict[str, dict[str, int]] = {
    "demo": _size(128, 4, 4, ffn=352, window=64, context=256),
    "14M": _size(128, 4, 8),
    "30M": _size(256, 4, 8, ffn=768),
    "60M": _size(384, 8, 8),
    "100M": _size(512, 12, 8),
    "190M": _size(768, 12, 12),
    "370M": _size(1024, 16, 16),
    "600M": _size(1280, 16, 16),
    "760M": _size(1536, 16, 16),
    "1B": _size(2048, 16, 16),
    "3B": _size(3328, 16, 16),
    "7B": _size(4096, 32, 32, ffn=11_008),
    "13B": _size(5120, 40, 40, ffn=13_824),
    "32B": _size(5120, 64, 40, 8, ffn=27_648),
}


def padded_vocab(vocab: int) -> int:
    """Rows of the embedding for a tokenizer of `vocab` tokens: the next multiple of 128 (100,278 becomes 100,352)."""
    return 128 * math.ceil(vocab / 128)


def of_size(size: str, vocab: int, **changes: Any) -> ModelConfig:
    """The preset `size` for a tokenizer with `vocab` tokens, with single fields changed."""
    return ModelConfig(**{"vocab": padded_vocab(vocab), **SIZES[size], **changes})


class Cache:
    """Keys, values and document ids of the tokens seen so far, preallocated for `length` tokens a row."""

    def __init__(self, batch: int, length: int, config: ModelConfig, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> None:
        shape = (batch, config.kv_heads, length, config.head_dim)
        self.keys = [torch.empty(shape, dtype=dtype, device=device) for _ in range(config.layers)]
        self.values = [torch.empty(shape, dtype=dtype, device=device) for _ in range(config.layers)]
        self.docs = torch.zeros(batch, length, dtype=torch.long, device=device)
        self.length, self.used = length, 0

    def put(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store the new keys and values of a layer; returns all of them."""
        end = self.used + k.shape[2]
        self.keys[layer][:, :, self.used : end] = k
        self.values[layer][:, :, self.used : end] = v
        return self.keys[layer][:, :, :end], self.values[layer][:, :, :end]

    def select(self, rows: Tensor) -> None:
        """Keep only these rows (the sequences that are not finished yet)."""
        self.keys, self.values = [k[rows] for k in self.keys], [v[rows] for v in self.values]
        self.docs = self.docs[rows]


class RMSNorm(nn.Module):
    """x / rms(x) * weight, in float32."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return (self.weight * wide).to(x.dtype)


def inverse_frequencies(config: ModelConfig, full: bool) -> tuple[Tensor, float]:
    """Rotary frequencies per pair of dimensions, and the factor on cos and sin; stretched by YaRN on full layers.

    Source: Peng et al. 2023, "YaRN", equations 14-15 and 22 (attention factor 0.1 ln s + 1); limits rounded outward as in the reference code.
    """
    dim = config.head_dim
    powers = config.rope_theta ** (torch.arange(0, dim, 2, dtype=torch.float) / dim)
    if config.yarn is None or not full:
        return 1.0 / powers, 1.0

    def position(rotations: float) -> float:
        return dim * math.log(config.context / (rotations * 2 * math.pi)) / (2 * math.log(config.rope_theta))

    low, high = max(math.floor(position(BETA_FAST)), 0), min(math.ceil(position(BETA_SLOW)), dim - 1)
    keep = 1 - ((torch.arange(dim // 2, dtype=torch.float) - low) / max(high - low, 0.001)).clamp(0, 1)
    return (1.0 / (config.yarn * powers)) * (1 - keep) + (1.0 / powers) * keep, 0.1 * math.log(config.yarn) + 1.0


@lru_cache(maxsize=16)
def _rotations(config: ModelConfig, full: bool, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    # the table outlives the call, so it must not be an inference tensor: autograd refuses those
    with torch.inference_mode(False), torch.autocast(device.type, enabled=False):
        frequencies, factor = inverse_frequencies(config, full)
        angles = torch.outer(torch.arange(length, dtype=torch.float), frequencies)
        angles = torch.cat((angles, angles), -1).to(device)
        return angles.cos() * factor, angles.sin() * factor


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    left, right = x.chunk(2, -1)
    return (x * cos + torch.cat((-right, left), -1) * sin).to(x.dtype)


class Attention(nn.Module):
    """Multi-head or grouped-query attention with QK-norm before the heads are split."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        wide, narrow = config.heads * config.head_dim, config.kv_heads * config.head_dim
        self.layer, self.head_dim = layer, config.head_dim
        self.q_proj = nn.Linear(config.d, wide, bias=False)
        self.k_proj = nn.Linear(config.d, narrow, bias=False)
        self.v_proj = nn.Linear(config.d, narrow, bias=False)
        self.o_proj = nn.Linear(wide, config.d, bias=False)
        self.q_norm = RMSNorm(wide, config.eps)
        self.k_norm = RMSNorm(narrow, config.eps)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], mask: Mask, cache: Cache | None) -> Tensor:
        def heads(y: Tensor) -> Tensor:
            return y.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)

        q = _rotate(heads(self.q_norm(self.q_proj(x))), *rope)
        k = _rotate(heads(self.k_norm(self.k_proj(x))), *rope)
        v = heads(self.v_proj(x))
        if cache is not None:
            k, v = cache.put(self.layer, k, v)
        return self.o_proj(attend(q, k.to(q.dtype), v.to(q.dtype), mask).transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """SwiGLU: down(silu(gate x) * up x)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.d, config.ffn, bias=False)
        self.up_proj = nn.Linear(config.d, config.ffn, bias=False)
        self.down_proj = nn.Linear(config.ffn, config.d, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """h = x + norm(attention(x)); out = h + norm(mlp(h))."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.self_attn = Attention(config, layer)
        self.mlp = MLP(config)
        self.post_attention_layernorm = RMSNorm(config.d, config.eps)
        self.post_feedforward_layernorm = RMSNorm(config.d, config.eps)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], mask: Mask, cache: Cache | None) -> Tensor:
        x = x + self.post_attention_layernorm(self.self_attn(x, rope, mask, cache))
        return x + self.post_feedforward_layernorm(self.mlp(x))


class Decoder(nn.Module):
    """Embedding, layers, final norm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab, config.d)
        self.layers = nn.ModuleList(Layer(config, i) for i in range(config.layers))
        self.norm = RMSNorm(config.d, config.eps)

    def forward(self, tokens: Tensor, docs: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        start, end = (cache.used if cache else 0), (cache.used if cache else 0) + tokens.shape[1]
        if cache is not None:
            cache.docs[:, start:end] = 0 if docs is None else docs
            docs = cache.docs[:, :end]
        size = 1 << (end - 1).bit_length()  # tables in powers of two: generation asks for every length
        ropes = [_rotations(self.config, full, size, tokens.device) for full in (False, True)]
        seen = masks(docs, start, end, self.config.window, tokens.device)
        x = self.embed_tokens(tokens)
        for i, layer in enumerate(self.layers):
            full = self.config.full(i)
            cos, sin = ropes[full]
            x = layer(x, (cos[start:end], sin[start:end]), seen[full], cache)
        if cache is not None:
            cache.used = end
        return self.norm(x)


class Olmo3(nn.Module):
    """The decoder with its language-model head; weights start from a normal distribution of standard deviation 0.02 (Olmo 3 report, section 3.2)."""

    def __init__(self, config: ModelConfig, seed: int | None = None) -> None:
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        self.lm_head = nn.Linear(config.d, config.vocab, bias=False)
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.02, generator=generator)

    def forward(self, tokens: Tensor, docs: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        """Logits of the next token.

        Args:
            tokens: [batch, time] token ids; with a cache the new ones only.
            docs: [batch, time] document ids: a token sees earlier tokens with the same id. None: a row is one document. Left padding is another id.
            cache: what was seen before; it is extended.

        Returns:
            [batch, time, vocab]; float32 outside autocast.
        """
        return self.lm_head(self.model(tokens, docs, cache))

    def size(self) -> int:
        """Number of parameters."""
        return sum(p.numel() for p in self.parameters())


def hf_config(config: ModelConfig, eos: int, pad: int) -> dict[str, Any]:
    """`config.json` of the same model for transformers' Olmo3ForCausalLM."""
    stretch: Mapping[str, Any] | None = None
    if config.yarn is not None:
        stretch = {
            "rope_type": "yarn",
            "factor": config.yarn,
            "original_max_position_embeddings": config.context,
            "beta_fast": BETA_FAST,
            "beta_slow": BETA_SLOW,
            "attention_factor": 0.1 * math.log(config.yarn) + 1.0,
        }
    return {
        "architectures": ["Olmo3ForCausalLM"],
        "model_type": "olmo3",
        "vocab_size": config.vocab,
        "hidden_size": config.d,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "intermediate_size": config.ffn,
        "sliding_window": config.window,
        "max_position_embeddings": config.reach,
        "rope_theta": config.rope_theta,
        "rope_scaling": stretch,
        "rms_norm_eps": config.eps,
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "tie_word_embeddings": False,
        "initializer_range": 0.02,
        "eos_token_id": eos,
        "pad_token_id": pad,
        "bos_token_id": None,
        "torch_dtype": "float32",
        "layer_types": ["full_attention" if config.full(i) else "sliding_attention" for i in range(config.layers)],
    }
