"""The figures by name: what is read from the views, and how it is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
from psycopg.rows import TupleRow

from queries import captions, plot_data, plots

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Connection = psycopg.Connection[TupleRow]


def convergence(connection: Connection, choice: plot_data.Choice, definition: str = "estimated") -> Figure:
    """How alike models predict, step by step: a panel per model, or per two of them. definition: phases to shade.

    Where a step is held against several steps of q, a line for each.
    """
    subject = plot_data.choose(connection, choice)
    curves = plot_data.convergence(connection, subject)
    phases = plot_data.phases_of(plot_data.phases(connection, subject, definition), curves)
    shaded, banded = _shaded(definition, phases), _banded(curves)
    by_step_q = plot_data.convergence_by_step_q(curves)
    if by_step_q is None:
        return plots.draw_convergence(curves, phases, captions.of_convergence(subject, shaded, banded=banded))
    shown, n_values = by_step_q["value"].nunique(), int(by_step_q["n_values"].iloc[0])
    return plots.draw_conditional(
        by_step_q, phases, captions.of_steps_of_q(subject, shaded, shown, n_values, banded=banded)
    )


def conditional(
    connection: Connection, choice: plot_data.Choice, layer: str = "word_class", definition: str = "estimated"
) -> Figure:
    """Convergence by value of a layer: a panel per model, a line per value, the eight most frequent at most."""
    subject = plot_data.choose(connection, choice)
    curves = plot_data.convergence_by_value(connection, subject, layer)
    phases = plot_data.phases_of(plot_data.phases(connection, subject, definition), curves)
    shown, n_values = curves["value"].nunique(), int(curves["n_values"].iloc[0])
    shaded = _shaded(definition, phases)
    caption = captions.of_values(subject, shaded, layer, shown, n_values, banded=_banded(curves))
    return plots.draw_conditional(curves, phases, caption)


def phases(connection: Connection, choice: plot_data.Choice, definition: str = "estimated") -> Figure:
    """Convergence of seeds, and below it KL to uniform and unigram, and cross-entropy, with the phases shaded."""
    subject = plot_data.choose(connection, choice)
    curves = plot_data.convergence(connection, subject)
    readings = plot_data.readings(connection, subject)
    found = plot_data.phases(connection, subject, definition)
    caption = captions.of_phases(subject, _shaded(definition, found), banded=_banded(curves))
    return plots.draw_phases(curves, readings, found, caption)


def _banded(curves: pd.DataFrame) -> bool:
    return bool(curves["half_width"].notna().any())


def _shaded(definition: str, phases: pd.DataFrame) -> str | None:
    return definition if len(phases) else None
