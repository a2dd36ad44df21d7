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


SCORE_NAMES = tuple(field.name for field in fields(TokenScores))


def score_tokens(
    logits: Tensor, distribution: Distribution, targets: Tensor, classes: VocabularyClasses
) -> dict[str, Tensor]:
    """Everything docs/methods.md §1 keeps about each token, by name of TokenScores, leaving out what is not measured.

    logits: [T, W] float32 over the full width W of the model, of which `distribution` covers the first V <= W columns.
    targets: [T] int64, each below V. Each result is [T], float32 or int32.
    """
    scored = logits[:, : distribution.shifted.shape[-1]]
    of_target = scored.gather(-1, targets.unsqueeze(-1))
    distance = (distribution.top.double() - of_target.double()).squeeze(-1)
    scores: dict[str, Tensor] = {
        "surprisal": distribution.log_total + distance,
        "entropy": distribution.entropy,
        "rank": rank_of(scored, of_target),
        "top_vocab_id": lowest_id_of_top(scored, distribution.top),
        "top_surprisal": distribution.log_total,
    }
    for name, ids in (
        ("space_logmass", classes.space_ids),
        ("punct_logmass", classes.punctuation_ids),
        ("eos_logmass", classes.eos_ids),
    ):
        if ids.numel():
            scores[name] = log_mass(distribution, ids)
    if logits.shape[-1] > classes.length:
        scores["pad_logmass"] = pad_log_mass(logits, distribution, classes.length)
    return {name: value.float() if value.is_floating_point() else value.int() for name, value in scores.items()}


def rank_of(logits: Tensor, of_target: Tensor) -> Tensor:
    """1 + number of entries with a strictly greater logit than the target's. [T, V], [T, 1] -> [T] int64."""
    # Comparing into float32 is several times faster on a CPU than summing bools, and exact below 2^24 entries.
    greater = torch.gt(logits, of_target, out=torch.empty_like(logits))
    return 1 + greater.sum(-1).long()


def lowest_id_of_top(logits: Tensor, top: Tensor) -> Tensor:
    """The id of the largest logit of each row, the lowest on a tie. [T, V], [T, 1] its maximum -> [T] int64."""
    width = logits.shape[-1]
    # Of the entries equal to the maximum, the lowest id is the farthest from the end; faster than argmax on a CPU.
    is_top = torch.eq(logits, top, out=torch.empty_like(logits))
    distance_to_end = torch.arange(width, 0, -1, dtype=logits.dtype, device=logits.device)
    return width - is_top.mul_(distance_to_end).amax(-1).long()


def log_mass(distribution: Distribution, ids: Tensor) -> Tensor:
    """Log of the probability of a set of ids, [n] int64, at each token: [T] float64, nats.

    Exact both near 0, where a float32 sum would lose the rest, and far below the smallest float32 number.
    """
    columns = distribution.weights.index_select(-1, ids)
    mass = columns.sum(-1, dtype=torch.float64)
    result = mass.log() - distribution.log_total
    low = (mass < _UNDERFLOW).nonzero().flatten()
    if low.numel():
        shifted = distribution.shifted[low].index_select(-1, ids).double()
        result[low] = shifted.logsumexp(-1) - distribution.log_total[low]
    return result


def pad_log_mass(logits: Tensor, distribution: Distribution, length: int) -> Tensor:
    """Log of the mass that the softmax over the full width gives to ids at or above `length`. [T] float64, nats.

    logits: [T, W] with W > length; distribution: of the first `length` columns, or of all.
    """
    known = distribution if distribution.shifted.shape[-1] == length else Distribution.of(logits[:, :length])
    log_odds = Distribution.of(logits[:, length:]).log_sum_exp - known.log_sum_exp
    # log(odds / (1 + odds)), exact at both ends.
    return -torch.nn.functional.softplus(-log_odds)
