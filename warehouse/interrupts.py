"""Ctrl-C and SIGTERM that wait for the end of a transaction: broken off in mid-statement, a driver may hang or hide it.

Without a handler of Python's, SIGTERM ends the process at once, which a database bears; with `gentle_ending` it is as
gentle as Ctrl-C.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType

Handler = Callable[[int, FrameType | None], object]

_ENDING = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """Someone, such as a scheduler whose time is up, asked the process to end."""


class HeldInterrupt:
    """Whether a signal came while it was held. on_interrupt: what shortens the wait."""

    def __init__(self, handlers: Mapping[int, Handler]) -> None:
        """handlers: what each signal does when it is not held."""
        self.came: int | None = None
        self.on_interrupt: Callable[[], None] | None = None
        self._handlers = handlers
        self._held = True

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Take note of the signal; a second one is not held any more."""
        if not self._held or self.came is not None:
            self._handlers[number](number, frame)
            return
        self.came = number
        if self.on_interrupt is not None:
            # What goes wrong here, such as a server that is gone, goes wrong in the statement too.
            with suppress(Exception):
                self.on_interrupt()

    def let_go(self) -> None:
        """Hold nothing any more, not even where the former handlers are not back yet."""
        self._held = False

    def deliver(self) -> None:
        """Do what the signal that came would have done."""
        if self.came is not None:
            self._handlers[self.came](self.came, None)


@contextmanager
def held_interrupts() -> Iterator[HeldInterrupt]:
    """Hold Ctrl-C and SIGTERM back; they take effect at the end, whether the block succeeded or failed.

    Signals that are ignored, or that end the process without Python's help, are left as they are. In a thread other
    than the main one, where signals never arrive, nothing is held. Blocks may be nested.
    """
    if threading.current_thread() is not threading.main_thread():
        yield HeldInterrupt({})
        return
    former = {int(number): handler for number in _ENDING if callable(handler := signal.getsignal(number))}
    held = HeldInterrupt(former)
    try:
        for number in former:
            signal.signal(number, held)
        yield held
    finally:
        held.let_go()
        for number, handler in former.items():
            signal.signal(number, handler)
        held.deliver()


def stop_if_interrupted() -> None:
    """Raise KeyboardInterrupt if a signal that came is held back: the end of a long transaction between statements."""
    if threading.current_thread() is threading.main_thread():
        handlers = [signal.getsignal(number) for number in _ENDING]
        if any(isinstance(each, HeldInterrupt) and each.came is not None for each in handlers):
            raise KeyboardInterrupt


@contextmanager
def gentle_ending() -> Iterator[None]:
    """Raise Terminated when SIGTERM comes, so that transactions end and temporary files are removed first.

    A process that ignores SIGTERM goes on ignoring it.
    """
    main = threading.current_thread() is threading.main_thread()
    former = signal.getsignal(signal.SIGTERM)
    if not main or former is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise Terminated
