"""Timing ways of doing the same thing in turns, so that whatever slows the machine slows them all."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """The wall-clock seconds of each round."""

    seconds: tuple[float, ...]

    @property
    def least(self) -> float:
        """The fastest round: what the code takes when nothing disturbs it."""
        return min(self.seconds)

    @property
    def median(self) -> float:
        """The middle round."""
        return statistics.median(self.seconds)


def interleave(ways: Mapping[str, Callable[[], object]], *, rounds: int = 5, warm_up: int = 1) -> dict[str, Timing]:
    """Time each way once a round, in an order that turns round from one round to the next.

    warm_up: rounds that are run first and not counted. Memory is tidied up before each turn, not during it.
    """
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(-warm_up, rounds):
        for name in sorted(ways, reverse=bool(number % 2)):
            seconds = timed(ways[name])
            if number >= 0:
                taken[name].append(seconds)
    return {name: Timing(tuple(seconds)) for name, seconds in taken.items()}


def timed(work: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    gc.collect()
    collecting = gc.isenabled()
    gc.disable()
    try:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started
    finally:
        if collecting:
            gc.enable()


def ratio_of_rounds(over: Timing, under: Timing) -> float:
    """Median over rounds of the ratio of two ways' seconds in the same round: steady on a machine that is not idle."""
    return statistics.median(a / b for a, b in zip(over.seconds, under.seconds, strict=True))
