"""Ctrl-C that waits for the end of a transaction: broken off in mid-statement, a driver may hang or hide it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class HeldInterrupt:
    """Whether Ctrl-C was pressed while it was held. on_interrupt: what shortens the wait."""

    def __init__(self) -> None:
        self.came = False
        self.on_interrupt: Callable[[], None] | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Take note of the signal; a second one is not held any more."""
        if self.came:
            raise KeyboardInterrupt
        self.came = True
        if self.on_interrupt is not None:
            self.on_interrupt()


@contextmanager
def held_interrupts() -> Iterator[HeldInterrupt]:
    """Hold Ctrl-C back; KeyboardInterrupt is raised at the end, whether the block succeeded or failed.

    In a thread other than the main one, where signals never arrive, nothing is held.
    """
    held = HeldInterrupt()
    if threading.current_thread() is not threading.main_thread():
        yield held
        return
    former = signal.signal(signal.SIGINT, held)
    try:
        yield held
    finally:
        signal.signal(signal.SIGINT, former)
        if held.came:
            raise KeyboardInterrupt
