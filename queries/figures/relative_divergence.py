"""Figure `relative-divergence`: which values move more than the rest [slides to Fehlauer et al. 2025]."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from queries.figures import captions, comparisons, layout
from queries.figures.captions import Caption
from queries.figures.choice import Choice, Compared, NothingToDraw, choose, require_known
from queries.figures.drawing import Drawing
from queries.figures.reading import Connection, Source
from queries.figures.style import GREY, PALE, Look, looks, styled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Where no value is told apart: log sigma within this on either side of 0 is shown at least.
_LEAST_RANGE = 0.2
#: Errors beyond this leave any panel.
_LONGEST_BAR = 50.0
_COLUMNS = """value, n_tokens, sigma,
    se_log_sigma * analysis.student_t_quantile(%(confidence)s, df) as half_width"""
_KEYS = ["giving", "model", "step", "other", "value"]


def draw(connection: Connection, choice: Choice, layer: str = "word_class", values: Sequence[str] = ()) -> Drawing:
    """Relative divergence by value of a layer: a panel per model, a line per value, outliers filled.

    values: those to name; otherwise those that are outliers, or where there are none the most frequent, eight at most.
    """
    source = Source(connection)
    subject = choose(source, choice)
    curves = read(source, subject, layer)
    for value in values:
        require_known("value", value, curves["value"])
    named = list(values)[: comparisons.MOST_VALUES] or _worth_naming(curves)
    named = list(comparisons.in_order(curves, named)["value"].unique())
    caption = captions.of_relative_divergence(
        subject,
        layer,
        len(named),
        curves["value"].nunique(),
        _rule(source),
        outliers=not values and bool(curves["outlier"].any()),
    )
    return Drawing(caption, source.statements, partial(paint, curves, named))


def read(source: Source, subject: Compared, layer: str) -> pd.DataFrame:
    """Relative divergence: model, step, value, value_order, n_tokens, sigma, half_width (of log sigma), outlier.

    Raises UnknownChoice, and NothingToDraw where no prediction differs.
    """
    rows = comparisons.of_layer(source, subject, layer, "relative_divergence", _COLUMNS)
    rows = rows.merge(_order(source, subject, layer), on="value", how="left")
    outliers = comparisons.curves(source, subject, "relative_divergence_outliers", "value", layer=layer)
    rows = rows.merge(outliers[_KEYS].assign(outlier=True), on=_KEYS, how="left")
    rows = rows.assign(outlier=rows["outlier"].notna())[rows["sigma"] > 0]
    if rows.empty:
        raise NothingToDraw(f"No prediction differs between the models compared on {subject.corpus}.")
    return rows.reset_index(drop=True)


def _order(source: Source, subject: Compared, layer: str) -> pd.DataFrame:
    """Numeric values and the order they stand in: value, value_order (NaN unless numeric)."""
    return source.look_up(
        """
        select category.value, min(coalesce(category.lower, category.value_number)) as value_order
        from analysis.annotation_layers as layer
        inner join warehouse.annotation_category as category using (layer_id)
        where layer.corpus = %(corpus)s and layer.layer = %(layer)s
        group by category.value
        """,
        **subject.names(),
        layer=layer,
    )


def _worth_naming(curves: pd.DataFrame) -> list[str]:
    """Values that are most often outliers, and of those the ones farthest from 1; without any, the most frequent."""
    found = curves[curves["outlier"]].assign(distance=np.abs(np.log(curves["sigma"])))
    if found.empty:
        return comparisons.most_frequent(curves)
    ranks = found.groupby("value")["distance"].agg(["size", "max"])
    order = ranks.sort_values(["size", "max"], ascending=False, kind="stable").index
    rest = [value for value in comparisons.most_frequent(curves) if value not in set(order)]
    few = curves["value"].nunique() <= comparisons.MOST_VALUES
    return [*order, *(rest if few else [])][: comparisons.MOST_VALUES]


def _rule(source: Source) -> str:
    [row] = source.look_up(
        "select outlier_q_value, outlier_ratio, outlier_min_tokens from warehouse.settings"
    ).itertuples(index=False)
    return (
        f"q at most {row.outlier_q_value:g}, ratio beyond {row.outlier_ratio:g} or its inverse, "
        f"at least {row.outlier_min_tokens} tokens"
    )


def paint(curves: pd.DataFrame, named: Sequence[str], caption: Caption | None) -> Figure:
    """Relative divergence against step on a log axis, with a line at 1. curves: as read; named: values in colour."""
    models = list(curves["model"].unique())
    with styled():
        ordered = bool(curves["value_order"].notna().all())
        look = dict(zip(named, looks(len(named), ordered=ordered), strict=True))
        figure, panels = layout.grid(len(models), caption, n_labels=len(named))
        for model, axes in zip(models, panels, strict=True):
            own = curves[curves["model"] == model]
            for _, curve in own[~own["value"].isin(look)].groupby("value"):
                axes.plot(curve["step"] + 1, curve["sigma"], color=PALE, linewidth=0.8, zorder=1)
            for place, value in enumerate(named):
                curve = own[own["value"] == value]
                if len(curve):
                    _value(axes, curve, look[value], value, 1 + 0.01 * (place - (len(named) - 1) / 2))
            axes.axhline(1, color=GREY, linewidth=0.9, zorder=1.5)
            layout.dress(axes, curves["step"], model)
        _scale(panels, curves)
        layout.legend(figure, panels)
        layout.finish(figure, panels, ["relative divergence"] * len(panels))
    return figure


def _value(axes: Axes, curve: pd.DataFrame, look: Look, label: str, aside: float) -> None:
    """A value's line, intervals, and points, filled where they are outliers. aside: a factor that keeps bars apart."""
    x, sigma = (curve["step"] + 1) * aside, curve["sigma"]
    half = curve["half_width"].clip(upper=_LONGEST_BAR)
    lower, upper = sigma - sigma * np.exp(-half), sigma * np.exp(half) - sigma
    axes.errorbar(x, sigma, (lower, upper), fmt="none", ecolor=look.colour, elinewidth=0.9, alpha=0.6)
    axes.plot(x, sigma, color=look.colour, linestyle=look.dashes, linewidth=1.4, marker=look.marker, label=label)
    [line] = axes.lines[-1:]
    line.set(markersize=5, markerfacecolor="white", markeredgewidth=1.0)
    found = curve["outlier"]
    axes.plot(x[found], sigma[found], linestyle="none", marker=look.marker, markersize=5.5, color=look.colour)


def _scale(panels: Sequence[Any], curves: pd.DataFrame) -> None:
    """One log axis for all panels, with plain numbers, that holds every point; the ends of long bars may leave it."""
    from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

    logs = np.log(curves["sigma"])
    low, high = min(logs.min(), -_LEAST_RANGE) - 0.1, max(logs.max(), _LEAST_RANGE) + 0.1
    ticks = _round_ratios(float(np.exp(low)), float(np.exp(high)))
    for axes in panels:
        axes.set_yscale("log")
        axes.set_ylim(np.exp(low), np.exp(high))
        axes.yaxis.set_major_locator(FixedLocator(ticks))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _round_ratios(low: float, high: float) -> list[float]:
    """Ratios to label between two: as many as stay apart."""
    for steps in ((1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8), (1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1,)):
        fine = [step * 10.0**power for power in range(-6, 7) for step in steps]
        shown = [ratio for ratio in fine if low <= ratio <= high]
        if len(shown) <= 8:
            return shown
    return [1.0]
