"""A layer: a category or a number for each token of a corpus, as arrays."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

#: The layer of all tokens: one category, whose summaries are the totals.
TOTAL = "all"


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
