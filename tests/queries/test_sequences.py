"""Documents, minimal pairs, options and spans: what their views say of made-up measurements, recomputed with pandas."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import log_softmax, rel_entr

from queries.check import run_checks
from queries.refresh import refresh
from tests.contents import frame
from tests.queries.measured import Measured, Member, add_seed, evaluation_ids, measure
from tests.queries.test_views import jackknife
from warehouse import standing
from warehouse.database import Database

EVALUATION = ["model", "seed", "step"]


@pytest.fixture(scope="module")
def held(request: pytest.FixtureRequest) -> Measured:
    """The measured warehouse of this folder."""
    found: Measured = request.getfixturevalue("measured")
    return found


def documents(held: Measured, member: Member) -> pd.DataFrame:
    """Sums of each document's scores in double precision, its EOS apart."""
    tokens = pd.DataFrame({name: held.scores[member][name] for name in ("surprisal", "entropy", "rank")})
    tokens["document"] = held.documents
    tokens["correct"] = tokens["rank"] == 1
    tokens[["surprisal", "entropy"]] = tokens[["surprisal", "entropy"]].astype(np.float64)
    return tokens.groupby("document").agg(
        n=("surprisal", "count"), surprisal=("surprisal", "sum"), entropy=("entropy", "sum"), correct=("correct", "sum")
    )


def log_probabilities(held: Measured, member: Member, paradigm: str) -> np.ndarray:
    """[items, roles] log-probability of each document of each item."""
    scores = -documents(held, member)["surprisal"].to_numpy()
    return np.asarray(scores[np.array(held.items[paradigm])])


def rows(table: pd.DataFrame) -> list[Any]:
    """The rows of a table, with their columns as attributes."""
    return list(table.itertuples(index=False))


def of(table: pd.DataFrame, member: Member) -> pd.DataFrame:
    """The rows of an evaluation."""
    return table[(table[EVALUATION] == list(member)).all(axis=1)].reset_index(drop=True)


def test_a_sequence_score_is_the_sum_over_its_tokens(held: Measured) -> None:
    table = frame(held.database, "select * from sequence_score order by model, seed, step, document")
    assert len(table) == len(held.scores) * len(np.unique(held.documents))
    for member in held.scores:
        own, expected = of(table, member), documents(held, member)
        assert own["n_tokens"].tolist() == expected["n"].tolist()
        np.testing.assert_allclose(-own["log_probability"], expected["surprisal"], rtol=2e-7)
        np.testing.assert_allclose(own["surprisal_per_token"], expected["surprisal"] / expected["n"], rtol=2e-7)
        np.testing.assert_allclose(own["entropy_per_token"], expected["entropy"] / expected["n"], rtol=2e-7)
        np.testing.assert_allclose(own["accuracy"], expected["correct"] / expected["n"], rtol=1e-12)
        # Every token is four bytes.
        np.testing.assert_allclose(
            own["bits_per_byte"], expected["surprisal"] / expected["n"] / 4 / np.log(2), rtol=2e-7
        )
    assert table["log_probability_with_eos"].isna().all()
    assert table["n_words"].isna().all()


def test_a_minimal_pair_has_both_scores_and_their_margin(held: Measured) -> None:
    table = frame(held.database, "select * from minimal_pairs order by model, seed, step, paradigm, item")
    assert set(table["paradigm"]) == {"agreement", "binding"}
    for member in held.scores:
        for paradigm, own in of(table, member).groupby("paradigm"):
            scores = log_probabilities(held, member, str(paradigm))
            np.testing.assert_allclose(own["log_probability_good"], scores[:, 0], rtol=2e-7)
            np.testing.assert_allclose(own["log_probability_bad"], scores[:, 1], rtol=2e-7)
            np.testing.assert_allclose(own["margin"], scores[:, 0] - scores[:, 1], atol=1e-4)
            assert own["is_correct"].tolist() == (scores[:, 0] > scores[:, 1]).tolist()
            assert own[["document_good", "document_bad"]].to_numpy().tolist() == list(
                map(list, held.items[str(paradigm)])
            )
    assert table["margin_with_eos"].isna().all()
    assert table["is_correct_with_eos"].isna().all()


def test_accuracy_by_paradigm_is_that_of_its_pairs(held: Measured) -> None:
    table = frame(held.database, "select * from minimal_pair_accuracy order by model, seed, step, paradigm")
    assert len(table) == 2 * len(held.scores)
    for row in rows(table):
        scores = log_probabilities(held, (row.model, row.seed, row.step), row.paradigm)
        margin = scores[:, 0] - scores[:, 1]
        correct = pd.Series(margin > 0).astype(float)
        assert row.n_items == len(correct)
        assert row.accuracy == pytest.approx(correct.mean())
        assert row.se_accuracy == pytest.approx(correct.sem())
        assert row.margin == pytest.approx(margin.mean(), rel=1e-5)
        assert row.se_margin == pytest.approx(pd.Series(margin).sem(), rel=1e-5)


