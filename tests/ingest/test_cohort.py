"""Cohorts: what must be read, in which blocks, for what the ledger lacks."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from itertools import product
from typing import Any

from ingest.cohort import Cohort, Inputs
from ingest.locations import CheckpointLocation
from ingest.plan import Cell, Grid
from warehouse.ledger import Entry

Place = tuple[int, int]
SEEDS, STEPS = (0, 1, 2), (0, 8, 64)
EVERY = set(product(SEEDS, STEPS))


def cohort(
    done: Collection[Place],
    missing: Collection[tuple[Place, Place]] = (),
    *,
    absent: Collection[Place] = (),
    steps: tuple[int, ...] = STEPS,
) -> Cohort:
    """Three seeds of a model, of which some cells were scored and held against reference 5."""
    there = {at(p): CheckpointLocation("9m", *p, "/", "") for p in product(SEEDS, steps) if p not in absent}
    grid = Grid("9m", SEEDS, steps, there)
    source: Any = None
    entries = {
        cell: Entry(number, *(("digest", frozenset({5})) if cell[1:] in done else (None, frozenset())))
        for number, cell in enumerate(grid.cells())
    }
    return Cohort(
        grids={"9m": grid},
        inputs=Inputs(source, 1, 1, 1, frozenset({5})),
        top_k=0,
        model_ids={"9m": 1},
        checkpoint_ids={},
        weights={},
        entries=entries,
        contrasts={},
        missing=frozenset((at(p), at(q)) for p, q in missing),
        bare=frozenset(),
        flagged={"9m": frozenset()},
        facts={},
    )


def at(place: Place) -> Cell:
    return Cell("9m", *place)


def places(cells: Collection[Cell]) -> set[Place]:
    return {(cell.seed, cell.step) for cell in cells}


def test_nothing_is_read_when_nothing_is_missing() -> None:
    assert cohort(EVERY).to_read() == set()


def test_what_is_not_scored_is_read() -> None:
    assert places(cohort(EVERY - {(1, 8)}).to_read()) == {(1, 8)}


def test_a_pair_of_steps_needs_its_two_sides() -> None:
    assert places(cohort(EVERY, {((1, 0), (1, 64))}).to_read()) == {(1, 0), (1, 64)}


def test_a_pair_of_seeds_needs_all_seeds_of_the_step_for_their_mixture() -> None:
    assert places(cohort(EVERY, {((0, 8), (1, 8))}).to_read()) == {(0, 8), (1, 8), (2, 8)}


def test_partners_of_what_is_absent_are_not_read() -> None:
    gone = cohort(EVERY - {(1, 8)}, {((0, 8), (1, 8)), ((1, 8), (0, 8)), ((1, 0), (1, 8))}, absent={(1, 8)})
    assert gone.to_read() == set()
    assert places(gone.to_score()) == places(gone.absent()) == {(1, 8)}


def test_a_new_reference_or_more_top_entries_need_every_checkpoint_again() -> None:
    full = cohort(EVERY)
    assert full.to_score() == set()
    assert places(replace(full, inputs=replace(full.inputs, reference_ids=frozenset({5, 6}))).to_score()) == EVERY
    assert places(replace(full, top_k=3).to_score()) == EVERY


def test_what_was_written_is_not_to_do_any_more() -> None:
    before = cohort(EVERY - {(1, 8)}, {((1, 0), (1, 8)), ((1, 8), (1, 64))})
    after = before.done({at((1, 8)): "digest"}, [(at((1, 0)), at((1, 8)))])
    assert (after.to_score(), places(after.to_read())) == (set(), {(1, 8), (1, 64)})
    assert places(before.to_score()) == {(1, 8)}


def test_blocks_hold_every_cell_once_the_last_step_first_then_the_others_in_order() -> None:
    steps = (0, 1, 2, 4, 8, 16)
    blocks = cohort((), steps=steps).blocks(size=2)
    assert [block.steps() for block in blocks] == [[16], [0, 1], [2, 4], [8]]
    assert [block.key for block in blocks] == ["last", "0-1", "2-4", "8-8"]
    assert sorted(cell for block in blocks for cell in block.cells) == sorted(map(at, product(SEEDS, steps)))
    assert [block.steps() for block in cohort((), steps=(5,)).blocks()] == [[5]]
