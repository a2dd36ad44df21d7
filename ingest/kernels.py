"""Sums over the vocabulary as compilers like them: plain element-wise expressions, each reduced in one pass.

Pure functions of tensors (docs/methods.md §1 and §2). Run as they are they are slow; `ingest.compiled` makes loops of
them. The eager reference is in `ingest.divergence` and `ingest.scores`, written differently.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class RowSums(NamedTuple):
    """What one pass over the logits of a row leaves, [T] each. Weights are exp(logit - top).

    top, of_target: float32 logits of the most probable entry and of the target. total: float64 sum of weights.
    weighted: float64 sum of weight times distance below the top, never positive, not finite if a logit is not.
    greater: float32 count of logits above the target's. from_end: float32 distance of the first top entry from the end
    of the row, 1 for the last. space, punctuation: float64 sums of the weights of these classes.
    """

    top: Tensor
    of_target: Tensor
    total: Tensor
    weighted: Tensor
    greater: Tensor
    from_end: Tensor
    space: Tensor
    punctuation: Tensor


def row_sums(logits: Tensor, targets: Tensor, masks: Tensor) -> RowSums:
    """logits: [T, V] float32. targets: [T] int64. masks: [2, V] float32, 1 at space and at punctuation entries."""
    top = logits.amax(-1, keepdim=True)
    of_target = logits.gather(-1, targets.unsqueeze(-1))
    shifted = logits - top
    weights = shifted.exp()
    # Counts and places in float32 share the vector loop; they are exact below 2^24 entries.
    greater = (logits > of_target).to(torch.float32)
    from_end = torch.arange(logits.shape[-1], 0, -1, dtype=torch.float32, device=logits.device)
    return RowSums(
        top.squeeze(-1),
        of_target.squeeze(-1),
        weights.sum(-1, dtype=torch.float64),
        (weights * shifted).sum(-1, dtype=torch.float64),
        greater.sum(-1),
        torch.where(logits == top, from_end, 0.0).amax(-1),
        (weights * masks[0]).sum(-1, dtype=torch.float64),
        (weights * masks[1]).sum(-1, dtype=torch.float64),
    )


def normalise(logits: Tensor, top: Tensor, log_total: Tensor, scale: Tensor, log_p: Tensor, p: Tensor) -> None:
    """Write log-probabilities and probabilities of `logits`, [R, V], into `log_p` and `p`, [R, V] float32.

    top, log_total: [R, 1] float32, largest logit and log of the sum of weights; scale: [R, 1], one over that sum.
    """
    shifted = logits - top
    log_p.copy_(shifted - log_total)
    p.copy_(shifted.exp() * scale)


def pair_sums(log_p: Tensor, p: Tensor, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """KL of pairs of readouts in both directions: ([R, P] left from right, [R, P] right from left) float64, nats.

    log_p, p: [n, R, K, C] float32, rows of V entries cut into K pieces of C, zero past V. left, right: [P] int64
    into n. Pieces are summed in float32, a row's pieces in float64.
    """
    log_p, p = log_p.permute(1, 2, 0, 3), p.permute(1, 2, 0, 3)  # all pairs of a piece while it is in cache
    forward, backward = _both(log_p[:, :, left] - log_p[:, :, right], p[:, :, left], p[:, :, right])
    return forward.sum(-1).sum(1, dtype=torch.float64), backward.sum(-1).sum(1, dtype=torch.float64)


def _both(d: Tensor, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """The terms of KL(p || q) and of KL(q || p) from one d = log p - log q."""
    near, gap = d.abs() < 1, q - p
    even, odd = _even_and_odd(d)
    forward = torch.where(near, p * (even - odd), p * d + gap)
    backward = torch.where(near, q * (even + odd), -(q * d) - gap)
    return forward, backward


def reference_sums(logits: Tensor, top: Tensor, log_total: Tensor, scale: Tensor, log_q: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) of rows of logits, [T, V], to one distribution, log_q and q [V]: [T] float64, nats.

    top, log_total, scale: [T, 1] float32, as in `normalise`.
    """
    shifted = logits - top
    d = (shifted - log_total) - log_q
    p = shifted.exp() * scale
    even, odd = _even_and_odd(d)
    return torch.where(d.abs() < 1, p * (even - odd), p * d + (q - p)).sum(-1, dtype=torch.float64)


def entropy_sums(p: Tensor) -> Tensor:
    """Entropy of rows of probabilities, [R, V] float32 -> [R] float64, nats; an entry of 0 adds nothing."""
    return torch.where(p > 0, -p * p.log(), 0.0).sum(-1, dtype=torch.float64)


def _even_and_odd(d: Tensor) -> tuple[Tensor, Tensor]:
    """cosh d - 1 and sinh d - d for |d| < 1, to float32, as Taylor series [A] 4.5.62-63.

    d + e^-d - 1 is their difference and -d + e^d - 1 their sum. Neither subtracts what nearly agrees, as d + expm1(-d)
    does for small d, and ten multiplications cost less than one exponential.
    """
    square = d * d
    even = square * (1 / 2 + square * (1 / 24 + square * (1 / 720 + square * (1 / 40320 + square / 3628800))))
    cube = d * square
    odd = cube * (1 / 6 + square * (1 / 120 + square * (1 / 5040 + square * (1 / 362880 + square / 39916800))))
    return even, odd
