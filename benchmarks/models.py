"""Models of Pythia's shapes with random weights, and text that they can read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ingest.scores import VocabularyClasses


@dataclass(frozen=True)
class Shape:
    """The sizes of a GPT-NeoX model. length: ids of its tokenizer; width: logits a token."""

    name: str
    hidden: int
    layers: int
    heads: int
    length: int = 50_277
    width: int = 50_304
    context: int = 2048


PYTHIA_14M = Shape("Pythia-14m shape", hidden=128, layers=6, heads=4)
PYTHIA_70M = Shape("Pythia-70m shape", hidden=512, layers=6, heads=8)
SMALL = Shape("small shape", hidden=32, layers=2, heads=2, length=500, width=512, context=128)


def random_model(shape: Shape, seed: int = 0) -> Any:
    """A transformers module in float32, ready to score."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    torch.manual_seed(seed)
    config = GPTNeoXConfig(
        vocab_size=shape.width,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=4 * shape.hidden,
        max_position_embeddings=shape.context,
        use_cache=False,
        bos_token_id=0,
        eos_token_id=0,
        tie_word_embeddings=False,
    )
    return GPTNeoXForCausalLM(config).eval()


def random_ids(shape: Shape, n_targets: int) -> Tensor:
    """BOS and `n_targets` ids, [n_targets + 1] int64."""
    ids = torch.randint(1, shape.length, (n_targets + 1,), generator=torch.Generator().manual_seed(1))
    ids[0] = 0
    return ids


def classes_of(shape: Shape) -> VocabularyClasses:
    """Classes about as large as Pythia's: six entries of ten begin with a space, one of fifty is a mark."""
    spaces, marks = int(0.6 * shape.length), int(0.62 * shape.length)
    return VocabularyClasses(shape.length, torch.arange(1, spaces), torch.arange(spaces, marks), 0)


def unigram(shape: Shape) -> Tensor:
    """Log-probabilities of a Zipf-like reference, [length] float32."""
    return (-torch.arange(1, shape.length + 1).log()).log_softmax(-1)


def word_tokenizer(shape: Shape) -> Any:
    """A tokenizer of words `w0`, `w1`, ... between spaces, one word an id, the first also BOS, EOS and padding."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(WordLevel({f"w{number}": number for number in range(shape.length)}, unk_token="w0"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="w0", eos_token="w0", pad_token="w0")


def words(ids: Tensor) -> str:
    """Text that `word_tokenizer` reads back as these ids."""
    return " ".join(f"w{number}" for number in ids.tolist())
