"""Checkpoints of which only KL was imported: flags, verdicts, refreshing and later ingestions take them as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from queries.refresh import refresh
from tests.conftest import Outcome
from tests.contents import findings
from tests.queries.measured import measure, model_key
from tests.warehouse.importing.conftest import SAID, SEEDS, Bare, long_table, pairs_of_steps, write
from warehouse import standing
from warehouse.database import Database
from warehouse.ledger import declare_evaluations, record_failure, record_read
from warehouse.pairs import outdated

Command = Callable[..., Outcome]


@pytest.fixture
def imported(bare: Bare, command: Command, tmp_path: Path) -> Bare:
    """KL of three seeds between their steps, and nothing else."""
    done = command("import", "kl", str(write(tmp_path / "kl.csv", long_table(pairs_of_steps()))), *SAID)
    assert done.status == 0, done.errors
    return bare


@pytest.fixture
def connection(imported: Bare) -> Iterator[Connection]:
    """A transaction of the owner."""
    with imported.database.engine().begin() as connection:
        yield connection


def seeds_of(bare: Bare, run_set: str = "default") -> list[int]:
    """Seeds that take part in the first comparison of steps."""
    query = "select seeds from analysis.comparisons where kind = 'step' and step = 0 and run_set = %s"
    return list(bare.frame(query, run_set)["seeds"].iloc[0])


def test_refreshing_changes_nothing(imported: Bare) -> None:
    with imported.database.connect() as connection:
        changes = refresh(connection)
    assert all(not (change.changed or change.added or change.removed) for change in changes)
    assert {change.table for change in changes if change.rows} >= {"comparison", "convergence_summary"}


def test_nothing_is_outdated_after_an_import(imported: Bare, connection: Connection) -> None:
    key = model_key(connection, "small")
    ids = imported.frame("select corpus_id, protocol_id from analysis.comparisons limit 1").iloc[0]
    assert outdated(connection, int(ids["corpus_id"]), int(ids["protocol_id"]), key) == []
    assert standing.assess(connection, key) == []


def test_a_flagged_run_leaves_run_set_default(imported: Bare) -> None:
    with imported.database.engine().begin() as connection:
        standing.flag_run(connection, "toy", "small", 1, "odd")
    assert seeds_of(imported) == [0, 2]
    assert seeds_of(imported, "all") == list(SEEDS)
    assert findings(imported.database) == {}


def test_a_quarantined_checkpoint_comes_back_when_it_is_released(imported: Bare) -> None:
    with imported.database.engine().begin() as connection:
        standing.quarantine(connection, "toy", "small", 1, 8, "odd")
    assert seeds_of(imported) == [0, 2]
    with imported.database.engine().begin() as connection:
        standing.release(connection, "toy", "small", 1, 8)
    assert seeds_of(imported) == list(SEEDS)
    assert findings(imported.database) == {}


def test_an_ingestion_that_cannot_read_a_checkpoint_leaves_what_was_imported(imported: Bare) -> None:
    query = "select checkpoint_id from analysis.checkpoints where seed = 1 and step = 8"
    key = int(imported.frame(query)["checkpoint_id"][0])
    with imported.database.engine().begin() as connection:
        record_failure(connection, key, "missing", "no such revision")
    status = imported.frame(f"select status from analysis.checkpoints where checkpoint_id = {key}")["status"]
    assert status.tolist() == ["ok"]
    assert findings(imported.database) == {}


def test_an_unscored_evaluation_is_none_that_the_ledger_has(imported: Bare, connection: Connection) -> None:
    ids = imported.frame("select corpus_id, protocol_id from analysis.comparisons limit 1").iloc[0]
    keys = imported.frame("select checkpoint_id from analysis.checkpoints")["checkpoint_id"].tolist()
    entries = declare_evaluations(connection, int(ids["corpus_id"]), int(ids["protocol_id"]), keys)
    assert not any(entry.complete for entry in entries.values())


def test_scores_of_others_do_not_judge_checkpoints_that_were_read_here(imported: Bare) -> None:
    with imported.database.engine().begin() as connection:
        checkpoints = imported.frame("select checkpoint_id, seed, step from analysis.checkpoints")
        for row in checkpoints.itertuples():
            record_read(connection, int(row.checkpoint_id), weights_sha256=f"weights {row.seed} {row.step}")
        # One curve that jumps at the middle step of one seed, as a mislabelled file elsewhere would have it.
        connection.exec_driver_sql(
            "update warehouse.evaluation as e set status = 'complete', "
            "mean_surprisal = case when c.step = 8 and r.seed = 1 then 9 else 5 - c.step / 64.0 end "
            "from warehouse.checkpoint as c inner join warehouse.run as r using (run_id) "
            "where c.checkpoint_id = e.checkpoint_id"
        )
        assert standing.assess(connection, model_key(connection, "small")) == []


def test_measurements_of_ours_and_imported_ones_of_the_same_checkpoints_do_not_mix(
    named_database: Database, command: Command, tmp_path: Path
) -> None:
    bare = Bare(named_database, measure(named_database, n_tokens=600, n_documents=10, steps=(0, 8, 64)))
    ours = "select * from analysis.convergence_by_value where protocol = 'default' order by comparison_id, layer, value"
    before = bare.frame(ours)
    done = command("import", "kl", str(write(tmp_path / "kl.csv", long_table(pairs_of_steps()))), *SAID)
    assert done.status == 0, done.errors
    assert bare.frame(ours).equals(before)
    assert len(before) > 0
    query = "select protocol, n_pairs from analysis.expected_convergence where kind = 'step' and model = 'small'"
    assert bare.frame(query).value_counts().to_dict() == {("default", 3): 2, ("imported-lab", 3): 2}
    assert findings(named_database) == {}


@pytest.mark.parametrize("what", ["kl", "scores"])
def test_what_an_ingestion_said_of_a_checkpoint_stands_and_views_leave_it_out(
    bare: Bare, command: Command, tmp_path: Path, what: str
) -> None:
    table = long_table(pairs_of_steps())
    if what == "scores":
        columns = {"p_model": "model", "p_seed": "seed", "p_step": "step", "kl": "surprisal"}
        table = table[[*columns, "position"]].rename(columns=columns)
    arguments = ("import", what, str(write(tmp_path / "values.csv", table)), *SAID)
    assert command(*arguments).errors == "New in the warehouse: model toy/small.\n"
    assert command("import", "drop", "lab").status == 0
    (tmp_path / "results.csv").write_text("model,seed,step,acc\nsmall,1,8,0.5\n")
    assert command("import", "metrics", str(tmp_path / "results.csv"), "--family", "toy").status == 0
    with bare.database.connect() as connection:
        connection.execute("update warehouse.checkpoint set source = 'models', status = 'failed', reason = 'broken'")
    done = command(*arguments)
    assert (done.status, done.errors) == (
        0,
        "Views leave out, for what was found here of the checkpoint: toy small seed 1 step 8 (failed). Import again "
        "once it is ok.\n",
    )
    query = "select status, reason from warehouse.checkpoint where source = 'models'"
    assert bare.frame(query).to_numpy().tolist() == [["failed", "broken"]]
    view = "comparisons where step = 8 and n_pairs = 2" if what == "kl" else "evaluations where step = 0"
    assert len(bare.frame(f"select * from analysis.{view}")) > 0
    left = "pairwise_kl where seed_p = 1 and step = 8" if what == "kl" else "evaluations where seed = 1 and step = 8"
    assert bare.frame(f"select * from analysis.{left}").empty
    assert findings(bare.database) == {}
    with bare.database.connect() as connection:
        connection.execute("update warehouse.checkpoint set status = 'ok', reason = null")
    assert command(*arguments).errors == ""
    assert not bare.frame(f"select * from analysis.{left}").empty


def test_dropping_an_import_takes_back_that_its_checkpoints_are_ok(
    imported: Bare, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "results.csv").write_text("model,seed,step,acc\nsmall,1,8,0.5\n")
    assert command("import", "metrics", str(tmp_path / "results.csv"), "--family", "toy").status == 0
    assert command("import", "drop", "lab").status == 0
    found = imported.frame("select seed, step, status from analysis.checkpoints")
    assert found.to_numpy().tolist() == [[1, 8, None]]


@pytest.mark.parametrize(
    ("damage", "check"),
    [
        ("update warehouse.evaluation set status = 'planned', input_digest = null", "pair_of_unlike_evaluations"),
        (
            "insert into warehouse.score_summary select evaluation_id, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 "
            "from warehouse.evaluation",
            "planned_evaluation_with_facts",
        ),
    ],
)
def test_a_check_sees_what_an_unscored_evaluation_may_not_be(imported: Bare, damage: str, check: str) -> None:
    assert findings(imported.database) == {}
    with imported.database.connect() as connection:
        connection.execute(damage.encode())
    assert check in findings(imported.database)
