"""Figure `convergence`: how alike models predict, step by step [Fehlauer et al. 2025, expected convergence]."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from queries.figures import captions, comparisons, conditional, layout, shading
from queries.figures.captions import Caption
from queries.figures.choice import Choice, choose
from queries.figures.drawing import Drawing
from queries.figures.reading import Connection, Source
from queries.figures.style import ALONE, PALE, styled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def draw(connection: Connection, choice: Choice, definition: str = "estimated") -> Drawing:
    """How alike models predict, step by step: a panel per model, or per two of them. definition: phases to shade.

    Where a step is held against several steps of q, a line for each.
    """
    source = Source(connection)
    subject = choose(source, choice)
    curves = comparisons.expected(source, subject)
    phases = shading.of_panels(shading.phases(source, subject, definition), curves)
    shaded, banded = shading.named(definition, phases), comparisons.banded(curves)
    by_step_q = comparisons.by_step_q(curves)
    if by_step_q is None:
        caption = captions.of_convergence(subject, shaded, banded=banded)
        return Drawing(caption, source.statements, partial(paint, curves, phases))
    shown, n_values = by_step_q["value"].nunique(), int(by_step_q["n_values"].iloc[0])
    caption = captions.of_steps_of_q(subject, shaded, shown, n_values, banded=banded)
    return Drawing(caption, source.statements, partial(conditional.paint, by_step_q, phases))


def paint(curves: pd.DataFrame, phases: pd.DataFrame, caption: Caption | None) -> Figure:
    """Convergence against step, a panel per model; the curves of the other models are faint in each.

    curves: model, step, convergence, half_width in nats. phases: model, position, phase, first_step, last_step.
    """
    models = list(curves["model"].unique())
    with styled():
        figure, panels = layout.grid(len(models), caption)
        for model, axes in zip(models, panels, strict=True):
            for _, other in curves[curves["model"] != model].groupby("model"):
                axes.plot(other["step"] + 1, other["convergence"], color=PALE, linewidth=1)
            layout.line(axes, curves[curves["model"] == model], ALONE)
            layout.dress(axes, curves["step"], model, phases[phases["model"] == model])
        layout.finish(figure, panels, [layout.CONVERGENCE] * len(panels))
    return figure
