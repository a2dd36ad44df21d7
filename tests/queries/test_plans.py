"""How PostgreSQL reads facts: a condition on names must reach the keys of the chunks, not filter all of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.views import FACTS_OF, views
from tests.queries.measured import Measured

ONE_STEP = "corpus = 'prose' and model = 'small' and step = 16"
ONE_RUN = "corpus = 'prose' and model = 'small' and seed = 1"

#: A query, the table of facts that it reads, and the column of the index that must lead there.
QUESTIONS = {
    "scores of a checkpoint": (
        f"select avg(surprisal) from token_score where {ONE_STEP} and seed = 1",
        "score_chunk",
        "evaluation_id",
    ),
    "words of a checkpoint": (
        f"select avg(corrected_surprisal) from word_score where {ONE_STEP} and seed = 1",
        "score_chunk",
        "evaluation_id",
    ),
    "pieces of the words of a corpus": (
        f"select avg(corrected_surprisal) from word_score where {ONE_STEP} and seed = 1",
        "token_chunk",
        "corpus_id",
    ),
    "pairs of a step": (
        f"select seed_p, seed_q, avg(kl) from pairwise_kl where kind = 'seed' and {ONE_STEP} group by 1, 2",
        "divergence_chunk",
        "pair_id",
    ),
    "tokens of a step": (
        f"select avg(convergence) from token_convergence where kind = 'seed' and {ONE_STEP}",
        "convergence_chunk",
        "comparison_id",
    ),
    "one token in all comparisons": (
        "select * from token_trajectory(300)",
        "convergence_chunk",
        "chunk_id",
    ),
    "trends of a run": (
        f"select trend, count(*) from token_trend where {ONE_RUN} group by 1",
        "score_chunk",
        "evaluation_id",
    ),
    "learning of a chunk": ("select * from token_learning where chunk_id = 1", "score_chunk", "chunk_id"),
    "ages of a run": (
        f"select avg(age_of_acquisition) from age_of_acquisition where {ONE_RUN}",
        "score_chunk",
        "evaluation_id",
    ),
    "distances of two runs": (
        "select distance from cross_run_distance where model = 'small' and seed_p = 0 and seed_q = 1",
        "score_chunk",
        "evaluation_id",
    ),
    "a subset in one model": (
        "select * from subset_trajectory('small', 'upward', 0, 0) where model = 'large' and seed = 1",
        "score_chunk",
        "evaluation_id",
    ),
    "scores of one token by all checkpoints": (
        "select * from token_score_trajectory(300)",
        "score_chunk",
        "chunk_id",
    ),
    "tokens of a chunk": ("select piece from tokens where chunk_id = 1", "token_chunk", "chunk_id"),
    "sequences of a checkpoint": (
        f"select avg(bits_per_byte) from sequence_score where {ONE_STEP} and seed = 1",
        "document_score_chunk",
        "evaluation_id",
    ),
    "sequences of a step's pairs": (
        f"select seed_p, avg(kl) from sequence_divergence where kind = 'seed' and {ONE_STEP} group by 1",
        "document_divergence_chunk",
        "pair_id",
    ),
    "pairs of a paradigm by a checkpoint": (
        f"select avg(margin) from minimal_pairs where {ONE_STEP} and seed = 1 and paradigm = 'agreement'",
        "document_score_chunk",
        "evaluation_id",
    ),
    "items of a paradigm": (
        f"select avg(margin) from minimal_pairs where {ONE_STEP} and seed = 1 and paradigm = 'agreement'",
        "item",
        "paradigm_id",
    ),
    "accuracy of a checkpoint": (
        f"select avg(accuracy) from minimal_pair_accuracy where {ONE_STEP} and seed = 1",
        "paradigm_score",
        "evaluation_id",
    ),
    "answers of a step": (
        f"select convergence from task_convergence where {ONE_STEP} and paradigm = 'agreement'",
        "paradigm_divergence",
        "evaluation_p",
    ),
    "answers of a step's seeds to items": (
        f"select se_item from task_convergence_exact where {ONE_STEP} and paradigm = 'agreement'",
        "document_score_chunk",
        "evaluation_id",
    ),
    "options of a checkpoint": (
        f"select perplexity_correct from option_perplexity where {ONE_STEP} and seed = 1",
        "document_score_chunk",
        "evaluation_id",
    ),
    "spans of a checkpoint": (
        f"select score from in_context_learning_score where {ONE_STEP} and seed = 1",
        "document_score_chunk",
        "evaluation_id",
    ),
    "types of a step": (
        f"select piece, convergence from vocabulary_convergence where kind = 'seed' and {ONE_STEP}",
        "convergence_chunk",
        "comparison_id",
    ),
    "mixture of a step": (
        f"select divergence from jensen_shannon where {ONE_STEP}",
        "convergence_chunk",
        "comparison_id",
    ),
    "entropies of a step's seeds": (
        f"select divergence from expected_jensen_shannon where {ONE_STEP}",
        "score_chunk",
        "evaluation_id",
    ),
    "scores of a checkpoint with their errors": (
        f"select se_entropy from expected_surprisal_exact where {ONE_STEP} and seed = 1",
        "score_chunk",
        "evaluation_id",
    ),
    "KL of a checkpoint to a reference": (
        f"select se_document from reference_divergence_exact where {ONE_STEP} and seed = 1",
        "reference_chunk",
        "evaluation_id",
    ),
    "bytes of a checkpoint": (
        f"select bits_per_byte from bits_per_byte where {ONE_STEP} and seed = 1",
        "document_score_chunk",
        "evaluation_id",
    ),
    "pairs of seeds at a step": (
        f"select spearman from seed_agreement where {ONE_STEP}",
        "comparison_pair",
        "pair_id",
    ),
    "a layer": ("select value from token_annotation where layer = 'pos'", "annotation_chunk", "layer_id"),
}


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", []):
        yield from nodes(part)


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_condition_on_names_reaches_the_index_of_the_facts(measured: Measured, question: str) -> None:
    query, table, column = QUESTIONS[question]
    with measured.database.connect() as connection:
        # So few rows are read whole by choice, or by any index; with many the right one is the choice, if the condition
        # gets there at all.
        connection.execute("set local enable_seqscan = off")
        connection.execute("set local enable_hashjoin = off")
        connection.execute("set local enable_mergejoin = off")
        connection.execute("set local search_path = analysis")
        if column != "chunk_id":
            connection.execute(f"drop index if exists warehouse.ix_{table}_chunk_id".encode())
        row = connection.execute(f"explain (format json) {query}".encode()).fetchone()
        connection.rollback()
    assert row is not None
    plan = row[0] if isinstance(row[0], list) else json.loads(row[0])
    found = list(nodes(plan[0]["Plan"]))
    assert not [node for node in found if node["Node Type"] == "Seq Scan" and node["Relation Name"] == table]
    conditions = [
        node["Index Cond"]
        for node in found
        if "Index Cond" in node and table in node.get("Relation Name", node.get("Index Name", ""))
    ]
    assert any(f"({column} = " in condition for condition in conditions), conditions


def test_scores_without_their_context_do_not_read_the_tokens(measured: Measured) -> None:
    def tables(columns: str) -> set[str]:
        with measured.database.read() as reader:
            row = reader.execute(f"explain (format json) select {columns} from token_score".encode()).fetchone()
        assert row is not None
        return {node.get("Relation Name", "") for node in nodes(row[0][0]["Plan"])}

    assert "token_chunk" in tables("token_id, context_length")
    assert "token_chunk" not in tables("token_id, surprisal")


@pytest.mark.parametrize(
    "view",
    [
        *("sequence_score", "sequence_divergence", "minimal_pairs", "minimal_pair_accuracy", "task_convergence"),
        *("task_convergence_exact", "option_perplexity", "in_context_learning_score"),
    ],
)
def test_views_of_sequences_read_no_tokens(measured: Measured, view: str) -> None:
    with measured.database.read() as reader:
        row = reader.execute(f"explain (format json) select * from {view}".encode()).fetchone()
    assert row is not None
    read = {node.get("Relation Name", "") for node in nodes(row[0][0]["Plan"])}
    assert not read & {"token_chunk", "score_chunk", "divergence_chunk", "annotation_chunk"}
    assert read & {"document_score_chunk", "document_divergence_chunk", "paradigm_score", "paradigm_divergence"}


@pytest.mark.parametrize("view", ["expected_convergence", "token_convergence", "pairwise_kl", "relative_divergence"])
def test_the_run_set_is_a_condition_like_any_other(measured: Measured, view: str) -> None:
    """The function that names it is taken in, so that the planner estimates as if the name stood there."""
    with measured.database.read() as reader:
        lines = reader.execute(f"explain select * from {view}".encode()).fetchall()
    plan = "\n".join(line for (line,) in lines)
    assert "chosen_run_set" not in plan
    assert "current_setting('warehouse.run_set'" in plan


SUMMED = (
    *("expected_convergence", "conditional_convergence", "expected_surprisal", "conditional_surprisal"),
    *("relative_divergence", "relative_divergence_outliers", "phase_statistics", "reference_divergence"),
    *("saturation", "scaling_losses", "scaling_excess"),
    *("cross_entropy_points", "cross_entropy_fit", "cross_entropy_difference", "cross_entropy_frontier"),
    *("training_curves", "break_points", "phase_boundaries", "conditional_phases"),
    *("mean_reference_divergence", "reference_step", "metric_against_loss"),
)


def tables_read(measured: Measured, query: str) -> set[str]:
    """The tables of a plan, those that functions read which it calls and does not take in among them."""
    with measured.database.read() as reader:
        row = reader.execute(f"explain (verbose, format json) {query}".encode()).fetchone()
        bodies = reader.execute(
            b"select proname, prosrc from pg_proc where pronamespace = 'analysis'::regnamespace"
        ).fetchall()
    assert row is not None
    plan = json.dumps(row[0])
    called = [body for name, body in bodies if f"analysis.{name}(" in plan or f'"Function Name": "{name}"' in plan]
    read = {node["Relation Name"] for node in nodes(row[0][0]["Plan"]) if "Relation Name" in node}
    return read | set(re.findall(r"warehouse\.(\w+)", "\n".join(called)))


@pytest.mark.parametrize("view", views())
def test_a_view_reads_facts_only_if_it_is_known_to(measured: Measured, view: str) -> None:
    """What is asked of views that read facts has conditions, in the benchmark of views and here."""
    facts = {table for table in tables_read(measured, f"select * from {view}") if table.endswith("_chunk")}
    assert bool(facts) == (view in FACTS_OF), facts


def test_every_view_that_is_known_to_read_facts_is_a_view() -> None:
    assert set(FACTS_OF) <= set(views())


@pytest.mark.parametrize("view", SUMMED)
def test_everyday_questions_are_answered_from_sums(measured: Measured, view: str) -> None:
    assert tables_read(measured, f"select * from {view}") & {"convergence_summary", "score_summary"}


def test_the_jackknife_is_taken_into_the_query(measured: Measured) -> None:
    """Called as a function it takes five times as long, for every row."""
    with measured.database.read() as reader:
        row = reader.execute(b"explain (format json) select * from conditional_convergence").fetchone()
    assert row is not None
    assert "jackknife_error" not in {node.get("Function Name") for node in nodes(row[0][0]["Plan"])}


def test_conditions_on_names_reach_the_tables_of_phases(measured: Measured) -> None:
    with measured.database.read() as reader:
        query = "select * from conditional_phases where definition = 'estimated' and layer = 'pos' and model = 'small'"
        plan = "\n".join(line for (line,) in reader.execute(f"explain {query}".encode()).fetchall())
    assert "(name = 'pos'::text)" in plan
    assert "(name = 'small'::text)" in plan
    assert "(definition = 'estimated'::text)" in plan
