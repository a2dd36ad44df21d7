"""Running a model over windows of a sequence and keeping what enters its output head.

Takes a transformers module and token ids, gives a Readout; files, text and the database are unknown here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ingest.architecture import (
    UnsupportedArchitecture,
    VocabularyTooSmall,
    context_length,
    output_head,
    quiet_transformers,
    text_config,
)
from ingest.measure import Readout, exact_float32
from ingest.windows import InvalidWindow, Window, windows

#: Inputs whose logits are compared with the model's own, to prove that the head was understood.
_PROOF = 16


@torch.inference_mode()
def read(
    model: torch.nn.Module,
    ids: NDArray[np.integer[Any]] | Tensor,
    *,
    window: int,
    stride: int | None = None,
    batch_size: int = 8,
    progress: Callable[[int], None] | None = None,
) -> Readout:
    """The readout of a sequence: ids with BOS first, [T + 1]; the result's hidden states are [T, d] float32.

    window, stride: inputs per forward pass and between two (policy `concatenated`, docs/methods.md §1). Windows of one
    length run `batch_size` at a time, unpadded. progress is called with the number of targets each batch contributed.
    Everything returned is a copy on the model's device, so the module may be refilled. Raises InvalidWindow,
    VocabularyTooSmall, UnsupportedArchitecture, and NonFiniteLogits where the weights are damaged.
    """
    sequence = torch.as_tensor(ids, dtype=torch.int64).to(next(model.parameters()).device)
    _check(model, sequence, window)
    head = output_head(model)
    hidden = torch.empty(len(sequence) - 1, head.weight.shape[1], device=sequence.device)
    with quiet_transformers(), exact_float32():
        for batch in _batches(windows(len(hidden), window, stride), batch_size):
            states = _final_states(model, torch.stack([sequence[w.input_start : w.input_end] for w in batch]))
            for part, states_of_window in zip(batch, states, strict=True):
                hidden[part.first_target : part.end_target] = states_of_window[part.kept_rows]
            if progress:
                progress(batch[-1].end_target - batch[0].first_target)
        readout = _readout(model, head, hidden)
        readout.check_finite()
        _prove(model, readout, sequence[: min(_PROOF, len(hidden))])
    return readout


def _check(model: torch.nn.Module, sequence: Tensor, window: int) -> None:
    limit = context_length(text_config(model))
    if limit is not None and window > limit:
        raise InvalidWindow(
            f"A window of {window} inputs exceeds the model's context of {limit}; choose at most {limit}."
        )
    known = _width_of_input(model)
    if len(sequence) and int(sequence.max()) >= known:
        raise VocabularyTooSmall(
            f"The corpus holds id {int(sequence.max())} and the model embeds {known}; use the model's own tokenizer."
        )


def _batches(parts: Sequence[Window], size: int) -> Iterator[list[Window]]:
    for _, equal in groupby(parts, key=lambda part: part.n_inputs):
        run = list(equal)
        yield from (run[start : start + size] for start in range(0, len(run), size))


def _final_states(model: torch.nn.Module, inputs: Tensor) -> Tensor:
    """What enters the output head for a batch of inputs: [B, n] int64 -> [B, n, d]."""
    with _watched_head(model) as seen:
        model(input_ids=inputs, use_cache=False)
    if len(seen) != 1 or seen[0].shape[:-1] != inputs.shape:
        raise UnsupportedArchitecture(
            f"{type(model).__name__} does not pass its hidden states through its output head."
        )
    return seen[0]


@contextmanager
def _watched_head(model: torch.nn.Module) -> Iterator[list[Tensor]]:
    """Collects what enters the output head; only one position goes on, to spare the logits of the others."""
    seen: list[Tensor] = []

    def keep(_: torch.nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        seen.append(arguments[0])
        return (arguments[0][..., :1, :], *arguments[1:])

    handle = output_head(model).register_forward_pre_hook(keep)
    try:
        yield seen
    finally:
        handle.remove()


def _readout(model: torch.nn.Module, head: torch.nn.Linear, hidden: Tensor) -> Readout:
    config = text_config(model)
    scale = 1.0
    if (multiplier := getattr(config, "logit_scale", None)) is not None:  # Cohere
        scale = float(multiplier)
    elif (divisor := getattr(config, "logits_scaling", None)) is not None:  # Granite
        scale = 1.0 / float(divisor)
    return Readout(
        hidden,
        head.weight.detach().to(torch.float32, copy=True),
        None if head.bias is None else head.bias.detach().to(torch.float32, copy=True),
        scale,
        getattr(config, "final_logit_softcapping", None),  # Gemma 2
    )


def _prove(model: torch.nn.Module, readout: Readout, inputs: Tensor) -> None:
    """Raise UnsupportedArchitecture unless the readout gives the model's own logits for the first inputs."""
    logits = model(input_ids=inputs.unsqueeze(0), use_cache=False).logits[0].float()
    ours = readout.logits(slice(0, len(inputs)))
    if not torch.allclose(logits, ours, rtol=1e-4, atol=1e-4 * float(logits.abs().max())):
        raise UnsupportedArchitecture(
            f"{type(model).__name__} changes its logits after the output head in an unknown way; leave it out."
        )


def _width_of_input(model: torch.nn.Module) -> int:
    embedding: Any = model.get_input_embeddings()  # type: ignore[operator]
    return int(embedding.weight.shape[0])
