"""What becomes of a tile of logits before it is forgotten: columns of scores and KL, the eager or the compiled way.

Knows the mathematics and which of it is wanted; files, models and the database are unknown here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from threading import local
from typing import Any, Protocol

import torch
from torch import Tensor

from ingest.compiled import BLOCK_ROWS, CompiledKernels
from ingest.contexts import Ngrams
from ingest.contexts import room as room_of
from ingest.divergence import Distribution, kl_between, kl_both, kl_divergence, mixture_entropy
from ingest.kernels import RowSums
from ingest.logits import Readout
from ingest.scores import VocabularyClasses, pad_log_mass, score_tokens, scores_of, top_entries

Pair = tuple[int, int]
#: What a column is of, and its values in a tile's tokens, [T] or [T, k].
Key = tuple[Any, ...]
Column = tuple[Key, Tensor]
#: Elements of a [rows, V] array on a CPU: temporaries of this size stay in cache and in the allocator.
_CPU_BLOCK = 2**17


@dataclass(frozen=True)
class Wanted:
    """What to compute, readouts being named by their index.

    scores: readouts to score, and to compare with each of the references (log-probabilities, [V] float32). pairs:
    ordered. mixtures: groups of readouts. width: V, entries that distributions are over. top_k: entries listed per
    token of a scored readout. ngrams: further references, whose probabilities depend on the tokens before.
    """

    scores: frozenset[int]
    pairs: tuple[Pair, ...]
    mixtures: tuple[tuple[int, ...], ...]
    references: Mapping[str, Tensor]
    classes: VocabularyClasses
    width: int
    top_k: int = 0
    ngrams: tuple[Ngrams, ...] = ()

    @property
    def readouts(self) -> list[int]:
        """All readouts that take part."""
        return sorted(self.scores | self.compared)

    @cached_property
    def compared(self) -> frozenset[int]:
        """Readouts that are in a pair or a mixture."""
        return frozenset[int]().union(*self.pairs, *self.mixtures)

    @cached_property
    def both_ways(self) -> dict[Pair, tuple[bool, bool]]:
        """Pairs of readouts, lower index first, with whether KL is wanted from it, and to it."""
        unordered = dict.fromkeys((min(pair), max(pair)) for pair in self.pairs)
        return {(p, q): ((p, q) in self.pairs, p != q and (q, p) in self.pairs) for p, q in unordered}

    def room(self, tile: int) -> int:
        """About how many bytes a thread needs for a tile: logits, and distributions of a block."""
        return 4 * self.width * (tile + 2 * BLOCK_ROWS) * (len(self.readouts) + 1) + room_of(self.ngrams)

    def to(self, device: torch.device) -> Wanted:
        """The same with its tensors on `device`."""
        references = {name: log_q.to(device) for name, log_q in self.references.items()}
        ngrams = tuple(each.to(device) for each in self.ngrams)
        return replace(self, references=references, ngrams=ngrams, classes=self.classes.to(device))


class Reduction(Protocol):
    """A way to reduce tiles, used by several threads at once."""

    @property
    def tile(self) -> int | None:
        """Rows that a tile must have, by repeating its last; None for any number."""
        ...

    def columns(
        self, readouts: Mapping[int, Readout], states: Mapping[int, Tensor], targets: Tensor, tokens: Tensor
    ) -> Iterator[Column]:
        """Columns of a tile: states [n, d] of each readout that is wanted, targets [n], and which tokens they are.

        Keys are ("finite", i) with bool values, ("score", i, name), ("top_ids", i), ("top_log_probabilities", i),
        ("reference", i, name), ("kl", p, q) and ("mixture", group). Only the first counts where it is false.
        """
        ...


class EagerReduction:
    """One operation of torch after another: the reference for the compiled way, and the way on a GPU."""

    tile = None

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted

    def columns(
        self, readouts: Mapping[int, Readout], states: Mapping[int, Tensor], targets: Tensor, tokens: Tensor
    ) -> Iterator[Column]:
        """See Reduction."""
        logits = {i: readouts[i].project(states[i]) for i in self._wanted.readouts}
        parts: dict[Key, list[Tensor]] = {}
        for rows in slices(len(targets), self._block_rows(targets.device)):
            for key, values in self._block({i: x[rows] for i, x in logits.items()}, targets[rows], tokens[rows]):
                parts.setdefault(key, []).append(values)
        return ((key, torch.cat(values)) for key, values in parts.items())

    def _block_rows(self, device: torch.device) -> int:
        # A GPU wants few large kernels: there the tile itself is the block.
        return max(1, _CPU_BLOCK // self._wanted.width) if device.type == "cpu" else sys.maxsize

    def _block(self, logits: Mapping[int, Tensor], targets: Tensor, tokens: Tensor) -> Iterator[Column]:
        wanted = self._wanted
        distributions = {i: Distribution.of(x[:, : wanted.width]) for i, x in logits.items()}
        for i, distribution in distributions.items():
            yield ("finite", i), distribution.finite
        for i in wanted.scores:
            yield from self._scores(i, logits[i], distributions[i], targets)
            yield from self._ngrams(i, logits[i], distributions[i], tokens)
        for (p, q), (forward, backward) in wanted.both_ways.items():
            yield from _directions(p, q, distributions, forward, backward)
        for group in wanted.mixtures:
            yield ("mixture", group), mixture_entropy([distributions[i] for i in group])

    def _scores(self, i: int, logits: Tensor, distribution: Distribution, targets: Tensor) -> Iterator[Column]:
        for name, values in score_tokens(logits, distribution, targets, self._wanted.classes).items():
            yield ("score", i, name), values
        for name, log_q in self._wanted.references.items():
            yield ("reference", i, name), kl_divergence(distribution.log_p, log_q)
        yield from _top(i, logits[:, : self._wanted.width], distribution.log_sum_exp, self._wanted.top_k)

    def _ngrams(self, i: int, logits: Tensor, distribution: Distribution, tokens: Tensor) -> Iterator[Column]:
        for each in self._wanted.ngrams:
            to_unigrams = kl_divergence(distribution.log_p, each.log_unigrams)
            for name, values in each.kl(to_unigrams, tokens, logits, distribution.log_sum_exp):
                yield ("reference", i, name), values


def _directions(
    p: int, q: int, distributions: Mapping[int, Distribution], forward: bool, backward: bool
) -> Iterator[Column]:
    if forward and backward:
        there, back = kl_both(distributions[p], distributions[q])
        yield ("kl", p, q), there
        yield ("kl", q, p), back
    else:
        p, q = (p, q) if forward else (q, p)
        yield ("kl", p, q), kl_between(distributions[p], distributions[q])


def _top(i: int, logits: Tensor, log_sum_exp: Tensor, k: int) -> Iterator[Column]:
    if k:
        values, ids = top_entries(logits, k)
        yield ("top_ids", i), ids.int()
        yield ("top_log_probabilities", i), (values.double() - log_sum_exp.unsqueeze(-1)).float()


class CompiledReduction:
    """One compiled loop over the vocabulary for all scores of a readout, and one for all pairs in both directions.

    The same tile of the same readouts gives the same bits, whatever else is computed beside it.
    """

    def __init__(self, wanted: Wanted, kernels: CompiledKernels) -> None:
        self.tile = kernels.tile
        self._wanted, self._kernels = wanted, kernels
        self._masks = torch.zeros(2, wanted.width)
        self._masks[0, wanted.classes.space_ids] = 1
        self._masks[1, wanted.classes.punctuation_ids] = 1
        self._references = {name: (log_q, log_q.exp()) for name, log_q in wanted.references.items()}
        self._unigrams = [(each.log_unigrams, each.log_unigrams.exp()) for each in wanted.ngrams]
        self._slots = {i: slot for slot, i in enumerate(sorted(wanted.compared))}
        ends = [[self._slots[i] for i in pair] for pair in wanted.both_ways]
        # A second copy of a lone pair, since the loops are compiled for two or more.
        self._left, self._right = torch.tensor(ends * 2 if len(ends) == 1 else ends or [[0, 0]] * 2).T.contiguous()
        self._local = local()

    def columns(
        self, readouts: Mapping[int, Readout], states: Mapping[int, Tensor], targets: Tensor, tokens: Tensor
    ) -> Iterator[Column]:
        """See Reduction; the device is the CPU."""
        room = self._room()
        for i in self._wanted.readouts:
            logits = room.logits[self._slots.get(i, -1)]
            readouts[i].write_logits(states[i], logits)
            sums = self._kernels.row_sums(logits, targets, self._masks)
            room.put(self._slots.get(i, -1), sums)
            yield ("finite", i), sums.weighted.isfinite()
            if i in self._wanted.scores:
                yield from self._scores(i, readouts[i], states[i], logits, sums)
                yield from self._ngrams(i, logits, sums, tokens)
        if self._slots:
            yield from self._comparisons(room)

    def _room(self) -> _Room:
        """Where this thread keeps its tile."""
        if not hasattr(self._local, "room"):
            self._local.room = _Room(len(self._slots), self._kernels)
        room: _Room = self._local.room
        return room

    def _scores(self, i: int, readout: Readout, states: Tensor, logits: Tensor, sums: RowSums) -> Iterator[Column]:
        wanted, log_sum_exp = self._wanted, sums.top.double() + sums.total.log()
        for name, values in scores_of(sums, logits, wanted.classes).items():
            yield ("score", i, name), values
        length = wanted.classes.length
        if readout.width > length:
            beyond, known = readout.project(states, slice(length, None)), log_sum_exp
            if wanted.width > length:
                known = Distribution.of(logits[:, :length]).log_sum_exp
            yield ("score", i, "pad_logmass"), pad_log_mass(beyond, known).float()
        for name, reference in self._references.items():
            yield ("reference", i, name), self._kernels.reference_sums(logits, *_normaliser(sums), *reference).float()
        yield from _top(i, logits, log_sum_exp, wanted.top_k)

    def _ngrams(self, i: int, logits: Tensor, sums: RowSums, tokens: Tensor) -> Iterator[Column]:
        log_sum_exp = sums.top.double() + sums.total.log()
        for each, unigrams in zip(self._wanted.ngrams, self._unigrams, strict=True):
            to_unigrams = self._kernels.reference_sums(logits, *_normaliser(sums), *unigrams)
            for name, values in each.kl(to_unigrams, tokens, logits, log_sum_exp):
                yield ("reference", i, name), values

    def _comparisons(self, room: _Room) -> Iterator[Column]:
        parts = [self._block(room, rows) for rows in slices(self.tile, BLOCK_ROWS)]
        for key in parts[0]:
            yield key, torch.cat([part[key] for part in parts]).float()

    def _block(self, room: _Room, rows: slice) -> dict[Key, Tensor]:
        for slot in self._slots.values():
            self._kernels.normalise(room.logits[slot][rows], *room.normaliser(slot, rows), *room.normalised(slot))
        columns: dict[Key, Tensor] = {}
        if self._wanted.both_ways:
            forward, backward = self._kernels.pair_sums(room.log_p, room.p, self._left, self._right)
            for number, ((p, q), (there, back)) in enumerate(self._wanted.both_ways.items()):
                columns |= {("kl", p, q): forward[:, number]} if there else {}
                columns |= {("kl", q, p): backward[:, number]} if back else {}
        for group in self._wanted.mixtures:
            columns["mixture", group] = self._kernels.entropy_sums(room.mean([self._slots[i] for i in group]))
        return columns


def _normaliser(sums: RowSums) -> tuple[Tensor, Tensor, Tensor]:
    """Largest logit, log of the sum of weights and one over it: [T, 1] float32 each."""
    columns = sums.top, sums.total.log().float(), sums.total.reciprocal().float()
    top, log_total, scale = (column.unsqueeze(-1) for column in columns)
    return top, log_total, scale


class _Room:
    """Memory that a thread uses for tile after tile; nothing in it is of use after."""

    def __init__(self, n_compared: int, kernels: CompiledKernels) -> None:
        """n_compared: readouts whose logits stay for the whole tile; one more place is for the others."""
        self.logits = kernels.logits(n_compared + 1)
        self.log_p, self.p = kernels.blocks(n_compared), kernels.blocks(n_compared)
        self._rows_of = kernels.rows_of
        self._normalisers: dict[int, tuple[Tensor, ...]] = {}

    def put(self, slot: int, sums: RowSums) -> None:
        """Keep what normalises the logits of a slot."""
        self._normalisers[slot] = _normaliser(sums)

    def normaliser(self, slot: int, rows: slice) -> Sequence[Tensor]:
        """What was kept, of some rows."""
        return [column[rows] for column in self._normalisers[slot]]

    def mean(self, slots: Sequence[int]) -> Tensor:
        """Mean of the probabilities of some slots in a block, [BLOCK_ROWS, K * C] float32."""
        total = self.p[slots[0]].clone()
        for slot in slots[1:]:
            total += self.p[slot]
        return (total / len(slots)).flatten(1)

    def normalised(self, slot: int) -> tuple[Tensor, Tensor]:
        """Where log-probabilities and probabilities of a block go, [BLOCK_ROWS, V] each."""
        return self._rows_of(self.log_p[slot]), self._rows_of(self.p[slot])


def slices(length: int, size: int) -> Iterator[slice]:
    """Consecutive runs of at most `size` out of `length`."""
    return (slice(start, min(start + size, length)) for start in range(0, length, size))
