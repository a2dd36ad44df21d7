"""Summaries: mergeable sums over the tokens of each value of a layer, in float64.

Pure functions on arrays. ``warehouse refresh`` computes the same from facts in SQL.
Source of the sums: the ratio estimator over clusters and the jackknife over seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Row = dict[str, Any]

#: A layer of more values than this gets no summaries.
SUMMARISED_VALUES = 1000
#: Sums that are held at once when a layer is loaded.
_SUMS_AT_ONCE = 1 << 20
#: Fewer documents than this are too few to be clusters; chunks take their place.
DOCUMENT_CLUSTERS = 8


@dataclass(frozen=True)
class Totals:
    """KL of one pair by value. n: [size] tokens that have one. kl: [size] its sum over them, nats."""

    n: Floats
    kl: Floats


@dataclass(frozen=True)
class Values:
    """The values of a layer over the tokens of a corpus.

    codes: [T] int, category of each token, -1 for none. size: number of categories.
    """

    layer_id: int
    codes: NDArray[np.int32]
    size: int
    _cells: list[_Cells] = field(default_factory=list, init=False, repr=False, compare=False)

    def sums(self, x: NDArray[Any]) -> Floats:
        """[size] sum of the finite ones of [T] x by value, in float64, tokens added in their order."""
        return _sums(self._places, x, self.size)

    def totals(self, x: NDArray[Any]) -> Totals:
        """Number and sum of the finite ones of [T] x by value."""
        sums = _plain_sums(self._places, x, self.size)
        if np.isfinite(sums).all():
            return Totals(self._counts, sums)
        finite = np.isfinite(x)
        counts = _plain_sums(self._places, finite, self.size)
        return Totals(counts, _plain_sums(self._places, np.where(finite, x, 0), self.size))

    def extremes(self, x: Floats) -> tuple[Floats, Floats]:
        """[size] least and greatest of the finite ones of [T] x by value; infinite for a value that has none."""
        least, greatest = np.full(self.size, np.inf), np.full(self.size, -np.inf)
        order, starts, present = self._sorted
        if len(order):
            ordered = x[order]
            gap = ~np.isfinite(ordered)
            least[present] = np.minimum.reduceat(np.where(gap, np.inf, ordered), starts)
            greatest[present] = np.maximum.reduceat(np.where(gap, -np.inf, ordered), starts)
        return least, greatest

    def cells(self, clusters: NDArray[np.int64]) -> _Cells:
        """How the values and the [T] clusters of the tokens meet; found once for the clusters of a corpus."""
        if not (self._cells and self._cells[0].clusters is clusters):
            self._cells[:] = [_Cells.of(self, clusters)]
        return self._cells[0]

    @cached_property
    def _places(self) -> NDArray[np.intp]:
        """[T] category plus one: tokens without a value have a place too, so that none has to be left out."""
        return self.codes.astype(np.intp) + 1

    @cached_property
    def _counts(self) -> Floats:
        """[size] tokens of each value."""
        return np.bincount(self._places, minlength=self.size + 1)[1:].astype(np.float64)

    @cached_property
    def _sorted(self) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
        """The tokens that have a value in the order of their values; where each value begins; the values that occur."""
        order = np.argsort(self.codes, kind="stable")
        order = order[np.searchsorted(self.codes[order], 0) :]
        present, starts = np.unique(self.codes[order].astype(np.intp), return_index=True)
        return order, starts, present


@dataclass(frozen=True)
class _Cells:
    """The pairs of a value and a cluster that have tokens: few, where there are many values and many clusters.

    size: number of values. clusters: [T] cluster of each token, from 0. places: [T] cell of each token plus one, 0 for
    a token without value. value, cluster: [C] of each cell, in order.
    """

    size: int
    clusters: NDArray[np.int64]
    places: NDArray[np.intp]
    value: NDArray[np.intp]
    cluster: NDArray[np.intp]

    @classmethod
    def of(cls, values: Values, clusters: NDArray[np.int64]) -> _Cells:
        n_clusters = int(clusters.max(initial=0)) + 1
        chosen = np.flatnonzero(values.codes >= 0)
        keys = values.codes[chosen].astype(np.int64) * n_clusters + clusters[chosen]
        cells, number = np.unique(keys, return_inverse=True)
        places = np.zeros(len(clusters), np.intp)
        places[chosen] = number.reshape(-1) + 1
        return cls(values.size, clusters, places, cells // n_clusters, cells % n_clusters)

    def sums(self, x: Floats, *, cross: bool = False) -> dict[str, Any]:
        """[size] by value: tokens with a finite x, clusters that have some, sum of x, products of the sums by cluster.

        cross: those with the sums over all tokens of a cluster that have an x, whatever their value, too.
        """
        finite = np.isfinite(x)
        own_x = _sums(self.places, x, len(self.value))
        own_n = self._counts if finite.all() else _sums(self.places, finite, len(self.value))
        columns = {
            "n": self._over_clusters(own_n).astype(np.int64),
            "clusters": self._over_clusters(own_n > 0).astype(np.int64),
            "sum_x": self._over_clusters(own_x),
            "cluster_xx": self._over_clusters(own_x * own_x),
            "cluster_xn": self._over_clusters(own_x * own_n),
            "cluster_nn": self._over_clusters(own_n * own_n),
        }
        if cross:
            all_x = np.bincount(self.clusters, np.where(finite, x, 0))[self.cluster]
            all_n = np.bincount(self.clusters, finite)[self.cluster]
            columns["cross_xx"] = self._over_clusters(own_x * all_x)
            columns["cross_xn"] = self._over_clusters(own_x * all_n)
            columns["cross_nx"] = self._over_clusters(own_n * all_x)
            columns["cross_nn"] = self._over_clusters(own_n * all_n)
        return columns

    @cached_property
    def _counts(self) -> Floats:
        """[C] tokens of each cell."""
        return np.bincount(self.places, minlength=len(self.value) + 1)[1:].astype(np.float64)

    def _over_clusters(self, x: NDArray[Any]) -> Floats:
        return np.bincount(self.value, x, self.size).astype(np.float64)  # bincount of nothing is of integers


def _sums(places: NDArray[np.intp], x: NDArray[Any], size: int) -> Floats:
    """[size] sums of the finite x by place, from 1; those at place 0 are in none."""
    sums = _plain_sums(places, x, size)
    # A sum tells whether one of its tokens has no x; looking at every token first would take as long as adding them.
    if not np.isfinite(sums).all():
        sums = _plain_sums(places, np.where(np.isfinite(x), x, 0), size)
    return sums


def _plain_sums(places: NDArray[np.intp], x: NDArray[Any], size: int) -> Floats:
    """[size] sums of x by place, from 1, not finite where one of them is not."""
    return np.bincount(places, x, size + 1)[1:].astype(np.float64, copy=False)


def portions(units: Iterable[int], size: int, n_pairs: Callable[[int], int]) -> Iterator[list[int]]:
    """Units in portions whose summaries of a layer of so many values fit into memory.

    n_pairs: of a unit, whose sums have to be held too.
    """
    portion: list[int] = []
    held = 0
    for unit in units:
        # A row of summaries has about as many numbers as this, each an object of its own.
        wanted = size * (n_pairs(unit) + 32)
        if portion and held + wanted > _SUMS_AT_ONCE:
            yield portion
            portion, held = [], 0
        portion.append(unit)
        held += wanted
    if portion:
        yield portion


def convergence_rows(
    mean_kl: NDArray[np.float32],
    pair_totals: Mapping[tuple[int, int], Totals],
    seeds: Sequence[int],
    values: Values,
    clusters: NDArray[np.int64],
) -> list[Row]:
    """Rows of ``convergence_summary`` for one comparison and layer, less the comparison's key.

    mean_kl: [T] nats, mean over the ordered pairs; NaN where one of them is unmeasured. pair_totals: by (seed of p,
    seed of q). seeds: all seeds that take part, in order. clusters: [T] cluster of each token, from 0.
    Sums by seed are None for a value of which some pairs have tokens that others lack (docs/methods.md §3).
    """
    x = mean_kl.astype(np.float64)
    sums = values.cells(clusters).sums(x, cross=True)
    least, greatest = values.extremes(x)
    columns: dict[str, Any] = {
        "n": sums.pop("n"),
        "sum_kl": sums.pop("sum_x"),
        "sum_kl2": values.sums(x * x),
        "min_kl": least,
        "max_kl": greatest,
        **sums,
    }
    even = np.all([totals.n == columns["n"] for totals in pair_totals.values()], axis=0)
    pair_sums = {pair: totals.kl for pair, totals in pair_totals.items()}
    touching = np.array(
        [sum((s for pair, s in pair_sums.items() if seed in pair), np.zeros(values.size)) for seed in seeds]
    )
    squares = _pair_square_sums(pair_sums, seeds)
    return [
        {
            **row,
            "pair_square_sum": float(squares[category]) if squares is not None and even[category] else None,
            "seed_sums": touching[:, category].tolist() if even[category] else [None] * len(seeds),
        }
        for category, row in _rows(values, columns)
    ]


def score_rows(
    surprisal: NDArray[np.float32],
    entropy: NDArray[np.float32] | None,
    rank: NDArray[np.int32] | None,
    values: Values,
    clusters: NDArray[np.int64],
) -> list[Row]:
    """Rows of ``score_summary`` for one evaluation and layer, less the evaluation's key.

    All arrays are [T]; NaN, and -1 for a rank, where unmeasured. Sums of entropy and of ranks are None for a value of
    which a token has a surprisal but no entropy, or no rank.
    """
    x = surprisal.astype(np.float64)
    sums = values.cells(clusters).sums(x)
    least, greatest = values.extremes(x)
    measured = np.isfinite(x)
    columns: dict[str, Any] = {
        "n": sums.pop("n"),
        "n_correct": np.full(values.size, None),
        "sum_surprisal": sums.pop("sum_x"),
        "sum_surprisal2": values.sums(x * x),
        "min_surprisal": least,
        "max_surprisal": greatest,
        "sum_entropy": np.full(values.size, None),
        **sums,
    }
    if rank is not None:
        columns["n_correct"] = _known_sums(rank == 1, rank > 0, measured, values)
    if entropy is not None:
        columns["sum_entropy"] = _known_sums(entropy, np.isfinite(entropy), measured, values)
    return [row for _, row in _rows(values, columns)]


def _known_sums(
    x: NDArray[Any], known: NDArray[np.bool_], measured: NDArray[np.bool_], values: Values
) -> NDArray[np.object_]:
    """[size] sum of x over the measured tokens of each value; None for a value of which one of them is not known."""
    dtype = np.int64 if x.dtype == bool else np.float64
    if known.all() and measured.all():
        return values.sums(x).astype(dtype).astype(object)
    sums = values.sums(np.where(measured & known, x, 0)).astype(dtype).astype(object)
    sums[values.sums(measured & ~known) > 0] = None
    return sums


def _rows(values: Values, columns: Mapping[str, Any]) -> list[tuple[int, Row]]:
    """Category and row of each value that occurs."""
    present = np.flatnonzero(columns["n"])
    numbers = zip(*(column[present].tolist() for column in columns.values()), strict=True)
    return [
        (category, {"layer_id": values.layer_id, "category_id": category, **dict(zip(columns, row, strict=True))})
        for category, row in zip(present.tolist(), numbers, strict=True)
    ]


def _pair_square_sums(pair_sums: Mapping[tuple[int, int], Floats], seeds: Sequence[int]) -> Floats | None:
    """Sum over unordered seed pairs of the squared two-way sum; None unless four seeds or more are all paired."""
    two_seeds = all(p != q for p, q in pair_sums)
    if len(seeds) < 4 or not two_seeds or len(pair_sums) != len(seeds) * (len(seeds) - 1):
        return None
    both = [pair_sums[p, q] + pair_sums[q, p] for i, p in enumerate(seeds) for q in seeds[i + 1 :]]
    return np.asarray(np.square(both).sum(0))
