"""Tiny real causal language models in Hugging Face folders: GPT-NeoX, GPT-2 and Llama, with a byte-level tokenizer.

Nothing is mocked: `AutoModelForCausalLM` and `AutoTokenizer` load what is written here, in milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from math import log2
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import AutoModelForCausalLM, GPT2Config, GPTNeoXConfig, LlamaConfig, PreTrainedTokenizerFast

from ingest.architecture import quiet_transformers

ARCHITECTURES = ("gpt_neox", "gpt2", "llama")
EOS = "<|endoftext|>"
EOS_ID = 0

TEXT = (
    "The river rose in the night, and by morning the lower field was a lake.\n"
    "Anna walked out along the wall; she counted eleven geese, two swans and one very tired dog.\n"
    '"It will be gone by Friday," said her father, who had said the same thing the year before.\n'
    "They carried the chairs upstairs, the books, the radio and, last of all, the clock.\n"
    "Nobody spoke about the bridge. In the end it was the bridge that held, and the road that went.\n"
    "When the water left, it left a line on the wall at 1.4 metres, and a smell that lasted until June.\n"
)


@dataclass(frozen=True)
class Shape:
    """Sizes of a tiny model. width: logits per token; by default as many as the tokenizer has ids."""

    hidden: int = 16
    layers: int = 2
    heads: int = 2
    context: int = 64
    width: int | None = None
    tied: bool = False


@cache
def tokenizer() -> Tokenizer:
    """A byte-level BPE of 320 ids trained on TEXT; id 0 is `<|endoftext|>`."""
    result = Tokenizer(BPE())
    result.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    result.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=[EOS], initial_alphabet=alphabet, show_progress=False, min_frequency=1
    )
    result.train_from_iterator([TEXT], trainer)
    return result


def token_ids(text: str = TEXT) -> list[int]:
    """Ids of a text, BOS first."""
    return [EOS_ID, *tokenizer().encode(text).ids]


def config(architecture: str, shape: Shape) -> Any:
    """The transformers config of a tiny model."""
    width = tokenizer().get_vocab_size() if shape.width is None else shape.width
    ends = {"bos_token_id": EOS_ID, "eos_token_id": EOS_ID, "tie_word_embeddings": shape.tied, "vocab_size": width}
    if architecture == "gpt2":
        return GPT2Config(
            n_embd=shape.hidden, n_layer=shape.layers, n_head=shape.heads, n_positions=shape.context, **ends
        )
    cls = {"gpt_neox": GPTNeoXConfig, "llama": LlamaConfig}[architecture]
    return cls(
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=4 * shape.hidden,
        max_position_embeddings=shape.context,
        **ends,
    )


def make_model(architecture: str = "gpt_neox", *, seed: int = 0, step: int = 0, shape: Shape | None = None) -> Any:
    """A model whose seeds are relatives that drift apart as steps go by, and whose predictions are far from uniform."""
    with quiet_transformers():
        model = AutoModelForCausalLM.from_config(config(architecture, shape or Shape()), dtype=torch.float32)
    common, own = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1000 + seed)
    drift = 0.03 + 0.03 * log2(step + 1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            shared, private = (torch.randn(parameter.shape, generator=generator) for generator in (common, own))
            # Norms start at one, and the head is large so that logits spread over several nats.
            centre = 1.0 if "norm" in name or "ln_" in name else 0.0
            spread = 0.5 if parameter is model.get_output_embeddings().weight else 0.2
            parameter.copy_((centre if name.endswith("weight") else 0.0) + spread * (shared + drift * private))
    return model.eval()


def save_checkpoint(
    path: Path,
    architecture: str = "gpt_neox",
    *,
    seed: int = 0,
    step: int = 0,
    shape: Shape | None = None,
    **options: Any,
) -> Path:
    """Save a tiny model and the tokenizer to folder `path`; options go to `save_pretrained`."""
    return save_model(make_model(architecture, seed=seed, step=step, shape=shape), path, **options)


def save_model(model: Any, path: Path, **options: Any) -> Path:
    """Save any model with the tokenizer to folder `path`, as safetensors."""
    with quiet_transformers():
        model.save_pretrained(path, **options)
    save_tokenizer(path)
    return path


def save_tokenizer(path: Path) -> Path:
    """Write `tokenizer.json` and its config to folder `path`."""
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer(), bos_token=EOS, eos_token=EOS)
    wrapped.save_pretrained(path)
    return path


def save_suite(
    root: Path,
    models: Iterable[str] = ("tiny",),
    seeds: Iterable[int] = (0, 1, 2),
    steps: Iterable[int] = (0, 1, 2, 4),
    architecture: str = "gpt_neox",
    shape: Shape | None = None,
) -> Path:
    """Checkpoints in the layout of suite `folder`, `{root}/{model}/seed{n}/step{n}`; returns `root`."""
    seeds, steps = list(seeds), list(steps)
    for model in models:
        for seed in seeds:
            for step in steps:
                save_checkpoint(
                    root / model / f"seed{seed}" / f"step{step}", architecture, seed=seed, step=step, shape=shape
                )
    return root
