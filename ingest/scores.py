"""Scores of a token under one distribution: surprisal, entropy, rank, top entry and log masses of vocabulary classes.

Pure functions of tensors (docs/methods.md §1), in nats; models, files and the database are unknown here.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ingest.divergence import Distribution
from ingest.kernels import RowSums

#: Below this sum of weights some of its terms are no longer normal float32 numbers, so logs are summed instead.
_UNDERFLOW = 1e-25


@dataclass(frozen=True)
class VocabularyClasses:
    """The ids of a tokenizer whose probability masses are kept; disjoint, each below `length`.

    length: number of ids the tokenizer knows. space_ids: entries that start with white space, [n] int64.
    punctuation_ids: unspaced punctuation entries, [n] int64. eos_id: end of sequence, or None.
    The mass of an empty class is not measured.
    """

    length: int
    space_ids: Tensor
    punctuation_ids: Tensor
    eos_id: int | None

    def __post_init__(self) -> None:
        ids = torch.cat([self.space_ids, self.punctuation_ids, self.eos_ids])
        if ids.numel() and not (int(ids.min()) >= 0 and int(ids.max()) < self.length):
            raise ValueError(f"class ids must lie in 0..{self.length - 1}")
        if int(torch.bincount(ids, minlength=1).max()) > 1:
            raise ValueError("the space, punctuation and EOS classes must be disjoint")

    @classmethod
    def from_masks(cls, space: Tensor, punctuation: Tensor, eos_id: int | None) -> VocabularyClasses:
        """space, punctuation: [length] bool, one element per vocabulary id."""
        return cls(len(space), space.nonzero().flatten(), punctuation.nonzero().flatten(), eos_id)

    @property
    def eos_ids(self) -> Tensor:
        """The EOS id as a class of one, or an empty class."""
        return torch.tensor(
            [] if self.eos_id is None else [self.eos_id], dtype=torch.int64, device=self.space_ids.device
        )

    def to(self, device: torch.device) -> VocabularyClasses:
        """The same classes with their ids on `device`."""
        return VocabularyClasses(self.length, self.space_ids.to(device), self.punctuation_ids.to(device), self.eos_id)


@dataclass(frozen=True)
class TokenScores:
    """Scores of T targets under one checkpoint (docs/methods.md §1), [T] each, in nats; None where not measured."""

    surprisal: NDArray[np.float32]
    entropy: NDArray[np.float32]
    rank: NDArray[np.int32]
    top_vocab_id: NDArray[np.int32]
    top_surprisal: NDArray[np.float32]
    space_logmass: NDArray[np.float32] | None
    punct_logmass: NDArray[np.float32] | None
    eos_logmass: NDArray[np.float32] | None
    pad_logmass: NDArray[np.float32] | None


@dataclass(frozen=True)
class TopEntries:
    """The most probable entries of T tokens, largest probability first, of equals the lowest id.

    ids: [T, k] int32. log_probabilities: [T, k] float32, nats.
    """

    ids: NDArray[np.int32]
    log_probabilities: NDArray[np.float32]


SCORE_NAMES = tuple(field.name for field in fields(TokenScores))


def score_tokens(
    logits: Tensor, distribution: Distribution, targets: Tensor, classes: VocabularyClasses
) -> dict[str, Tensor]:
    """Everything docs/methods.md §1 keeps about each token, by name of TokenScores, leaving out what is not measured.

    logits: [T, W] float32 over the full width W of the model, of which `distribution` covers the first V <= W columns.
    targets: [T] int64, each below V. Each result is [T], float32 or int32.
    """
    width = distribution.shifted.shape[-1]
    scored = logits[:, :width]
    scores = scores_of(row_sums(scored, distribution, targets, classes), scored, classes)
    if logits.shape[-1] > classes.length:
        beyond, known = logits[:, classes.length :], distribution.log_sum_exp
        if width > classes.length:
            known = Distribution.of(logits[:, : classes.length]).log_sum_exp
        scores["pad_logmass"] = pad_log_mass(beyond, known).float()
    return scores


def scores_of(sums: RowSums, logits: Tensor, classes: VocabularyClasses) -> dict[str, Tensor]:
    """Scores from what a pass over the vocabulary left, all but `pad_logmass`, by name: [T] float32 or int32 each.

    logits: [T, V] float32, those that were summed over.
    """
    top, log_total = sums.top.double(), sums.total.log()
    scores: dict[str, Tensor] = {
        "surprisal": log_total + (top - sums.of_target.double()),
        # Log total plus the mean distance below the top, two positive terms.
        "entropy": log_total - sums.weighted / sums.total,
        "rank": 1 + sums.greater.long(),
        "top_vocab_id": logits.shape[-1] - sums.from_end.long(),
        "top_surprisal": log_total,
    }
    if classes.space_ids.numel():
        scores["space_logmass"] = log_mass(sums.space, logits, classes.space_ids, top, log_total)
    if classes.punctuation_ids.numel():
        scores["punct_logmass"] = log_mass(sums.punctuation, logits, classes.punctuation_ids, top, log_total)
    if classes.eos_id is not None:
        scores["eos_logmass"] = logits[:, classes.eos_id].double() - top - log_total
    return {name: value.float() if value.is_floating_point() else value.int() for name, value in scores.items()}


def row_sums(logits: Tensor, distribution: Distribution, targets: Tensor, classes: VocabularyClasses) -> RowSums:
    """The sums that `kernels.row_sums` makes, the eager way: logits [T, V] float32, `distribution` theirs."""
    of_target = logits.gather(-1, targets.unsqueeze(-1))
    weights = distribution.weights
    return RowSums(
        distribution.top.squeeze(-1),
        of_target.squeeze(-1),
        distribution.total,
        (weights * distribution.shifted).sum(-1).double(),
        count_above(logits, of_target),
        first_from_end(logits, distribution.top),
        weights.index_select(-1, classes.space_ids).sum(-1, dtype=torch.float64),
        weights.index_select(-1, classes.punctuation_ids).sum(-1, dtype=torch.float64),
    )


def count_above(logits: Tensor, of_target: Tensor) -> Tensor:
    """Number of entries with a strictly greater logit than the target's. [T, V], [T, 1] -> [T] float32, exact."""
    # Comparing into float32 is several times faster on a CPU than summing bools, and exact below 2^24 entries.
    return torch.gt(logits, of_target, out=torch.empty_like(logits)).sum(-1)


