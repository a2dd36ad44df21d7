"""A layer: a category or a number for each token of a corpus, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

#: The layer of all tokens: one category, whose summaries are the totals.
TOTAL = "all"

#: What the name of a layer of values of the token before ends in.
CONTEXT = ".context"

#: The code of a token without a value.
NO_VALUE = -1


@dataclass(frozen=True)
class Category:
    """A value that tokens of a layer may have.

    number: the value as a number, if it is one. lower, upper: the bounds of a bin, the lower one included and the upper
    one not; an open bin has no upper.
    """

    value: str
    number: float | None = None
    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True, eq=False)
class Layer:
    """A named annotation of T tokens.

    categories: the values, none twice. codes: [T] int32, an index into categories, -1 for no value.
    numbers: [T] float32, NaN for none, or None for a layer without numbers. source: what the values come from.
    """

    name: str
    kind: Literal["categorical", "numeric"]
    categories: tuple[Category, ...]
    codes: NDArray[np.int32] = field(repr=False)
    numbers: NDArray[np.float32] | None = field(repr=False)
    source: str
    description: str

    def values(self) -> list[str | None]:
        """[T] the value of each token, None for no value."""
        texts = [*(category.value for category in self.categories), None]
        return [texts[code] for code in self.codes.tolist()]


def present_values(
    categories: Sequence[Category], codes: NDArray[np.integer]
) -> tuple[tuple[Category, ...], NDArray[np.int32]]:
    """(the categories that some token has, in their order; [T] int32 codes among these). codes: [T], -1 for none."""
    present = np.unique(codes[codes != NO_VALUE])
    dense = np.full(len(categories) + 1, NO_VALUE, np.int32)  # the last one is for the code -1
    dense[present] = np.arange(len(present))
    return tuple(categories[i] for i in present), dense[codes]


def context_of(layer: Layer, sequence_starts: Sequence[int] | NDArray[np.integer] = (0,)) -> Layer:
    """The twin `<name>.context`: the value of the token before; no value at the start of a sequence.

    sequence_starts: indices of tokens that begin a sequence. With concatenated windows the corpus is one sequence (the
    default); where each document is its own, its first tokens.
    """
    before = np.roll(layer.codes, 1)
    before[np.asarray(sequence_starts, np.int64)] = NO_VALUE
    categories, codes = present_values(layer.categories, before)
    numbers = None
    if layer.numbers is not None:
        numbers = np.roll(layer.numbers, 1)
        numbers[np.asarray(sequence_starts, np.int64)] = np.nan
    return replace(
        layer,
        name=layer.name + CONTEXT,
        categories=categories,
        codes=codes,
        numbers=numbers,
        description=f"of the token before: {layer.description}",
    )
