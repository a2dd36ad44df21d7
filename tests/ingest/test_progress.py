"""What an ingestion tells of its pace."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from ingest.progress import ROUNDS, Pace, TerminalMeter

TOKENS = 1000  # of the text


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def work(pace: Pace, clock: Clock, *, reading: float, scoring: float, checkpoints: int = 3) -> None:
    """One round: some checkpoints are read, then scored together in ten tiles."""
    for _ in range(checkpoints):
        clock.now += reading
        pace.read()
    for _ in range(10):
        clock.now += scoring / 10
        pace.scored(checkpoints * TOKENS // 10)


def test_nothing_is_foretold_from_the_first_round_and_the_second_foretells_the_rest() -> None:
    clock = Clock()
    pace = Pace(10 * 3 * TOKENS, clock)
    work(pace, clock, reading=30.0, scoring=8.0)  # the first reading is the slowest
    assert (pace.rate, pace.left) == (None, None)
    for _ in range(2):
        work(pace, clock, reading=2.0, scoring=4.0)
    assert pace.rate == pytest.approx(3 * TOKENS / 10.0)
    # Seven rounds are left, whatever has been scored since the last one ended.
    assert pace.left == pytest.approx(7 * 10.0)


def test_the_time_left_falls_with_the_clock_and_never_below_zero() -> None:
    clock = Clock()
    pace = Pace(4 * 3 * TOKENS, clock)
    for _ in range(3):
        work(pace, clock, reading=2.0, scoring=4.0)
    before = pace.left
    assert before is not None
    clock.now += 1.5
    assert pace.left == pytest.approx(before - 1.5)
    clock.now += 1000
    assert pace.left == 0.0


def test_the_pace_forgets_what_is_long_past() -> None:
    clock = Clock()
    pace = Pace(100 * 3 * TOKENS, clock)
    for _ in range(5):
        work(pace, clock, reading=20.0, scoring=40.0)
    for _ in range(ROUNDS + 2):
        work(pace, clock, reading=1.0, scoring=2.0)
    assert pace.rate == pytest.approx(3 * TOKENS / 5.0)


def test_plain_lines_say_only_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.progress.PLAIN_INTERVAL", -1.0)
    console = Console(file=io.StringIO(), force_terminal=False, width=100)
    with TerminalMeter(4 * TOKENS, 4, console) as meter:
        for number in range(4):
            meter.checkpoint(f"small seed {number} step 0")
            meter.tokens(TOKENS)
    assert isinstance(console.file, io.StringIO)
    first, *_, last = console.file.getvalue().splitlines()
    assert first == "1/4 checkpoints"
    assert last.startswith("4/4 checkpoints, ")
    assert "tokens/s, 0:00:0" in last
    assert last.endswith(" left")
