"""The decoder against transformers, its cache against itself, its masks against their definition."""

from typing import get_args

import pytest
import torch

from training.config import Size
from training.model import SIZES, Cache, ModelConfig, Olmo3, hf_config, of_size

NONE_AND_FOUR = pytest.mark.parametrize("yarn", [None, 4.0])


def _model(kv_heads: int = 4, yarn: float | None = None) -> Olmo3:
    config = ModelConfig(vocab=256, d=64, layers=5, heads=4, kv_heads=kv_heads, ffn=96, window=8, context=32, yarn=yarn)
    model = Olmo3(config, seed=1).eval()
    noise = torch.Generator().manual_seed(2)
    for p in model.parameters():  # away from the initial weights, where attention is flat and an error in it would not show
        p.data += 0.1 * torch.randn(p.shape, generator=noise)
    return model


def _tokens(batch: int = 2, time: int = 60) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    tokens = torch.randint(2, 256, (batch, time), generator=torch.Generator().manual_seed(3))
    lengths = (17, 23, time - 40)
    docs = torch.cat([torch.full((n,), i) for i, n in enumerate(lengths)]).expand(batch, -1)
    positions = torch.cat([torch.arange(n) for n in lengths]).expand(batch, -1)
    return tokens, docs, positions


@NONE_AND_FOUR
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_logits_equal_transformers_packed_and_unpacked(kv_heads: int, yarn: float | None) -> None:
    from transformers import Olmo3Config, Olmo3ForCausalLM

    model = _model(kv_heads, yarn)
    theirs = Olmo3ForCausalLM(Olmo3Config(**hf_config(model.config, 0, 1))).eval()
    theirs.load_state_dict(model.state_dict(), strict=True)
    tokens, docs, positions = _tokens()
    with torch.no_grad():  # transformers packs by position ids only without a cache and an attention mask
        torch.testing.assert_close(model(tokens), theirs(tokens, use_cache=False).logits, atol=2e-5, rtol=0)
        torch.testing.assert_close(model(tokens, docs), theirs(tokens, position_ids=positions, use_cache=False).logits, atol=2e-5, rtol=0)
        assert (model(tokens, docs) - model(tokens)).abs().max() > 0.1


@NONE_AND_FOUR
def test_cached_logits_equal_uncached_when_tokens_come_in_pieces(yarn: float | None) -> None:
    model = _model(2, yarn)
    tokens, docs, _ = _tokens()
    cache = Cache(2, 64, model.config)
    with torch.no_grad():
        pieces = [model(tokens[:, a:b], docs[:, a:b], cache) for a, b in [(0, 20), (20, 21), (21, 45), *((i, i + 1) for i in range(45, 60))]]
        torch.testing.assert_close(torch.cat(pieces, 1), model(tokens, docs), atol=2e-5, rtol=0)


def test_cache_keeps_the_selected_rows() -> None:
    model = _model()
    tokens, _, _ = _tokens(4, 50)
    cache = Cache(4, 64, model.config)
    with torch.no_grad():
        model(tokens[:, :30], cache=cache)
        cache.select(torch.tensor([2, 0]))
        torch.testing.assert_close(model(tokens[[2, 0], 30:], cache=cache), model(tokens[[2, 0]])[:, 30:], atol=2e-5, rtol=0)


def test_left_padding_with_another_document_id_changes_nothing() -> None:
    model = _model()
    tokens, _, _ = _tokens(1, 40)
    padded = torch.cat([torch.ones(1, 9, dtype=torch.long), tokens], 1)
    docs = torch.cat([torch.full((1, 9), -1), torch.zeros(1, 40, dtype=torch.long)], 1)
    with torch.no_grad():
        torch.testing.assert_close(model(padded, docs)[:, 9:], model(tokens), atol=2e-5, rtol=0)


def test_window_layers_see_the_window_and_full_layers_everything() -> None:
    from training.attention import masks

    near, far = masks(torch.tensor([[0, 0, 0, 0, 1, 1]]), 0, 6, 2, torch.device("cpu"))
    assert isinstance(near, torch.Tensor) and isinstance(far, torch.Tensor)
    assert near[0, 0].int().tolist() == [[1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 1, 1]]
    assert far[0, 0].int().tolist() == [[1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 1, 1]]
    layers = [ModelConfig(8, 8, 6, 1, 1, 8, 4, 8).full(i) for i in range(6)]
    assert layers == [False, False, False, True, False, True]


def test_block_masks_attend_as_boolean_masks() -> None:
    from training.attention import _blocks, attend, masks

    docs = torch.cat([torch.zeros(1, 70, dtype=torch.long), torch.ones(1, 58, dtype=torch.long)], 1)
    q, k, v = (torch.randn(1, 4, 128, 16, generator=torch.Generator().manual_seed(i)) for i in range(3))
    for block, plain in zip(_blocks(docs, 128, 32, torch.device("cpu")), masks(docs, 0, 128, 32, torch.device("cpu")), strict=True):
        torch.testing.assert_close(attend(q, k[:, :2], v[:, :2], block), attend(q, k[:, :2], v[:, :2], plain), atol=1e-5, rtol=0)


def test_training_works_after_inference_mode() -> None:
    model = _model()
    tokens, _, _ = _tokens(1, 45)
    with torch.inference_mode():
        model(tokens)
    model(tokens).sum().backward()
    assert model.lm_head.weight.grad is not None


@pytest.mark.parametrize(
    ("size", "billions"),
    [
        ("30M", 0.0291),
        ("60M", 0.0574),
        ("100M", 0.1017),
        ("190M", 0.1904),
        ("370M", 0.3713),
        ("600M", 0.548),
        ("760M", 0.7582),
        ("1B", 1.279),
        ("3B", 3.170),
        ("7B", 6.888),
        ("32B", 31.721),
    ],
)
def test_sizes_have_the_published_parameter_counts(size: str, billions: float) -> None:
    with torch.device("meta"):
        model = Olmo3(of_size(size, 100_278))
    assert (model.size() - model.config.vocab * model.config.d) / 1e9 == pytest.approx(billions, rel=2e-3)  # published without the input embedding


def test_demo_size_has_1_3_million_parameters() -> None:
    assert Olmo3(of_size("demo", 2048)).size() == 1_329_280
    assert set(SIZES) == set(get_args(Size))


def test_initial_weights_follow_the_seed_with_the_stated_deviation() -> None:
    one, same, other = (Olmo3(of_size("demo", 512), seed=s) for s in (1, 1, 2))
    assert torch.equal(one.lm_head.weight, same.lm_head.weight) and not torch.equal(one.lm_head.weight, other.lm_head.weight)
    assert float(one.model.layers[0].mlp.up_proj.weight.std()) == pytest.approx(0.02, rel=0.02)  # pyright: ignore
