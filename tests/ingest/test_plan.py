"""Plans: which checkpoints and ordered pairs a study wants, against docs/methods.md §2 spelled out by brute force."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.checkpoints import CheckpointLocation
from ingest.plan import Block, Cell, Contrast, Grid, MissingRevision, contrasts, survey
from ingest.study import KINDS, Study
from warehouse.ledger import Entry

#: (kind, p, q) with p and q (seed, step).
Wanted = set[tuple[str, Cell, Cell]]


def by_definition(seeds: Sequence[int], steps: Sequence[int]) -> Wanted:
    """Every ordered pair of cells, tried against each definition."""
    wanted: Wanted = set()
    for p, q in product(product(seeds, steps), repeat=2):
        (seed_p, step_p), (seed_q, step_q) = p, q
        if step_p == step_q and seed_p != seed_q:
            wanted.add(("seed", p, q))
        if seed_p == seed_q:
            between = [step for step in steps if min(step_p, step_q) < step < max(step_p, step_q)]
            if step_p < step_q and not between:
                wanted.add(("step", p, q))
            if step_p > step_q and not between:
                wanted.add(("step_reverse", p, q))
            if step_p < step_q == max(steps):
                wanted.add(("final", p, q))
            if step_q < step_p == max(steps):
                wanted.add(("final_reverse", p, q))
    return wanted


def pairs_of(found: Sequence[Contrast]) -> Wanted:
    return {(contrast.kind, p, q) for contrast in found for p, q in contrast.pairs}


@given(st.sets(st.integers(0, 9), min_size=1, max_size=5), st.sets(st.integers(0, 10**6), min_size=1, max_size=6))
def test_contrasts_are_the_pairs_of_their_definition(seeds: set[int], steps: set[int]) -> None:
    found = list(contrasts(KINDS, sorted(seeds), sorted(steps)))
    assert pairs_of(found) == by_definition(sorted(seeds), sorted(steps))
    # Each comparison once, with each of its pairs once, all of its own steps.
    keys = [(contrast.kind, contrast.step, contrast.step_q) for contrast in found]
    assert len(keys) == len(set(keys))
    assert sum(len(contrast.pairs) for contrast in found) == len(pairs_of(found))
    for contrast in found:
        assert {(p[1], q[1]) for p, q in contrast.pairs} == {(contrast.step, contrast.step_q)}


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_kinds_that_are_wanted(kind: str) -> None:
    found = list(contrasts([kind], (0, 1, 2), (0, 4, 16)))
    assert pairs_of(found) == {pair for pair in by_definition((0, 1, 2), (0, 4, 16)) if pair[0] == kind}
    assert len(found) == (3 if kind == "seed" else 2)


def test_five_seeds_make_the_twenty_published_pairs() -> None:
    [contrast] = contrasts(["seed"], (1, 2, 3, 4, 5), (143_000,))
    assert len(contrast.pairs) == 20


def test_kl_to_the_next_step_has_the_earlier_one_as_p() -> None:
    [contrast] = contrasts(["step"], (7,), (0, 16))
    assert contrast.pairs == (((7, 0), (7, 16)),)
    [contrast] = contrasts(["final_reverse"], (7,), (0, 16))
    assert (contrast.step, contrast.step_q, contrast.pairs) == (16, 0, (((7, 16), (7, 0)),))


def test_one_step_and_one_seed_have_nothing_to_compare() -> None:
    assert list(contrasts(KINDS, (0,), (5,))) == []


# --- which checkpoints -----------------------------------------------------------------------------------------------


def locations(*models: str, seeds: Sequence[int] = (0, 1, 2), steps: Sequence[int] = (0, 8, 64)) -> list[Any]:
    return [
        CheckpointLocation(model, seed, step, Path(f"/models/{model}/seed{seed}/step{step}"))
        for model, seed, step in product(models, seeds, steps)
    ]


def study(**changes: Any) -> Study:
    return Study("toys", root=Path("/models"), **changes)


def test_a_study_that_names_nothing_wants_all_there_is() -> None:
    [grid] = survey(study(), locations("9m"))
    assert (grid.model, grid.seeds, grid.steps) == ("9m", (0, 1, 2), (0, 8, 64))
    assert list(grid.cells()) == sorted(product((0, 1, 2), (0, 8, 64)), key=lambda cell: cell[::-1])
    assert grid.locations[2, 64].path == Path("/models/9m/seed2/step64")


def test_models_come_in_the_order_of_their_sizes() -> None:
    names = ["gpt2", "pythia-1.4b", "pythia-410m", "14m", "9m", "tiny", "llama-3-8b", "9m-deduped", "500k"]
    found = [grid.model for grid in survey(study(), locations(*names))]
    assert found == [
        *("tiny", "gpt2", "500k", "9m", "9m-deduped", "14m", "pythia-410m", "pythia-1.4b", "llama-3-8b"),
    ]


def test_only_what_a_study_names() -> None:
    [grid] = survey(study(models=("14m",), seeds=(0, 2), steps=(8,)), locations("9m", "14m"))
    assert (grid.model, list(grid.cells())) == ("14m", [(0, 8), (2, 8)])


def test_a_step_that_one_seed_lacks_is_wanted_all_the_same() -> None:
    found = [location for location in locations("9m") if (location.seed, location.step) != (1, 8)]
    [grid] = survey(study(), found)
    assert (1, 8) in set(grid.cells())
    assert (1, 8) not in grid.locations


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


def test_a_step_must_exist_for_every_model() -> None:
    found = [*locations("9m"), *locations("14m", steps=(0, 8))]
    with pytest.raises(MissingRevision, match="step 64 of 14m"):
        survey(study(steps=(0, 64)), found)


# --- what must be read -----------------------------------------------------------------------------------------------


def block(done: set[Cell], missing_pairs: set[tuple[Cell, Cell]], *, absent: set[Cell] = frozenset()) -> Block:  # type: ignore[assignment]
    found = {(at.seed, at.step): at for at in locations("9m") if (at.seed, at.step) not in absent}
    grid = Grid("9m", (0, 1, 2), (0, 8, 64), found)
    cells = list(grid.cells())
    return Block(
        grid=grid,
        model_id=1,
        checkpoint_ids={cell: number for number, cell in enumerate(cells)},
        weights={},
        entries={
            cell: Entry(number, "digest" if cell in done else None, frozenset({5} if cell in done else ()))
            for number, cell in enumerate(cells)
        },
        contrasts={},
        missing_pairs=frozenset(missing_pairs),
        reference_ids=frozenset({5}),
        facts=None,
    )


ALL = set(product((0, 1, 2), (0, 8, 64)))


def test_nothing_is_read_when_nothing_is_missing() -> None:
    assert block(ALL, set()).to_read() == set()


def test_what_is_not_scored_is_read() -> None:
    assert block(ALL - {(1, 8)}, set()).to_read() == {(1, 8)}


def test_a_pair_of_steps_needs_its_two_sides() -> None:
    assert block(ALL, {((1, 0), (1, 64))}).to_read() == {(1, 0), (1, 64)}


def test_a_pair_of_seeds_needs_all_seeds_of_the_step_for_their_mixture() -> None:
    assert block(ALL, {((0, 8), (1, 8))}).to_read() == {(0, 8), (1, 8), (2, 8)}


def test_partners_of_what_is_absent_are_not_read() -> None:
    gone = block(ALL - {(1, 8)}, {((0, 8), (1, 8)), ((1, 8), (0, 8)), ((1, 0), (1, 8))}, absent={(1, 8)})
    assert gone.to_read() == set()
    assert gone.to_score() == gone.absent() == {(1, 8)}


def test_a_new_reference_needs_every_checkpoint_again() -> None:
    full = block(ALL, set())
    assert full.to_score() == set()
    more = Block(**{**vars(full), "reference_ids": frozenset({5, 6})})
    assert more.to_score() == ALL
