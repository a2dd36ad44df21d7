"""Progress of an ingestion on standard error: tokens a second, checkpoints done, time left.

A bar on a terminal, a plain line now and then elsewhere.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

#: Seconds between two plain lines.
PLAIN_INTERVAL = 10.0


class Meter(Protocol):
    """What an ingestion tells of its progress."""

    def tokens(self, count: int) -> None:
        """count tokens of a checkpoint were scored."""

    def checkpoint(self, name: str) -> None:
        """A checkpoint is done."""

    def note(self, message: str) -> None:
        """Something the user should read."""


class TerminalMeter:
    """A meter for people: use as a context manager round the work."""

    def __init__(self, total_tokens: int, total_checkpoints: int, console: Console | None = None) -> None:
        """total_tokens: tokens times checkpoints to score."""
        self.console = console or Console(stderr=True)
        self._total_tokens, self._total_checkpoints = total_tokens, total_checkpoints
        self._done_tokens = self._done_checkpoints = 0
        self._started = self._last_line = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.fields[name]}"),
            BarColumn(),
            TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[checkpoints]} checkpoints"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
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
        self._done_tokens += count
        self._bar.update(self._task, advance=count, **self._fields())
        if not self.console.is_terminal and time.monotonic() - self._last_line > PLAIN_INTERVAL:
            self._last_line = time.monotonic()
            self.console.print(self._line(), highlight=False)

    def checkpoint(self, name: str) -> None:
        """A checkpoint is done."""
        self._done_checkpoints += 1
        self._bar.update(self._task, name=name, **self._fields())

    def note(self, message: str) -> None:
        """Something the user should read, above the bar."""
        self._bar.console.print(message, highlight=False, markup=False, soft_wrap=True)

    @property
    def rate(self) -> float:
        """Tokens a second so far."""
        return self._done_tokens / max(time.monotonic() - self._started, 1e-9)

    def _fields(self) -> dict[str, Any]:
        return {
            "rate": f"{self.rate:,.0f} tokens/s",
            "checkpoints": f"{self._done_checkpoints}/{self._total_checkpoints}",
        }

    def _line(self) -> str:
        left = (self._total_tokens - self._done_tokens) / max(self.rate, 1e-9)
        fields = self._fields()
        return f"{fields['checkpoints']} checkpoints, {fields['rate']}, {left:,.0f} s left"
