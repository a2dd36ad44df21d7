"""What is true of an architecture whatever its weights: sizes, context length, output head.

Knows the modules of transformers; files, text and the database are unknown here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from warehouse.errors import WarehouseError

#: What different architectures call the longest sequence they were built for.
_CONTEXT_LENGTH_NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx", "seq_length")


class UnsupportedArchitecture(WarehouseError):
    """The model is not a causal language model that can be measured."""


class VocabularyTooSmall(WarehouseError):
    """A tokenizer has ids that the model has no embedding for."""


@dataclass(frozen=True)
class ArchitectureFacts:
    """What a config and its module say, whatever the weights.

    parameters counts tied tensors once; parameters_without_embeddings leaves out token and position embeddings and the
    output head. width: number of logits. context_length: positions it was built for, None where it has no limit.
    """

    architecture: str
    parameters: int
    parameters_without_embeddings: int
    hidden_size: int
    layers: int
    width: int
    context_length: int | None


def architecture_facts(model: torch.nn.Module) -> ArchitectureFacts:
    """Sizes of a causal language model of transformers."""
    head, config = output_head(model), text_config(model)
    return ArchitectureFacts(
        architecture=type(model).__name__,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        parameters_without_embeddings=sum(parameter.numel() for parameter in _inner_parameters(model, head)),
        hidden_size=head.weight.shape[1],
        layers=config.num_hidden_layers,
        width=head.weight.shape[0],
        context_length=context_length(config),
    )


def _inner_parameters(model: torch.nn.Module, head: torch.nn.Module) -> Iterator[torch.nn.Parameter]:
    outer = [module for module in model.modules() if isinstance(module, torch.nn.Embedding)] + [head]
    excluded = {id(parameter) for module in outer for parameter in module.parameters()}
    return (parameter for parameter in model.parameters() if id(parameter) not in excluded)


def output_head(model: torch.nn.Module) -> torch.nn.Linear:
    """The layer that turns final hidden states into logits, [V, d]. Raises UnsupportedArchitecture without one."""
    embeddings: Any = getattr(model, "get_output_embeddings", lambda: None)
    head = embeddings()
    if not isinstance(head, torch.nn.Linear):
        raise UnsupportedArchitecture(f"{type(model).__name__} has no linear output head to read; leave it out.")
    return head


def text_config(model: torch.nn.Module) -> Any:
    """The config of the language model, also where it is one part of several."""
    config: Any = model.config
    return config.get_text_config()


def context_length(config: Any) -> int | None:
    """The longest sequence an architecture was built for, None where its config states no limit."""
    stated = (getattr(config, name, None) for name in _CONTEXT_LENGTH_NAMES)
    return next((int(value) for value in stated if value), None)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars and no warnings of transformers inside; the caller's settings back after."""
    from transformers.utils import logging as untyped_logging

    logging: Any = untyped_logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def check_vocabulary(facts: ArchitectureFacts, tokenizer_length: int, path: Path) -> None:
    """Raise VocabularyTooSmall when the tokenizer has more ids than the model has logits."""
    if tokenizer_length > facts.width:
        raise VocabularyTooSmall(
            f"The tokenizer has {tokenizer_length} ids and the model in {path} only {facts.width}; "
            "use the tokenizer that the model was trained with."
        )
