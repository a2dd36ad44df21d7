"""What to draw: as asked for, and as settled by what is in the warehouse. This module may not know how a figure looks.

Corpora, protocols and families never mix in one figure: where there are several, one has to be chosen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from warehouse.errors import WarehouseError

if TYPE_CHECKING:
    import pandas as pd

    from queries.figures.reading import Source

#: Level of the intervals.
CONFIDENCE = 0.95
#: Names that an error lists; of more it gives the nearest.
_MOST_NAMES = 40


class NothingToDraw(WarehouseError):
    """The warehouse holds nothing that the figure could show."""


class AmbiguousChoice(WarehouseError):
    """What was asked for exists more than once, and does not mix in one figure."""


class UnknownChoice(WarehouseError):
    """What was asked for is not in the warehouse."""


@dataclass(frozen=True)
class Choice:
    """What to draw, as asked for; None and no models mean whatever there is. models: those that give p."""

    kind: str = "seed"
    corpus: str | None = None
    protocol: str | None = None
    family: str | None = None
    models: tuple[str, ...] = ()
    step_q: int | None = None


@dataclass(frozen=True)
class Scored:
    """What is drawn: checkpoints of one family, on one corpus by one protocol."""

    corpus: str
    protocol: str
    family: str
    n_tokens: int
    #: Names to look up, from the smallest model to the largest.
    models: tuple[str, ...]

    def names(self) -> dict[str, object]:
        """Parameters of a query that picks what is drawn out of a view."""
        return {
            "corpus": self.corpus,
            "protocol": self.protocol,
            "family": self.family,
            "models": list(self.models),
            "confidence": CONFIDENCE,
        }


@dataclass(frozen=True)
class Compared(Scored):
    """What is drawn: complete comparisons of one kind, within one family, on one corpus by one protocol."""

    kind: str
    #: Comparisons of which some pairs are not measured yet.
    n_incomplete: int
    #: Step of q, None for any.
    step_q: int | None = None

    def names(self) -> dict[str, object]:
        """As of Scored, with the kind and the step of q."""
        return super().names() | {"kind": self.kind, "step_q": self.step_q}


def choose(source: Source, choice: Choice) -> Compared:
    """Settle which comparisons to draw.

    Raises NothingToDraw, AmbiguousChoice where corpora, protocols or families would mix, UnknownChoice.
    """
    found = source.look_up(
        """
        select corpus, protocol, family, model, n_tokens, count(*) filter (where not complete) as n_incomplete,
            count(*) filter (where complete) as n_complete
        from analysis.expected_convergence
        where kind = %(kind)s
        group by corpus, protocol, family, model, n_tokens
        """,
        kind=choice.kind,
    )
    if found.empty:
        raise NothingToDraw(
            f"No comparison of kind {choice.kind} has been measured; `warehouse ingest` measures what a study names."
        )
    settled, found = _narrow(found, choice)
    if not found["n_complete"].sum():
        raise NothingToDraw(
            f"No comparison of kind {choice.kind} on {settled['corpus']} is complete yet; "
            "run the same `warehouse ingest` again."
        )
    return Compared(
        **settled,
        n_tokens=int(found["n_tokens"].iloc[0]),
        models=by_size(source, settled["family"], found.loc[found["n_complete"] > 0, "model"].tolist()),
        kind=choice.kind,
        n_incomplete=int(found["n_incomplete"].sum()),
        step_q=choice.step_q,
    )


def choose_scored(source: Source, choice: Choice) -> Scored:
    """Settle which checkpoints to draw, whether or not they are compared. Raises as choose does."""
    return _choose_among(
        source,
        """
        select corpus, protocol, family, model, max(n_tokens) as n_tokens
        from analysis.expected_surprisal
        where not outlier
        group by corpus, protocol, family, model
        """,
        choice,
    )


def choose_measured(source: Source, choice: Choice) -> Scored:
    """Settle what to report on: whatever was scored or compared. Raises as choose does."""
    return _choose_among(
        source,
        """
        select corpus, protocol, family, model, max(n_tokens) as n_tokens
        from (
            select corpus, protocol, family, model, n_tokens from analysis.expected_surprisal where not outlier
            union all
            select corpus, protocol, family, model, n_tokens from analysis.expected_convergence
        ) as measured
        group by corpus, protocol, family, model
        """,
        choice,
    )


def _choose_among(source: Source, query: str, choice: Choice) -> Scored:
    found = source.look_up(query)
    if found.empty:
        raise NothingToDraw("No checkpoint has been measured; `warehouse ingest` measures those that a study names.")
    settled, found = _narrow(found, choice)
    models = by_size(source, settled["family"], found["model"].tolist())
    return Scored(**settled, n_tokens=int(found["n_tokens"].max()), models=models)


def require_known(noun: str, name: str, known: Sequence[str] | pd.Series[str]) -> None:
    """Raise UnknownChoice, with the names that there are, or the nearest of many, for one that is not among them."""
    names = sorted(set(known))
    if name in names:
        return
    if len(names) <= _MOST_NAMES:
        raise UnknownChoice(f"There is no {noun} {name}; there are {', '.join(names) or 'none'}.")
    nearest = get_close_matches(name, names, n=5, cutoff=0)
    raise UnknownChoice(f"There is no {noun} {name}; of {len(names)} the nearest are {', '.join(nearest)}.")


def _narrow(found: pd.DataFrame, choice: Choice) -> tuple[dict[str, str], pd.DataFrame]:
    """The corpus, protocol and family to draw, and the rows of these and of the models wanted."""
    settled: dict[str, str] = {}
    for noun, plural in (("corpus", "corpora"), ("protocol", "protocols"), ("family", "families")):
        settled[noun] = settle(noun, plural, getattr(choice, noun), found[noun])
        found = found[found[noun] == settled[noun]]
    for model in choice.models:
        require_known("model", model, found["model"])
    return settled, found[found["model"].isin(choice.models)] if choice.models else found


def by_size(source: Source, family: str, models: Sequence[str]) -> tuple[str, ...]:
    """Names of models of a family, from the smallest to the largest."""
    rows = source.look_up(
        "select name from warehouse.model where family = %(family)s and name = any(%(names)s) "
        "order by parameters, name",
        family=family,
        names=list(models),
    )
    return tuple(rows["name"])


def settle(noun: str, plural: str, wanted: str | None, found: Iterable[str]) -> str:
    """The one that is wanted, or the only one there is; a protocol of what was imported counts if there is no other.

    found: at least one, perhaps many times. Raises UnknownChoice, AmbiguousChoice.
    """
    names = sorted(set(found))
    if wanted is not None:
        require_known(noun, wanted, names)
        return wanted
    if noun == "protocol":
        names = [name for name in names if not name.startswith("imported-")] or names
    if len(names) > 1:
        raise AmbiguousChoice(f"There are several {plural}: {', '.join(names)}. Choose one with --{noun}.")
    return names[0]
