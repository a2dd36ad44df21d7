"""Figure `reference`: KL of the models to the uniform and to other reference distributions [Fehlauer et al. 2025]."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from queries.figures import captions, layout
from queries.figures.captions import Caption
from queries.figures.choice import Choice, Scored, choose_scored
from queries.figures.comparisons import MOST_VALUES
from queries.figures.drawing import Drawing
from queries.figures.reading import Connection, Source
from queries.figures.style import looks, styled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

UNIFORM = "uniform"


def draw(connection: Connection, choice: Choice) -> Drawing:
    """KL of checkpoints to uniform and to each reference: a panel per reference, a line per model."""
    source = Source(connection)
    subject = choose_scored(source, choice)
    curves = read(source, subject)
    caption = captions.of_references(subject, int(curves["n_seeds"].max()))
    return Drawing(caption, source.statements, partial(paint, curves))


def read(source: Source, subject: Scored) -> pd.DataFrame:
    """Means over seeds: reference, model, step, kl (nats), half_width (nats, NaN for one seed), n_seeds, nearest.

    nearest: whether this is the step that view reference_step has.

    References come with uniform first and then by their order n; models from the smallest to the largest, the
    MOST_VALUES largest of them.
    """
    rows = source.read(
        """
        select distinct 'uniform' as reference, 0 as ngram_order, model, step, kl_uniform as kl, n_seeds,
            se_seed_kl_uniform * analysis.student_t_quantile(%(confidence)s, df_seed) as half_width, false as nearest
        from analysis.mean_reference_divergence
        where corpus = %(corpus)s and protocol = %(protocol)s and family = %(family)s and model = any(%(models)s)
        union all
        select reference, ngram_order, model, step, kl_reference as kl, n_seeds_reference as n_seeds,
            se_seed_kl_reference * analysis.student_t_quantile(%(confidence)s, df_seed_reference) as half_width,
            (corpus, protocol, run_set, family, model, reference, step) in (
                select corpus, protocol, run_set, family, model, reference, step from analysis.reference_step
            ) as nearest
        from analysis.mean_reference_divergence
        where corpus = %(corpus)s and protocol = %(protocol)s and family = %(family)s
            and model = any(%(models)s) and kl_reference is not null
        order by ngram_order, reference, model, step
        """,
        **subject.names(),
    )
    place = {model: number for number, model in enumerate(subject.models[-MOST_VALUES:])}
    rows = rows[rows["model"].isin(place)]
    return rows.sort_values(
        ["ngram_order", "reference", "model", "step"],
        key=lambda column: column.map(place) if column.name == "model" else column,
        ignore_index=True,
    )


def paint(curves: pd.DataFrame, caption: Caption | None) -> Figure:
    """KL against step, a panel per reference and a line per model. curves: as read."""
    references, models = list(curves["reference"].unique()), list(curves["model"].unique())
    with styled():
        look = dict(zip(models, looks(len(models)), strict=True))
        figure, panels = layout.grid(len(references), caption, n_labels=len(models))
        for reference, axes in zip(references, panels, strict=True):
            for model, curve in curves[curves["reference"] == reference].groupby("model", sort=False):
                layout.line(axes, curve, look[model], label=str(model), value="kl")
                if reference != UNIFORM:
                    _ring(axes, curve, look[model].colour)
            layout.dress(axes, curves["step"], f"KL to {reference}")
        layout.legend(figure, panels)
        layout.finish(figure, panels, ["KL (nats)"] * len(panels))
    return figure


def _ring(axes: Axes, curve: pd.DataFrame, colour: str) -> None:
    """Mark the step of least KL, unless that is where training begins or ends."""
    found = curve[curve["nearest"]]
    inside = found[(found["step"] > curve["step"].min()) & (found["step"] < curve["step"].max())]
    for step, kl in zip(inside["step"], inside["kl"], strict=True):
        axes.plot(step + 1, kl, marker="o", markersize=11, markerfacecolor="none", color=colour)
