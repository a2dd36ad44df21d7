"""Shares of tokens by trend: what is read against the trends of single tokens, and what is drawn."""

from __future__ import annotations

import pandas as pd
import pytest

from queries.figures import trend_shares
from queries.figures.choice import Choice, NothingToDraw, choose_scored
from queries.figures.reading import Source
from tests.contents import frame
from tests.queries.measured import Measured, measure
from warehouse.database import Database


def test_shares_are_those_of_the_tokens_of_each_run(database: Database) -> None:
    held = measure(database, n_tokens=300, steps=tuple(range(0, 72, 8)))
    with database.read() as reader:
        source = Source(reader)
        shares = trend_shares.read(source, choose_scored(source, Choice()), 0.1, "log_step", "paper")
        drawing = trend_shares.draw(reader, Choice(), 0.1, "log_step")
    tokens = frame(database, "select model, seed, trend from analysis.token_trend_with(0.1, 'log_step', 'paper')")
    expected = tokens.dropna().groupby(["model", "seed"])["trend"].value_counts(normalize=True)
    assert len(shares) == len(held.models) * len(held.seeds) * 4
    for row in shares.itertuples():
        assert row.share == pytest.approx(expected.get((row.model, row.seed, row.trend), 0.0))
    assert "least squares on log step from 10% of training" in drawing.caption.subtitle
    assert f"{shares['autocorrelation'].mean():.2f}" in drawing.caption.subtitle


def test_a_panel_has_each_run_their_mean_and_the_share_in_shuffled_time() -> None:
    shares = pd.DataFrame(
        [("s", 0, "upward", 0.1, 0.02), ("s", 1, "upward", 0.3, 0.04), ("l", 0, "upward", 0.5, 0.02)],
        columns=["model", "seed", "trend", "share", "shuffled_share"],
    )
    figure = trend_shares.paint(shares, None)
    [axes] = figure.axes
    assert axes.get_title(loc="left") == "upward"
    lines = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines}
    assert lines["a training run"] == ([0, 0, 1], pytest.approx([10, 30, 50]))
    assert lines["mean over runs"] == ([0, 1], pytest.approx([20, 50]))
    assert lines["the same, time shuffled"] == ([0, 1], pytest.approx([3, 2]))
    assert [label.get_text() for label in axes.get_xticklabels()] == ["s", "l"]
    assert axes.get_ylim()[0] == 0
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(lines)


def test_too_few_checkpoints_have_no_trends(measured: Measured) -> None:
    with measured.database.read() as reader, pytest.raises(NothingToDraw, match="checkpoints enough"):
        trend_shares.draw(reader, Choice())
