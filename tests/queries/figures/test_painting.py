"""Figures: what is drawn, how it is written, and how the command answers when there is nothing to draw."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from queries.figures import conditional, convergence, phases, style
from queries.figures.captions import Caption
from tests.conftest import Outcome
from tests.queries.rows import (
    TRAINING,
    TRAINING_STEPS,
    Connection,
    add_comparison,
    add_model,
    add_text,
    insert_many,
    summary,
)
from warehouse.database import Database

CAPTION = Caption("Title", "What is shown.")


def frames() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Curves and phases as the drawing functions want them."""
    curves = pd.concat(
        pd.DataFrame({"model": model, "step": TRAINING_STEPS, "convergence": -np.array(kl), "half_width": 0.02})
        for model, kl in TRAINING.items()
    )
    names = ["uniform", "sharp_convergence", "sharp_divergence", "slow_reconvergence"]
    ends = {"small": [0, 16, 128, 512, 1000], "medium": [0, 8, 64, 256, 1000]}
    rows = [
        (model, place + 1, name, steps[place], steps[place + 1])
        for model, steps in ends.items()
        for place, name in enumerate(names)
    ]
    return curves, pd.DataFrame(rows, columns=["model", "position", "phase", "first_step", "last_step"])


# --- what is drawn ------------------------------------------------------------------------------------------------


def _texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_each_model_has_a_panel_with_its_curve_band_and_phases() -> None:
    curves, shaded = frames()
    figure = convergence.paint(curves, shaded, CAPTION)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["small", "medium"]
    for axes, (model, own) in zip(figure.axes, curves.groupby("model", sort=False), strict=True):
        line = axes.lines[-1]
        np.testing.assert_array_equal(line.get_xdata(), own["step"] + 1)
        np.testing.assert_array_equal(line.get_ydata(), own["convergence"])
        [band] = axes.collections
        heights = band.get_paths()[0].vertices[:, 1]
        assert heights.min() == pytest.approx(own["convergence"].min() - 0.02)
        assert heights.max() == pytest.approx(own["convergence"].max() + 0.02)
        spans = [(span.get_x() - 1, span.get_x() + span.get_width() - 1) for span in axes.patches]
        expected = shaded[shaded["model"] == model]
        np.testing.assert_allclose(spans, expected[["first_step", "last_step"]])
        assert _texts(axes) == [name.replace("_", "\n") for name in expected["phase"]]
        # The other model's curve, faint.
        assert len(axes.lines) == 2
        assert axes.lines[0].get_color() == style.PALE


def test_without_standard_errors_there_is_no_band() -> None:
    curves, shaded = frames()
    figure = convergence.paint(curves.assign(half_width=np.nan), shaded, CAPTION)
    assert all(not path.vertices.size for axes in figure.axes for band in axes.collections for path in band.get_paths())


def test_step_0_has_a_place_on_the_log_axis_and_the_axis_says_how() -> None:
    figure = convergence.paint(*frames(), CAPTION)
    axes = figure.axes[0]
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1", "10", "100", "1,000"]
    assert axes.get_xticks().tolist() == [1, 2, 11, 101, 1001]
    assert axes.get_xlim()[0] < 1
    assert "step + 1" in figure.get_supxlabel()
    assert axes.get_ylabel() == "convergence (nats)"


@pytest.mark.parametrize("ends", [[0, 16, 128, 512, 1000], [0, 16, 900, 950, 1000], [0, 1, 2, 4, 1000]])
def test_names_of_phases_do_not_touch(ends: list[int]) -> None:
    curves, shaded = frames()
    shaded = shaded[shaded["model"] == "small"].assign(first_step=ends[:-1], last_step=ends[1:])
    figure = convergence.paint(curves[curves["model"] == "small"], shaded, CAPTION)
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


def test_each_value_has_a_line_and_a_place_in_the_legend() -> None:
    curves, shaded = frames()
    values = ["function", "content", "other"]
    curves = pd.concat(curves.assign(value=value, value_order=np.nan) for value in values)
    figure = conditional.paint(curves, shaded, CAPTION)
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == values
    assert [len(axes.lines) for axes in figure.axes] == [3, 3]
    colours = [line.get_color() for line in figure.axes[0].lines]
    assert colours == [line.get_color() for line in figure.axes[1].lines]
    assert len(set(colours)) == 3


def test_a_value_that_only_one_model_has_is_in_the_legend() -> None:
    curves, shaded = frames()
    rare = curves[curves["model"] == "medium"].assign(value="rare")
    figure = conditional.paint(
        pd.concat([curves.assign(value="common"), rare]).assign(value_order=np.nan), shaded, CAPTION
    )
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["common", "rare"]


