"""What a checkpoint says of each token, in float64 from its saved files: an oracle that shares no code with ingest.

Windows are found by brute force, the forward pass is the model's own in float64, and sums are plain.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM

Floats = NDArray[np.float64]


def logits(checkpoint: Path, ids: list[int], window: int) -> Floats:
    """[T, W] logits of targets ids[1:], each from the latest window that docs/methods.md §1 gives it."""
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float64, attn_implementation="eager").eval()
    start_of = [_window_start(target, window) for target in range(1, len(ids))]
    rows: list[Any] = [None] * len(start_of)
    with torch.no_grad():
        for length in {len(ids[start : start + window]) for start in start_of}:
            starts = [start for start in sorted(set(start_of)) if len(ids[start : start + window]) == length]
            inputs = torch.tensor([ids[start : start + length] for start in starts])
            predicted = model(input_ids=inputs, use_cache=False).logits
            assert predicted.dtype == torch.float64
            for target, start in enumerate(start_of):
                if start in starts:
                    rows[target] = predicted[starts.index(start), target - start]
    result: Floats = torch.stack(rows).numpy()
    return result


def _window_start(target: int, window: int) -> int:
    """Of the windows that start every half window, the first that holds the input before a target (1-based)."""
    return next(start for start in range(0, target, window // 2) if start <= target - 1 < start + window)


def log_softmax(x: Floats) -> Floats:
    """[T, V] log-probabilities."""
    shifted = x - x.max(1, keepdims=True)
    normalised: Floats = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return normalised


def kl(log_p: Floats, log_q: Floats) -> Floats:
    """[T] KL(p || q): the plain sum."""
    divergence: Floats = (np.exp(log_p) * (log_p - log_q)).sum(1)
    return divergence


def entropy(log_p: Floats) -> Floats:
    """[T] entropy."""
    result: Floats = -(np.exp(log_p) * log_p).sum(1)
    return result