def kl_of_items(held: Measured, paradigm: str, p: Member, q: Member) -> np.ndarray:
    """[items] KL between the softmaxes of two models' scores, by scipy."""
    log_p, log_q = (log_softmax(log_probabilities(held, member, paradigm), axis=1) for member in (p, q))
    return np.asarray(rel_entr(np.exp(log_p), np.exp(log_q)).sum(1))


def kl_of_answers(held: Measured, paradigm: str, p: Member, q: Member) -> float:
    """Its mean over items."""
    return float(kl_of_items(held, paradigm, p, q).mean())


def test_task_convergence_is_minus_the_mean_kl_of_the_seeds_answers(held: Measured) -> None:
    table = frame(held.database, "select * from task_convergence order by model, step, paradigm")
    assert len(table) == 3 * len(held.models) * len(held.steps)
    for row in rows(table):
        pairs = {
            (p, q): kl_of_answers(held, row.paradigm, (row.model, p, row.step), (row.model, q, row.step))
            for p, q in permutations(held.seeds, 2)
        }
        assert (row.n_pairs, row.n_seeds, row.df_seed) == (12, 4, 3)
        assert row.n_items == len(held.items[row.paradigm])
        assert row.convergence == pytest.approx(-np.mean(list(pairs.values())), rel=1e-5)
        assert row.se_seed == pytest.approx(jackknife(pairs, 2), rel=1e-4)
    assert table["convergence_with_eos"].isna().all()
    assert set(table["items"]) == {"minimal_pairs", "options"}


def test_the_error_over_items_is_that_of_each_items_mean_over_pairs(held: Measured) -> None:
    kept = frame(held.database, "select * from task_convergence order by model, step, paradigm")
    table = frame(held.database, "select * from task_convergence_exact order by model, step, paradigm")
    names = ["model", "step", "paradigm", "items", "category", "n_items", "n_seeds", "run_set"]
    pd.testing.assert_frame_equal(table[names], kept[names])
    np.testing.assert_allclose(table["convergence"], kept["convergence"], rtol=1e-6)
    for row in rows(table):
        means = np.mean(
            [
                kl_of_items(held, row.paradigm, (row.model, p, row.step), (row.model, q, row.step))
                for p, q in permutations(held.seeds, 2)
            ],
            axis=0,
        )
        assert row.convergence == pytest.approx(-means.mean(), rel=1e-5)
        assert row.se_item == pytest.approx(pd.Series(means).sem(), rel=1e-5)
        assert row.df_item == len(held.items[row.paradigm]) - 1
    assert table[["convergence_with_eos", "se_item_with_eos"]].isna().all(axis=None)


def test_the_perplexity_of_options_is_over_all_their_tokens(held: Measured) -> None:
    table = frame(held.database, "select * from option_perplexity")
    assert len(table) == len(held.scores)
    items = np.array(held.items["quiz"])
    for row in rows(table):
        member = (row.model, row.seed, row.step)
        sums, scores = documents(held, member), log_probabilities(held, member, "quiz")
        for name, chosen in (("correct", items[:, 0]), ("incorrect", items[:, 1:].reshape(-1))):
            own = sums.loc[chosen]
            perplexity = np.exp(own["surprisal"].sum() / own["n"].sum())
            assert getattr(row, f"perplexity_{name}") == pytest.approx(perplexity, rel=1e-6)
            assert getattr(row, f"n_tokens_{name}") == own["n"].sum()
            assert getattr(row, f"n_{name}") == len(chosen)
        assert row.accuracy == pytest.approx((scores.argmax(1) == 0).mean())
        assert row.n_items == len(items)


def test_the_in_context_learning_score_is_what_the_longer_context_saves(held: Measured) -> None:
    table = frame(held.database, "select * from in_context_learning_score")
    assert len(table) == len(held.scores)
    for row in rows(table):
        scores = log_probabilities(held, (row.model, row.seed, row.step), "in-context-learning")
        saved = pd.Series(scores[:, 1] - scores[:, 0])
        assert row.n_items == len(saved)
        assert row.score == pytest.approx(saved.mean(), rel=1e-5)
        assert row.se_score == pytest.approx(saved.sem(), rel=1e-5)
        assert row.surprisal_short - row.surprisal_long == pytest.approx(row.score)