def test_a_legend_of_several_rows_reads_from_left_to_right_and_an_underscore_keeps_its_place() -> None:
    curves, shaded = frames()
    values = ["_A", "B", "E", "F", "H", "I", "K"]
    curves = pd.concat(curves.assign(value=value, value_order=np.nan) for value in values)
    figure = conditional.paint(curves, shaded, CAPTION)
    figure.draw_without_rendering()
    places = {text.get_text().strip(): text.get_window_extent() for text in figure.legends[0].get_texts()}
    assert set(places) == set(values)
    # Of two rows the upper comes first.
    assert sorted(values, key=lambda value: (-round(places[value].y1), places[value].x0)) == values


def test_lines_differ_in_dashes_and_markers_too_and_long_ones_have_few_markers() -> None:
    looks = style.looks(8)
    assert len({look.marker for look in looks}) == len({look.colour for look in looks}) == 8
    assert all(str(one.dashes) != str(other.dashes) for one, other in itertools.pairwise(looks))
    assert looks[0].line(24)["markevery"] == 1
    assert isinstance(looks[0].line(25)["markevery"], float)
    with style.styled():
        lightness = [_luminance(look.colour) for look in style.looks(6, ordered=True)]
    assert max(lightness) < 0.5
    assert min(a - b for a, b in itertools.pairwise(lightness)) > 0


def test_ordered_values_run_from_light_to_dark() -> None:
    curves, shaded = frames()
    curves = pd.concat(curves.assign(value=str(place), value_order=place) for place in range(7))
    figure = conditional.paint(curves, shaded, CAPTION)
    lightness = [_luminance(line.get_color()) for line in figure.axes[0].lines]
    assert lightness == sorted(lightness, reverse=True)


def test_phases_show_convergence_above_references_and_cross_entropy() -> None:
    curves, shaded = frames()
    readings = curves[["model", "step"]].assign(kl_uniform=1.0, kl_unigram=np.nan, cross_entropy=5.0)
    figure = phases.paint(curves, readings, shaded, CAPTION)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["small", "medium", "", ""]
    lower = [axes for axes in figure.axes if not axes.get_title(loc="left")]
    assert len(lower) == 2
    for axes in lower:
        assert [line.get_label() for line in axes.lines] == ["KL to uniform", "cross-entropy"]
        assert [set(line.get_ydata()) for line in axes.lines] == [{1.0}, {5.0}]
        assert len(axes.patches) == 4
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["KL to uniform", "cross-entropy"]


@pytest.mark.parametrize("n_models", [1, 3, 5, 7])
def test_any_number_of_models_is_laid_out_without_overlap(n_models: int) -> None:
    curves, shaded = frames()
    names = [f"model {number}" for number in range(n_models)]
    curves = pd.concat(curves[curves["model"] == "small"].assign(model=name) for name in names)
    shaded = pd.concat(shaded[shaded["model"] == "small"].assign(model=name) for name in names)
    readings = curves[["model", "step"]].assign(kl_uniform=1.0, kl_unigram=2.0, cross_entropy=5.0)
    figure = phases.paint(curves, readings, shaded, CAPTION)
    assert len(figure.axes) == 2 * n_models
    boxes = [axes.get_window_extent() for axes in figure.axes]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    header = [text.get_window_extent() for text in figure.texts if text.get_text() == CAPTION.subtitle]
    assert not any(text.overlaps(box) for text in header for box in boxes)


def test_tints_stay_light_and_lines_dark_enough_for_print() -> None:
    assert min(_luminance(tint) for tint in style.TINTS) > 0.75
    assert max(_luminance(colour) for colour in style.COLOURS) < 0.5


def _luminance(colour: str) -> float:
    """Relative luminance of a colour `#rrggbb`, from 0 (black) to 1 (white)."""
    shares = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


# --- files --------------------------------------------------------------------------------------------------------


def test_figures_are_written_as_their_suffix_says_and_equal_ones_alike(tmp_path: Path) -> None:
    for suffix, start in (("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")):
        paths = [tmp_path / f"{name}.{suffix}" for name in ("one", "two")]
        for path in paths:
            style.save(convergence.paint(*frames(), CAPTION), path)
        assert paths[0].read_bytes().startswith(start)
        assert paths[0].read_bytes() == paths[1].read_bytes()
    assert ElementTree.parse(tmp_path / "one.svg").getroot().tag.endswith("svg")
    assert len(list(tmp_path.iterdir())) == 6


