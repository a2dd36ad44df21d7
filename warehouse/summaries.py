"""Summaries: mergeable sums over the tokens of each value of a layer, in float64.

Pure functions on arrays. ``warehouse refresh`` computes the same from facts in SQL.
Source of the sums: the ratio estimator over clusters and the jackknife over seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Row = dict[str, Any]

#: A layer of more values than this gets no summaries.
SUMMARISED_VALUES = 1000
#: Fewer documents than this are too few to be clusters; chunks take their place.
DOCUMENT_CLUSTERS = 8


@dataclass(frozen=True)
class Values:
    """The values of a layer over the tokens of a corpus.

    codes: [T] int, category of each token, -1 for none. size: number of categories.
    """

    layer_id: int
    codes: NDArray[np.int32]
    size: int

    @cached_property
    def _tokens(self) -> _Tokens:
        return _Tokens.of(self, self.codes >= 0)

    def tokens(self, x: Floats) -> _Tokens:
        """The tokens that have a value and a finite x. Those of an x without gaps are found once."""
        finite = np.isfinite(x)
        return self._tokens if finite.all() else _Tokens.of(self, finite & (self.codes >= 0))


@dataclass(frozen=True)
class _Tokens:
    """Some tokens that have a value: which of the corpus, their [n] categories, and how many categories there are."""

    where: NDArray[np.intp] | slice
    codes: NDArray[np.intp]
    size: int

    @classmethod
    def of(cls, values: Values, chosen: NDArray[np.bool_]) -> _Tokens:
        # All of them are taken without copying.
        where = slice(None) if chosen.all() else np.flatnonzero(chosen)
        return cls(where, values.codes[where].astype(np.intp), values.size)

    @cached_property
    def _sorted(self) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
        """The tokens in the order of their categories; where each category begins; the categories that occur."""
        order = np.argsort(self.codes, kind="stable")
        present, starts = np.unique(self.codes[order], return_index=True)
        return order, starts, present

    def sums(self, x: Floats) -> Floats:
        """[size] sum of x by value, tokens added in their order."""
        return _weighted(self.codes, x[self.where], self.size)

    def extremes(self, x: Floats) -> tuple[Floats, Floats]:
        """[size] least and greatest x by value; infinite for a value that does not occur."""
        order, starts, present = self._sorted
        least, greatest = np.full(self.size, np.inf), np.full(self.size, -np.inf)
        if len(order):
            ordered = x[self.where][order]
            least[present] = np.minimum.reduceat(ordered, starts)
            greatest[present] = np.maximum.reduceat(ordered, starts)
        return least, greatest


@dataclass(frozen=True)
class _Clusters:
    """Sums of x and counts by value and cluster: [size, D] each."""

    x: Floats
    n: Floats

    @classmethod
    def of(cls, x: Floats, tokens: _Tokens, clusters: NDArray[np.int64]) -> _Clusters:
        n_clusters = int(clusters.max(initial=-1)) + 1
        cell = tokens.codes * n_clusters + clusters[tokens.where]
        shape, size = (tokens.size, n_clusters), tokens.size * n_clusters
        return cls(
            x=_weighted(cell, x[tokens.where], size).reshape(shape),
            n=np.bincount(cell, minlength=size).reshape(shape).astype(np.float64),
        )

    def squares(self) -> dict[str, Floats]:
        return {
            "clusters": (self.n > 0).sum(1),
            "cluster_xx": (self.x * self.x).sum(1),
            "cluster_xn": (self.x * self.n).sum(1),
            "cluster_nn": (self.n * self.n).sum(1),
        }

    def cross_products(self, x: Floats, clusters: NDArray[np.int64]) -> dict[str, Floats]:
        """With the sums over all tokens that have an x, whatever their value."""
        measured = np.isfinite(x)
        n_clusters = self.x.shape[1]
        all_x = _weighted(clusters[measured], x[measured], n_clusters)
        all_n = np.bincount(clusters[measured], minlength=n_clusters).astype(np.float64)
        return {
            "cross_xx": self.x @ all_x,
            "cross_xn": self.x @ all_n,
            "cross_nx": self.n @ all_x,
            "cross_nn": self.n @ all_n,
        }


def convergence_rows(
    mean_kl: NDArray[np.float32],
    pairs: Mapping[tuple[int, int], NDArray[np.float32]],
    seeds: Sequence[int],
    values: Values,
    clusters: NDArray[np.int64],
) -> list[Row]:
    """Rows of ``convergence_summary`` for one comparison and layer, less the comparison's key.

    mean_kl: [T] nats, mean over the ordered pairs; NaN where unmeasured. pairs: [T] KL by (seed of p, seed of q).
    seeds: all seeds that take part, in order. clusters: [T] cluster of each token, from 0.
    """
    x = mean_kl.astype(np.float64)
    tokens = values.tokens(x)
    sums = _Clusters.of(x, tokens, clusters)
    pair_sums = {pair: _sum_by_value(kl.astype(np.float64), values) for pair, kl in pairs.items()}
    least, greatest = tokens.extremes(x)
    columns: dict[str, Any] = {
        "n": sums.n.sum(1).astype(np.int64),
        "sum_kl": sums.x.sum(1),
        "sum_kl2": tokens.sums(x * x),
        "min_kl": least,
        "max_kl": greatest,
        **sums.squares(),
        **sums.cross_products(x, clusters),
    }
    touching = np.array(
        [sum((s for pair, s in pair_sums.items() if seed in pair), np.zeros(values.size)) for seed in seeds]
    )
    squares = _pair_square_sums(pair_sums, seeds)
    return [
        {
            **row,
            "pair_square_sum": None if squares is None else float(squares[category]),
            "seed_sums": touching[:, category].tolist(),
        }
        for category, row in _rows(values, columns)
    ]


def score_rows(
    surprisal: NDArray[np.float32],
    entropy: NDArray[np.float32],
    rank: NDArray[np.int32],
    values: Values,
    clusters: NDArray[np.int64],
) -> list[Row]:
    """Rows of ``score_summary`` for one evaluation and layer, less the evaluation's key. All arrays are [T]."""
    x = surprisal.astype(np.float64)
    tokens = values.tokens(x)
    sums = _Clusters.of(x, tokens, clusters)
    least, greatest = tokens.extremes(x)
    columns: dict[str, Any] = {
        "n": sums.n.sum(1).astype(np.int64),
        "n_correct": _sum_by_value((rank == 1).astype(np.float64), values).astype(np.int64),
        "sum_surprisal": sums.x.sum(1),
        "sum_surprisal2": tokens.sums(x * x),
        "min_surprisal": least,
        "max_surprisal": greatest,
        "sum_entropy": _sum_by_value(entropy.astype(np.float64), values),
        **sums.squares(),
    }
    return [row for _, row in _rows(values, columns)]


