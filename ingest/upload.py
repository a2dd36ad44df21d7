"""Bringing a checkpoint's tensors to the device as they are stored; they are upcast there.

Knows tensors and devices; modules, and what the tensors are for, are unknown here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ingest.weights import Weights


def upload(weights: Weights, device: torch.device) -> Weights:
    """The same weights with their tensors on the device, ready to be copied from; on a CPU they are there already.

    Meant for the thread that reads ahead: on a GPU the copies run on a stream of their own while the current stream
    computes, and the thread alone waits for them.
    """
    if device.type != "cuda":
        return weights
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    pinned = {
        name: tensor.pin_memory() for name, tensor in weights.tensors.items()
    }  # else a copy is no background copy
    with torch.cuda.stream(stream):
        tensors = {name: tensor.to(device, non_blocking=True) for name, tensor in pinned.items()}
    stream.synchronize()
    return replace(weights, tensors=tensors)


def use_on_current_stream(tensors: Mapping[str, Tensor]) -> None:
    """Keep the memory of uploaded tensors from being given to the next upload before the current stream is done."""
    for tensor in tensors.values():
        if tensor.is_cuda:
            tensor.record_stream(torch.cuda.current_stream(tensor.device))
