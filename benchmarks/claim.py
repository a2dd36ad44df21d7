"""A claim: a measured ratio beside the one that is wanted. Every benchmark is a function that yields claims."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Claim:
    """One row of the table.

    name: what is claimed, in a few words. ours, other: what was measured, with units. ratio: the number that the claim
    is about; wanted: its bound in words. note: what a reader must know to believe it. device: cpu or cuda.
    """

    name: str
    ours: str
    other: str
    ratio: float
    wanted: str
    holds: bool
    note: str = ""
    device: str = "cpu"

    @classmethod
    def at_least(
        cls, name: str, ratio: float, bound: float, *, ours: str, other: str, note: str = "", device: str = "cpu"
    ) -> Claim:
        """A claim that holds where the ratio reaches a bound."""
        return cls(name, ours, other, ratio, f"≥ {bound:g}", ratio >= bound, note, device)

    @classmethod
    def at_most(
        cls, name: str, ratio: float, bound: float, *, ours: str, other: str, note: str = "", device: str = "cpu"
    ) -> Claim:
        """A claim that holds where the ratio stays within a bound."""
        return cls(name, ours, other, ratio, f"≤ {bound:g}", ratio <= bound, note, device)

    @classmethod
    def told(cls, name: str, ratio: float, *, ours: str, other: str, note: str = "", device: str = "cpu") -> Claim:
        """A ratio that is told as it is, with no bound that it would have to keep."""
        return cls(name, ours, other, ratio, "told", True, note, device)


class Benchmark(Protocol):
    """A module of this package that measures."""

    def claims(self, *, small: bool = False) -> Iterator[Claim]:
        """Measure, and yield each claim as soon as it is known.

        small: the same path on inputs that take seconds; the ratios then mean nothing.
        """
        ...
