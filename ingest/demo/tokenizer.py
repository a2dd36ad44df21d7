"""The demo's tokenizer: byte-level BPE, as GPT-NeoX has it, trained on the training text.

Knows texts and the files Hugging Face reads; nothing of models or the database.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.demo.text import Document, Texts

if TYPE_CHECKING:
    import numpy
    import numpy.typing
    from tokenizers import Tokenizer

END_OF_TEXT = "<|endoftext|>"  # id 0; begins and ends a document


def train_tokenizer(documents: tuple[Document, ...], vocabulary_size: int) -> Tokenizer:
    """A byte-level BPE tokenizer of ``vocabulary_size`` pieces, END_OF_TEXT and the 256 bytes among them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((document.text for document in documents), trainer)
    return tokenizer


def token_stream(documents: tuple[Document, ...], tokenizer: Tokenizer) -> numpy.typing.NDArray[numpy.int64]:
    """The token ids [N] of all documents in their order, END_OF_TEXT before each."""
    import numpy

    end_of_text = tokenizer.token_to_id(END_OF_TEXT)
    encodings = [[end_of_text, *tokenizer.encode(document.text).ids] for document in documents]
    return numpy.concatenate([numpy.array(ids, dtype=numpy.int64) for ids in encodings])


def save_tokenizer(tokenizer: Tokenizer, folder: Path, context_length: int) -> None:
    """Write ``tokenizer.json`` and the ``tokenizer_config.json`` that lets ``AutoTokenizer`` read it."""
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "model_max_length": context_length,
        "clean_up_tokenization_spaces": False,
    }
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")


def prepare(texts: Texts, vocabulary_size: int, context_length: int, folder: Path) -> None:
    """Train the tokenizer, and write it and the token ids of the training text (``training_ids.npy``) to ``folder``."""
    import numpy

    tokenizer = train_tokenizer(texts.training, vocabulary_size)
    save_tokenizer(tokenizer, folder, context_length)
    numpy.save(folder / "training_ids.npy", token_stream(texts.training, tokenizer))
