"""An annotation that comes after everything else: how long until it is answered, and whether facts say the same.

Bounds are seconds on a machine of two cores and not ratios: nobody else keeps standard errors of layers up to date.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, LiteralString

import numpy as np
import psycopg
from sqlalchemy import Engine

from benchmarks.claim import Claim
from benchmarks.made_up import Plan, fill, layer
from benchmarks.scratch import database_on, scratch_server
from benchmarks.timing import Timing, timed
from queries.refresh import refresh
from warehouse.annotations import load_layer
from warehouse.database import Database
from warehouse.layer import TOTAL

SEEDS = 5
_VALUES = 40
_ROUNDS = 3
#: Questions that take milliseconds are asked this often.
_ASKED = 20

_ONE_LAYER: LiteralString = "select * from analysis.conditional_convergence where layer = %s order by step, value"
_ONE_STEP: LiteralString = "select * from analysis.{} where layer = %s and step = 1 order by value"


def claims(*, small: bool = False) -> Iterator[Claim]:
    """A late layer over many comparisons; then what everyday questions, exact ones and a refresh take."""
    steps, long, short = (3, 3_000, 600) if small else (100, 100_000, 20_000)
    with scratch_server() as server:
        with database_on(server) as database:
            yield _late_layer(database, long, steps, 1 if small else _ROUNDS)
        with database_on(server) as database:
            yield from _questions(database, short, steps)


def _late_layer(database: Database, n_tokens: int, n_steps: int, rounds: int) -> Claim:
    engine = database.engine()
    made = fill(engine, name="long", n_tokens=n_tokens, n_seeds=SEEDS, n_steps=n_steps, layers=[TOTAL])
    _settle(database)
    taken = [timed(partial(_load_and_ask, database, engine, made, n_tokens, number)) for number in range(rounds)]
    seconds = Timing(tuple(taken)).median
    return Claim.at_most(
        f"a late layer of {n_tokens:,} tokens, loaded and answered, {_millions(n_tokens, n_steps)} KL values, s",
        seconds,
        10.0,
        ours=f"{seconds:.1f} s",
        other="10 s",
        note=f"{n_steps} comparisons of {SEEDS} seeds, {n_steps * SEEDS} evaluations, {_VALUES} values; until "
        "conditional_convergence shows it with both standard errors; sums of surprisal, entropy and accuracy of every "
        "evaluation are written in the same transaction; read as stored, as a superuser on the server's machine may",
    )


def _load_and_ask(database: Database, engine: Engine, made: Plan, n_tokens: int, number: int) -> None:
    late = layer(f"late {number}", _VALUES, n_tokens, np.random.default_rng(number))
    with engine.begin() as connection:
        load_layer(connection, made.corpus_id, late)
    with database.read() as reader:
        rows = _ask(reader, _ONE_LAYER, late.name)
    if any(row["se_seed"] is None or row["se_document"] is None for row in rows):
        raise RuntimeError("a standard error is missing")


def _questions(database: Database, n_tokens: int, n_steps: int) -> Iterator[Claim]:
    study = partial(fill, name="short", n_tokens=n_tokens, n_seeds=SEEDS, n_steps=n_steps, layers=[TOTAL, "pos"])
    loaded = timed(lambda: study(database.engine()))
    _settle(database)
    size = _millions(n_tokens, n_steps)
    with database.read() as reader:
        milliseconds, in_text = (_milliseconds(reader, binary) for binary in (True, False))
        n_rows = len(_ask(reader, _ONE_LAYER, "pos"))
        yield Claim.at_most(
            f"conditional convergence of one layer, {size} KL values, ms",
            milliseconds,
            50.0,
            ours=f"{milliseconds:.0f} ms",
            other="50 ms",
            note=f"{n_rows:,} rows with every column, in order, from stored sums; fetched by psycopg in binary form; "
            f"in text {in_text:.0f} ms",
        )
        stored = timed(partial(_ask, reader, _one_step("conditional_convergence"), "pos"))
        exact = timed(partial(_ask, reader, _one_step("conditional_convergence_exact"), "pos"))
        yield Claim.at_most(
            "conditional_convergence_exact, relative difference from stored sums",
            _difference(reader),
            1e-6,
            ours=f"{exact:.2f} s from facts",
            other=f"{1000 * stored:.0f} ms from sums",
            note=f"one comparison, {_millions(n_tokens, 1)} KL values; stored means of tokens have single precision",
        )
    with database.connect() as connection:
        changes: list[Any] = []
        seconds = timed(lambda: changes.extend(refresh(connection)))
    yield Claim.at_most(
        "warehouse refresh, relative difference from what was loaded",
        max(change.largest for change in changes),
        1e-6,
        ours=f"{seconds:.0f} s",
        other=f"{loaded:.0f} s to make it up and load it",
        note=f"all that is derived, again from facts in SQL: {size} KL values, two layers",
    )


def _milliseconds(reader: psycopg.Connection[Any], binary: bool) -> float:
    """What it takes to ask for one layer and to have all its rows."""

    def ask() -> None:
        reader.execute(_ONE_LAYER, ("pos",), binary=binary).fetchall()

    return 1000 * Timing(tuple(timed(ask) for _ in range(_ASKED))).median


def _one_step(view: LiteralString) -> LiteralString:
    return _ONE_STEP.replace("{}", view)


def _difference(reader: psycopg.Connection[Any]) -> float:
    """The largest relative difference of a number between the everyday view and the exact one, at one step."""
    views: tuple[LiteralString, LiteralString] = ("conditional_convergence", "conditional_convergence_exact")
    stored, exact = (_ask(reader, _one_step(view), "pos") for view in views)
    if [row["value"] for row in stored] != [row["value"] for row in exact]:
        raise RuntimeError("the values differ")
    pairs = [(a, b[name]) for row, b in zip(stored, exact, strict=True) for name, a in row.items()]
    numbers = [(a, b) for a, b in pairs if isinstance(a, float) and a != b]
    return max((abs(a - b) / max(abs(a), abs(b)) for a, b in numbers), default=0.0)


def _ask(reader: psycopg.Connection[Any], query: LiteralString, name: str) -> list[dict[str, Any]]:
    cursor = reader.execute(query, (name,))
    columns = [column.name for column in cursor.description or ()]
    return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]


def _settle(database: Database) -> None:
    """What an ingestion does at its end, so that the planner knows sizes."""
    with database.connect(autocommit=True) as connection:
        connection.execute("analyze")


def _millions(n_tokens: int, n_steps: int) -> str:
    return f"{n_tokens * n_steps * SEEDS * (SEEDS - 1) / 1e6:g} M"
