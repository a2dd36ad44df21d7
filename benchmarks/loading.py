"""Loading what a visit measured, against a bare binary COPY of the same bytes into tables like ours on the same server.

Ours encodes numpy arrays, writes the ledger and, for whole units, sums, means and summaries; theirs is handed finished
bytes. Both commit once a visit.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql
from sqlalchemy import Connection, Engine

from benchmarks.claim import Claim
from benchmarks.made_up import Plan, Visit, plan
from benchmarks.scratch import scratch_database
from benchmarks.timing import Timing, ratio_of_rounds, timed
from warehouse.comparisons import derive
from warehouse.database import Database
from warehouse.evaluations import load_evaluations
from warehouse.pairs import load_pairs

#: Fact tables and the key of a unit in each.
_TABLES = ("score_chunk", "reference_chunk", "divergence_chunk", "convergence_chunk")
_WARM_UP = 1


def claims(*, small: bool = False) -> Iterator[Claim]:
    """Facts with their ledger; then whole units with summaries and the comparison's means."""
    n_tokens, n_seeds, rounds = (600, 3, 1) if small else (20_000, 10, 6)
    with scratch_database() as database:
        for layers, name, bound in (
            (False, "facts and ledger, values/s over bare COPY", 0.7),
            (True, "whole units with summaries, values/s over bare COPY", 0.4),
        ):
            ours, bare, n_values = _measure(database, n_tokens, n_seeds, rounds, whole=layers)
            yield Claim.at_least(
                name,
                ratio_of_rounds(bare, ours),
                bound,
                ours=f"{n_values / ours.median / 1e6:.1f} M values/s",
                other=f"{n_values / bare.median / 1e6:.1f} M values/s",
                note=f"{n_seeds} evaluations and {n_seeds * (n_seeds - 1)} pairs of {n_tokens:,} tokens a transaction; "
                "median over visits of the ratio within a visit",
            )


def _measure(
    database: Database, n_tokens: int, n_seeds: int, rounds: int, *, whole: bool
) -> tuple[Timing, Timing, int]:
    """Seconds a visit of our way and of bare COPY, and the values a visit has."""
    engine = database.engine()
    name = "whole" if whole else "facts"
    with engine.begin() as connection:
        made = plan(connection, name=name, n_tokens=n_tokens, n_seeds=n_seeds, n_steps=rounds + _WARM_UP, layers=whole)
    ours, bare = [], []
    with database.connect(autocommit=True) as raw:
        for table in _TABLES:
            raw.execute(f"create table {name}_{table} (like warehouse.{table} including all)".encode())
        for visit in made.visits:
            ours.append(timed(partial(_load, engine, made, visit, whole)))
            streams = {f"{name}_{table}": _bytes_of(raw, table, visit) for table in _TABLES}
            bare.append(timed(partial(_copy, database, streams)))
    return Timing(tuple(ours[_WARM_UP:])), Timing(tuple(bare[_WARM_UP:])), made.visits[0].n_values


def _load(engine: Engine, made: Plan, visit: Visit, whole: bool) -> None:
    with engine.begin() as connection:
        known = _load_units(connection, made, visit)
        if whole:
            derive(connection, visit.comparison_id, made.values, known=known, mixtures={made.seeds: visit.mixture})


def _load_units(connection: Connection, made: Plan, visit: Visit) -> dict[int, NDArray[np.float32]]:
    load_evaluations(connection, visit.evaluations, made.values)
    ids = load_pairs(connection, visit.pairs, made.corpus_id, made.first_token_id, made.values)
    return {key: pair.kl for key, pair in zip(ids, visit.pairs, strict=True) if key is not None}


def _bytes_of(raw: psycopg.Connection[Any], table: str, visit: Visit) -> bytes:
    """What a visit has put into a table, as binary COPY would be handed it."""
    units = {
        "score_chunk": "evaluation_id = any({evaluations})",
        "reference_chunk": "evaluation_id = any({evaluations})",
        "divergence_chunk": "pair_id in "
        "(select pair_id from warehouse.comparison_pair where evaluation_p = any({evaluations}))",
        "convergence_chunk": "comparison_id = {comparison}",
    }
    condition = sql.SQL(units[table]).format(
        evaluations=sql.Literal([unit.evaluation_id for unit in visit.evaluations]),
        comparison=sql.Literal(visit.comparison_id),
    )
    query = sql.SQL("copy (select * from warehouse.{} where {} order by 1, 2) to stdout (format binary)")
    result = io.BytesIO()
    with raw.cursor().copy(query.format(sql.Identifier(table), condition)) as copy:
        for block in copy:
            result.write(block)
    return result.getvalue()


def _copy(database: Database, streams: dict[str, bytes]) -> None:
    with database.connect() as connection:
        for table, stream in streams.items():
            statement = sql.SQL("copy {} from stdin (format binary)").format(sql.Identifier(table))
            with connection.cursor().copy(statement) as copy:
                copy.write(stream)
