"""From readouts to per-token scores and KL, tile by tile: no array as wide as the vocabulary outlives its tile.

Tensors in, arrays out: files, tokenizers, transformers and the database are unknown here.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Lock
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ingest.compiled import TILES, Path, choose_path, compiled_kernels
from ingest.contexts import Ngrams
from ingest.logits import NonFiniteLogits, Readout, exact_float32
from ingest.reduction import CompiledReduction, EagerReduction, Pair, Reduction, Wanted, slices
from ingest.scores import SCORE_NAMES, TokenScores, TopEntries, VocabularyClasses
from ingest.threads import side_by_side
from warehouse.errors import WarehouseError

VocabularyPolicy = Literal["tokenizer", "model"]

#: Bytes that the tiles of all threads may take together; with many readouts fewer threads work.
_ROOM = 2**31


class IncompatibleVocabulary(WarehouseError):
    """Distributions that should be compared are over different vocabularies."""


@dataclass(frozen=True)
class Measurement:
    """What one pass over the tiles gives. Readouts are named by their index; every array is [T].

    kl: by ordered pair (p, q). mixture_entropy: by group of readouts. reference_kl: KL(p || reference), by readout and
    name of the reference. All float32, in nats. top: most probable entries of each scored readout, where wanted.
    """

    scores: dict[int, TokenScores]
    kl: dict[Pair, NDArray[np.float32]]
    mixture_entropy: dict[tuple[int, ...], NDArray[np.float32]]
    reference_kl: dict[tuple[int, str], NDArray[np.float32]]
    top: dict[int, TopEntries] = field(default_factory=dict)

    def spread(self, measured: NDArray[np.bool_]) -> Measurement:
        """The same over all tokens of a corpus of which these were measured: the others are NaN, integers -1."""

        def spread(values: Any) -> Any:
            if values is None:
                return None
            wide = np.full((len(measured), *values.shape[1:]), -1 if values.dtype.kind == "i" else np.nan, values.dtype)
            wide[measured] = values
            return wide

        return Measurement(
            {i: TokenScores(**{key: spread(x) for key, x in vars(each).items()}) for i, each in self.scores.items()},
            {key: spread(values) for key, values in self.kl.items()},
            {key: spread(values) for key, values in self.mixture_entropy.items()},
            {key: spread(values) for key, values in self.reference_kl.items()},
            {i: TopEntries(spread(each.ids), spread(each.log_probabilities)) for i, each in self.top.items()},
        )


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
    ngrams: Sequence[Ngrams] = (),
    top_k: int = 0,
    tile: int | None = None,
    compiled: bool = True,
    path: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Measurement:
    """Score targets and compare readouts in one pass over tiles of `tile` tokens.

    targets: [T] int64 on the readouts' device. scores, pairs, mixtures: what to compute, by index into `readouts`.
    references: log-probabilities by name, each [V] float32 over the policy's vocabulary, and ngrams such as depend on
    the tokens before; KL to each is computed for every readout in `scores`, and its `top_k` most probable entries are
    listed. compiled: allow compiled loops where
    `choose_path` finds that they pay; path: take this one. progress is called after each tile with the number of tokens
    done in it. Raises NonFiniteLogits naming the readout and its first bad token; IncompatibleVocabulary when widths do
    not agree.
    """
    groups = tuple(map(tuple, mixtures))
    wanted = Wanted(frozenset(scores), tuple(pairs), groups, references or {}, classes, classes.length, top_k)
    width = scored_width([readouts[i] for i in wanted.readouts], classes.length, policy)
    wanted = replace(wanted, width=width, ngrams=tuple(ngrams)).to(targets.device)
    _check(wanted, readouts, targets)
    device, size = targets.device, tile or TILES.get(targets.device.type, TILES["cuda"])
    way = path or choose_path(device.type, len(targets), width, allowed=compiled)
    columns = _Columns(len(targets), device)
    # One thread a tile, so that another number of threads does not change a bit.
    with exact_float32(), side_by_side(device, max(1, _ROOM // wanted.room(size)), share=1) as run:
        work = partial(_measure_tile, _reduction(way, wanted, size), wanted, readouts, targets, columns)
        for done in run(work, slices(len(targets), size)):
            if progress:
                progress(done)
    return _collect(columns, wanted)


def _reduction(path: Path, wanted: Wanted, tile: int) -> Reduction:
    if path == "eager":
        return EagerReduction(wanted)
    return CompiledReduction(wanted, compiled_kernels(tile, wanted.width))


def _measure_tile(
    reduction: Reduction, wanted: Wanted, readouts: Sequence[Readout], targets: Tensor, columns: _Columns, rows: slice
) -> int:
    here = {i: readouts[i] for i in wanted.readouts}
    states = {i: _filled(readout.hidden[rows], reduction.tile) for i, readout in here.items()}
    tokens = _filled(torch.arange(rows.start, rows.stop, device=targets.device), reduction.tile)
    with torch.no_grad():  # holds for one thread; loops are compiled anew for tensors of inference mode
        for key, values in reduction.columns(here, states, _filled(targets[rows], reduction.tile), tokens):
            found = values[: rows.stop - rows.start]
            if key[0] != "finite":
                columns.put(key, rows, found)
            elif not found.all():
                raise NonFiniteLogits(int(key[1]), rows.start + int(found.logical_not().nonzero()[0, 0]))
    return int(rows.stop - rows.start)


def _filled(rows: Tensor, size: int | None) -> Tensor:
    """Rows with the last one repeated until there are `size`."""
    missing = 0 if size is None else size - len(rows)
    return torch.cat([rows, rows[-1:].expand(missing, *rows.shape[1:])]) if missing else rows


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


def _check(wanted: Wanted, readouts: Sequence[Readout], targets: Tensor) -> None:
    width = wanted.width
    for i in wanted.readouts:
        if len(readouts[i].hidden) != len(targets):
            raise ValueError(f"readout {i} has {len(readouts[i].hidden)} rows for {len(targets)} targets")
    if len(targets) and not (int(targets.min()) >= 0 and int(targets.max()) < width):
        raise IncompatibleVocabulary(
            f"The corpus holds id {int(targets.max())} and the vocabulary {width} ids; use the model's own tokenizer."
        )
    for each in wanted.ngrams:
        if any(len(level.rows) != len(targets) for level in each.levels):
            raise ValueError("the contexts of n-gram references are those of another corpus")
    unigrams = {name: each.log_unigrams for each in wanted.ngrams for name in each.names}
    for name, log_q in {**wanted.references, **unigrams}.items():
        if log_q.shape != (width,):
            raise IncompatibleVocabulary(
                f"Reference {name!r} has {log_q.numel()} ids, the models have {width}; count with the same tokenizer."
            )
        if not log_q.isfinite().all():
            raise IncompatibleVocabulary(f"Reference {name!r} gives some ids no probability; smooth its counts.")


def _collect(columns: _Columns, wanted: Wanted) -> Measurement:
    get = columns.get
    scored = sorted(wanted.scores)
    references = [*wanted.references, *(name for each in wanted.ngrams for name in each.names)]
    return Measurement(
        scores={i: TokenScores(**{name: get(("score", i, name)) for name in SCORE_NAMES}) for i in scored},
        kl={pair: get(("kl", *pair)) for pair in wanted.pairs},
        mixture_entropy={group: get(("mixture", group)) for group in wanted.mixtures},
        reference_kl={(i, name): get(("reference", i, name)) for i in scored for name in references},
        top={i: TopEntries(get(("top_ids", i)), get(("top_log_probabilities", i))) for i in scored if wanted.top_k},
    )


class _Columns:
    """Named [T] or [T, k] arrays that fill up tile by tile on the device and leave it once."""

    def __init__(self, length: int, device: torch.device) -> None:
        self._length, self._device = length, device
        self._columns: dict[Hashable, Tensor] = {}
        self._lock = Lock()

    def put(self, key: Hashable, rows: slice, values: Tensor) -> None:
        with self._lock:
            if key not in self._columns:
                self._columns[key] = torch.empty(
                    (self._length, *values.shape[1:]), dtype=values.dtype, device=self._device
                )
        self._columns[key][rows] = values

    def get(self, key: Hashable) -> Any:
        return self._columns[key].cpu().numpy() if key in self._columns else None
