"""Signals that are held until a transaction has ended."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import pytest

from warehouse.interrupts import Terminated, gentle_ending, held_interrupts

Handler = Callable[[int, FrameType | None], object] | int | None


@pytest.fixture
def handle() -> Iterator[Callable[[signal.Signals, Handler], None]]:
    """Sets the handler of a signal for the length of a test."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield lambda number, handler: signal.signal(number, handler) and None
    for number, handler in before.items():
        signal.signal(number, handler)


def hold_ctrl_c(
    work: Callable[[], object],
    *,
    on_interrupt: Callable[[], None] | None = None,
    number: signal.Signals = signal.SIGINT,
) -> None:
    """Work while a signal that came is held."""
    with held_interrupts() as held:
        held.on_interrupt = on_interrupt
        signal.raise_signal(number)
        work()


def test_a_signal_takes_effect_at_the_end_even_of_a_block_that_failed() -> None:
    done: list[str] = []

    def fail() -> None:
        done.append("went on")
        raise ValueError("failed for a reason of its own")

    with pytest.raises(KeyboardInterrupt) as raised:
        hold_ctrl_c(fail)
    assert done == ["went on"]
    assert isinstance(raised.value.__context__, ValueError)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_shortens_the_wait_may_fail() -> None:
    done: list[str] = []

    def fail() -> None:
        raise OSError("the server is gone")

    with pytest.raises(KeyboardInterrupt):
        hold_ctrl_c(lambda: done.append("went on"), on_interrupt=fail)
    assert done == ["went on"]


def test_an_inner_block_leaves_the_signal_to_the_outer_one() -> None:
    done: list[str] = []

    def outer() -> None:
        with held_interrupts():
            hold_ctrl_c(lambda: done.append("inner"))
            done.append("outer")

    with pytest.raises(KeyboardInterrupt):
        outer()
    assert done == ["inner", "outer"]


def test_an_ignored_signal_stays_ignored(handle: Callable[[signal.Signals, Handler], None]) -> None:
    handle(signal.SIGINT, signal.SIG_IGN)
    with held_interrupts():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_a_handler_of_somebody_else_gets_the_signal(handle: Callable[[signal.Signals, Handler], None]) -> None:
    got: list[int] = []
    handle(signal.SIGINT, lambda number, _frame: got.append(number))
    with held_interrupts():
        signal.raise_signal(signal.SIGINT)
        assert got == []
    assert got == [signal.SIGINT]


def test_sigterm_is_held_as_ctrl_c_is_where_the_program_ends_gently() -> None:
    done: list[str] = []
    with pytest.raises(Terminated), gentle_ending():
        hold_ctrl_c(lambda: done.append("went on"), number=signal.SIGTERM)
    assert done == ["went on"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_ignored_sigterm_stays_ignored(handle: Callable[[signal.Signals, Handler], None]) -> None:
    handle(signal.SIGTERM, signal.SIG_IGN)
    with gentle_ending(), held_interrupts():
        signal.raise_signal(signal.SIGTERM)


def test_other_threads_hold_nothing_and_break_nothing() -> None:
    done: list[str] = []

    def work() -> None:
        with gentle_ending(), held_interrupts():
            done.append("worked")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == ["worked"]
