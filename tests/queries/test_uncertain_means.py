"""Means that one would plot, and their standard errors: against pandas on the arrays that were loaded."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.contents import frame
from tests.queries.measured import VOCABULARY, Measured, Member, measure
from tests.queries.rows import TRAINING_STEPS, add_text, add_training, insert
from tests.queries.test_views import jackknife, se_clusters
from warehouse.database import Database

EVALUATION = ["model", "seed", "step"]


def by_member(table: pd.DataFrame) -> dict[Member, Any]:
    """Rows by evaluation."""
    return {(row.model, row.seed, row.step): row for row in table.itertuples()}  # type: ignore[misc]


def ratio_error(x: pd.Series, size: pd.Series) -> float:
    """Standard error of sum(x) / sum(size) over independent rows, from their residuals."""
    residual = x - x.sum() / size.sum() * size
    return float(np.sqrt(len(x) / (len(x) - 1) * (residual**2).sum()) / size.sum())


@pytest.mark.parametrize("eos", [False, True])
def test_bits_per_byte_are_those_of_whole_documents(database: Database, eos: bool) -> None:
    held = measure(database, models=("small",), seeds=(0, 1), steps=(16,), n_tokens=900, eos=eos)
    with database.connect() as connection:
        connection.execute("update warehouse.document set byte_end = byte_end + 3 where document = 1")
        connection.execute("update warehouse.document_score_chunk set surprisal[5] = null")
    rows = by_member(frame(database, "select * from bits_per_byte"))
    assert rows.keys() == held.scores.keys()
    for member, row in rows.items():
        tokens = pd.DataFrame({"x": held.scores[member]["surprisal"].astype(float), "document": held.documents})
        sizes = 4 * tokens.groupby("document").size()
        sizes[1] += 3
        last = ~tokens["document"].duplicated(keep="last") & (tokens["document"] < held.documents[-1])
        bits = tokens[~(last & eos)].groupby("document")["x"].sum() / np.log(2)
        bits, sizes = bits.drop(4), sizes.drop(4)
        assert row.bits_per_byte == pytest.approx(bits.sum() / sizes.sum(), rel=1e-6)
        assert row.se_document == pytest.approx(ratio_error(bits, sizes), rel=1e-5)
        assert (row.n_documents, row.df_document, row.n_bytes) == (len(bits), len(bits) - 1, sizes.sum())
    known = "from sequence_score where bits_per_byte is not null group by seed"
    sequences = frame(database, f"select seed, sum(bits_per_byte * n_bytes) / sum(n_bytes) {known}")
    assert dict(sequences.to_numpy()) == pytest.approx({row.seed: row.bits_per_byte for row in rows.values()}, rel=1e-9)


def test_bits_per_byte_of_few_documents_have_no_error(database: Database) -> None:
    measure(database, models=("small",), seeds=(0, 1), steps=(16,), n_tokens=900, n_documents=6)
    row, _ = frame(database, "select * from bits_per_byte").to_dict("records")
    assert row["bits_per_byte"] > 0
    assert row["se_document"] is None


def test_surprisal_entropy_and_accuracy_each_have_their_error_over_the_text(measured: Measured) -> None:
    stored = by_member(frame(measured.database, "select * from expected_surprisal"))
    exact = by_member(frame(measured.database, "select * from expected_surprisal_exact"))
    assert exact.keys() == stored.keys() == measured.scores.keys()
    for member, row in exact.items():
        scores = measured.scores[member]
        for name, values in (
            ("surprisal", scores["surprisal"]),
            ("entropy", scores["entropy"]),
            ("accuracy", scores["rank"] == 1),
        ):
            x = np.asarray(values, np.float64)
            assert getattr(row, name) == pytest.approx(x.mean(), rel=1e-9)
            assert getattr(row, f"se_{name}") == pytest.approx(se_clusters(x, measured.clusters), rel=1e-7)
            assert getattr(row, name) == pytest.approx(getattr(stored[member], name), rel=1e-9)
        assert row.se_surprisal == pytest.approx(stored[member].se_document, rel=1e-9)
        assert (row.n_tokens, row.df_document) == (len(measured.documents), stored[member].df_document)


def test_what_some_tokens_lack_is_not_known(database: Database) -> None:
    held = measure(database, models=("small",), seeds=(0, 1), steps=(16,), n_tokens=900)
    with database.connect() as connection:
        connection.execute("update warehouse.score_chunk set entropy[7] = null")
        connection.execute("update warehouse.score_chunk set rank = null where chunk_id = 1")
    row, _ = frame(database, "select * from expected_surprisal_exact order by seed").to_dict("records")
    assert row["surprisal"] == pytest.approx(held.scores["small", 0, 16]["surprisal"].mean(dtype=float))
    assert [row[name] for name in ("entropy", "se_entropy", "accuracy", "se_accuracy")] == [None] * 4


def test_kl_to_a_reference_has_its_error_over_the_text(measured: Measured) -> None:
    rows = by_member(frame(measured.database, "select * from reference_divergence_exact"))
    assert rows.keys() == measured.references.keys()
    for member, row in rows.items():
        x = measured.references[member].astype(np.float64)
        assert row.reference == "unigram"
        assert row.kl_reference == pytest.approx(x.mean(), rel=1e-9)
        assert row.se_document == pytest.approx(se_clusters(x, measured.clusters), rel=1e-7)


def test_reference_divergence_carries_the_error_of_the_cross_entropy(measured: Measured) -> None:
    for member, row in by_member(frame(measured.database, "select * from reference_divergence")).items():
        x = measured.scores[member]["surprisal"].astype(np.float64)
        assert row.se_cross_entropy == pytest.approx(se_clusters(x, measured.clusters), rel=1e-6)
        assert row.df_document == row.n_clusters - 1 == len(np.unique(measured.clusters)) - 1


def test_means_over_seeds_have_their_errors_over_seeds(measured: Measured) -> None:
    table = frame(measured.database, "select * from mean_reference_divergence")
    assert len(table) == 6
    for row in table.itertuples():
        members: list[Member] = [(str(row.model), seed, int(row.step)) for seed in measured.seeds]  # type: ignore[arg-type]
        for name, values in {
            "kl_uniform": [
                np.log(VOCABULARY) - measured.scores[each]["entropy"].astype(float).mean() for each in members
            ],
            "kl_reference": [measured.references[each].astype(float).mean() for each in members],
            "cross_entropy": [measured.scores[each]["surprisal"].astype(float).mean() for each in members],
        }.items():
            assert getattr(row, name) == pytest.approx(np.mean(values), rel=1e-9)
            assert getattr(row, f"se_seed_{name}") == pytest.approx(pd.Series(values).sem(), rel=1e-6)
        text = [se_clusters(measured.scores[each]["surprisal"].astype(float), measured.clusters) for each in members]
        assert row.se_document_cross_entropy == pytest.approx(np.mean(text), rel=1e-6)
        together = np.mean([measured.scores[each]["surprisal"].astype(float) for each in members], axis=0)
        assert se_clusters(together, measured.clusters) <= row.se_document_cross_entropy
        assert (row.n_seeds, row.df_seed, row.n_seeds_reference, row.df_seed_reference) == (4, 3, 4, 3)


def test_a_seed_without_a_reference_counts_in_all_means_but_that_of_the_reference(database: Database) -> None:
    held = measure(database, models=("small",), seeds=(0, 1, 2), steps=(16,), n_tokens=300)
    with database.connect() as connection:
        connection.execute(
            """
            delete from warehouse.reference_evaluation
            where mean_kl = (select max(mean_kl) from warehouse.reference_evaluation)
            """
        )
    [row] = frame(database, "select * from mean_reference_divergence").to_dict("records")
    surprisals = [held.scores["small", seed, 16]["surprisal"].mean(dtype=float) for seed in held.seeds]
    kl = sorted(held.references["small", seed, 16].mean(dtype=float) for seed in held.seeds)[:2]
    assert (row["n_seeds"], row["n_seeds_reference"], row["df_seed_reference"]) == (3, 2, 1)
    assert row["cross_entropy"] == pytest.approx(np.mean(surprisals), rel=1e-9)
    assert row["kl_reference"] == pytest.approx(np.mean(kl), rel=1e-9)
    assert row["se_seed_kl_reference"] == pytest.approx(pd.Series(kl).sem(), rel=1e-6)


def test_the_error_of_a_mean_over_a_phase_is_at_most_what_is_said(measured: Measured) -> None:
    """Against the errors of the mean itself: over seeds by a jackknife, over text by its ratio estimator."""
    query = "select * from phase_statistics where definition = 'fehlauer-2025' and phase = 'uniform' order by model"
    values = "select * from conditional_phases where definition = 'fehlauer-2025' and phase = 'uniform'"
    steps = (0, 16)
    found = frame(measured.database, query)
    assert found["model"].tolist() == ["large", "small"]
    for row in found.to_dict("records"):
        model = str(row["model"])
        seeds = measured.seeds
        kl = {
            pair: np.mean([measured.kl[(model, pair[0], step), (model, pair[1], step)] for step in steps], axis=0)
            for pair in permutations(seeds, 2)
        }
        token = np.mean(list(kl.values()), axis=0, dtype=float)
        known = ~np.isnan(token)
        assert row["mean_convergence"] == pytest.approx(-token[known].mean(), rel=1e-6)
        pairs = {pair: float(values[known].mean(dtype=float)) for pair, values in kl.items()}
        # What is taken off the jackknife for pairs may be less for the mean than for the steps.
        assert 0 < jackknife(pairs, 2) <= row["se_seed_convergence"] * 1.01
        text = se_clusters(token[known], measured.clusters[known])
        assert 0 < text <= row["se_document_convergence"] * (1 + 1e-6)
        surprisal = {
            seed: np.mean([measured.scores[model, seed, step]["surprisal"] for step in steps], axis=0, dtype=float)
            for seed in seeds
        }
        own = pd.Series({seed: values.mean() for seed, values in surprisal.items()})
        assert 0 < own.sem() <= row["se_seed_cross_entropy"] * (1 + 1e-6)
        text = se_clusters(np.mean(list(surprisal.values()), axis=0), measured.clusters)
        assert 0 < text <= row["se_document_cross_entropy"] * (1 + 1e-6)
        assert (row["df_seed"], row["df_document"]) == (3, len(np.unique(measured.clusters[known])) - 1)
        assert (row["fewest_seeds"], row["most_seeds"]) == (4, 4)
        # What is said is the mean over the steps.
        at = f"from mean_reference_divergence where model = '{model}' and step in {steps}"
        errors = ("se_seed_kl_uniform", "se_seed_kl_reference", "se_seed_cross_entropy", "se_document_cross_entropy")
        means = frame(measured.database, f"select {', '.join(errors)} {at}").mean()
        said = [row[name.replace("reference", "unigram")] for name in errors]
        assert said == pytest.approx(means.tolist(), rel=1e-9)
        at = f"from expected_convergence where kind = 'seed' and model = '{model}' and step in {steps}"
        means = frame(measured.database, f"select se_seed, se_document {at}").mean()
        assert [row["se_seed_convergence"], row["se_document_convergence"]] == pytest.approx(means.tolist(), rel=1e-9)
        assert (row["df_seed_models"], row["df_seed_unigram"]) == (3, 3)
        assert row["df_document_models"] == len(np.unique(measured.clusters)) - 1
    curves = frame(measured.database, f"select * from conditional_convergence where kind = 'seed' and step in {steps}")
    expected = curves.groupby(["model", "layer", "value"])[["se_seed", "se_document"]].mean()
    found = frame(measured.database, values).set_index(["model", "layer", "value"])[["se_seed", "se_document"]]
    pd.testing.assert_frame_equal(found.sort_index(), expected.loc[found.index].sort_index(), check_dtype=False)


def test_what_a_step_of_a_phase_lacks_is_not_known_for_the_phase(database: Database) -> None:
    measure(database, models=("small",), seeds=(0, 1, 2), steps=(0, 16, 64), n_tokens=300)
    query = "select * from phase_statistics where definition = 'fehlauer-2025' and phase = 'uniform'"
    names = ["mean_kl_unigram", "se_seed_kl_unigram"]
    [before] = frame(database, query).to_dict("records")
    assert before["n_checkpoints"] == 2
    assert all(before[name] > 0 for name in names)
    with database.connect() as connection:
        connection.execute(
            """
            delete from warehouse.reference_evaluation as held
            using warehouse.evaluation as unit, warehouse.checkpoint as place
            where held.evaluation_id = unit.evaluation_id and unit.checkpoint_id = place.checkpoint_id
                and place.step = 16
            """
        )
    [after] = frame(database, query).to_dict("records")
    assert [after[name] for name in names] == [None, None]
    assert after["mean_cross_entropy"] == before["mean_cross_entropy"]


def test_flagged_runs_are_no_part_of_a_mean_unless_asked_for(database: Database) -> None:
    measure(database, models=("small", "large"), seeds=(0, 1, 2), steps=(16,), n_tokens=300)
    query = b"select model, run_set, n_seeds from analysis.mean_reference_divergence order by model"
    with database.connect() as connection:
        connection.execute(
            """
            update warehouse.run set outlier = true
            where seed = 1 and model_id = (select model_id from warehouse.model where name = 'small')
            """
        )
        assert connection.execute(query).fetchall() == [("large", "default", 3), ("small", "default", 2)]
        connection.execute("set warehouse.run_set = 'all'")
        assert connection.execute(query).fetchall() == [("small", "all", 3)]


@pytest.mark.parametrize("setting", ["", "ALL", "none"])
def test_what_is_no_run_set_is_the_default(measured: Measured, setting: str) -> None:
    with measured.database.read() as reader:
        reader.execute("select set_config('warehouse.run_set', %s, false)", [setting])
        assert reader.execute("select distinct run_set from mean_reference_divergence").fetchall() == [("default",)]
        assert reader.execute("select distinct run_set from expected_convergence").fetchall() == [("default",)]


def test_kl_to_uniform_is_not_known_unless_it_is_for_every_seed(database: Database) -> None:
    measure(database, models=("small",), seeds=(0, 1, 2), steps=(16,), n_tokens=300)
    with database.connect() as connection:
        connection.execute(
            """
            update warehouse.score_summary set sum_entropy = null
            where evaluation_id = (select max(evaluation_id) from warehouse.evaluation)
            """
        )
    [row] = frame(database, "select * from mean_reference_divergence").to_dict("records")
    assert (row["kl_uniform"], row["se_seed_kl_uniform"], row["n_seeds"]) == (None, None, 3)
    assert row["se_seed_cross_entropy"] > 0


def test_the_step_nearest_a_reference_has_its_neighbours(measured: Measured) -> None:
    means = frame(measured.database, "select * from mean_reference_divergence")
    table = frame(measured.database, "select * from reference_step")
    assert len(table) == 2
    for row in table.itertuples():
        curve = means[means["model"] == row.model].set_index("step")["kl_reference"].sort_index()
        assert row.step == curve.idxmin()
        assert row.kl_reference == curve.min()
        place = curve.index.get_loc(row.step)
        before, after = ([None, *curve.index, None][place + shift] for shift in (0, 2))
        assert (None if pd.isna(row.step_before) else row.step_before) == before
        assert (None if pd.isna(row.step_after) else row.step_after) == after
        assert row.kl_after == (pytest.approx(np.nan, nan_ok=True) if after is None else curve[after])
        assert row.n_steps == 3


def test_of_steps_equally_near_the_earliest_is_taken(database: Database) -> None:
    with database.connect() as connection:
        add_training(connection, add_text(connection), ["small"], ["function"])
        connection.execute(
            """
            update warehouse.reference_evaluation as held set mean_kl = 0.5
            from warehouse.evaluation as unit, warehouse.checkpoint as place
            where held.evaluation_id = unit.evaluation_id and unit.checkpoint_id = place.checkpoint_id
                and place.step in (8, 64)
            """
        )
    [row] = frame(database, "select * from reference_step").to_dict("records")
    assert (row["step_before"], row["step"], row["step_after"], row["kl_before"]) == (4, 8, 16, 1.004)
    assert (row["n_steps"], row["n_seeds"], row["se_seed_kl_reference"]) == (len(TRAINING_STEPS), 1, None)


def test_a_step_that_lacks_a_seed_is_not_the_nearest_to_a_reference_for_that(database: Database) -> None:
    held = measure(database, models=("small",), seeds=(0, 1), steps=(0, 16, 64), n_tokens=300)
    means = {
        (seed, step): held.references["small", seed, step].astype(float).mean()
        for seed in held.seeds
        for step in held.steps
    }
    curve = {step: (means[0, step] + means[1, step]) / 2 for step in held.steps}
    nearest = min(curve, key=lambda step: curve[step])
    other = next(step for step in held.steps if step != nearest)
    query = "select step, step_before, step_after, n_steps, n_seeds from reference_step"
    with database.connect() as connection:
        connection.execute(
            """
            update warehouse.reference_evaluation as held set mean_kl = 0
            from warehouse.evaluation as unit
            inner join warehouse.checkpoint as place using (checkpoint_id)
            inner join warehouse.run as run using (run_id)
            where held.evaluation_id = unit.evaluation_id and place.step = %s and run.seed = 1
            """,
            [other],
        )
        connection.execute(
            """
            update warehouse.checkpoint as place set status = 'quarantined'
            from warehouse.run as run
            where place.run_id = run.run_id and run.seed = 0 and place.step = %s
            """,
            [other],
        )
    [row] = frame(database, query).to_dict("records")
    assert (row["step"], row["n_steps"], row["n_seeds"]) == (nearest, 2, 2)
    assert other not in (row["step_before"], row["step_after"])


def test_a_run_that_was_read_at_more_steps_than_the_others_does_not_take_them_away(database: Database) -> None:
    """Two seeds at five steps, one of them at seven more: those of both are compared."""
    steps = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
    both = steps[:5]
    held = measure(database, models=("small",), seeds=(0, 1), steps=steps, n_tokens=300)
    with database.connect() as connection:
        connection.execute(
            """
            update warehouse.checkpoint as place set status = 'quarantined'
            from warehouse.run as run
            where place.run_id = run.run_id and run.seed = 1 and place.step > %s
            """,
            [both[-1]],
        )
    curve = {
        step: np.mean([held.references["small", seed, step].astype(float).mean() for seed in (0, 1)]) for step in both
    }
    [row] = frame(database, "select * from reference_step").to_dict("records")
    assert (row["step"], row["n_steps"], row["n_seeds"]) == (min(curve, key=lambda step: curve[step]), 5, 2)


def test_a_seed_that_was_read_at_few_steps_does_not_take_the_others_away(database: Database) -> None:
    held = measure(database, models=("small",), seeds=(0, 1, 2), steps=(0, 16, 64), n_tokens=300)
    with database.connect() as connection:
        connection.execute(
            """
            update warehouse.checkpoint as place set status = 'quarantined'
            from warehouse.run as run
            where place.run_id = run.run_id and run.seed = 2 and place.step <> 0
            """
        )
    curve = {
        step: np.mean([held.references["small", seed, step].astype(float).mean() for seed in (0, 1)])
        for step in (16, 64)
    }
    [row] = frame(database, "select * from reference_step").to_dict("records")
    assert (row["step"], row["n_steps"], row["n_seeds"]) == (min(curve, key=lambda step: curve[step]), 2, 2)
    assert row["kl_reference"] == pytest.approx(min(curve.values()), rel=1e-9)


def test_a_metric_stands_beside_the_loss_of_its_checkpoint(database: Database) -> None:
    held = measure(database, models=("small",), seeds=(0, 1), steps=(16,), n_tokens=900)
    with database.connect() as connection:
        checkpoints = connection.execute(
            """
            select run.seed, checkpoint_id from warehouse.checkpoint inner join warehouse.run as run using (run_id)
            """
        ).fetchall()
        connection.execute("update warehouse.checkpoint set flops = 6e9, tokens_seen = 1000")
        for seed, checkpoint in checkpoints:
            insert(
                connection,
                "checkpoint_metric",
                checkpoint_id=checkpoint,
                name="task/accuracy",
                source="elsewhere",
                value=0.5 + seed,
                standard_error=0.01,
                higher_is_better=True,
            )
        connection.execute(
            "update warehouse.checkpoint set status = 'suspect' where checkpoint_id = %s", [checkpoints[1][1]]
        )
    [row] = frame(database, "select * from metric_against_loss").to_dict("records")
    x = held.scores["small", checkpoints[0][0], 16]["surprisal"].astype(float)
    wanted = {
        "value": 0.5 + checkpoints[0][0],
        "standard_error": 0.01,
        "cross_entropy": x.mean(),
        "se_cross_entropy": se_clusters(x, held.clusters),
        "perplexity": np.exp(x.mean()),
        "se_perplexity": np.exp(x.mean()) * se_clusters(x, held.clusters),
        "bits_per_byte": x.mean() / np.log(2) / 4,
        "se_bits_per_byte": se_clusters(x, held.clusters) / np.log(2) / 4,
        "tokens_seen": 1000,
        "flops": 6e9,
    }
    assert {name: row[name] for name in wanted} == pytest.approx(wanted, rel=1e-6)
    with database.connect() as connection:
        connection.execute("update warehouse.score_summary set sum_surprisal = 1000 * n")
    assert frame(database, "select perplexity from metric_against_loss").iloc[0, 0] == np.inf


def test_perplexities_of_options_have_their_errors_over_items(database: Database) -> None:
    held = measure(database, models=("small",), seeds=(0, 1), steps=(16,), n_tokens=1200, n_documents=40)
    row, _ = frame(database, "select * from option_perplexity order by seed").to_dict("records")
    tokens = pd.DataFrame({"x": held.scores["small", 0, 16]["surprisal"].astype(float), "document": held.documents})
    sums = tokens.groupby("document")["x"].agg(["sum", "size"])
    items = np.array(held.items["quiz"])
    assert len(items) > 5
    for name, roles in (("correct", items[:, :1]), ("incorrect", items[:, 1:])):
        x, size = (pd.Series(sums[column].to_numpy()[roles].sum(axis=1)) for column in ("sum", "size"))
        wanted = np.exp(x.sum() / size.sum()) * ratio_error(x, size)
        assert row[f"se_perplexity_{name}"] == pytest.approx(wanted, rel=1e-5)


def test_perplexities_of_options_beyond_arithmetic_are_infinite(database: Database) -> None:
    measure(database, models=("small",), seeds=(0, 1), steps=(16,), n_tokens=1200, n_documents=40)
    with database.connect() as connection:
        connection.execute(
            """
            update warehouse.document_score_chunk
            set surprisal = array(select 1000 * n from unnest(n_tokens) with ordinality as s (n, i) order by i)
            """
        )
    columns = "perplexity_correct, perplexity_incorrect"
    assert frame(database, f"select {columns} from option_perplexity").to_numpy().tolist() == [[np.inf, np.inf]] * 2


def test_the_losses_behind_the_in_context_learning_score_have_their_errors(measured: Measured) -> None:
    for member, row in by_member(frame(measured.database, "select * from in_context_learning_score")).items():
        tokens = pd.Series(measured.scores[member]["surprisal"].astype(float))
        items = np.array(measured.items["in-context-learning"])
        sums = tokens.groupby(measured.documents).sum().to_numpy()[items]
        for place, name in enumerate(("short", "long")):
            assert getattr(row, f"se_surprisal_{name}") == pytest.approx(pd.Series(sums[:, place]).sem(), rel=1e-5)
