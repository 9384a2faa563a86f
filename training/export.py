"""A run as a folder that transformers loads as `Olmo3ForCausalLM`; it is written only when both give the same logits."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dolma.core.errors import DataError, EnvironmentFault
from dolma.core.files import write_atomic
from training import checkpoint
from training.model import Olmo3, hf_config
from training.tokens import END, EOS, PAD, START, Tokenizer

TOLERANCE = 1e-4  # largest difference of a logit in float32; the two sum in different order with grouped heads (4e-6 measured)
TEMPLATE = (
    "{% for m in messages %}" + START + "{{ m['role'] }}\n{{ m['content'] }}" + END + "\n{% endfor %}"
    "{% if add_generation_prompt %}" + START + "assistant\n{% endif %}"
)
PROMPTS = ("The ", "def main():\n    return 0\n", "What is 7 + 5? 7 + 5 = 12. ", "In 1871 the first bridge over the river was opened, and")


def export(run: Path, to: Path, *, at: Path | None = None) -> float:
    """Write the model of `run` to the folder `to` (model.safetensors, config.json, tokenizer files).

    Args:
        at: a checkpoint folder; the last one when absent.

    Returns:
        the largest difference between a logit here and in transformers.

    Raises:
        DataError: `to` exists, or the logits differ; the first layer that differs is named and nothing is written.
        EnvironmentFault: `transformers` is not installed.
    """
    to = to.resolve()
    if to.exists():
        raise DataError(str(to), "there is something already", got="a folder or file", expected="a path that does not exist", mend="name another, or remove it")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        from transformers.models.olmo3.modeling_olmo3 import Olmo3ForCausalLM  # by its file: `transformers` names thousands, and pyright reads all of them
    except ImportError as error:
        raise EnvironmentFault("training.export", "package `transformers` is missing", mend="pip install 'dolma-flow[train]'") from error
    model, tokenizer = checkpoint.load(run, at), Tokenizer.load(run / "tokenizer.json")
    half = to.with_name(f".{to.name}.{os.getpid()}")
    half.mkdir(parents=True)
    try:
        _write(half, model, tokenizer, at or checkpoint.folders(run)[-1])
        worst = compare(model, Olmo3ForCausalLM.from_pretrained(half, dtype=torch.float32), prompts(model, tokenizer))
        half.rename(to)
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return worst


def _write(folder: Path, model: Olmo3, tokenizer: Tokenizer, weights: Path) -> None:
    write_atomic(folder / "model.safetensors", _with_format(checkpoint.weights(weights)))
    write_atomic(folder / "tokenizer.json", tokenizer.path.read_bytes())
    ends = sorted({tokenizer.eos, tokenizer.special.get(END, tokenizer.eos)})
    files: dict[str, dict[str, Any]] = {
        "config.json": hf_config(model.config, tokenizer.eos, tokenizer.pad),
        "generation_config.json": {"eos_token_id": ends, "pad_token_id": tokenizer.pad},
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": EOS,
            "pad_token": PAD,
            "model_max_length": model.config.reach,
            "chat_template": TEMPLATE,
            "clean_up_tokenization_spaces": False,
        },
    }
    for name, content in files.items():
        write_atomic(folder / name, (json.dumps(content, indent=1) + "\n").encode())


def _with_format(state: dict[str, Tensor]) -> bytes:
    from safetensors.torch import save

    return save(state, metadata={"format": "pt"})  # transformers refuses files without it


def prompts(model: Olmo3, tokenizer: Tokenizer) -> list[Tensor]:
    """Fixed token sequences to compare on; the last one is as long as the context, so that windows and stretched positions count."""
    texts = [tokenizer.encode(text) for text in PROMPTS]
    length = min(model.config.reach, 4096)
    every = [token for ids in texts for token in ids]
    return [torch.tensor([ids]) for ids in [*texts, (every * (length // len(every) + 1))[:length]]]


@torch.no_grad()
def compare(ours: Olmo3, theirs: Any, batches: list[Tensor]) -> float:
    """Largest difference of a logit over the prompts.

    Raises:
        DataError: it is above the tolerance.
    """
    worst = 0.0
    theirs.eval()
    for tokens in batches:
        gap = float((ours.eval()(tokens) - theirs(tokens, use_cache=False).logits).abs().max())
        if not gap <= TOLERANCE:
            raise DataError(
                "export",
                f"transformers gives other logits, first at {_first(ours, theirs, tokens)}",
                got=f"{gap:.2e}",
                expected=f"<= {TOLERANCE:.0e}",
                mend="compare the transformers version with constraints.txt",
            )
        worst = max(worst, gap)
    return worst


def _first(ours: Olmo3, theirs: Any, tokens: Tensor) -> str:
    names = ["model.embed_tokens", *(f"model.layers.{i}" for i in range(ours.config.layers)), "model.norm", "lm_head"]
    outputs: list[dict[str, Tensor]] = []
    for model in (ours, theirs):
        caught: dict[str, Tensor] = {}

        def keep(name: str, caught: dict[str, Tensor] = caught) -> Any:
            return lambda _module, _inputs, out: caught.__setitem__(name, out[0] if isinstance(out, tuple) else out)

        hooks = [model.get_submodule(name).register_forward_hook(keep(name)) for name in names]
        model(tokens) if model is ours else model(tokens, use_cache=False)
        for hook in hooks:
            hook.remove()
        outputs.append(caught)
    for name in names:
        if not float((outputs[0][name] - outputs[1][name]).abs().max()) <= TOLERANCE:
            return name
    return "the logits"
