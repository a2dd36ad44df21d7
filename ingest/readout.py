"""Running a model over windows of a sequence and keeping what enters its output head.

Takes a transformers module and token ids, gives a Readout; files, text and the database are unknown here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from math import ceil
from threading import get_ident
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
from ingest.logits import NonFiniteLogits, Readout, exact_float32
from ingest.threads import side_by_side
from ingest.windows import InvalidWindow, Window

#: Inputs whose logits are compared with the model's own, to prove that the head was understood.
_PROOF = 16
#: Inputs of a forward pass by device class, in as many windows as they make: enough to keep the device busy.
_INPUTS = {"cpu": 4096, "cuda": 16384}
#: Fewer inputs than four were found to be multiplied by another method, with other last bits; this is on the safe side.
_FEWEST_INPUTS = 16


@torch.inference_mode()
def read(
    model: torch.nn.Module,
    ids: NDArray[np.integer[Any]] | Tensor,
    parts: Sequence[Window],
    *,
    measured: NDArray[np.bool_] | None = None,
    batch_size: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Readout:
    """The readout of a sequence: ids with BOS first, [T + 1]; the result's hidden states are [M, d] float32.

    parts: the forward passes, as from `windows.passes`, contributing every measured target once. measured: [T] which
    targets those are, M in all, as from `windows.measured`; by default all T. Windows of one length run
    batch_size at a time, by default as many as keep the device busy, and never padded; a value depends on its window
    alone (docs/methods.md §1). progress is called with the number of targets each batch contributed.
    Everything returned is a copy on the model's device, so the module may be refilled. Raises InvalidWindow,
    VocabularyTooSmall, UnsupportedArchitecture, and NonFiniteLogits where the weights are damaged.
    """
    sequence = torch.as_tensor(ids, dtype=torch.int64).to(next(model.parameters()).device)
    wanted = np.ones(len(sequence) - 1, bool) if measured is None else measured
    _check(model, sequence, parts, wanted)
    head = output_head(model)
    rows = torch.from_numpy(np.cumsum(wanted) - 1).to(sequence.device)  # [T] the row of each target's state
    hidden = torch.empty(int(wanted.sum()), head.weight.shape[1], device=sequence.device)
    with quiet_transformers(), exact_float32():
        with _watched(model) as final_states, side_by_side(sequence.device, len(parts)) as run:

            def contribute(batch: _Batch) -> int:
                with torch.inference_mode():  # holds for one thread
                    states = final_states(_inputs(sequence, batch.filled)).flatten(0, 1)
                    kept, targets = (index.to(sequence.device) for index in _contribution(batch.parts))
                    hidden[rows[targets]] = states[kept].to(hidden.dtype)  # of weights in float64 too
                return len(targets)

            for count in run(contribute, _batches(parts, sequence.device, batch_size)):
                if progress:
                    progress(count)
        readout = _readout(model, head, hidden)
        try:
            readout.check_finite()
        except NonFiniteLogits as error:
            token = None if error.token is None else int(np.flatnonzero(wanted)[error.token])
            raise NonFiniteLogits(error.readout, token) from None
        _prove(model, readout, _inputs(sequence, parts[:1])[0, :_PROOF])
    return readout


def _check(model: torch.nn.Module, sequence: Tensor, parts: Sequence[Window], measured: NDArray[np.bool_]) -> None:
    limit, longest = context_length(text_config(model)), max((part.n_inputs for part in parts), default=0)
    if limit is not None and longest > limit:
        raise InvalidWindow(
            f"A window of {longest} inputs exceeds the model's context of {limit}; choose at most {limit}."
        )
    # Covered once each: one more where a window begins to contribute, one less where it ends.
    changes = np.zeros(len(sequence), np.int64)
    np.add.at(changes, [part.first_target for part in parts], 1)
    np.add.at(changes, [part.end_target for part in parts], -1)
    if not np.array_equal(np.cumsum(changes)[:-1], measured):
        raise InvalidWindow(f"The windows do not cover the {int(measured.sum())} tokens of the sequence, once each.")
    known = _width_of_input(model)
    if len(sequence) and int(sequence.max()) >= known:
        raise VocabularyTooSmall(
            f"The corpus holds id {int(sequence.max())} and the model embeds {known}; use the model's own tokenizer."
        )


def _inputs(sequence: Tensor, parts: Sequence[Window]) -> Tensor:
    """[B, n] what windows of one length see."""
    bos = torch.tensor([part.bos for part in parts])
    starts = torch.tensor([part.input_start for part in parts]) - bos.long()
    places = starts.unsqueeze(-1) + torch.arange(parts[0].n_inputs)
    places[bos, 0] = 0  # where the BOS of the sequence stands
    return sequence[places.to(sequence.device)]


def _contribution(parts: Sequence[Window]) -> tuple[Tensor, Tensor]:
    """[n] rows of the states of windows of one length, one below the other, and [n] the targets they predict."""
    n_inputs = parts[0].n_inputs
    first = torch.tensor([part.first_target for part in parts])
    counts = torch.tensor([part.end_target for part in parts]) - first
    within = torch.arange(int(counts.sum())) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    before = torch.tensor([number * n_inputs + part.kept_rows.start for number, part in enumerate(parts)])
    return before.repeat_interleave(counts) + within, first.repeat_interleave(counts) + within


@dataclass(frozen=True)
class _Batch:
    """Windows of one length that share a forward pass. filled: with the last one repeated, for its shape's sake."""

    parts: list[Window]
    filled: list[Window]


