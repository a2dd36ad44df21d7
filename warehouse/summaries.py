"""Summaries: mergeable sums over the tokens of each value of a layer, in float64.

Pure functions on arrays. ``warehouse refresh`` computes the same from facts in SQL.
Source of the sums: the ratio estimator over clusters and the jackknife over seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class _Clusters:
    """Sums of x and counts by value and cluster: [size, D] each, and by cluster: [D] each."""

    x: Floats
    n: Floats
    all_x: Floats
    all_n: Floats

    @classmethod
    def of(cls, x: Floats, values: Values, clusters: NDArray[np.int64]) -> _Clusters:
        measured = np.isfinite(x)
        n_clusters = int(clusters.max(initial=-1)) + 1
        has_value = measured & (values.codes >= 0)
        cell = values.codes[has_value].astype(np.int64) * n_clusters + clusters[has_value]
        shape = (values.size, n_clusters)
        return cls(
            x=_weighted(cell, x[has_value], values.size * n_clusters).reshape(shape),
            n=np.bincount(cell, minlength=values.size * n_clusters).reshape(shape).astype(np.float64),
            all_x=_weighted(clusters[measured], x[measured], n_clusters),
            all_n=np.bincount(clusters[measured], minlength=n_clusters).astype(np.float64),
        )

    def squares(self) -> dict[str, Floats]:
        return {
            "clusters": (self.n > 0).sum(1),
            "cluster_xx": (self.x * self.x).sum(1),
            "cluster_xn": (self.x * self.n).sum(1),
            "cluster_nn": (self.n * self.n).sum(1),
        }

    def cross_products(self) -> dict[str, Floats]:
        return {
            "cross_xx": self.x @ self.all_x,
            "cross_xn": self.x @ self.all_n,
            "cross_nx": self.n @ self.all_x,
            "cross_nn": self.n @ self.all_n,
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
    sums = _Clusters.of(x, values, clusters)
    pair_sums = {pair: _sum_by_value(kl.astype(np.float64), values) for pair, kl in pairs.items()}
    columns: dict[str, Any] = {
        "n": sums.n.sum(1).astype(np.int64),
        "sum_kl": sums.x.sum(1),
        "sum_kl2": _sum_by_value(x * x, values),
        "min_kl": _extreme_by_value(np.minimum, x, values),
        "max_kl": _extreme_by_value(np.maximum, x, values),
        **sums.squares(),
        **sums.cross_products(),
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
    sums = _Clusters.of(x, values, clusters)
    columns: dict[str, Any] = {
        "n": sums.n.sum(1).astype(np.int64),
        "n_correct": _sum_by_value((rank == 1).astype(np.float64), values).astype(np.int64),
        "sum_surprisal": sums.x.sum(1),
        "sum_surprisal2": _sum_by_value(x * x, values),
        "min_surprisal": _extreme_by_value(np.minimum, x, values),
        "max_surprisal": _extreme_by_value(np.maximum, x, values),
        "sum_entropy": _sum_by_value(entropy.astype(np.float64), values),
        **sums.squares(),
    }
    return [row for _, row in _rows(values, columns)]


def _rows(values: Values, columns: Mapping[str, Any]) -> list[tuple[int, Row]]:
    return [
        (
            category,
            {
                "layer_id": values.layer_id,
                "category_id": category,
                **{name: column[category].item() for name, column in columns.items()},
            },
        )
        for category in range(values.size)
        if columns["n"][category]
    ]


def _weighted(index: NDArray[Any], weights: Floats, size: int) -> Floats:
    return np.bincount(index, weights, size).astype(np.float64)  # bincount of nothing is of integers


def _sum_by_value(x: Floats, values: Values) -> Floats:
    chosen = (values.codes >= 0) & np.isfinite(x)
    return _weighted(values.codes[chosen], x[chosen], values.size)


def _extreme_by_value(extreme: np.ufunc, x: Floats, values: Values) -> Floats:
    chosen = (values.codes >= 0) & np.isfinite(x)
    result = np.full(values.size, np.inf if extreme is np.minimum else -np.inf)
    extreme.at(result, values.codes[chosen], x[chosen])
    return result


def _pair_square_sums(pair_sums: Mapping[tuple[int, int], Floats], seeds: Sequence[int]) -> Floats | None:
    """Sum over unordered seed pairs of the squared two-way sum; None unless four seeds or more are all paired."""
    if len(seeds) < 4 or len(pair_sums) != len(seeds) * (len(seeds) - 1):
        return None
    both = [pair_sums[p, q] + pair_sums[q, p] for i, p in enumerate(seeds) for q in seeds[i + 1 :]]
    return np.asarray(np.square(both).sum(0))
