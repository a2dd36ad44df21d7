"""Rules for checkpoints that are not what they are called, on curves as training makes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from warehouse.faults import Candidate, Cell, Verdict, duplicates, early_twins, judge, suspects

STEPS = (0, 1, 2, 4, 8, 16, 32, 64)
#: Mean surprisal of one run at STEPS, in nats.
HEALTHY = (10.8, 10.8, 10.7, 10.4, 9.0, 7.5, 6.2, 5.5)


def run(*values: float, seed: int = 0) -> dict[Cell, float]:
    return {(seed, step): value for step, value in zip(STEPS, values or HEALTHY, strict=True)}


def changed(step: int, value: float, seed: int = 0, **others: Any) -> dict[Cell, float]:
    return {**run(seed=seed, **others), (seed, step): value}


def candidates(weights: dict[Cell, str], released: tuple[Cell, ...] = ()) -> list[Candidate]:
    return [Candidate(cell, text, cell in released) for cell, text in weights.items()]


# --- neighbours ------------------------------------------------------------------------------------------------------


def test_a_healthy_run_has_no_suspects() -> None:
    assert suspects(run()) == {}


def test_a_checkpoint_of_late_training_among_early_ones_is_suspect_and_its_neighbours_are_not() -> None:
    found = suspects(changed(4, 5.5))
    assert list(found) == [(0, 4)]
    assert found[0, 4] == "mean surprisal 5.500 nats lies outside 9.000 to 10.700 of steps 2 and 8"


def test_the_margin_is_a_twentieth_of_a_nat_and_a_tenth_of_the_gap() -> None:
    def judged(value: float) -> list[Cell]:
        return list(suspects({(0, 4): 10.4, (0, 8): value, (0, 16): 7.5}))

    margin = 0.05 + 0.29
    assert judged(7.5 - margin + 0.001) == judged(10.4 + margin - 0.001) == []
    assert judged(7.5 - margin - 0.001) == judged(10.4 + margin + 0.001) == [(0, 8)]


@pytest.mark.parametrize("step", [STEPS[0], STEPS[-1]])
def test_the_ends_of_a_run_are_exempt(step: int) -> None:
    assert (0, step) not in suspects(changed(step, 3.0))


def test_what_the_other_seeds_show_too_is_no_fault() -> None:
    spike = changed(8, 12.0) | changed(8, 12.1, seed=1)
    assert suspects(spike) == {}
    assert list(suspects(changed(8, 12.0) | run(seed=1))) == [(0, 8)]


def test_the_other_seeds_have_the_same_margin() -> None:
    """With one other seed a range is a point, which no value is likely to meet."""
    assert suspects(changed(8, 6.9) | changed(8, 7.2, seed=1)) == {}
    assert sorted(suspects(changed(8, 6.0) | changed(8, 7.0, seed=1))) == [(0, 8), (1, 8)]


def test_the_reason_names_the_other_seeds() -> None:
    found = suspects(changed(8, 12.0) | run(seed=1) | changed(8, 9.2, seed=2))
    assert found[0, 8].endswith("steps 4 and 16 and outside 9.000 to 9.200 of the other seeds")


def test_two_wrong_checkpoints_apart_are_both_found() -> None:
    assert sorted(suspects(changed(2, 6.0) | {(0, 16): 10.7})) == [(0, 2), (0, 16)]


def test_a_spared_checkpoint_is_never_suspect_and_stays_a_neighbour() -> None:
    assert (0, 4) not in suspects(changed(4, 5.5), [(0, 4)])


@given(st.permutations(list((changed(4, 5.5) | run(seed=1) | changed(16, 10.0, seed=2)).items())))
def test_the_order_of_checkpoints_does_not_matter(shuffled: list[tuple[Cell, float]]) -> None:
    expected = suspects(changed(4, 5.5) | run(seed=1) | changed(16, 10.0, seed=2))
    assert sorted(expected) == [(0, 4), (2, 16)]
    assert suspects(dict(shuffled)) == expected


@given(st.lists(st.floats(0.01, 2), min_size=3, max_size=30))
def test_a_curve_that_only_falls_has_no_suspects(falls: list[float]) -> None:
    curve = 50 - np.cumsum(falls)
    assert suspects({(0, step): float(value) for step, value in enumerate(curve)}) == {}


# --- equal weights ---------------------------------------------------------------------------------------------------


def test_all_but_the_first_of_equal_checkpoints_are_duplicates_and_name_it() -> None:
    found = duplicates(candidates({(0, 8): "w" * 64, (0, 4): "w" * 64, (0, 16): "w" * 64, (0, 2): "x"}))
    reason = "the same weights as step 4 (sha256 wwwwwwwwwwww)"
    assert found == {(0, 8): reason, (0, 16): reason}


def test_a_forged_early_step_is_the_duplicate_where_other_seeds_show_what_it_should_be() -> None:
    runs = candidates({(0, 0): "a", (0, 24): "w", (0, 128): "w", (1, 24): "b", (1, 128): "c"})
    curve = {(0, 0): 6.0, (0, 24): 4.0, (0, 128): 4.0, (1, 24): 5.0, (1, 128): 4.02}
    assert {cell: verdict.status for cell, verdict in judge(runs, {"text": curve}).items()} == {(0, 24): "duplicate"}
    genuine_early = {**curve, (0, 24): 5.0, (0, 128): 5.0}
    assert list(judge(runs, {"text": genuine_early})) == [(0, 128)]
    # Without a second seed nothing tells them apart.
    alone = {cell: value for cell, value in curve.items() if cell[0] == 0}
    assert list(duplicates([each for each in runs if each.cell[0] == 0], {"text": alone})) == [(0, 128)]


def test_equal_weights_of_two_runs_are_no_duplicates() -> None:
    assert duplicates(candidates({(0, 8): "w", (1, 8): "w"})) == {}


def test_steps_0_and_1_may_be_equal_which_is_noted() -> None:
    equal = candidates({(0, 0): "w", (0, 1): "w", (1, 0): "v", (1, 1): "u"})
    assert duplicates(equal) == {}
    assert sorted(early_twins(equal)) == [(0, 0), (0, 1)]


def test_a_later_step_equal_to_steps_0_and_1_is_a_duplicate() -> None:
    found = duplicates(candidates({(0, 0): "w", (0, 1): "w", (0, 512): "w"}))
    assert list(found) == [(0, 512)]
    assert "as step 0 " in found[0, 512]
    assert list(duplicates(candidates({(0, 1): "w", (0, 512): "w"}))) == [(0, 512)]


def test_a_released_checkpoint_is_no_duplicate_and_its_twin_is() -> None:
    assert list(duplicates(candidates({(0, 4): "w", (0, 8): "w"}, released=((0, 8),)))) == [(0, 4)]
    assert duplicates(candidates({(0, 4): "w", (0, 8): "w"}, released=((0, 4), (0, 8)))) == {}


# --- both ------------------------------------------------------------------------------------------------------------


def weights(**same: str) -> dict[Cell, str]:
    """Weights of one run, all different but for those given as step8="step64"."""
    names = {step: f"weights of {step}" for step in STEPS}
    for one, other in same.items():
        names[int(one.removeprefix("step"))] = names[int(other.removeprefix("step"))]
    return {(0, step): name for step, name in names.items()}


def test_late_weights_under_an_early_name_are_suspect_and_the_right_name_keeps_them() -> None:
    found = judge(candidates(weights(step4="step64")), {"prose": changed(4, 5.5)})
    assert list(found) == [(0, 4)]
    assert found[0, 4].status == "suspect"
    assert found[0, 4].reason.endswith("of steps 2 and 8, on prose")


def test_a_duplicate_that_fits_its_neighbours_is_a_duplicate() -> None:
    found = judge(candidates(weights(step32="step16")), {"prose": changed(32, 7.5)})
    assert found == {(0, 32): Verdict("duplicate", "the same weights as step 16 (sha256 weights of 1)")}


def test_a_checkpoint_is_suspect_if_it_is_on_one_corpus() -> None:
    found = judge(candidates(weights()), {"prose": run(), "code": changed(16, 2.0)})
    assert list(found) == [(0, 16)]
    assert found[0, 16].reason.endswith(", on code")


def test_what_is_no_candidate_is_no_neighbour() -> None:
    """A quarantined checkpoint makes no other one suspect."""
    held = {cell: text for cell, text in weights().items() if cell != (0, 4)}
    assert judge(candidates(held), {"prose": changed(4, 3.0)}) == {}
