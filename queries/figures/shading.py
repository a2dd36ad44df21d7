"""Phases of training to shade behind curves, read from the views."""

from __future__ import annotations

from typing import TYPE_CHECKING

from queries.figures.choice import Compared, require_known
from queries.figures.reading import Source

if TYPE_CHECKING:
    import pandas as pd


def phases(source: Source, subject: Compared, definition: str) -> pd.DataFrame:
    """Phases of each model: model, position, phase, first_step, last_step; published steps where there are such.

    Raises UnknownChoice for a definition that does not exist.
    """
    require_definition(source, definition)
    return source.read(
        """
        select model, position, phase, coalesce(published_first_step, first_step) as first_step,
            coalesce(published_last_step, last_step) as last_step
        from analysis.phase_boundaries
        where definition = %(definition)s and corpus = %(corpus)s and protocol = %(protocol)s
            and family = %(family)s and model = any(%(models)s)
        order by model, position
        """,
        **subject.names(),
        definition=definition,
    )


def require_definition(source: Source, definition: str) -> None:
    """Raise UnknownChoice for a definition of phases that does not exist."""
    known = source.look_up("select distinct definition from warehouse.phase_definition")
    require_known("definition", definition, ["estimated", *known["definition"]])


def of_panels(phases: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """The phases of the model that gives p, for each panel of curves of comparisons."""
    panels = curves[["model", "giving"]].drop_duplicates()
    return phases.rename(columns={"model": "giving"}).merge(panels, on="giving")


def named(definition: str, phases: pd.DataFrame) -> str | None:
    """Whose phases a caption should speak of: None where none are shaded."""
    return definition if len(phases) else None
