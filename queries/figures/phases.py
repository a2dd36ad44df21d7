"""Figure `phases`: the phases of training, and what the checkpoints are like in each [Fehlauer et al. 2025]."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from queries.figures import captions, comparisons, layout, shading
from queries.figures.captions import Caption
from queries.figures.choice import Choice, Compared, choose
from queries.figures.drawing import Drawing
from queries.figures.reading import Connection, Source
from queries.figures.style import ALONE, looks, styled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

READINGS = {"kl_uniform": "KL to uniform", "kl_unigram": "KL to unigram", "cross_entropy": "cross-entropy"}


def draw(connection: Connection, choice: Choice, definition: str = "estimated") -> Drawing:
    """Convergence of seeds, and below it KL to uniform and unigram, and cross-entropy, with the phases shaded."""
    source = Source(connection)
    subject = choose(source, choice)
    curves = comparisons.expected(source, subject)
    found = shading.phases(source, subject, definition)
    measured = readings(source, subject)
    caption = captions.of_phases(subject, shading.named(definition, found), banded=comparisons.banded(curves))
    return Drawing(caption, source.statements, partial(paint, curves, measured, found))


def readings(source: Source, subject: Compared) -> pd.DataFrame:
    """Means over seeds, in nats: model, step, kl_uniform, kl_unigram, cross_entropy.

    kl_unigram is NaN where no reference is called unigram.
    """
    return source.read(
        """
        select model, step, kl_uniform, cross_entropy,
            max(kl_reference) filter (where reference = 'unigram') as kl_unigram
        from analysis.mean_reference_divergence
        where corpus = %(corpus)s and protocol = %(protocol)s and family = %(family)s and model = any(%(models)s)
        group by model, step, kl_uniform, cross_entropy
        order by model, step
        """,
        **subject.names(),
    )


def paint(curves: pd.DataFrame, readings: pd.DataFrame, phases: pd.DataFrame, caption: Caption | None) -> Figure:
    """Two panels per model, one above the other: convergence, and what the checkpoints are like on average.

    curves, phases: as for convergence.paint. readings: model, step, kl_uniform, kl_unigram, cross_entropy in nats.
    """
    models = list(curves["model"].unique())
    shown = [name for name in READINGS if readings[name].notna().any()]
    with styled():
        figure, panels = layout.grid(len(models), caption, rows_each=2, n_labels=len(shown))
        upper, lower = panels[: len(models)], panels[len(models) :]
        for model, above, below in zip(models, upper, lower, strict=True):
            own = phases[phases["model"] == model]
            layout.line(above, curves[curves["model"] == model], ALONE)
            layout.dress(above, curves["step"], model, own)
            reading = readings[readings["model"] == model]
            for name, look in zip(shown, looks(len(shown), after=1), strict=True):
                below.plot(reading["step"] + 1, reading[name], label=READINGS[name], **look.line(len(reading)))
            layout.dress(below, curves["step"], phases=own)
        if shown:
            layout.legend(figure, lower)
        labels = [layout.CONVERGENCE] * len(models) + ["KL, cross-entropy (nats)"] * len(models)
        layout.finish(figure, panels, labels)
    return figure
