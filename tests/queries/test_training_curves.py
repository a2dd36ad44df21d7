"""Curves over training, against the arrays that were loaded and results that were put in by hand."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from tests.queries.measured import VOCABULARY, Measured
from tests.queries.rows import Connection, Text, add_curve, add_model, add_run, add_text, insert
from tests.queries.test_views import ask, jackknife, se_clusters
from warehouse.database import Database

#: What a curve of single runs says of a checkpoint, from its scores in float64.
ACCURACY = {"minimal_pair_accuracy/agreement", "minimal_pair_accuracy/binding"}
GRAIN = ["family", "model", "seed", "metric", "source", "corpus", "protocol", "run_set", "step"]


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    with database.connect() as opened:
        yield opened


@pytest.fixture
def text(connection: Connection) -> Text:
    return add_text(connection)


def test_a_curve_of_a_run_has_the_means_of_its_checkpoints_with_their_errors(measured: Measured) -> None:
    curves = ask(measured, "select * from training_curves where seed is not null")
    assert not curves.duplicated(GRAIN).any()
    found = {
        (row.model, row.seed, row.step, row.metric): (row.value, row.standard_error) for row in curves.itertuples()
    }
    for member, scores in measured.scores.items():
        surprisal = scores["surprisal"].astype(np.float64)
        entropy = scores["entropy"].astype(np.float64).mean()
        document = np.array([surprisal[measured.documents == d].sum() for d in np.unique(measured.documents)])
        right = {
            name.split("/")[1]: np.mean(
                [document[good] < document[bad] for good, bad in measured.items[name.split("/")[1]]]
            )
            for name in ACCURACY
        }
        sizes = {name: len(measured.items[name]) for name in right}
        errors = {name: np.sqrt(a * (1 - a) / (sizes[name] - 1)) for name, a in right.items()}
        expected = {
            "surprisal": (surprisal.mean(), se_clusters(surprisal, measured.clusters)),
            "accuracy": ((scores["rank"] == 1).mean(), None),
            "entropy": (entropy, None),
            "kl_uniform": (np.log(VOCABULARY) - entropy, None),
            "kl_unigram": (measured.references[member].astype(np.float64).mean(), None),
            "anisotropy": (0.1, None),
            "minimal_pair_accuracy": (np.mean(list(right.values())), np.hypot(*errors.values()) / 2),
            **{f"minimal_pair_accuracy/{name}": (right[name], errors[name]) for name in right},
        }
        own = {metric: what for (*key, metric), what in found.items() if tuple(key) == member}
        assert own.keys() == expected.keys()
        for metric, (value, error) in expected.items():
            assert own[metric][0] == pytest.approx(value, rel=1e-6), metric
            assert own[metric][1] == pytest.approx(np.nan if error is None else error, rel=1e-6, nan_ok=True), metric


def test_a_curve_of_convergence_is_of_all_seeds_of_a_model(measured: Measured) -> None:
    curves = ask(measured, "select * from training_curves where seed is null")
    assert set(curves["metric"]) == {"convergence", "convergence_step", "convergence_final"}
    assert set(curves["run_set"]) == {"default"}
    assert len(curves) == 6 + 4 + 4
    for row in curves.itertuples():
        kind = str(row.metric).removeprefix("convergence").removeprefix("_") or "seed"
        x = measured.mean(kind, str(row.model), int(row.step))  # type: ignore[arg-type]
        chosen = np.isfinite(x)
        means = {
            (p[1], q[1]): float(measured.kl[p, q][chosen].astype(np.float64).mean())
            for p, q in measured.members(kind, str(row.model), int(row.step))  # type: ignore[arg-type]
        }
        error = np.hypot(
            jackknife(means, 2 if kind == "seed" else 1), se_clusters(x[chosen], measured.clusters[chosen])
        )
        assert row.value == pytest.approx(-x[chosen].mean(), rel=1e-6)
        assert row.standard_error == pytest.approx(error, rel=1e-6)


def test_a_curve_says_which_way_it_improves(measured: Measured) -> None:
    curves = ask(measured, "select distinct metric, higher_is_better from training_curves")
    ways = dict(zip(curves["metric"], curves["higher_is_better"], strict=True))
    assert {metric for metric, way in ways.items() if way is False} == {"surprisal"}
    assert {metric for metric, way in ways.items() if way is None} == {
        "entropy",
        "kl_uniform",
        "kl_unigram",
        "anisotropy",
    }


def test_comparisons_that_are_not_complete_are_no_part_of_a_curve(connection: Connection, text: Text) -> None:
    model = add_model(connection, text, "one")
    add_curve(connection, text, model, [0, 1], [1.0, 0.5])
    add_curve(connection, text, model, [2], [0.1], n_pairs=5)
    add_curve(connection, text, model, [4], [0.1], run_set="all")
    other = add_model(connection, text, "two")
    add_curve(connection, text, model, [8], [0.1], kind="size", model_q_id=other, step_q=8)
    query = "select step, value from analysis.training_curves order by step"
    assert connection.execute(query.encode()).fetchall() == [(0, -1.0), (1, -0.5)]


def test_a_curve_of_a_reverse_kind_is_over_the_steps_of_q(connection: Connection, text: Text) -> None:
    model = add_model(connection, text, "one")
    for p, q, kl in [(1, 0, 0.5), (4, 1, 0.4)]:
        add_curve(connection, text, model, [p], [kl], kind="step_reverse", step_q=q)
        add_curve(connection, text, model, [4], [kl + 1], kind="final_reverse", step_q=q)
    query = "select metric, step, value from analysis.training_curves order by metric, step"
    assert connection.execute(query.encode()).fetchall() == [
        ("convergence_final_reverse", 0, -1.5),
        ("convergence_final_reverse", 1, -1.4),
        ("convergence_step_reverse", 0, -0.5),
        ("convergence_step_reverse", 1, -0.4),
    ]


def test_imported_results_are_curves_unless_the_checkpoint_holds_weights_of_another(
    connection: Connection, text: Text
) -> None:
    run = add_run(connection, add_model(connection, text, "one"), 3, outlier=True)
    statuses = [None, "ok", "missing", "failed", "duplicate", "suspect", "quarantined"]
    for step, status in enumerate(statuses):
        checkpoint = insert(
            connection, "checkpoint", run_id=run, step=step, source="made up", revision=f"step{step}", status=status
        )
        insert(
            connection,
            "checkpoint_metric",
            checkpoint_id=checkpoint,
            name="lambada/perplexity",
            source="elsewhere",
            value=100.0 + step,
            standard_error=2.0,
            higher_is_better=False,
        )
    columns = "step, value, standard_error, higher_is_better, outlier, corpus, protocol, run_set"
    query = f"select {columns} from analysis.training_curves where metric = 'lambada/perplexity' order by step"
    rest = (2.0, False, True, None, None, None)
    assert connection.execute(query.encode()).fetchall() == [(step, 100.0 + step, *rest) for step in range(4)]
