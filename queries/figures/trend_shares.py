"""Figure `trend-shares`: how many tokens each run comes to predict better, worse or no different [Xia et al. 2023]."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from queries.figures import captions, layout
from queries.figures.captions import Caption
from queries.figures.choice import Choice, NothingToDraw, Scored, choose_scored, require_known
from queries.figures.drawing import Drawing
from queries.figures.reading import Connection, Source
from queries.figures.style import COLOURS, GREY, styled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRENDS = ("downward", "upward", "stagnated", "unclassified")
PREDICTORS = ("step", "log_step", "index")
VARIANTS = ("paper", "code")
#: Percent that a panel shows at least.
_LEAST_RANGE = 4.0


def draw(
    connection: Connection, choice: Choice, start: float = 0.1, predictor: str = "step", variant: str = "paper"
) -> Drawing:
    """Shares of tokens by trend of their perplexity: a panel per trend, models side by side.

    start: share of training that is left out. predictor, variant: as function token_trend_with takes them.
    """
    require_known("predictor", predictor, PREDICTORS)
    require_known("variant", variant, VARIANTS)
    source = Source(connection)
    subject = choose_scored(source, choice)
    shares = read(source, subject, start, predictor, variant)
    caption = captions.of_trend_shares(subject, start, predictor, variant, float(shares["autocorrelation"].mean()))
    return Drawing(caption, source.statements, partial(paint, shares))


def read(source: Source, subject: Scored, start: float, predictor: str, variant: str) -> pd.DataFrame:
    """Shares of each run: model, seed, trend, share, shuffled_share, autocorrelation; models from the smallest."""
    rows = source.read(
        """
        select model, seed, trend, share, shuffled_share, autocorrelation, n_classified
        from analysis.trend_shares_with(start => %(start)s, predictor => %(predictor)s, variant => %(variant)s)
        where corpus = %(corpus)s and protocol = %(protocol)s and family = %(family)s and model = any(%(models)s)
            and not outlier and share is not null
        order by model, seed, trend
        """,
        **subject.names(),
        start=start,
        predictor=predictor,
        variant=variant,
    )
    if rows.empty:
        raise NothingToDraw(f"No run on {subject.corpus} has checkpoints enough for trends of its tokens.")
    place = {model: number for number, model in enumerate(subject.models)}
    return rows.sort_values("model", key=lambda models: models.map(place), kind="stable", ignore_index=True)


def paint(shares: pd.DataFrame, caption: Caption | None) -> Figure:
    """A panel per trend: each run hollow, their mean filled, and what is left when time is shuffled.

    shares: as read.
    """
    models = list(shares["model"].unique())
    trends = [trend for trend in TRENDS if trend in set(shares["trend"])]
    with styled():
        figure, panels = layout.grid(len(trends), caption, n_labels=3, panel_height=2.3, shared=False)
        for trend, axes in zip(trends, panels, strict=True):
            _trend(axes, shares[shares["trend"] == trend], models)
            axes.set_title(trend, loc="left", fontsize=10, fontweight="bold", pad=6)
            axes.tick_params(labelsize=8)
            axes.set_ylim(0, max(_LEAST_RANGE, 1.08 * axes.get_ylim()[1]))
        layout.legend(figure, panels)
        layout.finish(figure, panels, ["share of tokens (%)"] * len(panels), below="model")
    return figure


def _trend(axes: Axes, shares: pd.DataFrame, models: list[str]) -> None:
    means = shares.groupby("model", sort=False)[["share", "shuffled_share"]].mean().loc[models]
    places = np.arange(len(models))
    run = shares["model"].map({model: number for number, model in enumerate(models)})
    axes.plot(places, 100 * means["share"], marker="D", markersize=5.5, color=COLOURS[0], label="mean over runs")
    hollow: dict[str, Any] = {"marker": "o", "markersize": 7.5, "markerfacecolor": "none", "markeredgewidth": 1.1}
    axes.plot(run, 100 * shares["share"], linestyle="none", color=COLOURS[0], label="a training run", **hollow)
    axes.plot(
        places,
        100 * means["shuffled_share"],
        linestyle="dashed",
        marker="x",
        markersize=6,
        markeredgewidth=1.4,
        linewidth=1.1,
        color=GREY,
        label="the same, time shuffled",
    )
    axes.set_xticks(places, models)
    axes.set_xlim(-0.5, len(models) - 0.5)
    axes.grid(axis="y", color="#EDEDED", linewidth=0.7)