def by_pair(table: pd.DataFrame) -> list[tuple[tuple[int, int, int], pd.DataFrame]]:
    """The rows of each pair of a run with itself, by seed and steps."""
    groups: Any = table.groupby(["seed_p", "step", "step_q"])
    return list(groups)


def test_a_sequence_divergence_is_the_sum_over_the_tokens_that_were_measured(held: Measured) -> None:
    query = "select * from sequence_divergence where kind = 'step' and model = 'large' order by step, seed_p, document"
    table = frame(held.database, query)
    assert len(table) == 2 * len(held.seeds) * len(np.unique(held.documents))
    for (seed, step, step_q), own in by_pair(table):
        values = held.kl[("large", seed, step), ("large", seed, step_q)]
        kl = pd.Series(values, dtype=float).groupby(held.documents)
        assert own["n_tokens"].tolist() == kl.count().tolist()
        np.testing.assert_allclose(own["sum_kl"], kl.sum(), rtol=2e-7)
        np.testing.assert_allclose(own["kl"], kl.mean(), rtol=2e-7)


def test_a_flagged_run_is_left_out_and_run_set_all_takes_it_in(database: Database) -> None:
    held = measure(database, models=("small", "large"), seeds=(0, 1, 2, 3), steps=(0, 16), n_tokens=300)
    with database.engine().begin() as connection:
        standing.flag_run(connection, "toy", "small", 2, "diverged")
        standing.quarantine(connection, "toy", "large", 1, 16, "the loss has a spike")
    query = (
        "select model, step, run_set, convergence, n_seeds, n_pairs from task_convergence where paradigm = 'agreement'"
    )
    shown = frame(database, f"{query} order by model, step")
    assert shown[["model", "step", "n_seeds", "n_pairs"]].to_numpy().tolist() == [
        ["large", 0, 4, 12],
        ["large", 16, 3, 6],
        ["small", 0, 3, 6],
        ["small", 16, 3, 6],
    ]
    mean = np.mean(
        [kl_of_answers(held, "agreement", ("small", p, 16), ("small", q, 16)) for p, q in permutations((0, 1, 3), 2)]
    )
    assert shown["convergence"].iloc[-1] == pytest.approx(-mean, rel=1e-5)
    with database.connect() as connection:
        connection.execute("set warehouse.run_set = 'all'")
        rows = connection.execute(f"{query} order by model, step".encode()).fetchall()
        exact = connection.execute(
            b"select distinct model, step, run_set, n_seeds from analysis.task_convergence_exact"
        )
        exact_rows = sorted(exact.fetchall())
    shown_rows = [(model, step, run_set, n_seeds) for model, step, run_set, _, n_seeds, _ in rows]
    assert shown_rows == exact_rows == [("small", 0, "all", 4), ("small", 16, "all", 4)]


def test_a_seed_that_comes_later_meets_the_earlier_ones(database: Database) -> None:
    held = measure(database, models=("small",), seeds=(0, 1), steps=(0, 16), n_tokens=300)
    with database.engine().begin() as connection:
        add_seed(connection, held, "small", 5)
    table = frame(database, "select paradigm, convergence, n_pairs, se_seed from task_convergence where step = 16")
    for row in rows(table):
        pairs = {
            (p, q): kl_of_answers(held, row.paradigm, ("small", p, 16), ("small", q, 16))
            for p, q in permutations((0, 1, 5), 2)
        }
        assert row.n_pairs == 6
        assert row.convergence == pytest.approx(-np.mean(list(pairs.values())), rel=1e-5)
        assert row.se_seed == pytest.approx(jackknife(pairs, 2), rel=1e-4)


def test_a_refresh_makes_the_sums_of_what_was_loaded_before_they_were_kept(database: Database) -> None:
    measure(database, models=("small",), seeds=(0, 1, 2), steps=(0, 16), n_tokens=300, eos=True)
    tables = ("document_score_chunk", "document_divergence_chunk", "paradigm_score", "paradigm_divergence")
    query = "select avg(convergence), avg(se_seed), count(*) from task_convergence"
    before = frame(database, query)
    with database.connect() as connection:
        for table in tables:
            connection.execute(f"delete from warehouse.{table}".encode())
    with database.connect() as connection:
        missing = {finding.check for finding in run_checks(connection) if finding.rows}
        changes = {change.table: change for change in refresh(connection)}
    assert missing == {
        *("document_score_incomplete", "document_divergence_incomplete"),
        *("paradigm_score_missing", "paradigm_divergence_missing"),
    }
    assert all(changes[table].added > 0 for table in tables)
    assert all(change.changed == change.removed == 0 for change in changes.values())
    pd.testing.assert_frame_equal(frame(database, query), before, rtol=1e-6)
    with database.connect() as connection:
        assert not [finding for finding in run_checks(connection) if finding.rows]