def _rows(values: Values, columns: Mapping[str, Any]) -> list[tuple[int, Row]]:
    """Category and row of each value that occurs."""
    present = np.flatnonzero(columns["n"])
    numbers = zip(*(column[present].tolist() for column in columns.values()), strict=True)
    return [
        (category, {"layer_id": values.layer_id, "category_id": category, **dict(zip(columns, row, strict=True))})
        for category, row in zip(present.tolist(), numbers, strict=True)
    ]


def _weighted(index: NDArray[Any], weights: Floats, size: int) -> Floats:
    return np.bincount(index, weights, size).astype(np.float64)  # bincount of nothing is of integers


def _sum_by_value(x: Floats, values: Values) -> Floats:
    return values.tokens(x).sums(x)


def _pair_square_sums(pair_sums: Mapping[tuple[int, int], Floats], seeds: Sequence[int]) -> Floats | None:
    """Sum over unordered seed pairs of the squared two-way sum; None unless four seeds or more are all paired."""
    two_seeds = all(p != q for p, q in pair_sums)
    if len(seeds) < 4 or not two_seeds or len(pair_sums) != len(seeds) * (len(seeds) - 1):
        return None
    both = [pair_sums[p, q] + pair_sums[q, p] for i, p in enumerate(seeds) for q in seeds[i + 1 :]]
    return np.asarray(np.square(both).sum(0))
