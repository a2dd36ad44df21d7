"""Flags, quarantine and rules: what they change in comparisons, and that undoing them leaves no trace."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import psycopg
import pytest
from sqlalchemy import Connection

from queries.refresh import refresh
from tests.contents import assert_same, contents, findings, frame
from tests.queries.crossed import compare, declare
from tests.queries.measured import Measured, add_run, load_layer, measure, model_key
from warehouse import schema
from warehouse.database import Database
from warehouse.dimensions import find_or_make
from warehouse.facts import driver
from warehouse.ledger import declare_comparisons, flagged_seeds, record_failure, record_read, twins
from warehouse.locks import share_corpus
from warehouse.standing import (
    Finding,
    NothingToDo,
    UnknownCheckpoint,
    assess,
    flag_run,
    quarantine,
    release,
    unflag_run,
)

STEPS = (0, 1, 4, 16, 64)


@pytest.fixture
def measured(database: Database) -> Measured:
    """Two models of four seeds and two steps."""
    return measure(database, seeds=(0, 1, 2, 3), steps=(0, 16), n_tokens=500)


def do(measured: Measured, change: Callable[..., Any], *arguments: Any) -> Any:
    with measured.database.engine().begin() as connection:
        return change(connection, *arguments)


def assert_sound(measured: Measured) -> None:
    """No check finds anything, and refreshing changes nothing."""
    assert findings(measured.database) == {}
    with measured.database.connect() as connection:
        changes = refresh(connection)
    assert not [change for change in changes if change.changed or change.added or change.removed]


def rows(measured: Measured, query: str, *parameters: object) -> list[list[Any]]:
    return frame(measured.database, query, *parameters).to_numpy().tolist()


def mean_of_seeds(measured: Measured, model: str, step: int, seeds: tuple[int, ...]) -> float:
    pairs = [measured.kl[(model, p, step), (model, q, step)] for p, q in permutations(seeds, 2)]
    return float(np.mean(pairs, dtype=np.float64))


# --- flags -----------------------------------------------------------------------------------------------------------


def test_a_flagged_run_leaves_run_set_default_and_stays_in_run_set_all(measured: Measured) -> None:
    query = "select run_set, n_pairs, n_pairs_expected, seeds, complete from comparisons "
    where = "where kind = 'seed' and model = 'small' and step = 16 order by run_set"
    assert rows(measured, query + where) == [["default", 12, 12, [0, 1, 2, 3], True]]
    before = frame(measured.database, "select * from token_convergence where kind = 'seed' and model = 'small'")
    do(measured, flag_run, "toy", "small", 3, "diverged")
    assert rows(measured, query + where) == [
        ["all", 12, 12, [0, 1, 2, 3], True],
        ["default", 6, 6, [0, 1, 2], True],
    ]
    assert rows(measured, query + "where model = 'large' and run_set = 'all'") == []
    convergence = "select convergence from expected_convergence where kind = 'seed' and model = 'small' and step = 16"
    [[shown]] = rows(measured, convergence)
    assert -shown == pytest.approx(mean_of_seeds(measured, "small", 16, (0, 1, 2)), rel=1e-6)
    with measured.database.connect() as connection:
        connection.execute("set warehouse.run_set = 'all'")
        [everything] = connection.execute(convergence.encode()).fetchall()
        columns = "run_set, step, token_id, convergence, mixture_entropy, n_pairs"
        kept = connection.execute(f"select {columns} from token_convergence where kind = 'seed' order by 2, 3".encode())
        after = kept.fetchall()
    assert -everything[0] == pytest.approx(mean_of_seeds(measured, "small", 16, (0, 1, 2, 3)), rel=1e-6)
    expected = before.assign(run_set="all").sort_values(["step", "token_id"])[columns.split(", ")]
    assert after == [tuple(row) for row in expected.itertuples(index=False)]  # the entropies of mixtures too
    assert_sound(measured)


def test_flagging_and_unflagging_leaves_no_trace(measured: Measured) -> None:
    do(measured, lambda c: compare(c, measured, "size", ("small", 16), ("large", 16)))
    do(measured, lambda c: compare(c, measured, "custom", ("large", 0), ("small", 0), [(L(0, 0), S(3, 0))]))
    before = contents(measured.database)
    do(measured, flag_run, "toy", "small", 3, "diverged")
    do(measured, flag_run, "toy", "small", 3, "diverged early")  # another word for it
    assert_sound(measured)
    changed = rows(
        measured, "select kind, model, run_set, n_pairs from comparisons where run_set = 'all' order by 1, 2"
    )
    kinds = ["custom", "final", "seed", "size", "step"]
    assert sorted({kind for kind, *_ in changed}) == kinds
    do(measured, unflag_run, "toy", "small", 3)
    assert_same(contents(measured.database), before)
    assert_sound(measured)


def test_a_second_flag_and_its_end_keep_the_first(measured: Measured) -> None:
    do(measured, flag_run, None, "small", 3, "diverged")
    once = contents(measured.database)
    do(measured, flag_run, None, "small", 0, "odd data order")
    query = "select distinct run_set, seeds from comparisons where kind = 'seed' and model = 'small' order by 1"
    assert sorted(rows(measured, query)) == [["all", [0, 1, 2, 3]], ["default", [1, 2]]]
    assert_sound(measured)
    do(measured, unflag_run, None, "small", 0)
    after = contents(measured.database)
    # The entropy of the mixture of three seeds went with them, and is only known where the models are read.
    for name in ("convergence_chunk",):
        once[name], after[name] = (table[name].drop(columns="mixture_entropy") for table in (once, after))
    assert_same(after, once)
    assert_sound(measured)


def test_a_comparison_whose_every_run_is_flagged_says_nothing(measured: Measured) -> None:
    for seed in measured.seeds:
        do(measured, flag_run, None, "small", seed, "all of them")
    query = "select distinct run_set, n_pairs, n_pairs_expected, complete from comparisons where kind = 'seed' "
    shown = rows(measured, query + "and model = 'small' order by 1")
    assert shown == [["all", 12, 12, True], ["default", 0, 0, False]]
    assert_sound(measured)


def test_a_flag_set_when_the_run_is_planned_is_seen_by_the_plan(measured: Measured) -> None:
    with measured.database.engine().begin() as connection:
        model = model_key(connection, "small")
        key = {"model_id": model, "seed": 9}
        find_or_make(connection, schema.run, key, outlier=True, note="published as an outlier")
        add_run(connection, measured, model, 9)
        ids = declare(connection, measured, "seed", ("small", 16), ("small", 16))
        assert flagged_seeds(connection, model) == {9}
        query = "select comparison_id from warehouse.comparison where run_set = 'all' and kind = 'seed' and step = 16"
        [(twin,)] = driver(connection).execute(query).fetchall()
        assert twins(connection, [twin, ids]) == {twin: ids}
    query = "select run_set, n_pairs_expected from comparisons where kind = 'seed' and model = 'small' and step = 16"
    assert sorted(rows(measured, query)) == [["all", 20], ["default", 12]]
    # A flag that was taken back by hand is not set again by the next plan.
    do(measured, unflag_run, None, "small", 9)
    do(measured, find_or_make_run, key)
    assert rows(measured, "select distinct outlier from checkpoints where seed = 9") == [[False]]


def find_or_make_run(connection: Connection, key: dict[str, int]) -> None:
    find_or_make(connection, schema.run, key, outlier=True, note="published as an outlier")


def S(seed: int, step: int) -> tuple[str, int, int]:  # noqa: N802
    return ("small", seed, step)


def L(seed: int, step: int) -> tuple[str, int, int]:  # noqa: N802
    return ("large", seed, step)


def test_an_unknown_name_is_answered_with_the_nearest(measured: Measured) -> None:
    def said(change: Callable[..., None], *arguments: Any) -> str:
        with pytest.raises(UnknownCheckpoint) as refusal:
            do(measured, change, *arguments)
        return str(refusal.value)

    assert said(flag_run, None, "smal", 0, "x") == "There is no model smal; nearest is small."
    assert said(flag_run, None, "gpt", 0, "x") == "There is no model gpt; nearest are large, small."
    assert said(flag_run, "tow", "small", 0, "x") == "There is no family tow; nearest is toy."
    assert said(unflag_run, "toy", "small", 7) == "Model small has no seed 7; nearest are 3, 2, 1."
    assert said(release, "toy", "small", 1, 9) == "Model small seed 1 has no step 9; nearest are 16, 0."
    do(measured, lambda c: find_or_make(c, schema.model, {"family": "other", "name": "small"}, objective="causal"))
    assert said(flag_run, None, "small", 0, "x") == (
        "Several families have a model small (other, toy): say which with --family."
    )


def test_what_is_already_so_is_refused(measured: Measured) -> None:
    with pytest.raises(NothingToDo, match=r"Run 1 of small is not flagged"):
        do(measured, unflag_run, None, "small", 1)
    with pytest.raises(NothingToDo, match=r"small seed 1 step 16 is not left out"):
        do(measured, release, None, "small", 1, 16)
    with measured.database.connect() as connection:
        connection.execute("update warehouse.checkpoint set status = 'missing'")
    with pytest.raises(NothingToDo, match=r"small seed 1 step 16 is missing: run its ingestion again"):
        do(measured, release, None, "small", 1, 16)


@pytest.mark.parametrize("change", [(flag_run, None, "small", 1, "x"), (quarantine, None, "small", 1, 16, "x")])
def test_nobody_else_may_write_meanwhile(measured: Measured, change: tuple[Any, ...]) -> None:
    with measured.database.connect() as loader, measured.database.engine().connect() as connection:
        share_corpus(loader, measured.corpus_id)
        driver(connection).execute("set lock_timeout = '100ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            change[0](connection, *change[1:])


# --- quarantine ------------------------------------------------------------------------------------------------------


def test_a_quarantined_checkpoint_is_left_out_until_it_is_released(measured: Measured) -> None:
    do(measured, lambda c: compare(c, measured, "size", ("large", 16), ("small", 16)))
    with_weights(measured)
    before = contents(measured.database)
    do(measured, quarantine, "toy", "small", 3, 16, "the loss has a spike")
    told = "select status, reason from checkpoints where model = 'small' and seed = 3 and step = 16"
    assert rows(measured, told) == [["quarantined", "the loss has a spike"]]
    query = "select kind, seeds, complete from comparisons where 16 in (step, step_q) and 'small' in (model, model_q)"
    for kind, seeds, complete in rows(measured, query):
        assert (seeds, complete) == ([0, 1, 2], False), kind
    left = rows(measured, "select count(*) from evaluations where model = 'small' and step = 16")
    assert left == [[3]]
    assert_sound(measured)
    do(measured, release, "toy", "small", 3, 16)
    assert rows(measured, told) == [["ok", None]]
    after = contents(measured.database)
    note = rows(measured, "select note, released from checkpoints where note is not null")
    assert note == [["released by hand; it was quarantined: the loss has a spike", True]]
    for table in (before, after):
        table["checkpoints"] = table["checkpoints"].drop(columns=["note", "released"])
        table["convergence_chunk"] = table["convergence_chunk"].drop(columns="mixture_entropy")
    assert_same(after, before)
    assert_sound(measured)


def test_reading_again_does_not_end_a_quarantine(measured: Measured) -> None:
    [[key]] = rows(measured, "select checkpoint_id from checkpoints where model = 'small' and seed = 3 and step = 16")
    do(measured, quarantine, None, "small", 3, 16, "odd")
    do(measured, lambda c: record_read(c, key, weights_sha256="w", tokens_seen=7))
    told = "select status, reason, tokens_seen, weights_sha256 from checkpoints where checkpoint_id = %s"
    assert rows(measured, told, key) == [["quarantined", "odd", 7, "w"]]


def test_reading_ends_a_failure(measured: Measured) -> None:
    with measured.database.engine().begin() as connection:
        add_run(connection, measured, model_key(connection, "small"), 8)
        query = "select checkpoint_id from warehouse.checkpoint inner join warehouse.run using (run_id) where seed = 8"
        (key,) = driver(connection).execute(query).fetchall()[0]
        record_failure(connection, key, "failed", "truncated")
    told = "select status, reason from checkpoints where checkpoint_id = %s"
    assert rows(measured, told, key) == [["failed", "truncated"]]
    do(measured, lambda c: record_read(c, key, weights_sha256="w"))
    assert rows(measured, told, key) == [["ok", None]]


def test_a_failure_does_not_end_a_quarantine_and_a_release_lets_it_be_read(measured: Measured) -> None:
    do(measured, lambda c: add_run(c, measured, model_key(c, "small"), 8))
    query = "select checkpoint_id, status from checkpoints where model = 'small' and seed = 8 and step = 16"
    [[key, _]] = rows(measured, query)
    do(measured, quarantine, None, "small", 8, 16, "wrong data")
    do(measured, lambda c: record_failure(c, key, "missing", "no such revision"))
    assert rows(measured, query) == [[key, "quarantined"]]
    do(measured, release, None, "small", 8, 16)
    assert rows(measured, query) == [[key, None]]


# --- rules -----------------------------------------------------------------------------------------------------------


def with_weights(measured: Measured, **same: tuple[int, int]) -> None:
    """Weights of every checkpoint of model small, all different but for those that are named."""
    with measured.database.connect() as connection:
        connection.execute(
            "update warehouse.checkpoint set weights_sha256 = format('weights of %s at %s', run_id, step)"
        )
        for seed, (step, other) in same.items():
            connection.execute(
                """
                update warehouse.checkpoint as changed set weights_sha256 = kept.weights_sha256
                from warehouse.checkpoint as kept inner join warehouse.run using (run_id)
                where changed.run_id = kept.run_id and seed = %s and changed.step = %s and kept.step = %s
                """,
                [int(seed.removeprefix("seed")), step, other],
            )


@pytest.fixture
def trained(database: Database) -> Measured:
    """One model of three seeds whose mean surprisal falls over five steps."""
    held = measure(database, models=("small",), seeds=(0, 1, 2), steps=STEPS, n_tokens=300)
    with_weights(held)
    with database.connect() as connection:
        # Falling by two nats a step.
        connection.execute(
            """
            update warehouse.evaluation as e set mean_surprisal = 11 - 2 * ln(checkpoint.step + 1) / ln(4)
            from warehouse.checkpoint as checkpoint where checkpoint.checkpoint_id = e.checkpoint_id
            """
        )
    # What was derived has another difference of surprisals now.
    with database.connect() as connection:
        refresh(connection)
    return held


def set_surprisal(measured: Measured, seed: int, step: int, value: float) -> None:
    with measured.database.connect() as connection:
        connection.execute(
            """
            update warehouse.evaluation as e set mean_surprisal = %s
            from warehouse.checkpoint as checkpoint inner join warehouse.run using (run_id)
            where checkpoint.checkpoint_id = e.checkpoint_id and seed = %s and step = %s
            """,
            [value, seed, step],
        )
        refresh(connection)


def judged(measured: Measured) -> list[Finding]:
    found = do(measured, lambda c: assess(c, model_key(c, "small")))
    assert isinstance(found, list)
    return found


def statuses(measured: Measured) -> dict[tuple[int, int], str]:
    query = "select seed, step, status from checkpoints where status <> 'ok'"
    return {(seed, step): status for seed, step, status in rows(measured, query)}


def test_nothing_is_said_and_nothing_locked_where_nothing_is_wrong(trained: Measured) -> None:
    with trained.database.connect() as loader, trained.database.engine().begin() as connection:
        share_corpus(loader, trained.corpus_id)
        driver(connection).execute("set local lock_timeout = '100ms'")
        assert assess(connection, model_key(connection, "small")) == []


def test_a_duplicate_is_found_once_and_left_out_of_everything(trained: Measured) -> None:
    with_weights(trained, seed1=(16, 4))
    [found] = judged(trained)
    assert (found.model, found.seed, found.step, found.status) == ("small", 1, 16, "duplicate")
    assert str(found).startswith("small seed 1 step 16 is duplicate: the same weights as step 4 (sha256 weights of ")
    assert judged(trained) == []
    query = "select distinct seeds from comparisons where 16 in (step, step_q)"
    assert rows(trained, query) == [[[0, 2]]]
    assert rows(trained, "select reason from checkpoints where status = 'duplicate'") == [[found.reason]]
    assert_sound(trained)


def test_a_duplicate_whose_twin_is_gone_is_good_again(trained: Measured) -> None:
    before = contents(trained.database)
    with_weights(trained, seed1=(16, 4))
    judged(trained)
    with_weights(trained)
    assert judged(trained) == []
    assert statuses(trained) == {}
    after = contents(trained.database)
    for table in (before, after):
        table["convergence_chunk"] = table["convergence_chunk"].drop(columns="mixture_entropy")
    assert_same(after, before)


def test_quarantining_the_first_of_two_equal_checkpoints_clears_the_second(trained: Measured) -> None:
    with_weights(trained, seed1=(16, 4))
    judged(trained)
    do(trained, quarantine, None, "small", 1, 4, "the files of step 16")
    assert statuses(trained) == {(1, 4): "quarantined"}
    assert_sound(trained)


def test_a_released_duplicate_stays_good_and_its_twin_is_judged(trained: Measured) -> None:
    with_weights(trained, seed1=(16, 4))
    judged(trained)
    do(trained, release, None, "small", 1, 16)
    assert statuses(trained) == {(1, 4): "duplicate"}
    assert judged(trained) == []
    do(trained, release, None, "small", 1, 4)
    assert statuses(trained) == {}
    assert judged(trained) == []


def test_a_checkpoint_of_elsewhere_in_training_is_suspect(trained: Measured) -> None:
    set_surprisal(trained, 2, 4, 5.0)
    [found] = judged(trained)
    assert (found.seed, found.step, found.status) == (2, 4, "suspect")
    assert found.reason.startswith("mean surprisal 5.000 nats lies outside ")
    assert found.reason.endswith("of the other seeds, on corpus prose under protocol default")
    assert_sound(trained)
    set_surprisal(trained, 2, 4, 8.5)
    assert judged(trained) == []
    assert statuses(trained) == {}


def test_equal_first_steps_are_noted_and_no_fault(trained: Measured) -> None:
    with_weights(trained, seed0=(1, 0))
    assert judged(trained) == []
    assert statuses(trained) == {}
    noted = rows(trained, "select seed, step, note from checkpoints where note is not null order by step")
    assert [row[:2] for row in noted] == [[0, 0], [0, 1]]
    assert "same weights" in noted[0][2]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_the_order_of_events_does_not_matter(trained: Measured, order: tuple[int, ...]) -> None:
    events: list[Callable[[], None]] = [
        lambda: set_surprisal(trained, 0, 4, 5.0),
        lambda: set_surprisal(trained, 1, 16, 10.9),
        lambda: with_weights(trained, seed0=(4, 64), seed1=(64, 4), seed2=(64, 4)),
    ]
    for number in order:
        events[number]()
        judged(trained)
    assert statuses(trained) == {(0, 4): "suspect", (1, 16): "suspect", (1, 64): "duplicate", (2, 64): "duplicate"}
    assert_sound(trained)


def test_a_verdict_from_one_corpus_is_derived_in_every_other(trained: Measured) -> None:
    """The same checkpoints under a second protocol, where nothing is odd."""
    with trained.database.engine().begin() as connection:
        second = find_or_make(
            connection,
            schema.protocol,
            {"name": "second"},
            windows="documents",
            window=64,
            bos=True,
            vocabulary="tokenizer",
            dtype="float32",
            tf32=False,
        )
        first, trained.protocol_id = trained.protocol_id, second
        add_measurements(connection, trained)
        trained.protocol_id = first
    set_surprisal_under(trained, "default", 1, 4, 5.0)
    [found] = judged(trained)
    assert found.step == 4
    query = "select protocol, seeds from comparisons where kind = 'seed' and step = 4 order by 1"
    assert rows(trained, query) == [["default", [0, 2]], ["second", [0, 2]]]
    assert_sound(trained)


def set_surprisal_under(measured: Measured, protocol: str, seed: int, step: int, value: float) -> None:
    with measured.database.connect() as connection:
        connection.execute(
            """
            update warehouse.evaluation as e set mean_surprisal = %s
            from warehouse.checkpoint as checkpoint, warehouse.run as run, warehouse.protocol as protocol
            where
                checkpoint.checkpoint_id = e.checkpoint_id and run.run_id = checkpoint.run_id
                and protocol.protocol_id = e.protocol_id and seed = %s and step = %s and protocol.name = %s
            """,
            [value, seed, step, protocol],
        )
        refresh(connection)


def add_measurements(connection: Connection, held: Measured) -> None:
    """Scores and comparisons of the seeds at every step, under the protocol that the warehouse has now."""
    from tests.queries.measured import evaluation_ids, load_evaluation
    from warehouse.values import CorpusValues

    random = np.random.default_rng(3)
    values = CorpusValues(held.corpus_id)
    for member, key in evaluation_ids(connection, held).items():
        load_evaluation(connection, held, values, member, key, random)
    held.kl.clear()
    for step in held.steps:
        pairs = [(("small", p, step), ("small", q, step)) for p, q in permutations(held.seeds, 2)]
        compare(connection, held, "seed", ("small", step), ("small", step), pairs)


def test_declaring_comparisons_shares_the_corpus(measured: Measured) -> None:
    """So that a run is not flagged between the look at its flag and the comparison that depends on it."""
    with measured.database.connect() as other, measured.database.engine().connect() as connection:
        declare_comparisons(connection, measured.corpus_id, measured.protocol_id, [])
        other.execute("set lock_timeout = '100ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            other.execute("select pg_advisory_xact_lock(740001, %s)", [measured.corpus_id])


def test_flags_hold_for_layers_that_come_later(measured: Measured) -> None:
    do(measured, flag_run, None, "small", 3, "diverged")
    measured.layers["late"] = (np.arange(500) % 2).astype(np.int32)
    do(measured, lambda c: load_layer(c, measured, "late"))
    assert_sound(measured)
