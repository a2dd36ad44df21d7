"""Runs one SQL statement as the reader and streams its rows.

What keeps it from writing is the role, the read-only transaction and the extended protocol, which takes one statement;
what returns no rows is not run at all, so nothing can end the transaction. This module may not know the tables.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import psycopg
from psycopg import errors, pq
from psycopg.rows import tuple_row
from psycopg.types.string import TextLoader

from warehouse.errors import WarehouseError

Connection = psycopg.Connection[Any]
Row = tuple[Any, ...]

#: Rows the server sends at a time.
_CHUNK_ROWS = 1000
_SYNTAX_ERROR = "42601"
_READS_ONLY = ("25", "42501", "0LP01")  # transaction state, privileges, grants


class BadQuery(WarehouseError):
    """The SQL statement cannot be run."""


@dataclass(frozen=True)
class Column:
    """A column of a result. type: PostgreSQL's name, such as float8; of the elements where it is an array."""

    name: str
    type: str
    is_array: bool


@dataclass(frozen=True)
class Result:
    """The columns of a query, and its rows as they arrive.

    close: cancels the rows that nobody asked for; until then, or the last row, they hold the connection.
    """

    columns: tuple[Column, ...]
    rows: Iterator[Row]
    close: Callable[[], None] = lambda: None


def run(connection: Connection, statement: str) -> Result:
    """Run one statement that returns rows. Close the result, or have it written, before using the connection again.

    connection: of the reader, in a read-only transaction. Rows come from the server as they are asked for.
    Raises BadQuery for a statement that is wrong, writes, returns no rows, or is more than one.
    """
    if "\0" in statement:
        raise BadQuery("The statement holds a NUL character; remove it.")
    # Once a query has run, PostgreSQL refuses to make the transaction writable.
    connection.execute("select 1")
    columns = _describe(connection, statement)
    rows = _stream(connection, statement)
    # What PostgreSQL refuses, it refuses before the first row: known here, before anything is written.
    first = list(islice(rows, 1))
    return Result(columns, chain(first, rows), rows.close)


def _describe(connection: Connection, statement: str) -> tuple[Column, ...]:
    """Columns of a statement, found without running it."""
    server = connection.pgconn
    _require_success(server.prepare(b"", statement.encode()), connection, statement)
    described = server.describe_prepared(b"")
    _require_success(described, connection, statement)
    if described.nparams:
        raise BadQuery("The statement has parameters such as $1; write the values themselves.")
    if not described.nfields:
        raise BadQuery("This statement returns no rows and was not run: `warehouse sql` only reads, as with select.")
    return tuple(
        Column((described.fname(i) or b"").decode(), *_type(connection, described.ftype(i)))
        for i in range(described.nfields)
    )


def _require_success(result: pq.abc.PGresult, connection: Connection, statement: str) -> None:
    if result.status == pq.ExecStatus.FATAL_ERROR:
        raise _explained(errors.error_from_result(result, connection.info.encoding), statement)


def _type(connection: Connection, oid: int) -> tuple[str, bool]:
    known = connection.adapters.types.get(oid)
    return (known.name, oid == known.array_oid) if known else ("text", False)


def _stream(connection: Connection, statement: str) -> Generator[Row]:
    size = _CHUNK_ROWS if psycopg.capabilities.has_stream_chunked() else 1
    with connection.cursor(row_factory=tuple_row) as cursor:
        # A month has no fixed length, so that an interval is no Python timedelta.
        cursor.adapters.register_loader("interval", TextLoader)
        try:
            yield from cursor.stream(statement.encode(), size=size)
        except psycopg.Error as error:
            raise _explained(error, statement) from error


def _explained(error: psycopg.Error, statement: str) -> BadQuery:
    """One sentence: what PostgreSQL says, where, and its hint."""
    said = " ".join((error.diag.message_primary or str(error)).split()).rstrip(".")
    state = error.sqlstate or ""
    if state == _SYNTAX_ERROR and "multiple commands" in said:
        return BadQuery("`warehouse sql` runs one statement at a time, and this text holds several.")
    if state.startswith(_READS_ONLY):
        return BadQuery(f"`warehouse sql` only reads: {said}.")
    if isinstance(error, errors.QueryCanceled):
        return BadQuery(f"The query was cancelled: {said}.")
    place = _place(error.diag.statement_position, statement)
    hint = f" ({error.diag.message_hint.rstrip('.')})" if error.diag.message_hint else ""
    return BadQuery(f"{said[:1].upper()}{said[1:]}{place}{hint}.")


def _place(position: str | None, statement: str) -> str:
    if position is None:
        return ""
    before = statement[: int(position) - 1]
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    return f" at line {line}, column {column}"
