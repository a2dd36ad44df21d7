"""`warehouse refresh`: SQL computes from facts what the loader computed in numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from queries.check import run_checks
from queries.refresh import Change, refresh
from tests.conftest import Outcome
from tests.queries.measured import add_seed, load_layer, measure, model_key
from warehouse.database import Database

TABLES = [
    "comparison_pair",
    *("convergence_chunk", "comparison", "convergence_summary", "score_summary"),
    *("document_score_chunk", "document_divergence_chunk", "paradigm_score", "paradigm_divergence"),
]


def refreshed(database: Database) -> dict[str, Change]:
    with database.connect() as connection:
        return {change.table: change for change in refresh(connection)}


def tolerance(table: str) -> float:
    """Of sums over documents, which are kept in single precision, another rounding is no fault."""
    return 2.5e-7 if table.startswith("document") else 1e-7 if table == "comparison_pair" else 1e-9


def unchanged(changes: dict[str, Change]) -> bool:
    return not any(change.changed or change.added or change.removed for change in changes.values())


@pytest.mark.parametrize("seeds", [(0, 1, 2), (0, 1, 2, 3)])
@pytest.mark.parametrize("n_documents", [3, 12])
@pytest.mark.parametrize(("unmeasured", "eos"), [((), True), (("kl", "scores"), True), (("kl", "scores"), False)])
def test_sql_and_numpy_agree_on_every_derived_row(
    database: Database, seeds: tuple[int, ...], n_documents: int, unmeasured: tuple[str, ...], eos: bool
) -> None:
    measure(
        database,
        seeds=seeds,
        n_documents=n_documents,
        n_tokens=1300,
        models=("small",),
        unmeasured=unmeasured,
        eos=eos,
    )
    changes = refreshed(database)
    assert list(changes) == TABLES
    assert all(change.rows > 0 and change.largest <= tolerance(change.table) for change in changes.values())
    assert unchanged(changes)


TAMPERED = {
    "comparison_pair": [
        "update warehouse.comparison_pair set spearman = spearman * 1.000001 where pair_id = 1",
        "update warehouse.comparison_pair set spearman = null, pearson = null where pair_id = 2",
        "update warehouse.comparison_pair set top1_agreement = 0.5 where pair_id = 3",
    ],
    "convergence_chunk": [
        "update warehouse.convergence_chunk set kl[9] = kl[9] * 1.001 where comparison_id = 1 and chunk_id = 1",
        "update warehouse.convergence_chunk set kl[9] = null where comparison_id = 2 and chunk_id = 0",
        "delete from warehouse.convergence_chunk where comparison_id = 3 and chunk_id = 1",
        "insert into warehouse.convergence_chunk (comparison_id, chunk_id, kl) values (77, 0, '{1}')",
    ],
    "comparison": [
        "update warehouse.comparison set seed_pairs[1] = 9, sd_pairs = null where comparison_id = 1",
        "update warehouse.comparison set seeds = '{0}' where comparison_id = 2",
    ],
    "convergence_summary": [
        "update warehouse.convergence_summary set cross_nx = cross_nx * (1 + 1e-7) where layer_id = 2",
        "update warehouse.convergence_summary set seed_sums[2] = 1 where layer_id = 1",
        "update warehouse.convergence_summary set pair_square_sum = null where layer_id = 3",
        "delete from warehouse.convergence_summary where layer_id = 2 and category_id = 1",
        "update warehouse.convergence_summary set category_id = 50 where layer_id = 2 and category_id = 3",
    ],
    "score_summary": [
        "update warehouse.score_summary set n_correct = n_correct + 1 where evaluation_id = 1",
        "delete from warehouse.score_summary where evaluation_id = 2",
        "update warehouse.score_summary set layer_id = 66 where evaluation_id = 3 and layer_id = 2",
    ],
    "document_score_chunk": [
        "update warehouse.document_score_chunk set entropy[3] = entropy[3] * (1 + 1e-5) where evaluation_id = 1",
        "update warehouse.document_score_chunk set n_correct = null where evaluation_id = 2",
        "update warehouse.document_score_chunk set eos_surprisal[4] = 1 where evaluation_id = 3",
    ],
    "document_divergence_chunk": [
        "update warehouse.document_divergence_chunk set n_tokens[2] = 1 where pair_id = 1",
        "delete from warehouse.document_divergence_chunk where pair_id = 2",
        "insert into warehouse.document_divergence_chunk values (99, 0, '{1}', '{1}')",
    ],
    "paradigm_score": [
        "update warehouse.paradigm_score set sum_margin2 = sum_margin2 * (1 + 1e-7) where evaluation_id = 1",
        "update warehouse.paradigm_score set n_correct_with_eos = n_correct_with_eos - 1 where evaluation_id = 2",
        "delete from warehouse.paradigm_score where evaluation_id = 3",
    ],
    "paradigm_divergence": [
        "update warehouse.paradigm_divergence set sum_kl = sum_kl * (1 + 1e-7) where evaluation_p = 1",
        "update warehouse.paradigm_divergence set sum_kl_with_eos = null where evaluation_p = 2",
        "delete from warehouse.paradigm_divergence where evaluation_p = 3",
        "insert into warehouse.paradigm_divergence values (1, 1, 1, 5, 0.1, null)",
    ],
}

CONTENTS = {
    "comparison_pair": (
        "pair_id, round(pearson::numeric, 9), round(spearman::numeric, 9), round(top1_agreement::numeric, 9)"
    ),
    "convergence_chunk": "comparison_id, chunk_id, kl",
    "comparison": "comparison_id, n_pairs, seeds, seed_pairs, round(sd_pairs::numeric, 9)",
    "convergence_summary": (
        "comparison_id, layer_id, category_id, n, clusters, round(cross_nx::numeric, 6), "
        "round(pair_square_sum::numeric, 6), (select array_agg(round(x::numeric, 6)) from unnest(seed_sums) as x)"
    ),
    "score_summary": "evaluation_id, layer_id, category_id, n, n_correct, clusters, round(cluster_xx::numeric, 5)",
    "document_score_chunk": (
        "evaluation_id, document_chunk, n_correct, n_tokens, eos_surprisal, "
        "(select array_agg(round(x::numeric, 4)) from unnest(surprisal || entropy) as x)"
    ),
    "document_divergence_chunk": (
        "pair_id, document_chunk, n_tokens, (select array_agg(round(x::numeric, 4)) from unnest(kl) as x)"
    ),
    "paradigm_score": (
        "evaluation_id, paradigm_id, n_items, n_correct, n_correct_with_eos, round(sum_margin2::numeric, 5)"
    ),
    "paradigm_divergence": (
        "evaluation_p, evaluation_q, paradigm_id, n_items, round(sum_kl::numeric, 8), "
        "round(sum_kl_with_eos::numeric, 8)"
    ),
}


@pytest.mark.parametrize("table", TABLES)
def test_what_was_tampered_with_is_found_and_put_right(database: Database, table: str) -> None:
    measure(database, models=("small",), seeds=(0, 1, 2, 3), n_tokens=400, eos=True)

    def contents() -> list[tuple[object, ...]]:
        query = f"select {CONTENTS[table]} from warehouse.{table} order by 1, 2, 3"
        with database.connect() as connection:
            return connection.execute(query.encode()).fetchall()

    before = contents()
    for statement in TAMPERED[table]:
        with database.connect() as connection:
            connection.execute(statement.encode())
        assert contents() != before
        changes = refreshed(database)
        assert contents() == before, statement
        assert {name for name, change in changes.items() if not unchanged({name: change})} == {table}
        assert unchanged(refreshed(database))


def test_the_counts_tell_changed_added_and_removed_rows_apart(database: Database) -> None:
    measure(database, models=("small",), seeds=(0, 1), steps=(0, 16), n_tokens=300)
    with database.connect() as connection:
        connection.execute("update warehouse.score_summary set n = n * 2 where evaluation_id = 1 and layer_id = 1")
        connection.execute("delete from warehouse.score_summary where evaluation_id = 2 and layer_id = 1")
        connection.execute(
            "update warehouse.score_summary set category_id = 99 where evaluation_id = 3 and layer_id = 1"
        )
    change = refreshed(database)["score_summary"]
    assert (change.changed, change.added, change.removed) == (1, 2, 1)
    assert change.largest == pytest.approx(0.5)


def test_the_entropy_of_mixtures_is_kept(database: Database) -> None:
    measure(database, models=("small",), seeds=(0, 1), steps=(0, 16), n_tokens=300)
    query = "select sum(x) from warehouse.convergence_chunk, unnest(mixture_entropy) as x"
    with database.connect() as connection:
        before = connection.execute(query).fetchall()
        connection.execute("update warehouse.convergence_chunk set kl[1] = 9")
    assert refreshed(database)["convergence_chunk"].changed > 0
    with database.connect() as connection:
        assert connection.execute(query).fetchall() == before


def test_a_layer_and_then_a_seed_added_later_change_nothing_on_refresh(database: Database) -> None:
    held = measure(database, models=("small", "large"), n_tokens=900)
    held.layers["late"] = (np.arange(900) % 3 - 1).astype(np.int32)
    held.layers["of_a_model"] = (np.arange(900) % 2).astype(np.int32)
    with database.engine().begin() as connection:
        load_layer(connection, held, "late", numbers=np.arange(900, dtype=np.float32))
        load_layer(connection, held, "of_a_model", model_id=model_key(connection, "large"))
    assert unchanged(refreshed(database))
    with database.engine().begin() as connection:
        add_seed(connection, held, "large", 3)
    with database.connect() as connection:
        query = "select distinct n_pairs from expected_convergence where kind = 'seed' and model = 'large'"
        assert connection.execute(query).fetchall() == [(12,)]
        assert not [finding for finding in run_checks(connection) if finding.rows]
    assert unchanged(refreshed(database))


def test_an_empty_warehouse_refreshes_to_nothing(database: Database) -> None:
    changes = refreshed(database)
    assert [change.rows for change in changes.values()] == [0] * len(TABLES)
    assert unchanged(changes)


def test_a_comparison_that_is_only_planned_stays_as_it_is(database: Database) -> None:
    measure(database, models=("small",), seeds=(0, 1), steps=(0, 16), n_tokens=300)
    with database.connect() as connection:
        connection.execute(
            """
            insert into warehouse.comparison
                (kind, corpus_id, protocol_id, run_set, model_id, step, model_q_id, step_q, n_pairs_expected)
            select 'seed', corpus_id, protocol_id, run_set, model_id, 9999, model_q_id, 9999, 2
            from warehouse.comparison limit 1
            """
        )
    assert unchanged(refreshed(database))


def test_the_command_shows_what_changed_by_table(named_database: Database, command: Callable[..., Outcome]) -> None:
    measure(named_database, models=("small",), seeds=(0, 1), steps=(0, 16), n_tokens=300)
    outcome = command("refresh", "--format", "csv")
    assert outcome.status == 0
    lines = [line.split(",") for line in outcome.output.splitlines()]
    assert lines[0] == ["table", "rows", "changed", "added", "removed", "largest_relative_difference"]
    assert [line[0] for line in lines[1:]] == TABLES
    assert all(line[2:5] == ["0", "0", "0"] and float(line[5]) <= tolerance(line[0]) for line in lines[1:])
    assert "Nothing changed" in outcome.errors
