"""Timing in turns: who runs when, and what is counted."""

from __future__ import annotations

from functools import partial

from benchmarks.timing import Timing, interleave, ratio_of_rounds


def test_ways_take_turns_in_an_order_that_turns_round_and_the_warm_up_is_not_counted() -> None:
    calls: list[str] = []
    timings = interleave({name: partial(calls.append, name) for name in ("a", "b")}, rounds=3, warm_up=1)
    assert "".join(calls) == "baabbaab"
    assert {name: len(timing.seconds) for name, timing in timings.items()} == {"a": 3, "b": 3}


def test_a_disturbance_of_one_round_does_not_move_the_ratio() -> None:
    ours, theirs = Timing((1.0, 9.0, 2.0)), Timing((2.0, 18.0, 4.0))
    assert ratio_of_rounds(theirs, ours) == 2
    assert ratio_of_rounds(Timing((3.0, 1.0, 4.0)), Timing((1.0, 10.0, 2.0))) == 2
    assert (theirs.least, theirs.median) == (2, 4)
