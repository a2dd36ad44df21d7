"""Figures of relative divergence: what is read against numpy and scipy, which values are named, what is filled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from queries.figures import layout, relative_divergence
from queries.figures.choice import Choice, NothingToDraw, UnknownChoice, choose
from queries.figures.reading import Source
from tests.queries.measured import Measured
from tests.queries.rows import Connection, Text, add_comparison, add_layer, add_model, insert_many, summary
from tests.queries.test_relative_divergence import FACTORS, oracle, random_tokens, store
from warehouse.database import Database


def test_ratios_are_those_of_the_tokens(measured: Measured) -> None:
    with measured.database.read() as reader:
        source = Source(reader)
        curves = relative_divergence.read(source, choose(source, Choice("step")), "pos")
    assert len(curves) == 2 * 2 * 6
    for row in curves.itertuples():
        kl = measured.mean("step", row.model, row.step)
        own = measured.layers["pos"] == int(row.value.removeprefix("pos "))
        assert row.sigma == pytest.approx(np.nanmean(kl[own]) / np.nanmean(kl), rel=1e-6)


@pytest.fixture
def tokens(connection: Connection, text: Text, database: Database) -> pd.DataFrame:
    """The tokens of one comparison of kind step, with a layer of ten values of which most are off 1."""
    layer = add_layer(connection, text.corpus_id, "value", dict.fromkeys(FACTORS, 1))
    model = add_model(connection, text, "one")
    made = random_tokens(0)
    comparison = add_comparison(connection, text, model, 64, kind="step", step_q=128)
    store(connection, text, made, comparison, {"value": (layer, list(FACTORS))})
    return made


def test_intervals_and_outliers_are_those_of_residuals_of_documents(database: Database, tokens: pd.DataFrame) -> None:
    with database.read() as reader:
        source = Source(reader)
        curves = relative_divergence.read(source, choose(source, Choice("step")), "value").set_index("value")
    expected = oracle(tokens, "value").drop(index="silent")
    t = scipy.stats.t.ppf(0.975, expected["n_clusters"] - 1)
    wanted = expected["se_log_sigma"] * t
    np.testing.assert_allclose(curves["half_width"].sort_index(), wanted, rtol=1e-7)
    apart = (expected["q_value"] <= 0.05) & (expected["log_sigma"].abs() >= np.log(1.25)) & (expected["n_tokens"] >= 30)
    assert curves["outlier"].sort_index().tolist() == apart.tolist()
    assert 0 < apart.sum() < len(apart)


def test_named_are_the_outliers_farthest_from_one(database: Database, tokens: pd.DataFrame) -> None:
    expected = oracle(tokens, "value").drop(index="silent")
    apart = (expected["q_value"] <= 0.05) & (expected["log_sigma"].abs() >= np.log(1.25)) & (expected["n_tokens"] >= 30)
    farthest = expected[apart]["log_sigma"].abs().sort_values(ascending=False).index
    with database.read() as reader:
        drawing = relative_divergence.draw(reader, Choice("step"), "value")
    [axes] = drawing.figure().axes
    assert [name for name, _ in layout.named_lines(axes)] == list(farthest)
    assert f"Named are {apart.sum()} of 9 values, most often outliers" in drawing.caption.subtitle
    assert "q at most 0.05, ratio beyond 1.25" in drawing.caption.subtitle


def test_values_can_be_named_and_an_unknown_one_is_refused(database: Database, tokens: pd.DataFrame) -> None:
    with database.read() as reader:
        drawing = relative_divergence.draw(reader, Choice("step"), "value", ["noun", "adverb"])
        with pytest.raises(UnknownChoice, match="no value mood"):
            relative_divergence.draw(reader, Choice("step"), "value", ["mood"])
    assert [text.get_text() for text in drawing.figure().legends[0].get_texts()] == ["noun", "adverb"]


def test_models_that_do_not_differ_have_nothing_to_draw(connection: Connection, text: Text, database: Database) -> None:
    layer = add_layer(connection, text.corpus_id, "value", {"noun": 1})
    comparison = add_comparison(connection, text, add_model(connection, text, "one"), 0, kind="step", step_q=1)
    insert_many(connection, "convergence_summary", [summary(comparison, text.total_layer), summary(comparison, layer)])
    with database.read() as reader, pytest.raises(NothingToDraw, match="No prediction differs"):
        relative_divergence.draw(reader, Choice("step"), "value")


def curves() -> pd.DataFrame:
    """Three values of a model at two steps, one of them an outlier once."""
    rows = [
        ("m", step, value, np.nan, sigma, half, outlier)
        for value, sigma, half, outlier in (("a", 2.0, 0.1, True), ("b", 1.1, 0.2, False), ("c", 0.9, np.nan, False))
        for step, outlier in ((0, outlier), (9, False))
    ]
    return pd.DataFrame(rows, columns=["model", "step", "value", "value_order", "sigma", "half_width", "outlier"])


def _marked(axes: Any) -> list[tuple[float, float]]:
    return [
        (x, y)
        for line in axes.lines
        if line.get_linestyle() == "None" and line.get_marker() not in ("None", "_")
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    ]


def test_outliers_are_filled_others_hollow_and_the_rest_grey_behind_a_line_at_one() -> None:
    figure = relative_divergence.paint(curves(), ["a", "b"], None)
    [axes] = figure.axes
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
    lines = {line.get_label(): line for line in axes.lines}
    assert lines["a"].get_markerfacecolor() == lines["b"].get_markerfacecolor() == "white"
    [(x, y)] = _marked(axes)
    assert (round(x), y) == (1, 2.0)
    grey = [line for line in axes.lines if line.get_color() == relative_divergence.PALE]
    assert [list(line.get_ydata()) for line in grey] == [[0.9, 0.9]]
    assert any(set(line.get_ydata()) == {1} for line in axes.lines)
    assert axes.get_yscale() == "log"


def test_bars_reach_from_lower_to_upper_end_of_the_interval() -> None:
    [axes] = relative_divergence.paint(curves(), ["a"], None).axes
    [bars] = [container.get_children()[-1] for container in axes.containers]
    ends = np.array([segment[:, 1] for segment in bars.get_segments()])
    np.testing.assert_allclose(ends, [[2 * np.exp(-0.1), 2 * np.exp(0.1)]] * 2)


def test_the_scale_holds_every_point_and_labels_one() -> None:
    [axes] = relative_divergence.paint(curves(), ["a"], None).axes
    low, high = axes.get_ylim()
    assert low < 0.9
    assert high > 2.0
    assert 1 in axes.get_yticks()
    for ratios in ((0.97, 1.03), (0.01, 100.0), (1e-6, 1e6)):
        ticks = relative_divergence._round_ratios(*ratios)
        assert 1 in ticks
        assert len(ticks) <= 13
