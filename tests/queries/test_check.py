"""`warehouse check`: silent on a sound warehouse, and each check sees the fault it is for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from queries.check import checks, query_of, run_checks
from tests.conftest import Outcome
from tests.queries.measured import Measured, measure
from warehouse import standing
from warehouse.database import Database

Command = Callable[..., Outcome]

#: A statement that breaks a sound warehouse, by the check that must see it.
FAULTS = {
    "annotation_chunk_without_layer": "update warehouse.annotation_chunk set layer_id = 99 where layer_id = 2",
    "annotation_without_category": "update warehouse.annotation_chunk set category_ids[3] = 77 where layer_id = 2",
    "chunk_of_wrong_length": "update warehouse.corpus set n_tokens = n_tokens - 1",
    "chunk_unlike_tokens": "update warehouse.divergence_chunk set kl = kl[1:100] where pair_id = 1",
    "comparison_incomplete": "delete from warehouse.convergence_chunk where comparison_id = 1 and chunk_id = 1",
    "comparison_member_missing": "update warehouse.run set outlier = true where run_id = 1",
    "comparison_member_without_pair": (
        "alter table warehouse.comparison_member drop constraint fk_comparison_member_pair_id;"
        "delete from warehouse.comparison_pair where pair_id = 1"
    ),
    "comparison_miscounted": "update warehouse.comparison set n_pairs = n_pairs - 1 where comparison_id = 1",
    "convergence_chunk_without_comparison": "update warehouse.convergence_chunk set comparison_id = -comparison_id",
    "convergence_summary_missing": "delete from warehouse.convergence_summary where layer_id = 2 and category_id = 1",
    "corpus_incomplete": "delete from warehouse.token_chunk where chunk_id = 1",
    "corpus_without_totals": "update warehouse.annotation_layer set is_total = false",
    "custom_pair_misplaced": "insert into warehouse.custom_pair values (1, 1, 2)",
    "divergence_chunk_without_pair": "update warehouse.divergence_chunk set pair_id = -pair_id where pair_id = 1",
    "document_divergence_incomplete": "delete from warehouse.document_divergence_chunk where pair_id = 1",
    "document_mismatched": "update warehouse.document set n_tokens = n_tokens + 1 where document = 1",
    "document_score_incomplete": "update warehouse.document_score_chunk set evaluation_id = -1 where evaluation_id = 1",
    "evaluation_incomplete": "delete from warehouse.score_chunk where evaluation_id = 1 and chunk_id = 0",
    "item_lopsided": "update warehouse.item set role = 'worse' where paradigm_id = 1 and item = 1 and role = 'bad'",
    "kl_impossible": "update warehouse.divergence_chunk set kl[5] = -1 where pair_id = 1 and chunk_id = 0",
    "layer_incomplete": "delete from warehouse.annotation_chunk where layer_id = 2 and chunk_id = 1",
    "layer_of_two_owners": (
        "insert into warehouse.annotation_layer (corpus_id, name, kind, source, is_total, summarised, model_id)"
        " select corpus_id, name, kind, source, false, false, 1 from warehouse.annotation_layer where layer_id = 2"
    ),
    "mean_impossible": "update warehouse.comparison_pair set mean_kl = 'NaN' where pair_id = 1",
    "pair_incomplete": "delete from warehouse.divergence_chunk where pair_id = 1 and chunk_id = 1",
    "pair_of_unlike_evaluations": "update warehouse.evaluation set status = 'planned' where evaluation_id = 1",
    "paradigm_divergence_missing": "update warehouse.paradigm_divergence set evaluation_q = -1 where evaluation_q = 4",
    "paradigm_score_missing": "delete from warehouse.paradigm_score where evaluation_id = 1 and paradigm_id = 3",
    "planned_evaluation_with_facts": "update warehouse.evaluation set status = 'planned' where evaluation_id = 1",
    "reference_chunk_without_reference": "delete from warehouse.reference_evaluation where evaluation_id = 1",
    "reference_incomplete": "delete from warehouse.reference_chunk where evaluation_id = 1 and chunk_id = 0",
    "run_set_misplaced": "update warehouse.run set outlier = true where run_id = 1",
    "score_chunk_without_evaluation": "update warehouse.score_chunk set evaluation_id = -1 where evaluation_id = 1",
    "score_impossible": "update warehouse.score_chunk set entropy[2] = 'NaN' where evaluation_id = 1",
    "score_summary_missing": "update warehouse.score_summary set category_id = 50 where category_id = 2",
    "settings_missing": "delete from warehouse.settings",
    "token_chunk_without_corpus": "update warehouse.token_chunk set corpus_id = 5 where chunk_id = 1",
    "top_chunk_incomplete": "update warehouse.evaluation set top_k = 2 where evaluation_id = 1",
    "top_entries_impossible": "insert into warehouse.top_chunk values (1, 0, 2, '{1,2}', '{-2,-1}')",
    "unequal_arrays": (
        "alter table warehouse.score_chunk drop constraint ck_score_chunk_same_length;"
        "update warehouse.score_chunk set rank = rank[1:9] where evaluation_id = 1"
    ),
    "vocab_id_unknown": "update warehouse.token_chunk set vocab_ids[1] = 4000",
}


@pytest.fixture(scope="module")
def sound(request: pytest.FixtureRequest) -> Iterator[psycopg.Connection[Any]]:
    """An owner's connection to a small warehouse, in a transaction that each test rolls back."""
    held: Measured = request.getfixturevalue("measured")
    with held.database.connect() as connection:
        yield connection
        connection.rollback()


