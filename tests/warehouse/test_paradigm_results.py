"""Results by paradigm and sums over documents as they are loaded: at once, in part, and again."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import permutations
from time import sleep
from typing import Any

import numpy as np
import psycopg
import pytest
from sqlalchemy import Connection

from queries.refresh import refresh
from tests.contents import findings, frame
from tests.queries.measured import Measured, Member, evaluation_ids, load_pair, measure
from warehouse.database import Database
from warehouse.evaluations import Evaluation, load_evaluation
from warehouse.values import CorpusValues

LATE = (("small", 2, 16), ("small", 3, 16))


@pytest.fixture
def measured(database: Database) -> Measured:
    """One model of four seeds; two of them are still to be loaded at step 16."""
    held = measure(database, models=("small",), seeds=(0, 1, 2, 3), steps=(0, 16), n_tokens=400, eos=True)
    with database.engine().begin() as connection:
        ids = evaluation_ids(connection, held)
    with database.connect() as connection:
        for member in LATE:
            forget(connection, ids[member])
    return held


def forget(connection: psycopg.Connection[Any], evaluation_id: int) -> None:
    """Make an evaluation as it was before it was loaded."""
    for table in ("score_chunk", "score_summary", "reference_chunk", "reference_evaluation", "document_score_chunk"):
        connection.execute(f"delete from warehouse.{table} where evaluation_id = {evaluation_id}".encode())
    for statement in (
        f"delete from warehouse.paradigm_score where evaluation_id = {evaluation_id}",
        f"delete from warehouse.paradigm_divergence where {evaluation_id} in (evaluation_p, evaluation_q)",
        "update warehouse.evaluation set status = 'planned', input_digest = null "
        f"where evaluation_id = {evaluation_id}",
    ):
        connection.execute(statement.encode())


def unit_of(connection: Connection, held: Measured, member: Member) -> Evaluation:
    return Evaluation(
        evaluation_id=evaluation_ids(connection, held)[member],
        input_digest=f"digest of {member}",
        environment_id=held.environment_id,
        window=64,
        seconds=0.5,
        anisotropy=None,
        scores={**held.scores[member], "pad_logmass": None},
        references={held.reference_id: held.references[member]},
    )


def load(held: Measured, unit: Evaluation) -> None:
    with held.database.engine().begin() as connection:
        load_evaluation(connection, unit, CorpusValues(held.corpus_id))


def await_lock(database: Database, other: Future[None]) -> None:
    """Wait until the other session waits for this one."""
    for _ in range(3000):
        if frame(database, "select count(*) from pg_locks where not granted").iloc[0, 0]:
            return
        assert not other.done(), other.result()
        sleep(0.01)
    raise AssertionError("the other session does not wait")


def changed(database: Database) -> set[str]:
    """Tables that a refresh changes; not comparisons, which were derived from scores that are other ones now."""
    with database.connect() as connection:
        changes = refresh(connection)
    return {change.table for change in changes if change.changed or change.added or change.removed} - {"comparison"}


def test_two_seeds_loaded_at_once_meet_each_other(measured: Measured) -> None:
    database = measured.database
    with database.engine().begin() as connection:
        units = [unit_of(connection, measured, member) for member in LATE]
    with ThreadPoolExecutor(1) as other, database.engine().connect() as connection:
        load_evaluation(connection, units[0], CorpusValues(measured.corpus_id))
        late = other.submit(load, measured, units[1])
        await_lock(database, late)
        connection.commit()
        late.result(timeout=60)
    with database.engine().begin() as connection:
        ids = evaluation_ids(connection, measured)
    found = frame(database, "select distinct evaluation_p, evaluation_q from warehouse.paradigm_divergence")
    expected = {
        (ids["small", p, step], ids["small", q, step]) for p, q in permutations(range(4), 2) for step in (0, 16)
    }
    assert set(found.itertuples(index=False, name=None)) == expected
    assert findings(database) == {}
    assert changed(database) == set()


def test_what_knows_nothing_but_surprisal_is_summed_all_the_same(measured: Measured) -> None:
    database, member = measured.database, LATE[0]
    surprisal = measured.scores[member]["surprisal"].copy()
    surprisal[: len(surprisal) // 2] = np.nan
    nothing = dict.fromkeys(measured.scores[member], None)
    with database.engine().begin() as connection:
        other = unit_of(connection, measured, LATE[1])
    load(measured, other)
    with database.engine().begin() as connection:
        unit = unit_of(connection, measured, member)
        unit = replace(unit, scores={**nothing, "pad_logmass": None, "surprisal": surprisal}, references={})
        load_evaluation(connection, unit, CorpusValues(measured.corpus_id))
    assert findings(database) == {}
    # Its pairs were made up from other surprisals.
    assert changed(database) == {"comparison_pair"}
    mean = frame(
        database,
        "select mean_surprisal, accuracy, entropy, n_tokens from expected_surprisal "
        "inner join evaluations using (seed, step, evaluation_id) where seed = 2 and step = 16",
    )
    half = surprisal[np.isfinite(surprisal)].astype(np.float64)
    assert mean["mean_surprisal"].tolist() == [pytest.approx(half.mean())]
    assert mean["n_tokens"].tolist() == [len(half)]
    assert mean[["accuracy", "entropy"]].isna().all(axis=None)
    sequences = frame(database, "select * from sequence_score where seed = 2 and step = 16 order by document")
    assert sequences[["accuracy", "entropy_per_token"]].isna().all(axis=None)
    whole = np.bincount(measured.documents, np.isnan(surprisal)) == 0
    assert sequences["log_probability"].notna().tolist() == whole.tolist()
    accuracy = frame(database, "select * from minimal_pair_accuracy where seed = 2 and step = 16 order by paradigm")
    pairs = [np.array(measured.items[paradigm]) for paradigm in ("agreement", "binding")]
    assert accuracy["n_items"].tolist() == [int(whole[documents].all(axis=1).sum()) for documents in pairs]
    assert 0 < accuracy["n_items"].max() < len(pairs[1])


def test_an_evaluation_of_no_token_has_no_mean_and_no_item(measured: Measured) -> None:
    database, member = measured.database, LATE[0]
    nothing = dict.fromkeys(measured.scores[member], None)
    with database.engine().begin() as connection:
        other = unit_of(connection, measured, LATE[1])
    load(measured, other)
    surprisal = np.full(len(measured.documents), np.nan, np.float32)
    with database.engine().begin() as connection:
        unit = unit_of(connection, measured, member)
        unit = replace(unit, scores={**nothing, "pad_logmass": None, "surprisal": surprisal}, references={})
        load_evaluation(connection, unit, CorpusValues(measured.corpus_id))
    found = frame(database, "select accuracy, margin from minimal_pair_accuracy where seed = 2 and step = 16")
    assert found.isna().all(axis=None)
    assert len(found) == 2
    tasks = frame(database, "select distinct n_seeds from task_convergence where step = 16")
    assert tasks["n_seeds"].tolist() == [3]
    assert set(findings(database)) == {"mean_impossible"}
    # Its pairs were made up from other surprisals.
    assert changed(database) == {"comparison_pair"}


def test_a_pair_whose_tokens_come_later_gets_its_sums_with_them(database: Database) -> None:
    held = measure(database, models=("small", "large"), seeds=(0, 1), steps=(0,), n_tokens=300)
    pair = (("small", 0, 0), ("large", 0, 0))
    query = "select count(*) from warehouse.document_divergence_chunk"
    random = np.random.default_rng(1)
    with database.engine().begin() as connection:
        ids = evaluation_ids(connection, held)
        load_pair(connection, held, ids, pair, random, token_facts=False)
    before = frame(database, query).iloc[0, 0]
    assert before == 4  # those of the seeds
    with database.engine().begin() as connection:
        load_pair(connection, held, ids, pair, random)
        assert load_pair(connection, held, ids, pair, random) is None
    assert frame(database, query).iloc[0, 0] == before + 1
    assert findings(database) == {}