def test_with_eos_every_score_has_it(database: Database) -> None:
    held = measure(database, models=("small",), seeds=(0, 1, 2), steps=(0,), n_tokens=400, eos=True)
    last = np.flatnonzero(np.diff(held.documents, append=-1))
    table = frame(database, "select * from sequence_score order by seed, document")
    for seed in held.seeds:
        surprisal = held.scores["small", seed, 0]["surprisal"].astype(np.float64)
        own = table[table["seed"] == seed]
        total = np.bincount(held.documents, surprisal)
        ends = np.append(surprisal[last][:-1], np.nan)  # the last document has none
        np.testing.assert_allclose(own["eos_surprisal"].astype(float), ends)
        np.testing.assert_allclose(own["log_probability_with_eos"].astype(float)[:-1], -total[:-1], rtol=3e-7)
        np.testing.assert_allclose(own["log_probability"], -(total - np.nan_to_num(ends)), rtol=3e-7)
    items = np.array(held.items["quiz"])

    def answers(seed: int) -> np.ndarray:
        surprisal = held.scores["small", seed, 0]["surprisal"].astype(np.float64)
        return np.asarray(log_softmax(-np.bincount(held.documents, surprisal)[items], axis=1))

    by_item = np.mean(
        [rel_entr(np.exp(answers(p)), np.exp(answers(q))).sum(1) for p, q in permutations(held.seeds, 2)], axis=0
    )
    task = frame(database, "select * from task_convergence order by paradigm").set_index("paradigm")
    assert task.loc["quiz", "convergence_with_eos"] == pytest.approx(-by_item.mean(), rel=1e-5)
    assert task.loc["quiz", "convergence"] != pytest.approx(-by_item.mean(), rel=1e-2)
    assert task.loc[["agreement", "binding"], "convergence_with_eos"].isna().all()
    exact = frame(database, "select * from task_convergence_exact order by paradigm").set_index("paradigm")
    both = ["convergence", "convergence_with_eos"]
    pd.testing.assert_frame_equal(exact[both], task[both], rtol=1e-6)
    assert exact.loc["quiz", "se_item_with_eos"] == pytest.approx(pd.Series(by_item).sem(), rel=1e-5)
    assert exact.loc[["agreement", "binding"], "se_item_with_eos"].isna().all()


def test_a_convergence_with_eos_is_not_known_unless_every_pair_has_it(database: Database) -> None:
    measure(database, models=("small",), seeds=(0, 1, 2), steps=(0,), n_tokens=400, eos=True)
    query = "select convergence, convergence_with_eos, se_seed_with_eos from task_convergence where paradigm = 'quiz'"
    assert frame(database, query).notna().all(axis=None)
    with database.connect() as connection:
        connection.execute(
            """
            update warehouse.paradigm_divergence set sum_kl_with_eos = null
            where evaluation_p + evaluation_q = (
                select min(evaluation_id) + max(evaluation_id) from warehouse.evaluation
            ) and evaluation_p in (select evaluation_id from warehouse.evaluation order by 1 limit 1)
            """
        )
    [row] = frame(database, query).to_dict("records")
    assert row["convergence"] < 0
    assert (row["convergence_with_eos"], row["se_seed_with_eos"]) == (None, None)


def test_results_do_not_depend_on_which_evaluation_came_first(database: Database) -> None:
    held = measure(database, models=("small",), seeds=(0, 1, 2), steps=(0,), n_tokens=300)
    with database.engine().begin() as connection:
        ids = evaluation_ids(connection, held)
    found = frame(database, "select distinct evaluation_p, evaluation_q from warehouse.paradigm_divergence")
    expected = {(ids[p], ids[q]) for p, q in permutations(ids, 2)}
    assert set(found.itertuples(index=False, name=None)) == expected


def test_where_no_item_was_scored_there_is_no_accuracy(database: Database) -> None:
    held = measure(database, n_documents=4, models=("small",), steps=(16,), unmeasured=["scores"])
    assert all((documents(held, member)["n"] < np.bincount(held.documents)).all() for member in held.scores)
    table = frame(database, "select n_items, accuracy, se_accuracy, margin, se_margin from minimal_pair_accuracy")
    assert len(table) == 2 * len(held.scores)
    assert (table.pop("n_items") == 0).all()
    assert table.isna().all(axis=None)
    assert frame(database, "select convergence from task_convergence where n_items = 0")["convergence"].isna().all()
