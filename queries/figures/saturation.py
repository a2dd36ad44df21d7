"""Figure `saturation`: curves of metrics over training, with the best checkpoint marked [Godey et al. 2024]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from queries.figures import captions, layout
from queries.figures.captions import Caption
from queries.figures.choice import Choice, NothingToDraw, by_size, require_known, settle
from queries.figures.comparisons import MOST_VALUES
from queries.figures.drawing import Drawing
from queries.figures.reading import Connection, Source
from queries.figures.style import Look, looks, styled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Most panels of one figure.
MOST_METRICS = 6
#: Metrics measured here that are drawn where none is named; imported ones come after.
_FIRST = ("surprisal",)
#: Ratio of the largest to the least value from which the axis is logarithmic.
_LOG_FROM = 50
_IN_NATS = ("surprisal", "convergence", "convergence_step", "convergence_final")


@dataclass(frozen=True)
class Curves:
    """Which curves to draw. corpus, protocol: of those measured here, None where there are none."""

    family: str
    models: tuple[str, ...]
    corpus: str | None
    protocol: str | None
    metrics: tuple[str, ...]
    #: Metrics that could be drawn.
    n_metrics: int

    def names(self) -> dict[str, object]:
        """Parameters of a query that picks the curves."""
        return {
            "family": self.family,
            "models": list(self.models),
            "corpus": self.corpus,
            "protocol": self.protocol,
            "metrics": list(self.metrics),
        }


def draw(
    connection: Connection, choice: Choice, metrics: Sequence[str] = (), improves_upwards: bool | None = None
) -> Drawing:
    """Metrics over training with the best checkpoint of each run: a panel per metric and source, a line per model.

    metrics: names as in training_curves; otherwise surprisal and what was imported, six at most. improves_upwards:
    direction of the metrics named, where they have none or another.
    """
    source = Source(connection)
    wanted = choose_curves(source, choice, metrics, improves_upwards)
    curves, best = read(source, wanted), read_best(source, wanted, improves_upwards)
    caption = captions.of_saturation(
        wanted.family,
        wanted.corpus,
        sorted(set(curves["source"].dropna())),
        len(wanted.metrics),
        wanted.n_metrics,
        several=curves.groupby("model")["seed"].nunique().max() > 1,
    )
    return Drawing(caption, source.statements, partial(paint, curves, best, wanted.models))


def choose_curves(source: Source, choice: Choice, metrics: Sequence[str], improves_upwards: bool | None) -> Curves:
    """Settle which curves to draw.

    Raises NothingToDraw, AmbiguousChoice where corpora, protocols or families would mix, UnknownChoice.
    """
    found = source.look_up(
        """
        select corpus, protocol, family, model, metric, bool_or(higher_is_better) as improves_upwards
        from analysis.training_curves
        where not outlier
        group by corpus, protocol, family, model, metric
        """
    )
    found = found[found["improves_upwards"].notna() | (improves_upwards is not None)]
    if found.empty:
        raise NothingToDraw("No metric has been measured or imported; `warehouse import metrics` takes results in.")
    family = settle("family", "families", choice.family, found["family"])
    found = found[found["family"] == family]
    for metric in metrics:
        require_known("metric with a direction", metric, found["metric"])
    wanted = found[found["metric"].isin(metrics or _usual(found))]
    for model in choice.models:
        require_known("model", model, wanted["model"])
    wanted = wanted[wanted["model"].isin(choice.models)] if choice.models else wanted
    corpus, protocol = _text(wanted[wanted["corpus"].notna()], choice)
    names = [metric for metric in metrics or _usual(found) if metric in set(wanted["metric"])]
    models = by_size(source, family, list(wanted["model"].unique()))
    return Curves(family, models[-MOST_VALUES:], corpus, protocol, tuple(names[:MOST_METRICS]), len(names))


def _usual(found: pd.DataFrame) -> list[str]:
    """What is drawn where no metric is named: surprisal, then imported losses, then other imported metrics."""
    imported = found[found["corpus"].isna()].sort_values(["improves_upwards", "metric"])["metric"].unique()
    return [*(metric for metric in _FIRST if metric in set(found["metric"])), *imported]


def _text(own: pd.DataFrame, choice: Choice) -> tuple[str | None, str | None]:
    """The corpus and the protocol of the metrics that were measured here, None where none is wanted."""
    if own.empty:
        return None, None
    corpus = settle("corpus", "corpora", choice.corpus, own["corpus"])
    own = own[own["corpus"] == corpus]
    return corpus, settle("protocol", "protocols", choice.protocol, own["protocol"])


def read(source: Source, wanted: Curves) -> pd.DataFrame:
    """The curves: metric, source, model, seed (NaN where all seeds make one curve), step, value; metrics as wanted."""
    rows = source.read(
        """
        select metric, source, model, seed, step, value
        from analysis.training_curves
        where family = %(family)s and model = any(%(models)s) and metric = any(%(metrics)s)
            and (corpus is null or corpus = %(corpus)s and protocol = %(protocol)s) and not outlier
        order by metric, source, model, seed, step
        """,
        **wanted.names(),
    )
    place = {metric: number for number, metric in enumerate(wanted.metrics)}
    return rows.sort_values("metric", key=lambda metrics: metrics.map(place), kind="stable", ignore_index=True)


def read_best(source: Source, wanted: Curves, improves_upwards: bool | None) -> pd.DataFrame:
    """The best checkpoint of each curve: metric, source, model, seed, best_step, best_value, final_to_best."""
    return source.read(
        """
        select metric, source, model, seed, best_step, best_value, final_step, final_value, final_to_best
        from analysis.saturation_with(improves_upwards => %(improves_upwards)s)
        where family = %(family)s and model = any(%(models)s) and metric = any(%(metrics)s)
            and (corpus is null or corpus = %(corpus)s and protocol = %(protocol)s) and not outlier
        order by metric, source, model, seed
        """,
        **wanted.names(),
        improves_upwards=improves_upwards,
    )


def paint(curves: pd.DataFrame, best: pd.DataFrame, models: Sequence[str], caption: Caption | None) -> Figure:
    """A panel per metric and source: means over seeds, each seed faint, a ring at the best checkpoint of each run.

    curves, best: as read. models: from the smallest to the largest. At the right: final over best, mean over runs.
    """
    panelled = curves.groupby(["metric", "source"], sort=False, dropna=False)
    sources = curves["source"].nunique()
    models = [model for model in models if model in set(curves["model"])]
    with styled():
        look = dict(zip(models, looks(len(models)), strict=True))
        figure, panels = layout.grid(len(panelled), caption, n_labels=len(models), shared=False)
        for axes, ((metric, source), own) in zip(panels, panelled, strict=True):
            imported = isinstance(source, str)
            of_source = best["source"] == source if imported else best["source"].isna()
            rings = best[(best["metric"] == metric) & of_source]
            for model in models:
                _model(axes, own[own["model"] == model], rings[rings["model"] == model], look[model])
            layout.dress(axes, own["step"], f"{metric}\n{source}" if imported and sources > 1 else str(metric))
            axes.set_ylabel("nats" if metric in _IN_NATS and not imported else "")
            if own["value"].min() > 0 and own["value"].max() > _LOG_FROM * own["value"].min():
                axes.set_yscale("log")
                axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
                axes.tick_params(axis="y", which="minor", length=0)
        layout.legend(figure, panels)
        layout.finish(figure, panels)
    return figure


def _model(axes: Axes, own: pd.DataFrame, best: pd.DataFrame, look: Look) -> None:
    if own.empty:
        return
    runs = list(own.groupby("seed", dropna=False))
    for _, run in runs if len(runs) > 1 else ():
        axes.plot(run["step"] + 1, run["value"], color=look.colour, linewidth=0.7, alpha=0.45)
    mean = own.groupby("step", as_index=False)["value"].mean()
    axes.plot(mean["step"] + 1, mean["value"], label=own["model"].iloc[0], **look.line(len(mean)))
    ring: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 10, "markerfacecolor": "none"}
    axes.plot(best["best_step"] + 1, best["best_value"], color=look.colour, **ring)
    ratio = best["final_to_best"].mean()
    if ratio == ratio:
        last = mean.iloc[-1]
        place: dict[str, Any] = {"xytext": (9, 0), "textcoords": "offset points", "va": "center", "fontsize": 8}
        axes.annotate(f"{ratio:.2f}", (last["step"] + 1, last["value"]), color=look.colour, **place)
