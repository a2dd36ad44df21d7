"""What a study says of a corpus to be made from its text, and what may be wrong with that.

Knows the words of table [corpus.derived], and nothing of tokens.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

#: Keys that a derived corpus of each kind has beside kind and name.
KEYS = {
    "noised": ("percent", "seed"),
    "truncated": ("length",),
    "in-context": ("target", "short_from", "long_from"),
}


@dataclass(frozen=True)
class DerivedSpec:
    """A corpus made from a text, to be scored in its place.

    percent, seed: of noised, how many of a document's tokens are replaced, and by which chance. length: of truncated,
    tokens of a document that stay. target, short_from, long_from: of in-context, tokens counted from 1.
    """

    kind: Literal["noised", "truncated", "in-context"]
    name: str | None = None
    percent: int | None = None
    seed: int = 0
    length: int | None = None
    target: int = 501
    short_from: int = 450
    long_from: int = 100

    def fault(self) -> str | None:
        """What its values contradict, in the words of an error; None if nothing."""
        if self.kind == "noised" and not (self.percent is not None and 1 <= self.percent <= 100):
            return f"has kind noised, which needs percent from 1 to 100, not {self.percent}."
        if self.seed < 0:
            return f"has seed {self.seed}: give 0 or more."
        if self.kind == "truncated" and not (self.length is not None and self.length >= 1):
            return f"has kind truncated, which needs length of at least 1, not {self.length}."
        if not 1 <= self.long_from < self.short_from < self.target:
            numbers = f"{self.long_from}, {self.short_from}, {self.target}"
            return f"has long_from, short_from, target {numbers}: they must be 1 or more and rise in this order."
        return None


def foreign_key(kind: str, keys: Collection[str]) -> str | None:
    """The first of some keys that says nothing of a kind of derived corpus; None if there is none, or no such kind."""
    known = {"kind", "name", *KEYS.get(kind, keys)}
    return next((key for key in keys if key not in known), None)
