"""Attention behind one function: torch's fused kernel with a boolean mask on CPU, flex_attention with a block mask on a GPU.

On CPU flex_attention runs unfused and was 10 to 18 times slower than the fused kernel; on a GPU a dense mask of T x T costs memory that a block mask saves.
"""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

Mask = Tensor | BlockMask | None
"""What a query may see: a boolean tensor [batch or 1, 1, queries, keys], a block mask, or None for plain causal attention over equal lengths."""


def masks(docs: Tensor | None, start: int, end: int, window: int, device: torch.device) -> tuple[Mask, Mask]:
    """The masks of window layers and of full layers, for queries at positions start..end-1 and keys at 0..end-1.

    Args:
        docs: [batch, end] document ids of the keys; None when a row is one document.
        window: keys that a query of a window layer sees, itself included.

    Returns:
        (window mask, full mask): a token sees tokens at or before it that have its document id, at most `window` of them in the first.
    """
    if device.type == "cuda" and start == 0:
        return _blocks(docs, end, window, device)
    near, far = _causal(start, end, window, device)
    if docs is None:
        return near, (None if start == 0 else far)
    same = docs[:, None, start:end, None] == docs[:, None, None, :]
    return near & same, far & same


@lru_cache(maxsize=8)
def _causal(start: int, end: int, window: int, device: torch.device) -> tuple[Tensor, Tensor]:
    back = torch.arange(start, end, device=device)[:, None] - torch.arange(end, device=device)[None]
    return ((back >= 0) & (back < window))[None, None], (back >= 0)[None, None]


def _blocks(docs: Tensor | None, end: int, window: int, device: torch.device) -> tuple[BlockMask, BlockMask]:
    def far(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        causal = q >= k
        return causal if docs is None else causal & (docs[b, q] == docs[b, k])

    def near(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return far(b, h, q, k) & (q - k < window)

    rows = None if docs is None else docs.shape[0]
    return create_block_mask(near, rows, None, end, end, str(device)), create_block_mask(far, rows, None, end, end, str(device))


@lru_cache(maxsize=1)
def _flex() -> Any:
    return torch.compile(flex_attention, dynamic=False)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Mask) -> Tensor:
    """Softmax attention scaled by 1/sqrt(head width).

    Args:
        q: [batch, heads, queries, width]; `k` and `v`: [batch, key heads, keys, width], each shared by heads / key heads query heads.

    Returns:
        [batch, heads, queries, width].
    """
    grouped = q.shape[1] != k.shape[1]
    if isinstance(mask, BlockMask):
        kernel = _flex() if q.is_cuda else flex_attention
        out: Any = kernel(q, k, v, block_mask=mask, enable_gqa=grouped)
        return out
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None and q.shape[2] > 1, enable_gqa=grouped)
