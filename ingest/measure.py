"""From readouts to per-token scores and KL, tile by tile: no array as wide as the vocabulary outlives its tile.

Tensors in, arrays out: files, tokenizers, transformers and the database are unknown here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ingest.divergence import Distribution, kl_between, kl_divergence, mixture_entropy
from ingest.scores import SCORE_NAMES, TokenScores, VocabularyClasses, score_tokens
from warehouse.errors import WarehouseError

VocabularyPolicy = Literal["tokenizer", "model"]
Pair = tuple[int, int]

#: Tokens per tile by device class. Another tile changes the last bits, so it is part of an evaluation's environment.
TILES = {"cpu": 64, "cuda": 512}
#: Elements of a [rows, V] array on a CPU: temporaries of this size stay in cache and in the allocator.
_CPU_BLOCK = 2**17


class NonFiniteLogits(WarehouseError):
    """A checkpoint gives a logit that is NaN or infinite."""

    def __init__(self, readout: int | None, token: int | None) -> None:
        """readout: its index, None when it was checked alone; token: the first bad target, 0-based, None if unknown."""
        self.readout, self.token = readout, token
        which = "The checkpoint" if readout is None else f"Readout {readout}"
        where = "" if token is None else f" at token {token} of the corpus"
        super().__init__(f"{which} gives NaN or infinite logits{where}: its weights are damaged, leave it out.")


class IncompatibleVocabulary(WarehouseError):
    """Distributions that should be compared are over different vocabularies."""


@dataclass(frozen=True)
class Readout:
    """All that one checkpoint's distributions depend on: final hidden states and output head.

    hidden: [T, d] float32, row t predicts target t. head: [W, d] float32, W the width of the model. bias: [W] float32.
    Logits are (hidden @ head.T + bias) * scale, then softcap * tanh(. / softcap) where the architecture has one.
    """

    hidden: Tensor
    head: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None

    @property
    def width(self) -> int:
        """W, the number of logits per token."""
        return self.head.shape[0]

    def logits(self, rows: slice = slice(None)) -> Tensor:
        """Logits of the targets in `rows`, [len(rows), W] float32."""
        logits = torch.nn.functional.linear(self.hidden[rows], self.head, self.bias)
        if self.scale != 1.0:
            logits *= self.scale
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)

    def check_finite(self) -> None:
        """Raise NonFiniteLogits if a logit could be NaN or infinite, without computing any.

        By Cauchy-Schwarz a logit is at most |h| |w| + |b| in size, so finite norms with a finite product are enough.
        Sums over the vocabulary of how far logits lie apart must stay finite too.
        """
        norms = self.hidden.norm(dim=-1)
        if not norms.isfinite().all():
            raise NonFiniteLogits(None, int(norms.isfinite().logical_not().nonzero()[0, 0]))
        bound = norms.max().double() * self.head.norm(dim=-1).max().double() * abs(self.scale)
        if self.bias is not None:
            bound = bound + self.bias.abs().max()
        if not 2 * self.width * bound < torch.finfo(torch.float32).max:
            raise NonFiniteLogits(None, None)


@dataclass(frozen=True)
class Measurement:
    """What one pass over the tiles gives. Readouts are named by their index; every array is [T].

    kl: by ordered pair (p, q). mixture_entropy: by group of readouts. reference_kl: KL(p || reference), by readout and
    name of the reference. All float32, in nats.
    """

    scores: dict[int, TokenScores]
    kl: dict[Pair, NDArray[np.float32]]
    mixture_entropy: dict[tuple[int, ...], NDArray[np.float32]]
    reference_kl: dict[tuple[int, str], NDArray[np.float32]]


@dataclass(frozen=True)
class _Wanted:
    scores: frozenset[int]
    pairs: tuple[Pair, ...]
    mixtures: tuple[tuple[int, ...], ...]
    references: Mapping[str, Tensor]

    @property
    def readouts(self) -> list[int]:
        return sorted(self.scores.union(*self.pairs, *self.mixtures))


def measure(
    readouts: Sequence[Readout],
    targets: Tensor,
    *,
    classes: VocabularyClasses,
    policy: VocabularyPolicy = "tokenizer",
    scores: Sequence[int] = (),
    pairs: Sequence[Pair] = (),
    mixtures: Sequence[Sequence[int]] = (),
    references: Mapping[str, Tensor] | None = None,
    tile: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Measurement:
    """Score targets and compare readouts in one pass over tiles of `tile` tokens.

    targets: [T] int64 on the readouts' device. scores, pairs, mixtures: what to compute, by index into `readouts`.
    references: log-probabilities by name, each [V] float32 over the policy's vocabulary; KL to each is computed for
    every readout in `scores`. progress is called after each tile with the number of tokens done in it.
    Raises NonFiniteLogits naming the readout and its first bad token; IncompatibleVocabulary when widths do not agree.
    """
    references = {name: log_q.to(targets.device) for name, log_q in (references or {}).items()}
    wanted = _Wanted(frozenset(scores), tuple(pairs), tuple(map(tuple, mixtures)), references)
    width = scored_width([readouts[i] for i in wanted.readouts], classes.length, policy)
    _check(wanted, readouts, targets, width)
    columns = _Columns(len(targets), targets.device)
    classes = classes.to(targets.device)

    def measure_tile(rows: slice) -> int:
        with torch.inference_mode():  # holds for one thread
            logits = {i: readouts[i].logits(rows) for i in wanted.readouts}
            for part in _slices(rows.stop - rows.start, _block_rows(targets.device, width)):
                block = slice(rows.start + part.start, rows.start + part.stop)
                _measure_block({i: x[part] for i, x in logits.items()}, targets, block, width, classes, wanted, columns)
        return int(rows.stop - rows.start)

    tiles = _slices(len(targets), tile or TILES.get(targets.device.type, TILES["cuda"]))
    with exact_float32(), _workers(targets.device) as run:
        for done in run(measure_tile, tiles):
            if progress:
                progress(done)
    return _collect(columns, wanted)


@contextmanager
def _workers(device: torch.device) -> Iterator[Callable[[Callable[[slice], int], Iterable[slice]], Iterator[int]]]:
    """How tiles are run: on a CPU side by side, each by one thread; on a GPU one after another.

    Threads that share a tile would wait for each other after every operation, and on a busy machine wait long.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1:
        yield map
        return
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            try:
                yield pool.map
            finally:
                pool.shutdown(cancel_futures=True)  # after Ctrl-C nobody waits for the tiles not begun
    finally:
        torch.set_num_threads(threads)