def test_an_svg_element_has_the_places_and_scales_of_the_file_but_no_prolog() -> None:
    element, file = (
        write(convergence.paint(*frames(), None))
        for write in (style.as_svg_element, lambda figure: style.as_bytes(figure, "svg"))
    )
    assert element.startswith(b"<svg")
    assert len(element) < len(file)
    scales = [re.findall(rb"scale\([^)]*\)", svg) for svg in (element, file)]
    assert scales[0]
    assert scales[0] == scales[1]
    places = [
        np.array([float(number) for d in re.findall(rb' d="([^"]*)"', svg) for number in re.findall(rb"-?[\d.]+", d)])
        for svg in (element, file)
    ]
    np.testing.assert_allclose(places[0], places[1], atol=0.01)


# --- the command --------------------------------------------------------------------------------------------------

Command = Callable[..., Outcome]


@pytest.mark.parametrize(
    "arguments",
    [
        ["convergence"],
        ["convergence", "--definition", "fehlauer-2025", "--model", "medium"],
        ["conditional"],
        ["conditional", "--layer", "word_class", "--corpus", "pydoc"],
        ["phases", "--definition", "slides"],
    ],
)
def test_the_command_writes_a_figure_and_prints_its_path(
    loaded: Database, command: Command, tmp_path: Path, arguments: list[str]
) -> None:
    out = tmp_path / "figure.svg"
    outcome = command("plot", *arguments, "--out", str(out))
    assert (outcome.status, outcome.output, outcome.errors) == (0, f"{out}\n", "")
    assert ElementTree.parse(out).getroot().tag.endswith("svg")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--corpus", "verse"], ["no corpus verse", "pydoc"]),
        (["--protocol", "other"], ["no protocol other", "pydoc-protocol"]),
        (["--family", "other"], ["no family other", "simulated"]),
        (["--model", "huge"], ["no model huge", "medium, small"]),
        (["--definition", "mine"], ["no definition mine", "estimated, fehlauer-2025, slides"]),
        (["--kind", "final"], ["kind final", "warehouse ingest"]),
    ],
)
def test_what_is_not_there_is_named_with_what_is(
    loaded: Database, command: Command, tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    outcome = command("plot", "convergence", *arguments, "--out", str(tmp_path / "figure.png"))
    assert outcome.status == 2
    assert outcome.output == ""
    assert all(word in outcome.errors for word in words)
    assert not list(tmp_path.iterdir())


def test_an_unknown_layer_is_named_with_those_there_are(loaded: Database, command: Command, tmp_path: Path) -> None:
    outcome = command("plot", "conditional", "--layer", "mood", "--out", str(tmp_path / "figure.png"))
    assert outcome.status == 2
    assert "no layer mood" in outcome.errors
    assert "word_class" in outcome.errors


def test_corpora_do_not_mix(loaded: Database, connection: Connection, command: Command, tmp_path: Path) -> None:
    verse = add_text(connection, "verse")
    comparison = add_comparison(connection, verse, add_model(connection, verse, "poet"), 0)
    insert_many(connection, "convergence_summary", [summary(comparison, verse.total_layer, sum_kl=1.0)])
    out = str(tmp_path / "figure.png")
    outcome = command("plot", "convergence", "--out", out)
    assert outcome.status == 2
    assert "several corpora: pydoc, verse. Choose one with --corpus" in outcome.errors
    assert command("plot", "convergence", "--corpus", "verse", "--out", out).status == 0


def test_an_empty_warehouse_has_nothing_to_draw(named_database: Database, command: Command, tmp_path: Path) -> None:
    for figure in ("convergence", "conditional", "phases"):
        outcome = command("plot", figure, "--out", str(tmp_path / "figure.png"))
        assert outcome.status == 2
        assert "No comparison of kind seed has been measured" in outcome.errors
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "word"), [("figure.jpg", ".png, .svg, .pdf"), ("figure", ".png"), ("none/figure.png", "no folder")]
)
def test_a_figure_that_cannot_be_written_is_an_error(
    loaded: Database, command: Command, tmp_path: Path, name: str, word: str
) -> None:
    outcome = command("plot", "phases", "--out", str(tmp_path / name))
    assert outcome.status == 2
    assert word in outcome.errors


def test_a_missing_matplotlib_is_an_error_that_says_how_to_install_it(
    loaded: Database, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    outcome = command("plot", "convergence", "--out", str(tmp_path / "figure.png"))
    assert outcome.status == 2
    assert "pip install 'token-warehouse[plots]'" in outcome.errors
    assert not list(tmp_path.iterdir())
