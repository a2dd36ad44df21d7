"""Comparisons as curves over training, read from the views. This module may not know how a figure looks.

A panel is a model, or two of them for kinds between models. Curves run over the earlier step of the two compared.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from queries.figures.choice import AmbiguousChoice, Compared, NothingToDraw, UnknownChoice, require_known
from queries.figures.reading import Source

if TYPE_CHECKING:
    import pandas as pd

#: Most values of a layer, or steps of q, in one figure; more lines cannot be told apart.
MOST_VALUES = 8
#: Kinds drawn at the step of q, where q is the earlier one.
_REVERSED = ("step_reverse", "final_reverse")

_CURVES = """
select model, model_q, step, step_q, {columns}
from analysis.{view}
where kind = %(kind)s and corpus = %(corpus)s and protocol = %(protocol)s and family = %(family)s
    and model = any(%(models)s) and complete{conditions}
order by model, model_q, step, step_q
"""
_PREFERRED = """
    and comparison_id in (select comparison_id from analysis.comparisons where kind = %(kind)s and preferred)"""
_CONVERGENCE = """convergence,
    se_total * analysis.student_t_quantile(
        %(confidence)s, analysis.welch_df(se_seed, df_seed, se_document, df_document)
    ) as half_width"""


def expected(source: Source, subject: Compared) -> pd.DataFrame:
    """Expected convergence: model, step, convergence (nats), half_width of its interval (nats, NaN where unknown).

    model: a panel's, which for kinds between models is a pair of them; giving: the model that gives p. other: the step
    of the other side, of which a model and step have several where kinds `cross` and `custom` do.
    """
    return curves(source, subject, "expected_convergence", _CONVERGENCE)


def by_step_q(expected: pd.DataFrame) -> pd.DataFrame | None:
    """Curves of several steps of the other side, with that step as value; None where each point has one.

    Of more than MOST_VALUES the first, the last and some between; value_order, n_values as in by_value.
    """
    if not expected.duplicated(["model", "step"]).any():
        return None
    others = sorted(expected["other"].unique())
    last = len(others) - 1
    kept = {others[round(place * last / (MOST_VALUES - 1))] for place in range(MOST_VALUES)}
    shown = expected[expected["other"].isin(kept)].sort_values("other", kind="stable")
    return shown.assign(
        value=[f"q at step {step:,}" for step in shown["other"]], value_order=shown["other"], n_values=len(others)
    )


def by_value(source: Source, subject: Compared, layer: str) -> pd.DataFrame:
    """Conditional convergence, of the most frequent values where there are more than MOST_VALUES.

    Columns: model, value, step, convergence (nats), half_width (nats), value_order (of a numeric value, else NaN),
    n_values of the layer. Values come in the order to show them in. Raises UnknownChoice.
    """
    rows = of_layer(
        source,
        subject,
        layer,
        "conditional_convergence",
        f"value, n_tokens, coalesce(lower, value_number) as value_order, {_CONVERGENCE}",
    )
    return in_order(rows, most_frequent(rows))


def of_layer(source: Source, subject: Compared, layer: str, view: str, columns: str) -> pd.DataFrame:
    """Rows of a view by value of a layer, one per (model, step, value). Raises UnknownChoice, AmbiguousChoice."""
    layers = source.look_up(
        "select distinct layer from analysis.annotation_layers where corpus = %(corpus)s and summarised",
        **subject.names(),
    )
    require_known("layer", layer, layers["layer"])
    rows = curves(source, subject, view, columns, layer=layer)
    if rows.empty:
        raise NothingToDraw(f"Layer {layer} has no convergence on {subject.corpus}; `warehouse refresh` computes it.")
    if rows.duplicated(["model", "step", "value"]).any():
        raise AmbiguousChoice(
            f"Comparisons of kind {subject.kind} hold a step against several steps of q: choose one with --step-q."
        )
    return rows


def curves(source: Source, subject: Compared, view: str, columns: str, layer: str | None = None) -> pd.DataFrame:
    """Complete comparisons of a view, in the order of models and steps. columns: what to read beside their names.

    Of several next or last steps those that the views prefer, unless the step of q says which.
    """
    conditions = "" if subject.step_q is None else " and step_q = %(step_q)s"
    conditions += "" if subject.step_q is not None and subject.kind not in _REVERSED else _PREFERRED
    conditions += "" if layer is None else " and layer = %(layer)s"
    query = _CURVES.format(columns=columns, view=view, conditions=conditions)
    rows = source.read(query, **subject.names(), layer=layer)
    if rows.empty and subject.step_q is not None:
        raise UnknownChoice(f"No complete comparison of kind {subject.kind} has a q at step {subject.step_q}.")
    return _panelled(rows, subject)


def most_frequent(rows: pd.DataFrame) -> list[str]:
    """The values to show where nothing else chooses: the MOST_VALUES with most tokens, the most frequent first."""
    tokens = rows.groupby("value")["n_tokens"].max()
    return list(tokens.sort_values(ascending=False, kind="stable").index[:MOST_VALUES])


def in_order(rows: pd.DataFrame, values: Iterable[str]) -> pd.DataFrame:
    """The rows of these values in this order, numeric ones in that of their numbers; n_values: how many there are."""
    kept = list(values)
    order = rows.groupby("value")["value_order"].min()
    if order.loc[kept].notna().all():
        kept = list(order.loc[kept].sort_values().index)
    rank = {value: number for number, value in enumerate(kept)}
    shown = rows[rows["value"].isin(rank)].assign(n_values=rows["value"].nunique())
    return shown.sort_values("value", key=lambda values: values.map(rank), kind="stable")


def _panelled(rows: pd.DataFrame, subject: Compared) -> pd.DataFrame:
    """With the panel of each row as model, the model that gives p as giving, the earlier step as step."""
    step, other = ("step_q", "step") if subject.kind in _REVERSED else ("step", "step_q")
    panels = [p if p == q else f"{p} and {q}" for p, q in zip(rows["model"], rows["model_q"], strict=True)]
    panelled = rows.assign(giving=rows["model"], model=panels, step=rows[step], other=rows[other])
    by_size = {model: place for place, model in enumerate(subject.models)}
    places = {column: rows[column].map(by_size).fillna(len(by_size)) for column in ("model", "model_q")}
    keys = panelled.assign(_p=places["model"], _q=places["model_q"])
    ordered = keys.sort_values(["_p", "_q", "model_q", "step"], kind="stable").index
    return panelled.loc[ordered].drop(columns=["model_q", "step_q"]).reset_index(drop=True)


def banded(curves: pd.DataFrame) -> bool:
    """Whether some interval is known, and drawn as a band."""
    return bool(curves["half_width"].notna().any())
