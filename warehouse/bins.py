"""Bins of numbers: which one each number is in, what it is called, and where quantiles cut.

Pure functions on arrays; what the numbers belong to is not known here.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from warehouse.layer import NO_VALUE, Category, present_values

Floats = NDArray[np.float64]


def quantile_edges(numbers: Floats, n_bins: int) -> list[float]:
    """Edges that cut the finite numbers into at most n_bins bins of about as many; fewer where numbers repeat.

    numbers: [T], NaN for none. An edge is the least number of the bin above it.
    """
    finite = np.sort(numbers[np.isfinite(numbers)])
    places = np.arange(1, n_bins) * len(finite) // n_bins
    return [float(edge) for edge in np.unique(finite[places]) if edge > finite[0]] if len(finite) else []


def binned(numbers: Floats, edges: Sequence[float]) -> tuple[tuple[Category, ...], NDArray[np.int32]]:
    """(the bins that occur, in ascending order; [T] int32 bin of each number, -1 for NaN).

    The edges cut the line of numbers: below the first one, from each to the next, and from the last one on. A bin holds
    its lower edge and not its upper one. edges: ascending, at least one.
    """
    bounds = [None, *edges, None]
    names = _names(edges)
    bins = np.searchsorted(np.asarray(edges, np.float64), numbers, side="right")
    bins = np.where(np.isnan(numbers), NO_VALUE, bins)
    categories = [Category(name, None, low, high) for name, (low, high) in zip(names, pairwise(bounds), strict=True)]
    return present_values(categories, bins)


def each_number(numbers: Floats) -> tuple[tuple[Category, ...], NDArray[np.int32]]:
    """(a category for each number that occurs, ascending; [T] int32 category, -1 for NaN)."""
    finite = np.isfinite(numbers)
    values, codes = np.unique(numbers[finite], return_inverse=True)
    all_codes = np.full(len(numbers), NO_VALUE, np.int32)
    all_codes[finite] = codes
    # A negative zero is the same number as zero, and is called so.
    return tuple(Category(_shortest(value + 0.0), value + 0.0) for value in values.tolist()), all_codes


def _names(edges: Sequence[float]) -> list[str]:
    """Names of the bins, with six digits, or as many as it takes to tell the edges apart."""
    texts = [f"{edge:g}" for edge in edges]
    if len(set(texts)) < len(texts):
        texts = [_shortest(edge) for edge in edges]
    return [f"<{texts[0]}", *(f"[{low},{high})" for low, high in pairwise(texts)), f">={texts[-1]}"]


def _shortest(number: float) -> str:
    return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)
