"""KL to reference distributions: what is read against pandas and scipy, and what is drawn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from queries.figures import reference
from queries.figures.choice import Choice, NothingToDraw, choose_scored
from queries.figures.reading import Source
from tests.contents import frame
from tests.queries.measured import VOCABULARY, Measured
from tests.queries.rows import TRAINING_STEPS, Connection, Text, add_evaluation, add_run
from warehouse.database import Database


def test_kl_is_the_mean_over_seeds_with_students_interval(measured: Measured) -> None:
    with measured.database.read() as reader:
        curves = reference.read(Source(reader), choose_scored(Source(reader), Choice()))
    assert list(curves["reference"].unique()) == ["uniform", "unigram"]
    for (name, model, step), row in curves.set_index(["reference", "model", "step"]).iterrows():
        members = [(model, seed, step) for seed in measured.seeds]
        if name == "uniform":
            entropies = [measured.scores[member]["entropy"].astype(float) for member in members]
            seeds = [np.log(VOCABULARY) - np.nanmean(entropy) for entropy in entropies]
        else:
            seeds = [measured.references[member].astype(float).mean() for member in members]
        assert row["kl"] == pytest.approx(np.mean(seeds), rel=1e-9)
        low, high = scipy.stats.t.interval(0.95, len(seeds) - 1, np.mean(seeds), scipy.stats.sem(seeds))
        assert row["half_width"] == pytest.approx((high - low) / 2, rel=1e-8)


def test_one_seed_has_no_interval_and_flagged_runs_are_left_out(
    loaded: Database, connection: Connection, text: Text
) -> None:
    [(small,)] = connection.execute("select model_id from warehouse.model where name = 'small'").fetchall()
    flagged = add_run(connection, small, 7, outlier=True)
    add_evaluation(connection, text, flagged, 0, surprisal=9.0, entropy=0.1)
    with loaded.read() as reader:
        drawing = reference.draw(reader, Choice(models=("small",)))
        curves = reference.read(Source(reader), choose_scored(Source(reader), Choice(models=("small",))))
    assert set(curves["model"]) == {"small"}
    assert curves["half_width"].isna().all()
    unigram = curves[curves["reference"] == "unigram"]
    assert unigram["step"].tolist() == TRAINING_STEPS
    np.testing.assert_allclose(unigram["kl"], 1 + np.array(TRAINING_STEPS) / 1000)
    assert "means over 1 seed." in drawing.caption.subtitle
    assert "Band" not in drawing.caption.subtitle


def test_a_ring_is_where_a_model_is_nearest_to_a_reference_and_none_at_the_ends() -> None:
    kl = {"uniform": [0.1, 0.0, 1.0], "unigram": [1.0, 0.2, 0.6], "bigram": [3.0, 2.0, 1.0]}
    curves = pd.concat(
        pd.DataFrame(
            {
                "reference": name,
                "model": "a",
                "step": [0, 4, 9],
                "kl": values,
                "half_width": 0.1,
                "n_seeds": 2,
                "nearest": [name != "uniform" and kl == min(values) for kl in values],
            }
        )
        for name, values in kl.items()
    )
    figure = reference.paint(curves, None)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["KL to uniform", "KL to unigram", "KL to bigram"]
    rings = [[(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines[1:]] for axes in figure.axes]
    assert rings == [[], [(5, 0.2)], []]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a"]


def test_the_ringed_step_is_that_of_the_view(measured: Measured) -> None:
    with measured.database.read() as reader:
        curves = reference.read(Source(reader), choose_scored(Source(reader), Choice()))
    nearest = curves[curves["nearest"]]
    view = frame(measured.database, "select reference, model, step from reference_step")
    assert set(nearest[["reference", "model", "step"]].itertuples(index=False, name=None)) == set(
        view.itertuples(index=False, name=None)
    )


def test_the_statement_that_is_remembered_gives_what_was_drawn(measured: Measured) -> None:
    with measured.database.read() as reader:
        source = Source(reader)
        curves = reference.read(source, choose_scored(source, Choice()))
    [statement] = source.statements
    again = frame(measured.database, statement)
    assert sorted(again["kl"]) == sorted(curves["kl"])


def test_without_scores_there_is_nothing_to_draw(database: Database) -> None:
    with database.read() as reader, pytest.raises(NothingToDraw, match="warehouse ingest"):
        reference.draw(reader, Choice())
