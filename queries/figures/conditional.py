"""Figures `conditional` and `frequency`: convergence by value of an annotation layer [Fehlauer et al. 2025]."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from queries.figures import captions, comparisons, layout, shading
from queries.figures.captions import Caption
from queries.figures.choice import Choice, Compared, choose
from queries.figures.drawing import Drawing
from queries.figures.reading import Connection, Source
from queries.figures.style import looks, styled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def draw(connection: Connection, choice: Choice, layer: str = "word_class", definition: str = "estimated") -> Drawing:
    """Convergence by value of a layer: a panel per model, a line per value, the eight most frequent at most."""
    source = Source(connection)
    return _drawing(source, choose(source, choice), layer, definition, captions.of_values)


def draw_frequency(
    connection: Connection, choice: Choice, reference: str | None = None, definition: str = "estimated"
) -> Drawing:
    """Convergence by how often the token occurs, in decades. reference: whose counts, where there are several."""
    source = Source(connection)
    subject = choose(source, choice)
    layer = "frequency" if reference is None else f"frequency.{reference}"
    return _drawing(source, subject, layer, definition, captions.of_frequency)


def _drawing(source: Source, subject: Compared, layer: str, definition: str, worded: captions.OfValues) -> Drawing:
    curves = comparisons.by_value(source, subject, layer)
    phases = shading.of_panels(shading.phases(source, subject, definition), curves)
    shown, n_values = curves["value"].nunique(), int(curves["n_values"].iloc[0])
    caption = worded(
        subject, shading.named(definition, phases), layer, shown, n_values, banded=comparisons.banded(curves)
    )
    return Drawing(caption, source.statements, partial(paint, curves, phases))


def paint(curves: pd.DataFrame, phases: pd.DataFrame, caption: Caption | None) -> Figure:
    """Convergence against step, a line per value of a layer and a panel per model.

    curves: as for convergence.paint, with value and value_order (NaN unless numeric); values in the order to show.
    """
    models, values = list(curves["model"].unique()), list(curves["value"].unique())
    ordered = bool(curves["value_order"].notna().all())
    with styled():
        look = dict(zip(values, looks(len(values), ordered=ordered), strict=True))
        figure, panels = layout.grid(len(models), caption, n_labels=len(values))
        for model, axes in zip(models, panels, strict=True):
            for value, curve in curves[curves["model"] == model].groupby("value", sort=False):
                layout.line(axes, curve, look[value], label=str(value))
            layout.dress(axes, curves["step"], model, phases[phases["model"] == model])
        layout.legend(figure, panels)
        layout.finish(figure, panels, [layout.CONVERGENCE] * len(panels))
    return figure
