"""KL against cross-entropy: points and slopes against scipy on the arrays that were loaded, and what is drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from queries.figures import cross_entropy_fit
from queries.figures.choice import Choice, NothingToDraw, UnknownChoice, choose
from queries.figures.reading import Source
from tests.queries.measured import Measured
from tests.queries.rows import Connection, Text, add_comparison, add_model, insert_many, summary
from warehouse.database import Database


def points_of(
    measured: Measured, tokens: np.ndarray, predictor: str, models: Sequence[str] = ()
) -> tuple[list[float], list[float]]:
    """The predictor and mean KL of each comparison of kind step, over some tokens."""
    x, y = [], []
    for model in models or sorted(measured.models):
        for step in measured.steps[:-1]:
            kl = measured.mean("step", model, step)[tokens]
            p, q = (
                np.mean([measured.scores[side[n]]["surprisal"][tokens].astype(float).mean() for side in members])
                for n, members in enumerate([measured.members("step", model, step)] * 2)
            )
            x.append(p / q if predictor == "ratio" else p - q)
            y.append(float(np.nanmean(kl)))
    return x, y


@pytest.mark.parametrize("predictor", ["ratio", "difference"])
def test_slopes_intervals_and_points_are_those_of_scipy(measured: Measured, predictor: str) -> None:
    with measured.database.read() as reader:
        source = Source(reader)
        subject = choose(source, Choice("step"))
        fits = cross_entropy_fit.read(source, subject, "pos", predictor, None)
        points = cross_entropy_fit.read_points(source, subject, predictor, 16)
    everything = np.ones(len(measured.documents), bool)
    x, y = points_of(measured, everything, predictor)
    np.testing.assert_allclose(points["x"], x, rtol=1e-6)
    np.testing.assert_allclose(points["mean_kl"], y, rtol=1e-6)
    assert len(fits) == 7
    for row in fits.itertuples():
        tokens = everything if row.layer == "all" else measured.layers["pos"] == int(row.value.removeprefix("pos "))
        line = scipy.stats.linregress(*points_of(measured, tokens, predictor))
        assert row.alpha == pytest.approx(line.slope, rel=1e-4)
        assert row.intercept == pytest.approx(line.intercept, rel=1e-4, abs=1e-6)
        assert row.r2 == pytest.approx(line.rvalue**2, rel=1e-4, abs=1e-9)
        assert row.half_width == pytest.approx(line.stderr * scipy.stats.t.ppf(0.975, 2), rel=1e-4)


def test_a_model_that_is_chosen_is_fitted_and_drawn_alone(measured: Measured) -> None:
    model = sorted(measured.models)[0]
    with measured.database.read() as reader:
        source = Source(reader)
        subject = choose(source, Choice("step", models=(model,)))
        fits = cross_entropy_fit.read(source, subject, "pos", "ratio", None)
        points = cross_entropy_fit.read_points(source, subject, "ratio", 16)
    x, y = points_of(measured, np.ones(len(measured.documents), bool), "ratio", [model])
    assert list(points["model"].unique()) == [model]
    np.testing.assert_allclose(points["x"], x, rtol=1e-6)
    total = fits[fits["layer"] == "all"].iloc[0]
    assert (total["n"], total["n_models"]) == (len(x), 1)
    assert total["alpha"] == pytest.approx(scipy.stats.linregress(x, y).slope, rel=1e-4)


def frames() -> tuple[pd.DataFrame, pd.DataFrame]:
    points = pd.DataFrame(
        {"model": ["a", "a", "b"], "step": [0, 1, 0], "x": [1.0, 1.5, 2.0], "mean_kl": [0.1, 0.2, 0.4]}
    )
    fits = pd.DataFrame(
        [("pos", "NN", 0.6, 0.1), ("all", "all", 0.3, 0.05), ("pos", "DT", -0.1, np.nan)],
        columns=["layer", "value", "alpha", "half_width"],
    ).assign(intercept=-0.25, r2=0.9, n=3, last_step=1)
    return points, fits


def test_points_have_their_line_and_values_a_row_each_the_steepest_on_top() -> None:
    figure = cross_entropy_fit.paint(*frames(), "ratio", None)
    left, right = figure.axes
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
    drawn = {line.get_label(): line for line in left.lines}
    assert list(drawn["a"].get_xdata()) == [1.0, 1.5]
    [fitted] = [line for line in left.lines if line.get_linestyle() == "-"]
    np.testing.assert_allclose(fitted.get_ydata(), [0.05, 0.35])
    assert [label.get_text() for label in right.get_yticklabels()] == ["NN", "DT"]
    assert list(right.get_yticks()) == [1, 0]
    slopes = next(line for line in right.lines if line.get_marker() == "o")
    np.testing.assert_allclose(slopes.get_xdata(), [60, -10])
    [dashed] = [line for line in right.lines if line.get_linestyle() == "--"]
    np.testing.assert_allclose(dashed.get_xdata(), [30, 30])
    assert "slope 30.0 %, r² 0.90, n 3" in [text.get_text() for text in left.texts]


def test_what_was_not_scored_has_no_fit_and_unknown_layers_are_named(
    connection: Connection, text: Text, database: Database, measured: Measured
) -> None:
    comparison = add_comparison(connection, text, add_model(connection, text, "one"), 0, kind="step", step_q=1)
    insert_many(connection, "convergence_summary", [summary(comparison, text.total_layer, sum_kl=1.0)])
    with database.read() as reader, pytest.raises(NothingToDraw, match="no cross-entropy fit of kind step"):
        cross_entropy_fit.draw(reader, Choice("step"))
    with measured.database.read() as reader, pytest.raises(UnknownChoice, match="no layer mood"):
        cross_entropy_fit.draw(reader, Choice("step"), "mood")