def found(connection: psycopg.Connection[Any]) -> dict[str, int]:
    return {finding.check: finding.rows for finding in run_checks(connection) if finding.rows}


def test_a_sound_warehouse_has_no_findings(measured: Measured) -> None:
    with measured.database.read() as reader:
        findings = list(run_checks(reader))
    assert [finding.check for finding in findings] == sorted(checks())
    assert {finding.check: finding.rows for finding in findings if finding.rows} == {}
    assert all(finding.meaning.endswith(".") for finding in findings)


def test_every_check_has_its_fault() -> None:
    assert sorted(FAULTS) == sorted(checks())


@pytest.mark.parametrize("check", FAULTS)
def test_a_check_sees_its_fault(sound: psycopg.Connection[Any], check: str) -> None:
    sound.execute(FAULTS[check].encode())
    query = query_of(check).rstrip().removesuffix(";")
    assert sound.execute(query.encode()).fetchall()
    sound.rollback()


def test_the_command_lists_checks_and_fails_when_one_finds_rows(named_database: Database, command: Command) -> None:
    measure(named_database, models=("small",), seeds=(0, 1), steps=(0, 16), n_tokens=300)
    sane = command("check", "--format", "csv")
    assert (sane.status, sane.errors) == (0, "")
    assert len(sane.output.splitlines()) == 1 + len(FAULTS)
    with named_database.connect() as connection:
        connection.execute("update warehouse.divergence_chunk set kl[5] = -1 where chunk_id = 1")
    broken = command("check")
    assert broken.status == 1
    assert "kl_impossible" in broken.errors
    assert broken.errors.count("\n") == 1
    shown = command("check", "--show", "kl_impossible", "--format", "csv")
    assert shown.output.splitlines()[0] == "what,unit_id,chunk_id,kl"
    assert shown.output.splitlines()[1].startswith("divergence_chunk,1,1,-1")
    assert "did you mean kl_impossible?" in command("check", "--show", "kl_imposible").errors


def test_the_list_of_checks_fits_into_a_hundred_columns_and_loses_no_word(
    named_database: Database, command: Command
) -> None:
    measure(named_database, models=("small",), seeds=(0, 1), steps=(0,), n_tokens=40)
    said = command("check")
    assert said.status == 0
    assert max(map(len, said.output.splitlines())) <= 100
    rows = json.loads(command("check", "--format", "json").output)
    assert {row["check"] for row in rows} == {*FAULTS}
    wanted = Counter(word for row in rows for word in f"{row['check']} {row['meaning']}".split())
    found = Counter(said.output.split())
    assert wanted - found == Counter()


def test_the_command_says_what_is_left_out_on_purpose_and_does_not_fail(
    named_database: Database, command: Command
) -> None:
    measure(named_database, models=("small",), seeds=(0, 1, 2), steps=(0, 16), n_tokens=300)
    with named_database.engine().begin() as connection:
        standing.quarantine(connection, None, "small", 1, 16, "the loss has a spike")
        standing.flag_run(connection, "toy", "small", 2, "diverged")
    outcome = command("check", "--format", "csv")
    assert outcome.status == 0
    assert outcome.errors.splitlines() == [
        "Checkpoints that statistics leave out, or that could not be read.",
        "  toy small seed 1 step 16: quarantined: the loss has a spike",
        "Training runs that are flagged as outliers, and part of run set all alone.",
        "  toy small seed 2: diverged",
    ]


def test_a_long_list_of_what_is_left_out_is_cut(named_database: Database, command: Command) -> None:
    measure(named_database, models=("small",), seeds=range(25), steps=(0,), n_tokens=40)
    with named_database.connect() as connection:
        connection.execute("update warehouse.run set outlier = true, note = null")
    lines = command("check", "--show", "settings_missing").errors.splitlines()
    assert lines == []
    lines = command("check").errors.splitlines()
    assert lines[1:4] == ["  toy small seed 0", "  toy small seed 1", "  toy small seed 10"]
    assert lines[21] == "  and 5 more (view checkpoints)"
