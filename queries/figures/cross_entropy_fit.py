"""Figure `cross-entropy-fit`: how much of the KL between steps goes along with the fall of cross-entropy [slides]."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from queries.figures import captions, layout
from queries.figures.captions import Caption
from queries.figures.choice import Choice, Compared, NothingToDraw, choose, require_known
from queries.figures.comparisons import MOST_VALUES
from queries.figures.drawing import Drawing
from queries.figures.reading import Connection, Source
from queries.figures.style import COLOURS, GREY, INK, looks, styled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Name of the layer of all tokens in the views of fits.
ALL = "all"
#: What KL is fitted on, and its axis.
PREDICTORS = {
    "ratio": "cross-entropy of p over that of q",
    "difference": "cross-entropy of p less that of q (nats)",
}
#: Most values of a layer in one figure: rows of a panel.
_MOST_ROWS = 40


def draw(
    connection: Connection,
    choice: Choice,
    layer: str = "word_class",
    predictor: str = "ratio",
    max_step: int | None = None,
) -> Drawing:
    """KL from a step to the next against cross-entropy, over all tokens, and beside it the slope of each value.

    predictor: ratio or difference. max_step: last step that is fitted; None for that of the settings.
    """
    require_known("predictor", predictor, list(PREDICTORS))
    source = Source(connection)
    subject = choose(source, choice)
    fits = read(source, subject, layer, predictor, max_step)
    points = read_points(source, subject, predictor, int(fits["last_step"].max()))
    caption = captions.of_cross_entropy_fit(
        subject, layer, predictor, int(fits["last_step"].max()), min(len(fits) - 1, _MOST_ROWS), len(fits) - 1
    )
    return Drawing(caption, source.statements, partial(paint, points, fits, predictor))


def read(source: Source, subject: Compared, layer: str, predictor: str, max_step: int | None) -> pd.DataFrame:
    """Fits of all tokens and of each value of a layer, the steepest first.

    Columns: layer, value, alpha, half_width (of alpha's interval), intercept, r2, n, last_step.
    """
    rows = source.read(
        """
        select layer, value, alpha, se_alpha * analysis.student_t_quantile(%(confidence)s, df::integer) as half_width,
            intercept, r2, n, n_models, last_step
        from analysis.cross_entropy_fit_with(max_step => %(max_step)s, kind => %(kind)s, models => %(models)s)
        where corpus = %(corpus)s and protocol = %(protocol)s and family = %(family)s and predictor = %(predictor)s
            and layer in (%(all)s, %(layer)s) and alpha is not null
        order by alpha desc, value
        """,
        **subject.names(),
        predictor=predictor,
        layer=layer,
        all=ALL,
        max_step=max_step,
    )
    if rows.empty or (rows["layer"] == ALL).sum() != 1:
        raise NothingToDraw(
            f"There is no cross-entropy fit of kind {subject.kind} on {subject.corpus}: it takes two scored, complete "
            "comparisons."
        )
    require_known("layer", layer, [*rows["layer"], ALL])
    return rows


def read_points(source: Source, subject: Compared, predictor: str, last_step: int) -> pd.DataFrame:
    """What was fitted over all tokens: model, step, x (the predictor), mean_kl in nats."""
    rows = source.read(
        f"""
        select model, step, {predictor} as x, mean_kl
        from analysis.cross_entropy_points
        where kind = %(kind)s and corpus = %(corpus)s and protocol = %(protocol)s and family = %(family)s
            and model = any(%(models)s) and layer = %(all)s and {predictor} is not null
            and case when kind in ('step_reverse', 'final_reverse') then step_q else step end <= %(last_step)s
        order by model, step
        """,
        **subject.names(),
        all=ALL,
        last_step=last_step,
    )
    place = {model: number for number, model in enumerate(subject.models)}
    return rows.sort_values("model", key=lambda models: models.map(place), kind="stable", ignore_index=True)


def paint(points: pd.DataFrame, fits: pd.DataFrame, predictor: str, caption: Caption | None) -> Figure:
    """The points of all tokens with their line; beside it a slope for each value, the steepest on top.

    points, fits: as read.
    """
    models = list(points["model"].unique())
    shown = fits[fits["layer"] != ALL].head(_MOST_ROWS)
    with styled():
        height = max(3.1, 0.19 * len(shown) + 0.9)
        labels = min(len(models), MOST_VALUES)
        figure, panels = layout.grid(2, caption, n_labels=labels, shared=False, panel_height=height)
        total = fits[fits["layer"] == ALL].iloc[0]
        _scatter(panels[0], points, models, total)
        _slopes(panels[1], shown, total)
        panels[0].set_ylabel("mean KL(p || q) (nats)")
        panels[0].set_xlabel(PREDICTORS[predictor], fontsize=9)
        panels[1].set_xlabel(
            f"slope (% of a nat per {'unit of the ratio' if predictor == 'ratio' else 'nat'})", fontsize=9
        )
        layout.legend(figure, panels[:1])
        figure.draw_without_rendering()
    return figure


def _scatter(axes: Axes, points: pd.DataFrame, models: list[str], total: pd.Series[Any]) -> None:
    for model, look in zip(models[-MOST_VALUES:], looks(min(len(models), MOST_VALUES)), strict=True):
        own = points[points["model"] == model]
        axes.plot(
            own["x"],
            own["mean_kl"],
            linestyle="none",
            marker=look.marker,
            color=look.colour,
            alpha=0.8,
            markersize=4.5,
            label=model,
        )
    ends = np.array([points["x"].min(), points["x"].max()])
    axes.plot(ends, total["intercept"] + total["alpha"] * ends, color=INK, linewidth=1.3, zorder=1)
    axes.set_title("all tokens", loc="left", fontsize=10, fontweight="bold", pad=6)
    axes.text(
        0.98,
        0.03,
        f"slope {100 * total['alpha']:.1f} %, r² {total['r2']:.2f}, n {total['n']}",
        transform=axes.transAxes,
        ha="right",
        va="bottom",
        fontsize=8.5,
        color=INK,
    )
    axes.grid(color="#EDEDED", linewidth=0.7)


def _slopes(axes: Axes, shown: pd.DataFrame, total: pd.Series[Any]) -> None:
    """A row a value: its slope with an interval, and its r squared at the right; dashes where all tokens are."""
    rows = np.arange(len(shown))[::-1]
    slopes, half = 100 * shown["alpha"], 100 * shown["half_width"]
    axes.errorbar(slopes, rows, xerr=half, fmt="none", ecolor=GREY, elinewidth=1)
    axes.plot(slopes, rows, linestyle="none", marker="o", markersize=5, color=COLOURS[0])
    axes.axvline(100 * total["alpha"], color=INK, linewidth=1, linestyle="dashed", zorder=0.5)
    axes.set_yticks(rows, list(shown["value"]))
    axes.set_ylim(-0.7, len(shown) - 0.3)
    spread = max(slopes.max() - slopes.min(), abs(slopes).max() * 0.2)
    axes.set_xlim(
        min(slopes.min(), 100 * total["alpha"]) - 0.5 * spread, max(slopes.max(), 100 * total["alpha"]) + 0.5 * spread
    )
    axes.grid(axis="x", color="#EDEDED", linewidth=0.7)
    axes.tick_params(axis="y", length=0)
    axes.set_title("by value", loc="left", fontsize=10, fontweight="bold", pad=6)
    for row, r2 in zip(rows, shown["r2"], strict=True):
        axes.text(1.01, row, f"{r2:.2f}", transform=axes.get_yaxis_transform(), va="center", fontsize=8, color=GREY)
    axes.text(1.01, 1.015, "r²", transform=axes.transAxes, va="bottom", fontsize=8, color=GREY)
