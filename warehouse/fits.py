"""Fits: what a command fitted outside SQL, stored under a name with all that is needed to fit it again.

This module may not know how anything is fitted: only which table has the results of which kind.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
from sqlalchemy import Connection, Table, delete, func, insert, select
from sqlalchemy.dialects import postgresql

from warehouse import schema
from warehouse.database import Database
from warehouse.errors import WarehouseError
from warehouse.facts import driver
from warehouse.locks import share_corpus
from warehouse.writer import Writer

#: Where the results of each kind of fit are.
RESULTS: dict[str, Table] = {
    "regression": schema.regression_coefficient,
    "scaling": schema.scaling_fit,
    "phases": schema.phase_interval,
}
#: What tells fits apart, beside their results' kind: as a user names it.
_SCOPE = ("family", "corpus", "protocol")


class InputGone(WarehouseError):
    """What was fitted is no longer in the warehouse."""


class UnknownFit(WarehouseError):
    """There is no fit of this name."""


class AmbiguousFit(WarehouseError):
    """Several fits have this name."""


@dataclass(frozen=True)
class Fit:
    """What a fit is called and was made from; family, corpus and protocol are names, None where none matters.

    settings: what was asked for, as JSON holds it. libraries: distributions that fitted, whose versions are kept.
    """

    kind: str
    name: str
    settings: Mapping[str, object]
    input_digest: str
    libraries: Sequence[str] = ()
    family: str | None = None
    corpus: str | None = None
    protocol: str | None = None

    def __str__(self) -> str:
        scope = [f"{noun} {name}" for noun in _SCOPE if (name := getattr(self, noun)) is not None]
        return ", ".join([f"{self.kind} {self.name}", *scope])


def digest_of(*columns: Any) -> str:
    """SHA-256 of columns of numbers or names: the same for the same values in the same order."""
    digest = hashlib.sha256()
    for column in columns:
        values = np.asarray(column)
        numeric = values.dtype.kind in "biuf"
        data = values.tobytes() if numeric else json.dumps(values.tolist(), default=str).encode()
        digest.update(f"{values.dtype.str if numeric else 'names'} {len(data)} ".encode())
        digest.update(data)
    return digest.hexdigest()


def store_fit(database: Database, fit: Fit, rows: Iterable[Mapping[str, object]]) -> bool:
    """Write a fit with its results, in one transaction, in place of one of the same name; returns if it replaced any.

    rows: of the table of RESULTS that the fit's kind names, without fit_id. Raises InputGone where the corpus or the
    protocol was taken out while it was fitted.
    """
    return Writer(database, database.engine(), reserve=0).commit(partial(_store, fit=fit, rows=list(rows)))


def drop_fit(database: Database, name: str, **scope: str | None) -> Fit:
    """Delete the fit of this name with its results, and return what it was.

    scope: kind, family, corpus and protocol, where the name is not enough. Raises UnknownFit, AmbiguousFit.
    """
    return Writer(database, database.engine(), reserve=0).commit(partial(_drop, name=name, scope=scope))


def _store(connection: Connection, fit: Fit, rows: Sequence[Mapping[str, object]]) -> bool:
    corpus_id = _id_of(connection, schema.corpus, fit.corpus)
    if corpus_id is not None:
        # From here on nobody takes its protocols out.
        share_corpus(driver(connection), corpus_id)
    protocol_id = _id_of(connection, schema.protocol, fit.protocol)
    own = {"kind": fit.kind, "name": fit.name, "family": fit.family, "corpus_id": corpus_id, "protocol_id": protocol_id}
    versions = {library: version(library) for library in ("token-warehouse", *fit.libraries)}
    made = {"settings": dict(fit.settings), "versions": versions, "input_digest": fit.input_digest}
    # Two who fit the same at once write one after the other: the second waits for the row.
    statement = postgresql.insert(schema.fit).values(**own, **made)
    statement = statement.on_conflict_do_update(index_elements=list(own), set_={**made, "made_at": func.now()})
    fit_id = connection.execute(statement.returning(schema.fit.c.fit_id)).scalar_one()
    results = RESULTS[fit.kind]
    replaced = connection.execute(delete(results).where(results.c.fit_id == fit_id)).rowcount > 0
    if rows:
        connection.execute(insert(results), [{"fit_id": fit_id, **row} for row in rows])
    return replaced


def _id_of(connection: Connection, table: Table, name: str | None) -> int | None:
    """The id of a corpus or protocol. Raises InputGone."""
    if name is None:
        return None
    found: int | None = connection.execute(select(next(iter(table.primary_key))).where(table.c.name == name)).scalar()
    if found is None:
        raise InputGone(f"The {table.name} {name} was taken out while it was fitted; nothing was written.")
    return found


def _drop(connection: Connection, name: str, scope: Mapping[str, str | None]) -> Fit:
    named = {fit_id: fit for fit_id, fit in _all(connection) if fit.name == name}
    asked = {noun: wanted for noun, wanted in scope.items() if wanted is not None}
    chosen = [key for key, fit in named.items() if all(getattr(fit, noun) == asked[noun] for noun in asked)]
    if not chosen:
        said = f"; those of this name are: {_listed(named.values())}" if named else "; `warehouse fit list` shows all"
        raise UnknownFit(f"There is no fit {' '.join([name, *asked.values()])}{said}.")
    if len(chosen) > 1:
        several = _listed(named[key] for key in chosen)
        raise AmbiguousFit(f"{len(chosen)} fits are called {name} ({several}): say which with --kind or --corpus.")
    connection.execute(delete(schema.fit).where(schema.fit.c.fit_id == chosen[0]))
    return named[chosen[0]]


def _all(connection: Connection) -> list[tuple[int, Fit]]:
    fit, corpus, protocol = schema.fit, schema.corpus, schema.protocol
    joined = fit.outerjoin(corpus, corpus.c.corpus_id == fit.c.corpus_id)
    joined = joined.outerjoin(protocol, protocol.c.protocol_id == fit.c.protocol_id)
    names = (fit.c.family, corpus.c.name, protocol.c.name)
    query = select(fit.c.fit_id, fit.c.kind, fit.c.name, fit.c.input_digest, *names).select_from(joined)
    return [
        (fit_id, Fit(kind, name, {}, digest, family=family, corpus=corpus, protocol=protocol))
        for fit_id, kind, name, digest, family, corpus, protocol in connection.execute(query.order_by(fit.c.fit_id))
    ]


def _listed(fits: Iterable[Fit]) -> str:
    return "; ".join(map(str, fits))
