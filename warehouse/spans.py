"""Spans of characters and tokens: which value a token takes from the spans that lie over it.

Pure functions on arrays of offsets; what the values mean is not known here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from warehouse.layer import NO_VALUE

Offsets = NDArray[np.int64]


@dataclass(frozen=True)
class Spans:
    """S spans of characters that do not overlap. start, end: [S] int64. codes: [S] int32, the value of each, or -1."""

    start: Offsets = field(repr=False)
    end: Offsets = field(repr=False)
    codes: NDArray[np.int32] = field(repr=False)


def overlapping(start: Offsets, end: Offsets) -> tuple[int, int] | None:
    """Two spans that share a character, as indices in their order; None if there are none. No span may be empty."""
    order = np.argsort(start, kind="stable")
    clash = np.flatnonzero(start[order][1:] < end[order][:-1])
    if not len(clash):
        return None
    first, second = sorted((int(order[clash[0]]), int(order[clash[0] + 1])))
    return first, second


def commonest_value(
    start: Offsets, end: Offsets, length: Offsets, spans: Spans
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """([T] int32 the value over most of each token's characters; [S] whether some token took a span's value).

    start, end: [T] the characters of tokens that count; length: [T] all of them, of which the value must cover at least
    half. Of values over equally many characters the first in the text wins; -1 is no value (docs/methods.md §3).
    """
    order = np.argsort(spans.start, kind="stable")
    starts, ends, codes = spans.start[order], spans.end[order], spans.codes[order]
    first = np.searchsorted(ends, start, side="right")
    n_over = np.maximum(np.searchsorted(starts, end, side="left") - first, 0)
    n_over[end <= start] = 0
    token = np.repeat(np.arange(len(start)), n_over)
    span = np.arange(len(token)) - np.repeat(np.cumsum(n_over) - n_over, n_over) + np.repeat(first, n_over)
    shared = np.minimum(ends[span], end[token]) - np.maximum(starts[span], start[token])
    chosen = _winners(token, codes[span], shared, length)
    took = (chosen[token] == codes[span]) & (codes[span] != NO_VALUE)
    served = np.zeros(len(starts), bool)
    served[order[span[took]]] = True
    return chosen, served


def _winners(token: NDArray[np.intp], code: NDArray[np.int32], shared: Offsets, length: Offsets) -> NDArray[np.int32]:
    """[T] the code with most characters of each token, if these are at least half of its length; else -1."""
    valued = code != NO_VALUE
    token, code, shared = token[valued], code[valued], shared[valued]
    n_codes = int(code.max(initial=0)) + 1
    pair, place, which = np.unique(token * n_codes + code, return_index=True, return_inverse=True)
    covered = np.bincount(which, weights=shared, minlength=len(pair))
    order = np.lexsort((place, -covered, pair // n_codes))
    best = order[np.unique((pair // n_codes)[order], return_index=True)[1]]
    best = best[2 * covered[best] >= length[pair[best] // n_codes]]
    chosen = np.full(len(length), NO_VALUE, np.int32)
    chosen[pair[best] // n_codes] = pair[best] % n_codes
    return chosen
