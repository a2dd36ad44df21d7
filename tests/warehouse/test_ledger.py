"""The ledger: what is wanted, what is there, and what a failure may overwrite."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection

from tests.contents import frame
from tests.queries.measured import Measured, add_run, measure, model_key
from warehouse import schema
from warehouse.database import Database
from warehouse.dimensions import fill, find_or_make
from warehouse.facts import driver
from warehouse.ledger import (
    ComparisonKey,
    declare_comparisons,
    declare_evaluations,
    known_pairs,
    measured_weights,
    record_failure,
)


@pytest.fixture
def measured(database: Database) -> Measured:
    return measure(database, models=("small",), steps=(0, 16))


def checkpoints(measured: Measured, where: str = "true") -> list[int]:
    query = f"select checkpoint_id from analysis.checkpoints where {where} order by seed, step"
    return [int(key) for key in frame(measured.database, query).iloc[:, 0]]


def plan_seed(connection: Connection, measured: Measured, seed: int) -> list[int]:
    """Plan the evaluations of one more seed; returns its checkpoints."""
    model = model_key(connection, "small")
    add_run(connection, measured, model, seed)
    query = "select checkpoint_id from warehouse.checkpoint inner join warehouse.run using (run_id) where seed = %s"
    raw = driver(connection).execute(f"{query} order by step".encode(), [seed])
    ids = [int(key) for (key,) in raw]
    declare_evaluations(connection, measured.corpus_id, measured.protocol_id, ids)
    return ids


def keys(connection: Connection, *kinds: tuple[str, int, int]) -> list[ComparisonKey]:
    model = model_key(connection, "small")
    return [ComparisonKey(kind, model, step, model, step_q) for kind, step, step_q in kinds]


def test_declaring_again_changes_nothing(measured: Measured) -> None:
    query = "select xmin::text, e.* from warehouse.evaluation as e order by evaluation_id"
    before = frame(measured.database, query).astype(str)
    with measured.database.engine().begin() as connection:
        entries = declare_evaluations(connection, measured.corpus_id, measured.protocol_id, checkpoints(measured))
    assert frame(measured.database, query).astype(str).equals(before)
    assert len(entries) == 6
    assert all(entry.complete and entry.references == {measured.reference_id} for entry in entries.values())


def test_a_planned_evaluation_is_incomplete_and_has_no_references(measured: Measured) -> None:
    with measured.database.engine().begin() as connection:
        ids = plan_seed(connection, measured, 7)
        entries = declare_evaluations(connection, measured.corpus_id, measured.protocol_id, ids)
    assert sorted(entries) == sorted(ids)
    assert not any(entry.complete or entry.references or entry.input_digest for entry in entries.values())
    shown = "select count(*) from analysis.evaluations where seed = 7"
    assert frame(measured.database, shown).iloc[0, 0] == 0  # nothing is shown of what is only planned


def test_a_comparison_expects_as_many_pairs_as_there_are_runs_to_make_them(measured: Measured) -> None:
    query = "select kind, n_pairs_expected, complete from analysis.comparisons where step = 0 order by kind"
    assert frame(measured.database, query).to_numpy().tolist() == [
        ["final", 3, True],
        ["seed", 6, True],
        ["step", 3, True],
    ]
    with measured.database.engine().begin() as connection:
        plan_seed(connection, measured, 7)
        wanted = keys(connection, ("seed", 0, 0), ("step", 0, 16), ("final_reverse", 16, 0))
        ids = declare_comparisons(connection, measured.corpus_id, measured.protocol_id, wanted)
    assert set(ids) == set(wanted)
    assert frame(measured.database, query).to_numpy().tolist() == [
        ["final", 4, False],
        ["seed", 12, False],
        ["step", 4, False],
    ]
    new = "select n_pairs, n_pairs_expected, complete from analysis.comparisons where kind = 'final_reverse'"
    assert frame(measured.database, new).to_numpy().tolist() == [[0, 4, False]]


def test_a_flagged_run_is_not_expected(measured: Measured) -> None:
    with measured.database.engine().begin() as connection:
        run = find_or_make(connection, schema.run, {"model_id": model_key(connection, "small"), "seed": 1})
        fill(connection, schema.run, run, outlier=True)
        declare_comparisons(connection, measured.corpus_id, measured.protocol_id, [])
    query = "select run_set, n_pairs_expected from analysis.comparisons where kind = 'seed' order by step, run_set"
    assert frame(measured.database, query).to_numpy().tolist() == [["all", 6], ["default", 2]] * 2


def test_known_pairs_are_those_on_both_sides_of_which_an_evaluation_was_named(measured: Measured) -> None:
    query = "select evaluation_id from analysis.evaluations where step = 0 and seed < 2 order by seed"
    first, second = (int(key) for key in frame(measured.database, query).iloc[:, 0])
    with measured.database.engine().begin() as connection:
        assert known_pairs(connection, [first, second]) == {(first, second), (second, first)}
        assert known_pairs(connection, [first]) == set()


def test_only_what_was_measured_has_known_weights(measured: Measured) -> None:
    with measured.database.engine().begin() as connection:
        planned = plan_seed(connection, measured, 7)
        for key in (*checkpoints(measured), *planned):
            fill(connection, schema.checkpoint, key, weights_sha256=f"weights {key}")
        done = checkpoints(measured, "seed < 7")
        known = measured_weights(connection, [*done, *planned])
    assert known == {key: f"weights {key}" for key in done}


def test_a_failure_is_recorded_unless_the_checkpoint_was_measured(measured: Measured) -> None:
    with measured.database.engine().begin() as connection:
        planned, _ = plan_seed(connection, measured, 7)
        record_failure(connection, planned, "failed", "truncated")
        record_failure(connection, checkpoints(measured)[0], "failed", "truncated")
    told = "select seed, step, status, reason from analysis.checkpoints where reason is not null or status <> 'ok'"
    assert frame(measured.database, told).to_numpy().tolist() == [[7, 0, "failed", "truncated"]]
