"""Fits a scaling law to the losses in the warehouse and stores it: which losses, whose sizes, under which name.

The mathematics is in ``queries.fitting.scaling``. This module may not know how a fit is asked for or shown.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import psycopg
from psycopg.rows import namedtuple_row

from queries.figures.choice import settle
from queries.fitting import MissingScipy
from queries.fitting.scaling import BETA, B, E, Fitted, Losses, fit_all, fit_size
from warehouse.database import Database
from warehouse.errors import WarehouseError
from warehouse.fits import Fit, digest_of, store_fit

Connection = psycopg.Connection[Any]

SURPRISAL = "surprisal"
#: Godey et al. fit models "of at least 410M"; Pythia's of that name has 405 million parameters.
MIN_PARAMETERS = 400_000_000
#: What losses are told apart by, and its plural in a message.
_SCOPE = {"family": "families", "corpus": "corpora", "protocol": "protocols", "source": "sources"}


class NoLosses(WarehouseError):
    """There are no losses to fit."""


class UnknownSize(WarehouseError):
    """How large a model is, or how long it was trained, is not known."""


@dataclass(frozen=True)
class Question:
    """What to fit to what. family, corpus, protocol, source: None for whatever there is, where there is one.

    parameters: total or without_embeddings. sizes: parameters of models that the warehouse does not know; likewise
    tokens_per_step. b, beta and e are given unless free.
    """

    metric: str = SURPRISAL
    family: str | None = None
    corpus: str | None = None
    protocol: str | None = None
    source: str | None = None
    parameters: str = "total"
    min_parameters: int = MIN_PARAMETERS
    from_step: int = 1
    sizes: Mapping[str, int] = field(default_factory=dict)
    tokens_per_step: int | None = None
    free: bool = False
    b: float = B
    beta: float = BETA
    e: float = E

    def settings(self) -> dict[str, object]:
        """What the views need to know of a fit, and whoever makes it again."""
        left_out = {"family", "corpus", "protocol"} | ({"b", "beta", "e"} if self.free else set())
        return {name: value for name, value in asdict(self).items() if name not in left_out}


@dataclass(frozen=True)
class _Checkpoint:
    """A checkpoint to fit: its model, its name in messages, parameters as N counts them, training tokens, loss."""

    model: str
    name: str
    parameters: int
    tokens: int
    loss: float


@dataclass(frozen=True)
class Answer:
    """A fit that was stored, and the losses behind it. replaced: there was a fit of that name."""

    fit: Fit
    fitted: Fitted
    n_models: int
    n: int
    replaced: bool


def fit_scaling(database: Database, question: Question, name: str | None = None) -> Answer:
    """Fit the law that a question asks for and store it under a name, by default METRIC, or METRIC@SOURCE if imported.

    Raises NoLosses, AmbiguousChoice, UnknownChoice, UnknownSize, MissingScipy, and what the fit raises.
    """
    with database.read() as reader:
        rows = _read(reader, question.metric)
    question, rows = _settle(question, rows)
    chosen = _chosen(question, rows)
    losses = _losses(chosen)
    fitted = _fit(question, losses)
    fit = Fit(
        kind="scaling",
        name=name or "@".join(filter(None, (question.metric, question.source))),
        settings=question.settings(),
        input_digest=digest_of(losses.names, losses.parameters, losses.tokens, losses.loss),
        libraries=("numpy", "scipy") if question.free else ("numpy",),
        family=question.family,
        corpus=question.corpus,
        protocol=question.protocol,
    )
    counts = {"n_models": len({row.model for row in chosen}), "n": len(chosen)}
    errors = {"se_log_a": fitted.se_log_a, "se_alpha": fitted.se_alpha, "rms_residual": fitted.rms_residual}
    replaced = store_fit(database, fit, [{**counts, **asdict(fitted.law), **errors}])
    return Answer(fit, fitted, **counts, replaced=replaced)


def _read(reader: Connection, metric: str) -> list[Any]:
    """The losses of this name, in an order of their own. Raises NoLosses."""
    with reader.cursor(row_factory=namedtuple_row) as cursor:
        rows = cursor.execute(
            "select * from analysis.scaling_losses where metric = %s "
            "order by corpus, protocol, source, family, model, seed, step",
            [metric],
        ).fetchall()
        if rows:
            return rows
        known = cursor.execute("select distinct metric from analysis.scaling_losses").fetchall()
    names = sorted(name for (name,) in known)
    near = difflib.get_close_matches(metric, names, n=5) or names[:5]
    hint = f"; there is {', '.join(near)}" if near else ": `warehouse ingest` and `warehouse import` bring some"
    raise NoLosses(f"There is no loss called {metric} in the warehouse{hint}.")


def _settle(question: Question, rows: Sequence[Any]) -> tuple[Question, list[Any]]:
    """The question with all its names, and the rows that it is about. Raises AmbiguousChoice, UnknownChoice.

    An imported loss has neither corpus nor protocol, one that was measured here no source.
    """
    kept = list(rows)
    for noun, plural in _SCOPE.items():
        wanted = getattr(question, noun)
        names = [own for row in kept if (own := getattr(row, noun)) is not None]
        name: Any = settle(noun, plural, wanted, names) if names or wanted is not None else None
        question = replace(question, **{noun: name})
        kept = [row for row in kept if getattr(row, noun) == name]
    return question, kept


def _chosen(question: Question, rows: Iterable[Any]) -> list[_Checkpoint]:
    """The checkpoints to fit. Raises UnknownSize where it cannot be said whether one belongs to them."""
    late = [row for row in rows if not row.outlier and row.step >= question.from_step]
    if unknown := {row.model for row in late if _size(question, row) is None}:
        raise UnknownSize(
            f"How many parameters there are is not known of {_listed(unknown)}, not read here: say so with "
            f"--size {min(unknown)}=NUMBER."
        )
    if unknown := {row.model for row in late if _tokens(question, row) is None}:
        raise UnknownSize(
            f"How many tokens a step trains on is not known of {_listed(unknown)}: say so with --tokens-per-step."
        )
    return [
        _Checkpoint(row.model, f"{row.model} seed {row.seed} step {row.step}", size, tokens, row.loss)
        for row in late
        if (size := _size(question, row)) and (tokens := _tokens(question, row))
        # Whether a model is large enough goes by all its parameters, whatever N counts.
        if (row.parameters or size) >= question.min_parameters
    ]


def _size(question: Question, row: Any) -> int | None:
    counted: int | None = row.parameters if question.parameters == "total" else row.parameters_without_embeddings
    return question.sizes.get(row.model) if counted is None else counted


def _tokens(question: Question, row: Any) -> int | None:
    seen: int | None = row.tokens_seen
    if seen is None and question.tokens_per_step is not None:
        return int(row.step) * question.tokens_per_step
    return seen


def _losses(rows: Sequence[_Checkpoint]) -> Losses:
    return Losses(
        [row.name for row in rows],
        np.array([row.parameters for row in rows], np.float64),
        np.array([row.tokens for row in rows], np.float64),
        np.array([row.loss for row in rows], np.float64),
    )


def _fit(question: Question, losses: Losses) -> Fitted:
    if not question.free:
        return fit_size(losses, question.b, question.beta, question.e)
    try:
        return fit_all(losses)
    except ModuleNotFoundError as error:
        raise MissingScipy from error


def _listed(names: Iterable[object]) -> str:
    return ", ".join(sorted(map(str, names)))