def _batches(parts: Sequence[Window], device: torch.device, size: int | None) -> Iterator[_Batch]:
    """Batches of windows of equal length, the longest first, so made that a value depends on its window alone.

    What a CPU computes for a row does not depend on how many rows there are, as long as one thread multiplies them and
    they are not so few that another method pays. Where there are fewer windows than threads, a window has several of
    these and is therefore alone. A GPU chooses its method by the shape, so there batches of one length have one shape.
    """
    on_cpu = device.type == "cpu"
    threads = torch.get_num_threads() if on_cpu else 1
    share = ceil(sum(part.n_inputs for part in parts) / threads)
    budget = min(_INPUTS["cpu" if on_cpu else "cuda"], share)
    for n_inputs, group in groupby(sorted(parts, key=_longest_first), key=lambda part: part.n_inputs):
        equal = list(group)
        most = 1 if len(parts) < threads else size or max(budget // n_inputs, 1)
        each = ceil(len(equal) / ceil(len(equal) / most))
        fewest = max(ceil(_FEWEST_INPUTS / n_inputs), 1 if on_cpu else each)
        for start in range(0, len(equal), each):
            batch = equal[start : start + each]
            yield _Batch(batch, batch + batch[-1:] * (fewest - len(batch)))


def _longest_first(part: Window) -> int:
    return -part.n_inputs


@contextmanager
def _watched(model: torch.nn.Module) -> Iterator[Callable[[Tensor], Tensor]]:
    """What enters the output head for a batch of inputs, [B, n] int64 -> [B, n, d], in any thread.

    Only one position of one window goes on through the head, to spare the logits of the others.
    """
    seen: dict[int, list[Tensor]] = {}

    def keep(_: torch.nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        seen[get_ident()].append(arguments[0])
        return (arguments[0][:1, :1], *arguments[1:])

    def final_states(inputs: Tensor) -> Tensor:
        seen[get_ident()] = []
        _forward(model, inputs)
        found = seen.pop(get_ident())
        if len(found) != 1 or found[0].shape[:-1] != inputs.shape:
            raise UnsupportedArchitecture(
                f"{type(model).__name__} does not pass its hidden states through its output head."
            )
        return found[0]

    handle = output_head(model).register_forward_pre_hook(keep)
    try:
        yield final_states
    finally:
        handle.remove()


def _forward(model: torch.nn.Module, inputs: Tensor) -> Any:
    """What a model makes of inputs. Raises UnsupportedArchitecture where it cannot run, as with a damaged config."""
    try:
        return model(input_ids=inputs, use_cache=False)
    except (MemoryError, torch.OutOfMemoryError, torch.AcceleratorError):
        raise
    except Exception as error:
        if "allocate memory" in str(error):  # for which a CPU has no error of its own
            raise
        reason = " ".join(str(error).split())[:200]
        raise UnsupportedArchitecture(f"{type(model).__name__} cannot be run as configured ({reason}).") from error


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
    logits = _forward(model, inputs.unsqueeze(0)).logits[0].float()
    ours = readout.logits(slice(0, len(inputs)))
    if not torch.allclose(logits, ours, rtol=1e-4, atol=1e-4 * float(logits.abs().max())):
        raise UnsupportedArchitecture(
            f"{type(model).__name__} changes its logits after the output head in an unknown way; leave it out."
        )


def _width_of_input(model: torch.nn.Module) -> int:
    embedding: Any = model.get_input_embeddings()  # type: ignore[operator]
    return int(embedding.weight.shape[0])