def first_from_end(logits: Tensor, top: Tensor) -> Tensor:
    """How far the first of a row's largest logits is from its end, 1 for the last entry. [T, V], [T, 1] -> [T] float32.

    Of the entries equal to the maximum, the lowest id is the farthest from the end; faster than argmax on a CPU.
    """
    is_top = torch.eq(logits, top, out=torch.empty_like(logits))
    distance = torch.arange(logits.shape[-1], 0, -1, dtype=logits.dtype, device=logits.device)
    return is_top.mul_(distance).amax(-1)


def log_mass(mass: Tensor, logits: Tensor, ids: Tensor, top: Tensor, log_total: Tensor) -> Tensor:
    """Log of the probability of a set of ids, [n] int64, at each token: [T] float64, nats.

    mass: [T] float64, the sum of their weights. logits: [T, V] float32. top, log_total: [T] float64.
    Exact both near 0, where a float32 sum would lose the rest, and far below the smallest float32 number.
    """
    result = mass.log() - log_total
    low = (mass < _UNDERFLOW).nonzero().flatten()
    if low.numel():
        distances = logits[low].index_select(-1, ids).double() - top[low].unsqueeze(-1)
        result[low] = distances.logsumexp(-1) - log_total[low]
    return result


def pad_log_mass(beyond: Tensor, known: Tensor) -> Tensor:
    """Log of the mass that the softmax over the full width gives to ids that the tokenizer lacks: [T] float64, nats.

    beyond: [T, n] float32 logits of those ids, n >= 1. known: [T] float64, log-sum-exp of all others.
    """
    log_odds = Distribution.of(beyond).log_sum_exp - known
    # log(odds / (1 + odds)), exact at both ends.
    return -torch.nn.functional.softplus(-log_odds)


def top_entries(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest logits of each row and their ids, largest first, of equals the lowest id: [T, k] each, ids int64.

    logits: [T, V] float32, k <= V.
    """
    values, ids = logits.topk(min(k + 1, logits.shape[-1]), dim=-1)
    # topk takes any of several equal logits and in any order; where that may have mattered the whole row is sorted.
    tied = (values[:, 1:] == values[:, :-1]).any(-1).nonzero().flatten()
    if tied.numel():
        ordered = logits[tied].sort(dim=-1, descending=True, stable=True)
        values[tied], ids[tied] = (part[:, : values.shape[1]] for part in ordered)
    return values[:, :k], ids[:, :k]
