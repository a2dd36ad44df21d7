"""Plans: which checkpoints and ordered pairs a study wants, against docs/methods.md §2 spelled out by brute force."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.locations import CheckpointLocation, MissingRevision
from ingest.plan import (
    Cell,
    Contrast,
    Grid,
    Pair,
    cohorts,
    contrasts,
    home,
    matched_contrasts,
    require_partners,
    survey,
)
from ingest.study import BadStudy, CustomSpec, Study

#: (kind, p, q)
Wanted = set[tuple[str, Cell, Cell]]
WITHIN = ("seed", "step", "step_reverse", "final", "final_reverse")
KINDS = (*WITHIN, "size", "cross")


def grid(model: str, seeds: Iterable[int], steps: Iterable[int]) -> Grid:
    return Grid(model, tuple(sorted(seeds)), tuple(sorted(steps)), {})


def by_definition(grids: Sequence[Grid]) -> Wanted:
    """Every ordered pair of cells, tried against each definition."""
    cells = [(grid, cell) for grid in grids for cell in grid.cells()]
    return {(kind, p, q) for (one, p), (other, q) in product(cells, repeat=2) for kind in _kinds(one, p, other, q)}


def _kinds(one: Grid, p: Cell, other: Grid, q: Cell) -> set[str]:
    same_seed, same_step = p.seed == q.seed, p.step == q.step
    if p.model != q.model:
        return {kind for kind, holds in (("size", same_seed and same_step), ("cross", same_seed)) if holds}
    if same_step:
        return set() if same_seed else {"seed"}
    if not same_seed:
        return set()
    between = [step for step in one.steps if min(p.step, q.step) < step < max(p.step, q.step)]
    holds = {
        "step": p.step < q.step and not between,
        "step_reverse": p.step > q.step and not between,
        "final": q.step == max(one.steps),
        "final_reverse": p.step == max(one.steps),
    }
    return {kind for kind, true in holds.items() if true}


def pairs_of(found: Sequence[Contrast]) -> Wanted:
    return {(contrast.kind, p, q) for contrast in found for p, q in contrast.pairs}


some_seeds = st.sets(st.integers(0, 5), min_size=1, max_size=4)
some_steps = st.sets(st.integers(0, 6), min_size=1, max_size=5)


@given(st.lists(st.tuples(some_seeds, some_steps), min_size=1, max_size=3))
def test_contrasts_are_the_pairs_of_their_definition(shapes: list[tuple[set[int], set[int]]]) -> None:
    grids = [grid(f"{number}m", seeds, steps) for number, (seeds, steps) in enumerate(shapes, 1)]
    found = list(contrasts(KINDS, grids))
    assert pairs_of(found) == by_definition(grids)
    # Each comparison once, with each of its pairs once, all of its own models and steps.
    keys = [(contrast.kind, contrast.model, contrast.step, contrast.model_q, contrast.step_q) for contrast in found]
    assert len(keys) == len(set(keys))
    assert sum(len(contrast.pairs) for contrast in found) == len(pairs_of(found))
    for contrast in found:
        sides = {(p.model, p.step, q.model, q.step) for p, q in contrast.pairs}
        assert sides == {(contrast.model, contrast.step, contrast.model_q, contrast.step_q)}


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_kinds_that_are_wanted(kind: str) -> None:
    grids = [grid("9m", (0, 1, 2), (0, 4, 16)), grid("14m", (0, 1, 2), (0, 4, 16))]
    found = list(contrasts([kind], grids))
    assert pairs_of(found) == {pair for pair in by_definition(grids) if pair[0] == kind}
    assert len(found) == {"seed": 6, "size": 6, "cross": 18}.get(kind, 4)


def test_five_seeds_make_the_twenty_published_pairs() -> None:
    [contrast] = contrasts(["seed"], [grid("14m", (1, 2, 3, 4, 5), (143_000,))])
    assert len(contrast.pairs) == 20


def test_kl_to_the_next_step_has_the_earlier_one_as_p() -> None:
    [contrast] = contrasts(["step"], [grid("9m", (7,), (0, 16))])
    assert contrast.pairs == (((("9m", 7, 0)), ("9m", 7, 16)),)
    [contrast] = contrasts(["final_reverse"], [grid("9m", (7,), (0, 16))])
    assert (contrast.step, contrast.step_q, contrast.pairs) == (16, 0, ((("9m", 7, 16), ("9m", 7, 0)),))


def test_one_step_and_one_seed_have_nothing_to_compare() -> None:
    assert list(contrasts(KINDS, [grid("9m", (0,), (5,))])) == []


def test_models_without_a_seed_in_common_are_not_compared() -> None:
    assert list(contrasts(["size", "cross"], [grid("9m", (0,), (5,)), grid("14m", (1,), (5,))])) == []


@pytest.mark.parametrize("kind", ["size", "matched", "cross"])
def test_a_kind_between_models_that_no_two_could_answer_is_refused(kind: str) -> None:
    one, same, other_seed = grid("9m", (0, 1), (5,)), grid("14m", (1, 2), (5,)), grid("31m", (3,), (5,))
    require_partners(study(kinds=(kind,)), [one, same, other_seed])
    for grids, names in (([one], "of 9m there"), ([one, other_seed], "of 9m, 31m there")):
        with pytest.raises(
            BadStudy, match=f"Kind {kind} of study toys compares models with a seed.* {names} are no two"
        ):
            require_partners(study(kinds=(kind,)), grids)
        require_partners(study(kinds=("seed", "step")), grids)


def test_kind_size_needs_a_step_in_common_and_the_others_none() -> None:
    grids = [grid("9m", (0,), (0, 8)), grid("14m", (0,), (1, 4))]
    for kind in ("matched", "cross"):
        require_partners(study(kinds=(kind,)), grids)
    with pytest.raises(BadStudy, match="a seed and a step in common"):
        require_partners(study(kinds=("size",)), grids)


# --- what a study lists itself ---------------------------------------------------------------------------------------

TWO = [grid("9m", (0, 1), (0, 8)), grid("14m", (0, 1, 2), (0, 4))]


def test_a_listed_comparison_without_seeds_takes_all_of_p_with_the_same_seed_on_both_sides() -> None:
    [contrast] = contrasts(["custom"], TWO, [CustomSpec("9m", 8, "14m", 4)])
    assert contrast == Contrast("custom", "9m", 8, "14m", 4, _cells(("9m", 8, "14m", 4), [(0, 0), (1, 1)]))


def test_the_entries_of_one_comparison_are_put_together() -> None:
    listed = [CustomSpec("9m", 8, "14m", 4, seed, seed_q) for seed, seed_q in [(1, 2), (0, 2), (1, 2)]]
    found = list(contrasts(["custom"], TWO, [listed[0], CustomSpec("9m", 0, "9m", 8), *listed[1:]]))
    assert [contrast.pairs for contrast in found] == [
        _cells(("9m", 0, "9m", 8), [(0, 0), (1, 1)]),
        _cells(("9m", 8, "14m", 4), [(1, 2), (0, 2)]),
    ]


def _cells(key: tuple[str, int, str, int], seeds: Sequence[tuple[int, int]]) -> tuple[Pair, ...]:
    model, step, model_q, step_q = key
    return tuple((Cell(model, p, step), Cell(model_q, q, step_q)) for p, q in seeds)


@pytest.mark.parametrize(
    ("listed", "unknown"),
    [
        (CustomSpec("9m", 8, "7b", 4), "model 7b"),
        (CustomSpec("9m", 4, "14m", 4), "step 4 of 9m"),
        (CustomSpec("9m", 8, "14m", 4, 2), "seed 2 of 9m"),
        (CustomSpec("9m", 8, "14m", 4, 1, 3), "seed 3 of 14m"),
    ],
)
def test_a_listed_comparison_of_what_is_not_measured_is_refused(listed: CustomSpec, unknown: str) -> None:
    with pytest.raises(MissingRevision, match=f"names {unknown}, which the study does not measure"):
        list(contrasts(["custom"], TWO, [listed]))


def test_what_nobody_has_is_not_to_be_added_to_the_study() -> None:
    [found] = survey(study(seeds=(0, 1)), locations("9m"))
    for seed, mend in ((2, "nearest are 1, 0: add it there, or mend"), (7, "nearest are 1, 0: mend")):
        with pytest.raises(MissingRevision, match=rf"seed {seed} of 9m, .*; {mend} the \[\[custom\]\] table"):
            list(contrasts(["custom"], [found], [CustomSpec("9m", 8, "9m", 64, seed)]))


def test_a_listed_comparison_without_seeds_needs_one_in_common_and_no_more() -> None:
    more, fewer = grid("9m", (0, 1, 2), (0,)), grid("14m", (0, 2, 5), (0,))
    [contrast] = contrasts(["custom"], [more, fewer], [CustomSpec("9m", 0, "14m", 0)])
    assert contrast.pairs == _cells(("9m", 0, "14m", 0), [(0, 0), (2, 2)])
    with pytest.raises(MissingRevision, match="of 9m and 14m names no seeds, and they have none in common: give seed"):
        list(contrasts(["custom"], [more, grid("14m", (5,), (0,))], [CustomSpec("9m", 0, "14m", 0)]))


# --- matched by surprisal --------------------------------------------------------------------------------------------


def test_matched_steps_are_those_of_nearest_mean_surprisal_the_earlier_on_a_tie() -> None:
    small, large = grid("9m", (0, 1), (0, 8, 64)), grid("14m", (1, 2), (0, 4, 16))
    means = {("9m", 0): 9.0, ("9m", 8): 6.0, ("14m", 0): 9.5, ("14m", 4): 6.5, ("14m", 16): 5.5}
    found = list(matched_contrasts([small, large], means))
    assert {(c.model, c.step, c.model_q, c.step_q) for c in found} == {
        ("9m", 0, "14m", 0),
        ("9m", 8, "14m", 4),
        ("14m", 0, "9m", 0),
        ("14m", 4, "9m", 8),
        ("14m", 16, "9m", 8),
    }
    assert {(p.seed, q.seed) for contrast in found for p, q in contrast.pairs} == {(1, 1)}
    assert {contrast.kind for contrast in found} == {"matched"}


def test_a_nearest_step_that_the_study_leaves_out_is_not_replaced_by_another() -> None:
    small, large = grid("9m", (0,), (0, 8)), grid("14m", (0,), (0, 4))
    means = {("9m", 0): 9.0, ("9m", 8): 6.0, ("14m", 0): 9.5, ("14m", 4): 7.6, ("14m", 16): 6.1}
    found = {(c.model, c.step, c.model_q, c.step_q) for c in matched_contrasts([small, large], means)}
    assert found == {("9m", 0, "14m", 0), ("14m", 0, "9m", 0), ("14m", 4, "9m", 0)}


def test_nothing_is_matched_before_anything_is_scored() -> None:
    assert list(matched_contrasts(TWO, {})) == []
    assert list(matched_contrasts(TWO, {("9m", 0): 3.0})) == []


# --- where pairs are measured ----------------------------------------------------------------------------------------


def test_every_pair_of_a_model_with_itself_has_a_home_that_visits_in_order_can_serve() -> None:
    one = grid("9m", (0, 1), (0, 1, 2, 4, 8))
    for contrast in contrasts(WITHIN, [one]):
        for pair in contrast.pairs:
            at = home(pair, {"9m": one})
            assert at in pair
            # What is at hand: the step itself, the one before it, and the last.
            within_reach = {at.step, one.last, *one.steps[max(one.place[at.step] - 1, 0) :][:1]}
            assert {cell.step for cell in pair} <= within_reach
            assert home(pair[::-1], {"9m": one}) == at


def test_pairs_of_no_common_visit_have_no_home() -> None:
    grids = {"9m": grid("9m", (0, 1), (0, 1, 2, 4)), "14m": grid("14m", (0, 1), (0, 1, 2))}
    for p, q in [(("9m", 0, 0), ("9m", 0, 2)), (("9m", 0, 0), ("9m", 1, 1)), (("9m", 0, 2), ("14m", 0, 1))]:
        assert home((Cell(*p), Cell(*q)), grids) is None
    # Not the last step of the other model, which is visited first.
    assert home((Cell("9m", 0, 2), Cell("14m", 0, 2)), grids) == ("9m", 0, 2)
    assert home((Cell("9m", 0, 1), Cell("14m", 0, 1)), grids) == ("14m", 0, 1)


def test_models_that_are_held_against_each_other_are_visited_together() -> None:
    assert cohorts(["seed", "step"], TWO) == [(TWO[0],), (TWO[1],)]
    for kind in ("size", "matched", "cross", "custom"):
        assert cohorts(["seed", kind], TWO) == [tuple(TWO)]


# --- which checkpoints -----------------------------------------------------------------------------------------------


def locations(*models: str, seeds: Sequence[int] = (0, 1, 2), steps: Sequence[int] = (0, 8, 64)) -> list[Any]:
    cells = [(*cell, "{}/seed{}/step{}".format(*cell)) for cell in product(models, seeds, steps)]
    return [CheckpointLocation(*cell, "/models", name, Path("/models", name)) for *cell, name in cells]


def study(**changes: Any) -> Study:
    return Study("toys", root=Path("/models"), **changes)


def test_a_study_that_names_nothing_wants_all_there_is() -> None:
    [found] = survey(study(), locations("9m"))
    assert (found.model, found.seeds, found.steps) == ("9m", (0, 1, 2), (0, 8, 64))
    assert list(found.cells()) == [("9m", seed, step) for step in (0, 8, 64) for seed in (0, 1, 2)]
    assert found.locations[Cell("9m", 2, 64)].path == Path("/models/9m/seed2/step64")


def test_models_come_in_the_order_of_their_sizes() -> None:
    names = ["gpt2", "pythia-1.4b", "pythia-410m", "14m", "9m", "tiny", "llama-3-8b", "9m-deduped", "500k"]
    found = [grid.model for grid in survey(study(), locations(*names))]
    assert found == [
        *("tiny", "gpt2", "500k", "9m", "9m-deduped", "14m", "pythia-410m", "pythia-1.4b", "llama-3-8b"),
    ]


def test_only_what_a_study_names() -> None:
    [found] = survey(study(models=("14m",), seeds=(0, 2), steps=(8,)), locations("9m", "14m"))
    assert list(found.cells()) == [("14m", 0, 8), ("14m", 2, 8)]


def test_a_step_that_one_seed_lacks_is_wanted_all_the_same() -> None:
    there = [location for location in locations("9m") if (location.seed, location.step) != (1, 8)]
    [found] = survey(study(), there)
    assert Cell("9m", 1, 8) in set(found.cells())
    assert Cell("9m", 1, 8) not in found.locations


def test_a_named_seed_whose_folder_is_not_there_is_wanted_all_the_same() -> None:
    [found] = survey(study(seeds=(0, 1, 7)), locations("9m"))
    assert (found.seeds, Cell("9m", 7, 8) in found.locations) == ((0, 1, 7), False)
    with pytest.raises(MissingRevision, match="seed 7 of 9m"):
        survey(study(seeds=(7, 8)), locations("9m"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": (8, 9)}, "Study toys names step 9 of 9m, which is not below /models; nearest are 8, 0, 64."),
        ({"seeds": (4,)}, "Study toys names seed 4 of 9m, which is not below /models; nearest are 2, 1, 0."),
        ({"models": ("9n",)}, "Study toys names model 9n, which is not below /models; nearest are 9m."),
        ({"models": ("huge",)}, "nearest are 14m, 9m."),
    ],
)
def test_what_does_not_exist_is_refused_naming_the_nearest(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(MissingRevision) as refusal:
        survey(study(**changes), locations("9m", *(["14m"] if changes.get("models") == ("huge",) else [])))
    assert message in str(refusal.value)
    assert str(refusal.value).endswith("Drop it from the study, or add its checkpoints.")


def test_what_a_suite_on_the_hub_does_not_name_is_refused() -> None:
    on_hub = [CheckpointLocation("14m", 0, step, "EleutherAI/pythia-14m", f"step{step}") for step in (0, 512)]
    with pytest.raises(MissingRevision) as refusal:
        survey(Study("toys", suite="pythia", steps=(511,)), on_hub)
    assert str(refusal.value) == (
        "Study toys names step 511 of 14m, which is not in suite pythia; nearest are 512, 0. Drop it from the study."
    )


def test_a_step_must_exist_for_every_model() -> None:
    there = [*locations("9m"), *locations("14m", steps=(0, 8))]
    with pytest.raises(MissingRevision, match="step 64 of 14m"):
        survey(study(steps=(0, 64)), there)