def scored_width(readouts: Sequence[Readout], length: int, policy: VocabularyPolicy) -> int:
    """How many leading entries of the logits a policy keeps: the tokenizer's `length`, or the width of the models.

    Raises IncompatibleVocabulary when a model is narrower than the tokenizer, or widths differ under policy `model`.
    """
    widths = {readout.width for readout in readouts}
    if widths and min(widths) < length:
        raise IncompatibleVocabulary(
            f"The tokenizer has {length} ids and the model only {min(widths)} logits; use the model's own tokenizer."
        )
    if policy == "tokenizer" or not widths:
        return length
    if len(widths) > 1:
        raise IncompatibleVocabulary(
            f"Models of widths {sorted(widths)} cannot be compared under vocabulary policy 'model'; use 'tokenizer'."
        )
    return widths.pop()


def _check(wanted: _Wanted, readouts: Sequence[Readout], targets: Tensor, width: int) -> None:
    for i in wanted.readouts:
        if len(readouts[i].hidden) != len(targets):
            raise ValueError(f"readout {i} has {len(readouts[i].hidden)} rows for {len(targets)} targets")
    if len(targets) and not (int(targets.min()) >= 0 and int(targets.max()) < width):
        raise IncompatibleVocabulary(
            f"The corpus holds id {int(targets.max())} and the vocabulary {width} ids; use the model's own tokenizer."
        )
    for name, log_q in wanted.references.items():
        if log_q.shape != (width,):
            raise IncompatibleVocabulary(
                f"Reference {name!r} has {log_q.numel()} ids, the models have {width}; count with the same tokenizer."
            )
        if not log_q.isfinite().all():
            raise IncompatibleVocabulary(f"Reference {name!r} gives some ids no probability; smooth its counts.")


def _measure_block(
    logits: Mapping[int, Tensor],
    targets: Tensor,
    rows: slice,
    width: int,
    classes: VocabularyClasses,
    wanted: _Wanted,
    columns: _Columns,
) -> None:
    distributions = {i: Distribution.of(x[:, :width]) for i, x in logits.items()}
    for i, distribution in distributions.items():
        if not distribution.finite.all():
            raise NonFiniteLogits(i, rows.start + int(distribution.finite.logical_not().nonzero()[0, 0]))
    for i in wanted.scores:
        for name, values in score_tokens(logits[i], distributions[i], targets[rows], classes).items():
            columns.put(("score", i, name), rows, values)
        for name, log_q in wanted.references.items():
            columns.put(("reference", i, name), rows, kl_divergence(distributions[i].log_p, log_q))
    for p, q in wanted.pairs:
        columns.put(("kl", p, q), rows, kl_between(distributions[p], distributions[q]))
    for group in wanted.mixtures:
        columns.put(("mixture", group), rows, mixture_entropy([distributions[i] for i in group]))


def _collect(columns: _Columns, wanted: _Wanted) -> Measurement:
    return Measurement(
        scores={
            i: TokenScores(**{name: columns.get(("score", i, name)) for name in SCORE_NAMES}) for i in wanted.scores
        },
        kl={pair: columns.get(("kl", *pair)) for pair in wanted.pairs},
        mixture_entropy={group: columns.get(("mixture", group)) for group in wanted.mixtures},
        reference_kl={
            (i, name): columns.get(("reference", i, name)) for i in wanted.scores for name in wanted.references
        },
    )


class _Columns:
    """Named [T] arrays that fill up tile by tile on the device and leave it once."""

    def __init__(self, length: int, device: torch.device) -> None:
        self._length, self._device = length, device
        self._columns: dict[Hashable, Tensor] = {}
        self._lock = Lock()

    def put(self, key: Hashable, rows: slice, values: Tensor) -> None:
        with self._lock:
            if key not in self._columns:
                self._columns[key] = torch.empty(self._length, dtype=values.dtype, device=self._device)
        self._columns[key][rows] = values

    def get(self, key: Hashable) -> Any:
        return self._columns[key].cpu().numpy() if key in self._columns else None


def _slices(length: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, length)) for start in range(0, length, size))


def _block_rows(device: torch.device, width: int) -> int:
    # A GPU wants few large kernels: there the tile itself is the block.
    return max(1, _CPU_BLOCK // width) if device.type == "cpu" else sys.maxsize


@contextmanager
def exact_float32() -> Iterator[None]:
    """Matrix products in full float32: TF32 and bfloat16 shortcuts off inside, the caller's setting back after."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
