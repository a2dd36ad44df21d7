"""Metrics over training with their best checkpoints: which are drawn, and where the rings are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from queries.figures import saturation
from queries.figures.choice import AmbiguousChoice, Choice, NothingToDraw, UnknownChoice
from tests.queries.rows import TRAINING_STEPS, Connection, add_text, add_training, insert_many
from warehouse.database import Database


def add_metric(
    connection: Connection, model: str, name: str, values: Mapping[int, float], *, upwards: bool | None, source: str
) -> None:
    """An imported result of the checkpoints of a model's run at some steps."""
    checkpoints = dict(
        connection.execute(
            "select step, checkpoint_id from analysis.checkpoints where model = %s and seed = 0", [model]
        ).fetchall()
    )
    insert_many(
        connection,
        "checkpoint_metric",
        [
            {
                "checkpoint_id": checkpoints[step],
                "name": name,
                "source": source,
                "value": value,
                "higher_is_better": upwards,
            }
            for step, value in values.items()
        ],
    )


PERPLEXITY = {0: 9000.0, 16: 80.0, 128: 50.0, 1000: 75.0}


def test_imported_losses_are_drawn_with_the_best_step_and_the_last_over_it(
    loaded: Database, connection: Connection
) -> None:
    add_metric(connection, "small", "lambada/perplexity", PERPLEXITY, upwards=False, source="harness")
    add_metric(connection, "small", "arc/acc", {0: 0.2, 64: 0.4, 1000: 0.3}, upwards=True, source="harness")
    with loaded.read() as reader:
        drawing = saturation.draw(reader, Choice())
    figure = drawing.figure()
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["surprisal", "lambada/perplexity", "arc/acc"]
    assert [axes.get_yscale() for axes in figure.axes] == ["linear", "log", "linear"]
    assert [axes.get_ylabel() for axes in figure.axes] == ["nats", "", ""]
    _, perplexity, accuracy = figure.axes
    curve, ring = perplexity.lines
    np.testing.assert_allclose(curve.get_xydata(), [(step + 1, value) for step, value in PERPLEXITY.items()])
    assert (list(ring.get_xdata()), list(ring.get_ydata())) == ([129], [50.0])
    assert [text.get_text() for text in perplexity.texts] == ["1.50"]
    assert (list(accuracy.lines[1].get_xdata()), [text.get_text() for text in accuracy.texts]) == ([65], ["0.75"])
    assert "measured on pydoc and from harness" in drawing.caption.subtitle
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["small", "medium"]


def test_surprisal_is_that_of_the_runs(loaded: Database) -> None:
    with loaded.read() as reader:
        [axes] = saturation.draw(reader, Choice(models=("medium",)), ["surprisal"]).figure().axes
    np.testing.assert_allclose(axes.lines[0].get_ydata(), 7 - np.array(TRAINING_STEPS) / 250)
    assert list(axes.lines[1].get_xdata()) == [1001]


def test_a_metric_without_a_direction_wants_one(loaded: Database, connection: Connection) -> None:
    add_metric(connection, "small", "odd", {0: 2.0, 64: 1.0, 1000: 3.0}, upwards=None, source="lab")
    with loaded.read() as reader:
        with pytest.raises(UnknownChoice, match="no metric with a direction odd"):
            saturation.draw(reader, Choice(), ["odd"])
        [up] = saturation.draw(reader, Choice(), ["odd"], True).figure().axes
        [down] = saturation.draw(reader, Choice(), ["odd"], False).figure().axes
    assert [list(axes.lines[1].get_xdata()) for axes in (up, down)] == [[1001], [65]]


def test_results_of_two_sources_have_a_panel_each(loaded: Database, connection: Connection) -> None:
    for source, factor in (("0-shot", 1.0), ("5-shot", 0.5)):
        values = {step: factor * value for step, value in PERPLEXITY.items()}
        add_metric(connection, "small", "perplexity", values, upwards=False, source=source)
    with loaded.read() as reader:
        figure = saturation.draw(reader, Choice(), ["perplexity"]).figure()
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["perplexity\n0-shot", "perplexity\n5-shot"]
    assert [axes.lines[1].get_ydata()[0] for axes in figure.axes] == [50.0, 25.0]


def test_corpora_do_not_mix_and_an_empty_warehouse_has_nothing(
    loaded: Database, connection: Connection, database: Database
) -> None:
    verse = add_text(connection, "verse")
    connection.execute("update warehouse.model set name = 'little' where name = 'small'")
    add_training(connection, verse, ["small"], ["function"])
    with loaded.read() as reader:
        with pytest.raises(AmbiguousChoice, match="several corpora: pydoc, verse"):
            saturation.draw(reader, Choice())
        assert "measured on verse" in saturation.draw(reader, Choice(corpus="verse")).caption.subtitle


def test_without_metrics_there_is_nothing_to_draw(database: Database, tmp_path: Path) -> None:
    with database.read() as reader, pytest.raises(NothingToDraw, match="warehouse import metrics"):
        saturation.draw(reader, Choice())
