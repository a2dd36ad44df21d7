"""Progress of an ingestion on standard error: tokens a second, checkpoints done, time left.

A bar on a terminal, a plain line now and then elsewhere.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

#: Seconds between two plain lines.
PLAIN_INTERVAL = 10.0
#: Rounds of reading and scoring that the pace is the mean of.
ROUNDS = 8


class Meter(Protocol):
    """What an ingestion tells of its progress."""

    def tokens(self, count: int) -> None:
        """count tokens of a checkpoint were scored."""

    def checkpoint(self, name: str) -> None:
        """A checkpoint is done."""

    def note(self, message: str) -> None:
        """Something the user should read."""


class Pace:
    """How fast tokens are scored, and how long the rest will take.

    Checkpoints are read, then all their tokens are scored: only whole rounds of that tell the pace. The first one,
    which also builds the model and warms everything up, is left out.
    """

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        """total: tokens to score. clock: tells seconds."""
        self._total, self._clock = total, clock
        self._done = 0
        self._last_scored: float | None = None
        #: When the last rounds ended, and how many tokens were done then.
        self._ends: deque[tuple[float, int]] = deque(maxlen=ROUNDS + 1)

    def scored(self, count: int) -> None:
        """count tokens were scored."""
        self._done += count
        self._last_scored = self._clock()

    def read(self) -> None:
        """A checkpoint was read: the first one after some scoring ends a round."""
        if self._last_scored is not None:
            self._ends.append((self._last_scored, self._done))
        self._last_scored = None

    @property
    def rate(self) -> float | None:
        """Tokens a second, reading included; None before it is known."""
        if len(self._ends) < 2:
            return None
        (began, before), (ended, after) = self._ends[0], self._ends[-1]
        return (after - before) / max(ended - began, 1e-9)

    @property
    def left(self) -> float | None:
        """Seconds to the end; None before that is known."""
        rate = self.rate
        if rate is None:
            return None
        ended, done = self._ends[-1]
        return max(0.0, (self._total - done) / rate - (self._clock() - ended))


class TerminalMeter:
    """A meter for people: use as a context manager round the work."""

    def __init__(self, total_tokens: int, total_checkpoints: int, console: Console | None = None) -> None:
        """total_tokens: tokens times checkpoints to score."""
        self.console = console or Console(stderr=True)
        self.pace = Pace(total_tokens)
        self._total_checkpoints, self._done_checkpoints = total_checkpoints, 0
        self._last_line = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.fields[name]}"),
            BarColumn(),
            TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[checkpoints]} checkpoints"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._task: TaskID = self._bar.add_task("scoring", total=total_tokens, name="scoring", **self._fields())

    def __enter__(self) -> TerminalMeter:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def tokens(self, count: int) -> None:
        """count tokens of a checkpoint were scored."""
        self.pace.scored(count)
        self._bar.update(self._task, advance=count, **self._fields())
        if not self.console.is_terminal and time.monotonic() - self._last_line > PLAIN_INTERVAL:
            self._last_line = time.monotonic()
            self.console.print(self._line(), highlight=False)

    def checkpoint(self, name: str) -> None:
        """A checkpoint is done."""
        self.pace.read()
        self._done_checkpoints += 1
        self._bar.update(self._task, name=name, **self._fields())

    def note(self, message: str) -> None:
        """Something the user should read, above the bar."""
        self._bar.console.print(message, highlight=False, markup=False, soft_wrap=True)

    def _fields(self) -> dict[str, Any]:
        rate, left = self.pace.rate, self.pace.left
        return {
            "rate": "" if rate is None else f"{rate:,.0f} tokens/s",
            "checkpoints": f"{self._done_checkpoints}/{self._total_checkpoints}",
            "left": "" if left is None else f"{timedelta(seconds=round(left))} left",
        }

    def _line(self) -> str:
        fields = self._fields()
        return ", ".join(filter(None, [f"{fields['checkpoints']} checkpoints", fields["rate"], fields["left"]]))
