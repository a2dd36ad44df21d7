"""Intervals of the estimated phases, by a bootstrap over documents: sums out of the warehouse, a fit back into it.

The rule that finds boundaries is the function estimate_phases in the database and nothing else: it is given the curves
of all samples. Facts are not read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg.rows import dict_row
from sqlalchemy import Connection

from queries.figures.choice import settle
from queries.fitting.phase_bootstrap import Floats, Interval, interval, resampled_curves
from warehouse import schema
from warehouse.blocks import read_units
from warehouse.database import Database
from warehouse.errors import WarehouseError
from warehouse.facts import driver
from warehouse.fits import Fit, digest_of, store_fit

#: Turns of a curve, in the order of training.
BOUNDARIES = ("uniform_end", "peak", "trough")
#: Flagged runs are left out.
RUN_SET = "default"
_PLURALS = {"corpus": "corpora", "protocol": "protocols", "family": "families"}

Row = Mapping[str, Any]


class NoCurve(WarehouseError):
    """There is no curve whose phases could be estimated."""


class TooFewDocuments(WarehouseError):
    """There are too few documents to draw samples from."""


class PartialSums(WarehouseError):
    """Sums over documents do not add up to the curve."""


@dataclass(frozen=True)
class Request:
    """What to fit; None and no models mean whatever there is."""

    name: str = "phases"
    samples: int = 1000
    seed: int = 0
    confidence: float = 0.95
    corpus: str | None = None
    protocol: str | None = None
    family: str | None = None
    models: tuple[str, ...] = ()


@dataclass(frozen=True)
class Boundary:
    """A boundary of a model's curve: the step estimated from all documents, None where there is none, and where it lies
    in samples of them."""

    model: str
    boundary: str
    step: int | None
    interval: Interval


@dataclass(frozen=True)
class _Curves:
    """Curves on one text: C comparisons by model and step, [C, D] their sums by document, and the constants."""

    comparisons: list[Row]
    kl: Floats
    n_tokens: Floats
    settings: Row

    @property
    def models(self) -> dict[str, list[int]]:
        """Each model with the places of its comparisons."""
        own: dict[str, list[int]] = {}
        for place, row in enumerate(self.comparisons):
            own.setdefault(row["model"], []).append(place)
        return own


def fit_phases(database: Database, request: Request) -> tuple[Fit, list[Boundary]]:
    """Estimate the boundaries of every model's phases in samples of documents, and store their intervals as a fit.

    Raises NoCurve, AmbiguousChoice, PartialSums, TooFewDocuments.
    """
    # All that is read is of one moment, whoever flags a run meanwhile.
    engine = database.engine().execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    with engine.connect() as connection:
        curves = _read(connection, request)
        boundaries = _boundaries(driver(connection), curves, request)
    fit = _fit(curves, request)
    store_fit(database, fit, _results(curves, boundaries, request))
    return fit, boundaries


def _read(connection: Connection, request: Request) -> _Curves:
    raw = driver(connection)
    [settings] = _rows(raw, "select * from warehouse.settings")
    comparisons = _comparisons(raw, request, settings["phase_min_steps"])
    _require_no_contexts(raw, comparisons[0])
    kl, n_tokens = _document_sums(connection, comparisons)
    if kl.shape[1] < settings["min_clusters"]:
        raise TooFewDocuments(
            f"{kl.shape[1]} documents of corpus {comparisons[0]['corpus']} have sums of KL in every comparison, and an "
            f"interval needs {settings['min_clusters']}; `warehouse refresh` makes sums that are not there."
        )
    return _Curves(comparisons, kl, n_tokens, settings)


def _boundaries(raw: psycopg.Connection, curves: _Curves, request: Request) -> list[Boundary]:
    """The boundaries of each model in the order of training."""
    whole = -curves.kl.sum(axis=1) / curves.n_tokens.sum(axis=1)
    resampled = resampled_curves(curves.kl, curves.n_tokens, request.samples, request.seed)
    # The first is the curve of the text as it is.
    all_curves = np.vstack([whole, resampled])
    found = []
    for model, own in curves.models.items():
        turns = _turns(raw, [curves.comparisons[place]["step"] for place in own], all_curves[:, own])
        for name, steps in zip(BOUNDARIES, turns.T, strict=True):
            step = None if np.isnan(steps[0]) else int(steps[0])
            found.append(Boundary(model, name, step, interval(steps[1:], request.confidence)))
    return found


def _fit(curves: _Curves, request: Request) -> Fit:
    asked = {name: getattr(request, name) for name in ("samples", "seed", "confidence")}
    rule = {name: curves.settings[name] for name in ("phase_change", "phase_uniform")}
    models, steps = ([row[name] for row in curves.comparisons] for name in ("model", "step"))
    return Fit(
        kind="phases",
        name=request.name,
        settings={**asked, **rule, "models": list(curves.models), "run_set": RUN_SET},
        input_digest=digest_of(models, steps, curves.kl, curves.n_tokens),
        libraries=("numpy",),
        **{noun: curves.comparisons[0][noun] for noun in _PLURALS},
    )


def _results(curves: _Curves, boundaries: Sequence[Boundary], request: Request) -> list[dict[str, object]]:
    """Rows of phase_interval."""
    model_ids = {row["model"]: row["model_id"] for row in curves.comparisons}
    return [
        {
            "model_id": model_ids[found.model],
            "boundary": found.boundary,
            "n_documents": curves.kl.shape[1],
            "n_samples": request.samples,
            "step": found.step,
            "lower": found.interval.lower,
            "upper": found.interval.upper,
            "confidence": request.confidence,
            "share": found.interval.share,
        }
        for found in boundaries
    ]


def _comparisons(raw: psycopg.Connection, request: Request, min_steps: int) -> list[Row]:
    """Complete comparisons of seeds on one text, of models with steps enough, by model and step.

    Raises NoCurve, AmbiguousChoice.
    """
    found = _rows(
        raw,
        """
        select corpus, protocol, family, model, step, comparison_id, model_id, corpus_id
        from (
            select *, count(*) over (partition by corpus_id, protocol_id, model_id) as n_steps
            from analysis.comparisons
            where kind = 'seed' and complete and run_set = %(run_set)s
                and (%(corpus)s::text is null or corpus = %(corpus)s)
                and (%(protocol)s::text is null or protocol = %(protocol)s)
                and (%(family)s::text is null or family = %(family)s)
                and (%(models)s::text[] = '{}' or model = any(%(models)s))
        ) as measured
        where n_steps >= %(min_steps)s
        order by model_id, step
        """,
        {
            **{noun: getattr(request, noun) for noun in _PLURALS},
            "models": list(request.models),
            "min_steps": min_steps,
            "run_set": RUN_SET,
        },
    )
    if found:
        for noun, plural in _PLURALS.items():
            name = settle(noun, plural, getattr(request, noun), [row[noun] for row in found])
            found = [row for row in found if row[noun] == name]
    missing = sorted(set(request.models) - {row["model"] for row in found})
    if missing or not found:
        raise NoCurve(
            f"{' '.join(['No model', *missing[:1]])} has complete comparisons of seeds at {min_steps} steps, the least "
            "that phases are estimated from; view comparisons shows what is measured."
        )
    return found


def _require_no_contexts(raw: psycopg.Connection, comparison: Row) -> None:
    """Sums over documents leave out their context, which expected convergence does not. Raises PartialSums."""
    query = "select count(*) as n from warehouse.document where corpus_id = %(corpus_id)s and scored_from > 0"
    if n := _rows(raw, query, {"corpus_id": comparison["corpus_id"]})[0]["n"]:
        raise PartialSums(
            f"{n} documents of corpus {comparison['corpus']} begin with a context that their sums leave out, so that "
            "they do not add up to the curve of expected convergence; take a corpus without contexts."
        )


def _document_sums(connection: Connection, comparisons: Sequence[Row]) -> tuple[Floats, Floats]:
    """[C, D] sums of KL and tokens over the pairs of each comparison, of the documents with tokens in all of them."""
    places = {row["comparison_id"]: place for place, row in enumerate(comparisons)}
    members = _rows(
        driver(connection),
        "select comparison_id, pair_id from warehouse.comparison_member where comparison_id = any(%(ids)s)",
        {"ids": list(places)},
    )
    comparison_of = {row["pair_id"]: places[row["comparison_id"]] for row in members}
    [size] = _rows(
        driver(connection),
        "select n_documents from warehouse.corpus where corpus_id = %(corpus_id)s",
        {"corpus_id": comparisons[0]["corpus_id"]},
    )
    kl, n_tokens = np.zeros((2, len(comparisons), size["n_documents"]))
    units = read_units(connection, schema.document_divergence_chunk, list(comparison_of), ["n_tokens", "kl"])
    for pair_id, (tokens, sums) in units:
        assert tokens is not None
        assert sums is not None
        place = comparison_of[pair_id]
        n_tokens[place] += tokens
        kl[place] += np.nan_to_num(sums.astype(np.float64))
    has_tokens = (n_tokens > 0).all(axis=0)
    return kl[:, has_tokens], n_tokens[:, has_tokens]


def _turns(raw: psycopg.Connection, steps: Sequence[int], curves: Floats) -> NDArray[np.float64]:
    """[N, 3] steps of BOUNDARIES in each of N curves of convergence [N, steps], NaN where a curve has no such turn."""
    cursor = raw.execute(
        """
        select turn.uniform_end, turn.peak, turn.trough
        from generate_series(1, %(n)s) as curve
        cross join warehouse.settings
        cross join lateral analysis.estimate_phases(
            %(steps)s::integer[],
            (%(curves)s::double precision[])[(curve - 1) * %(size)s + 1:curve * %(size)s],
            settings.phase_change,
            settings.phase_uniform
        ) as turn
        order by curve
        """,
        {"n": len(curves), "steps": list(steps), "size": len(steps), "curves": curves.ravel().tolist()},
    )
    return np.array(cursor.fetchall(), float)


def _rows(raw: psycopg.Connection, query: str, parameters: Mapping[str, object] | None = None) -> list[Row]:
    with raw.cursor(row_factory=dict_row) as cursor:
        return list(cursor.execute(query.encode(), parameters).fetchall())
