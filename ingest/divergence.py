"""Distributions over a vocabulary and how far apart they are: log-probabilities, KL, mixture entropy, pair statistics.

Pure functions of tensors and arrays. Everything is in nats; models, files and the database are unknown here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Distribution:
    """The softmax of logits, kept as the parts from which every score is exact.

    top: [T, 1] float32, each row's largest logit. shifted: [T, V] float32, logits minus `top`.
    weights: [T, V] float32, exp(shifted). total: [T] float64, sum of weights, at least 1.
    """

    top: Tensor
    shifted: Tensor
    weights: Tensor
    total: Tensor

    @classmethod
    def of(cls, logits: Tensor) -> Distribution:
        """logits: [T, V] float32."""
        top = logits.amax(-1, keepdim=True)
        shifted = logits - top
        weights = shifted.exp()
        # In float32 the sum would forget what is beside a probability near one, and with it a small surprisal.
        return cls(top, shifted, weights, weights.sum(-1, dtype=torch.float64))

    @cached_property
    def log_total(self) -> Tensor:
        """[T] float64: log of the sum of weights, which is the surprisal of the most probable entry."""
        return self.total.log()

    @cached_property
    def log_sum_exp(self) -> Tensor:
        """[T] float64: log of the sum of exp(logits), the softmax's normaliser."""
        return self.top.squeeze(-1).double() + self.log_total

    @cached_property
    def log_p(self) -> Tensor:
        """[T, V] float32 log-probabilities, nats."""
        return self.shifted - self.log_total.float().unsqueeze(-1)

    @cached_property
    def p(self) -> Tensor:
        """[T, V] float32 probabilities."""
        return self.weights / self.total.float().unsqueeze(-1)

    @cached_property
    def finite(self) -> Tensor:
        """[T] bool: whether every logit of the row was finite (one that is not makes this sum NaN or infinite)."""
        return self.shifted.sum(-1).isfinite()


def log_softmax(logits: Tensor) -> Tensor:
    """Log-probabilities of logits. [T, V] float32 -> [T, V] float32, nats."""
    return Distribution.of(logits).log_p


def kl_divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) at each token, in nats (docs/methods.md §2).

    log_p, log_q: [T, V] (or [V], broadcast) float32 log-probabilities. Returns [T] float32, never negative.
    """
    return _kl(log_p, log_q, log_p.exp(), log_q.exp())


def kl_between(p: Distribution, q: Distribution) -> Tensor:
    """KL(p || q) at each token, nats: as `kl_divergence`, with the exponentials shared between pairs. [T] float32."""
    return _kl(p.log_p, q.log_p, p.p, q.p)


def kl_both(p: Distribution, q: Distribution) -> tuple[Tensor, Tensor]:
    """KL(p || q) and KL(q || p) at each token, nats, from one difference of log-probabilities. [T] float32 each."""
    d, gap = p.log_p - q.log_p, q.p - p.p
    near = d.abs() < 1
    return _sum_terms(d, p.p, gap, near), _sum_terms(-d, q.p, -gap, near)


def _kl(log_p: Tensor, log_q: Tensor, p: Tensor, q: Tensor) -> Tensor:
    d = log_p - log_q
    return _sum_terms(d, p, q - p, d.abs() < 1)


def _sum_terms(d: Tensor, p: Tensor, gap: Tensor, near: Tensor) -> Tensor:
    # p(d + e^-d - 1) sums to the KL because both sides sum to one; nothing cancels when p and q nearly agree.
    # Far apart expm1 may overflow, and there is nothing to cancel.
    return torch.where(near, p * (d + torch.expm1(-d)), p * d + gap).sum(-1)


def mixture_entropy(distributions: Sequence[Distribution]) -> Tensor:
    """Entropy of the mean of several distributions, in nats. [T] float32.

    Minus the mean of their entropies it is their Jensen-Shannon divergence (docs/methods.md §2).
    """
    mean = distributions[0].p.clone()
    for distribution in distributions[1:]:
        mean += distribution.p
    mean /= len(distributions)
    entropies: Tensor = torch.special.entr(mean)
    return entropies.sum(-1)


@dataclass(frozen=True)
class PairStatistics:
    """What is stored once per ordered pair of evaluations.

    mean_kl: nats per token. surprisal_correlation: Pearson, and surprisal_rank_correlation: Spearman, None where the
    surprisals of a side do not vary. top1_agreement: share of tokens where both have the same most probable entry.
    """

    mean_kl: float
    surprisal_correlation: float | None
    surprisal_rank_correlation: float | None
    top1_agreement: float


def pair_statistics(
    kl: NDArray[np.float32],
    surprisals: tuple[NDArray[np.float32], NDArray[np.float32]],
    ranks: tuple[NDArray[np.float64], NDArray[np.float64]],
    top_vocab_ids: tuple[NDArray[np.int32], NDArray[np.int32]],
) -> PairStatistics:
    """Statistics of a pair from its [T] arrays, p before q, T >= 1; sums are float64. ranks: `mean_ranks` of each side,
    which belong to many pairs.
    """
    return PairStatistics(
        mean_kl=float(kl.mean(dtype=np.float64)),
        surprisal_correlation=_pearson(*surprisals),
        surprisal_rank_correlation=_pearson(*ranks),
        top1_agreement=float((top_vocab_ids[0] == top_vocab_ids[1]).mean()),
    )


def mean_ranks(x: NDArray[Any]) -> NDArray[np.float64]:
    """[T] rank of each value among all, from 1; equal values share the mean of their ranks. NaN comes last."""
    _, place, counts = np.unique(x, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ranks


def _pearson(x: NDArray[Any], y: NDArray[Any]) -> float | None:
    x, y = (side.astype(np.float64) - side.mean(dtype=np.float64) for side in (x, y))
    norm = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / norm if norm > 0 else None
