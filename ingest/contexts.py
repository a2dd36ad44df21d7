"""References that depend on the tokens before: KL to n-gram models, from KL to their unigrams and what was seen.

Pure functions of tensors (docs/methods.md §3), in nats; texts, models and the database are unknown here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ingest.ngrams import Continuations, Ids, NgramModel
from ingest.references import Reference

#: Entries that are looked at together, which bounds the memory that a tile takes.
_ENTRIES = 2**20
#: Bytes that an entry takes meanwhile.
_ENTRY_BYTES = 48


@dataclass(frozen=True)
class Level:
    """What one order adds to the order below it: `ngrams.Continuations` of a corpus as tensors.

    longest: most entries that a context has.
    """

    rows: Tensor
    log_rest: Tensor
    starts: Tensor
    ids: Tensor
    gains: Tensor
    longest: int

    @classmethod
    def of(cls, found: Continuations) -> Level:
        """The same as tensors on the CPU."""
        parts = (found.rows, found.log_rest, found.starts, found.ids, found.gains)
        rows, log_rest, starts, ids, gains = map(torch.from_numpy, parts)
        return cls(rows, log_rest, starts, ids, gains, int(np.diff(found.starts).max(initial=0)))

    def to(self, device: torch.device) -> Level:
        """The same on a device."""
        parts = (self.rows, self.log_rest, self.starts, self.ids, self.gains)
        rows, log_rest, starts, ids, gains = (part.to(device) for part in parts)
        return Level(rows, log_rest, starts, ids, gains, self.longest)

    def of_tokens(self, chosen: Tensor) -> Level:
        """The same for some of the corpus' tokens alone, numbered anew. chosen: [T] bool."""
        return replace(self, rows=self.rows[chosen], log_rest=self.log_rest[chosen])

    def expected_change(self, tokens: Tensor, logits: Tensor, log_sum_exp: Tensor) -> Tensor:
        """The sum over v of p(v) (log P_k(v|c) - log P_(k-1)(v|c')): [n] float64, nats.

        tokens: [n] int64, which of the corpus' tokens are predicted. logits: [n, V] float32. log_sum_exp: [n] float64.
        """
        size = max(1, _ENTRIES // max(self.longest, 1))
        parts = [slice(start, start + size) for start in range(0, len(tokens), size)]
        seen = [self._seen(tokens[part], logits[part], log_sum_exp[part]) for part in parts]
        return self.log_rest[tokens] + torch.cat(seen)

    def _seen(self, tokens: Tensor, logits: Tensor, log_sum_exp: Tensor) -> Tensor:
        """The part of tokens that the text has after the context: [n] float64."""
        if not self.longest:
            return torch.zeros_like(log_sum_exp)
        context = self.rows[tokens]
        known = context.clamp(min=0)
        first = self.starts[known]
        counts = torch.where(context < 0, 0, self.starts[known + 1] - first)
        row = torch.repeat_interleave(torch.arange(len(tokens), device=tokens.device), counts)
        before = counts.cumsum(0) - counts
        entry = torch.arange(len(row), device=row.device) + (first - before)[row]
        p = (logits[row, self.ids[entry].long()].double() - log_sum_exp[row]).exp()
        # Unlike adding by index it has one order of summation, also on a GPU.
        sums: Tensor = torch.segment_reduce(p * self.gains[entry], "sum", lengths=counts, unsafe=True)
        return sums


@dataclass(frozen=True)
class Ngrams:
    """N-gram references of one text. log_unigrams: [V] float32. levels: of orders 2 to n. names: with their orders."""

    log_unigrams: Tensor
    levels: tuple[Level, ...]
    names: Mapping[str, int]

    def to(self, device: torch.device) -> Ngrams:
        """The same on a device."""
        return replace(
            self,
            log_unigrams=self.log_unigrams.to(device),
            levels=tuple(level.to(device) for level in self.levels),
        )

    def of_tokens(self, chosen: Tensor) -> Ngrams:
        """The same for some of the corpus' tokens alone, numbered anew. chosen: [T] bool."""
        return replace(self, levels=tuple(level.of_tokens(chosen) for level in self.levels))

    def kl(
        self, to_unigrams: Tensor, tokens: Tensor, logits: Tensor, log_sum_exp: Tensor
    ) -> Iterator[tuple[str, Tensor]]:
        """KL(p || P_k(.|c)) for each name: [n] float32. to_unigrams: [n] KL(p || P_1); the others as for a level."""
        divergence = to_unigrams.double()
        for order in range(1, len(self.levels) + 2):
            if order > 1:
                divergence = divergence - self.levels[order - 2].expected_change(tokens, logits, log_sum_exp)
            for name in (name for name, wanted in self.names.items() if wanted == order):
                yield name, divergence.float()


def room(ngrams: Iterable[Ngrams]) -> int:
    """Bytes that a thread needs to look at entries."""
    return _ENTRIES * _ENTRY_BYTES if any(each.levels for each in ngrams) else 0


def as_tensors(
    references: Mapping[str, Reference], ids: Ids, positions: Ids
) -> tuple[dict[str, Tensor], tuple[Ngrams, ...]]:
    """References as log-probabilities, [V] float32 each, and n-gram references text by text, unigrams of it included.

    ids, positions: [T], of the corpus whose tokens are predicted, as for `ngrams.count_ngrams`.
    """
    alone, grouped = dict(references), list[Ngrams]()
    for model in dict.fromkeys(each.ngrams for each in references.values() if each.ngrams is not None):
        names = _of_text(model, alone)
        levels = tuple(Level.of(found) for found in model.continuations(ids, positions))
        grouped.append(Ngrams(torch.from_numpy(np.log(model.unigrams())).float(), levels, names))
        alone = {name: each for name, each in alone.items() if name not in names}
    return {name: torch.from_numpy(each.log_probabilities()).float() for name, each in alone.items()}, tuple(grouped)


def _of_text(model: NgramModel, references: Mapping[str, Reference]) -> dict[str, int]:
    """Names with the orders of what is counted from a model's text."""
    return {
        name: each.order
        for name, each in references.items()
        if each.ngrams is model or (each.smoothing == "add-one" and np.array_equal(each.counts, model.counts))
    }
