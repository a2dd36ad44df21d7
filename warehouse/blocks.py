"""Facts of many units, read as fast as the server can send them: one block a unit, with all its chunks.

This module knows tables and arrays, and nothing of what the numbers mean.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import psycopg
from numpy.typing import NDArray
from psycopg import sql
from psycopg.pq import TransactionStatus
from sqlalchemy import ARRAY, REAL, Connection, Table, exc

from warehouse.arrays import FLOAT4, INT4, decode, decode_stored
from warehouse.errors import WarehouseError
from warehouse.facts import driver

#: Units that a session reads in one go, so that sessions end together.
_PORTION = 20
#: Sessions that read at once, at most: each keeps a core of the server busy.
_SESSIONS = 4

_STORED = "pg_temp.stored_bytes"
#: Units from which on a session makes a function for its own use.
_MANY = 8

_COPY_HEADER = struct.Struct("!11sii")
_FIELD_COUNT, _INTEGER = struct.Struct("!h"), struct.Struct("!i")

#: The columns of a unit, None for one that is NULL.
Columns = list[NDArray[Any] | None]
_Result = TypeVar("_Result")


def read_units(
    connection: Connection, table: Table, units: Sequence[int], columns: Sequence[str]
) -> Generator[tuple[int, Columns]]:
    """Units of a fact table that have facts, each with array columns, [T] each.

    units: of the table's first key column; the last one orders the chunks. NULL elements are NaN in real arrays and -1
    in integer arrays. Nothing else can be asked of the connection before the last unit was taken or the generator
    closed.
    """
    types = [_element_type(table, name) for name in columns]
    raw = driver(connection)
    stored = len(units) >= _MANY and _gives_stored(raw)
    decoded, statement = (decode_stored if stored else decode), _statement(table, units, columns, stored)
    with _by_key(raw), raw.cursor() as cursor, cursor.copy(statement) as copy:
        for number, row in enumerate(copy):
            fields = _fields(memoryview(row), 0 if number else _COPY_HEADER.size)
            if fields and fields[0] is not None and any(fields[1:]):
                (unit,) = _INTEGER.unpack(fields[0])
                yield unit, [None if f is None else decoded(f, kind) for f, kind in zip(fields[1:], types, strict=True)]


def _gives_stored(raw: psycopg.Connection) -> bool:
    """Make sure that the session has a function for the bytes of an array as they lie in memory, where it may have one.

    To write an array as array_send does takes the server twenty times as long, a call and an allocation an element.
    Its own byteasend copies any value of variable length; only a superuser may declare that it does so for arrays, and
    not in a transaction that only reads. What lies in memory is as this machine has it, so the server has to be on it.
    """
    if raw.info.parameter_status("is_superuser") != "on" or not raw.info.host.startswith("/"):
        return False
    query = f"select to_regprocedure('{_STORED}(integer[])') is not null, current_setting('transaction_read_only')"
    known, read_only = raw.execute(query.encode()).fetchone() or (False, "on")
    if read_only == "on" and not known:
        return False
    if not known:
        for element in ("integer", "real"):
            raw.execute(
                f"create function {_STORED}({element}[]) returns bytea language internal strict as 'byteasend'".encode()
            )
    return True


@contextmanager
def _by_key(raw: psycopg.Connection) -> Iterator[None]:
    """Statements read tables by their keys.

    A key has the chunks in their order; reading them in another and sorting takes a third longer.
    """
    raw.execute("set local enable_bitmapscan = off; set local enable_seqscan = off")
    try:
        yield
    finally:
        # A transaction that failed, or a connection that was lost, takes no statement and keeps no setting.
        if raw.info.transaction_status == TransactionStatus.INTRANS:
            raw.execute("reset enable_bitmapscan; reset enable_seqscan")


def map_units(
    connection: Connection,
    table: Table,
    units: Sequence[int],
    columns: Sequence[str],
    work: Callable[[Columns], _Result],
) -> dict[int, _Result]:
    """What work makes of the columns of each unit that has facts; as :func:`read_units`, with several sessions at once.

    The table's units have to be immutable. Then another session sees the facts that this one sees, unless this
    transaction wrote them: those it does not find, and this one reads them.
    """
    portions = SimpleQueue[Sequence[int]]()
    for start in range(0, len(units), _PORTION):
        portions.put(units[start : start + _PORTION])
    done: dict[int, _Result] = {}

    def work_on(session: Connection, chosen: Sequence[int]) -> None:
        # Closed whatever happens: a session that is left in the midst of a copy takes no other statement, not even the
        # one that ends its transaction.
        with closing(read_units(session, table, chosen, columns)) as found:
            for unit, read in found:
                done[unit] = work(read)

    def take(session: Connection) -> None:
        with suppress(Empty):
            while True:
                work_on(session, portions.get_nowait())

    def help_out() -> None:
        # A server that has no session to spare is read by one.
        with (
            suppress(psycopg.OperationalError, exc.OperationalError, WarehouseError),
            connection.engine.connect() as other,
        ):
            take(other)

    n_sessions = min(_SESSIONS, os.cpu_count() or 1, portions.qsize())
    with ThreadPoolExecutor(max(n_sessions - 1, 1)) as pool:
        helpers = [pool.submit(help_out) for _ in range(n_sessions - 1)]
        try:
            take(connection)
        finally:
            with suppress(Empty):  # after an error there is nothing left to do
                while True:
                    portions.get_nowait()
        for helper in helpers:
            helper.result()
    work_on(connection, [unit for unit in units if unit not in done])
    return done


def _element_type(table: Table, name: str) -> int:
    kind = table.c[name].type
    assert isinstance(kind, ARRAY)
    return FLOAT4 if isinstance(kind.item_type, REAL) else INT4


def _statement(table: Table, units: Sequence[int], columns: Sequence[str], stored: bool) -> sql.Composed:
    """One row a unit: for each column its arrays in binary form, as stored or as sent, one after another.

    A message for each chunk would take half as long again.
    """
    key, *_, chunk = (column.name for column in table.primary_key)
    binary = sql.SQL(_STORED if stored else "array_send")
    blocks = (
        sql.SQL("string_agg({}({}), ''::bytea order by {})").format(binary, sql.Identifier(name), sql.Identifier(chunk))
        for name in columns
    )
    return sql.SQL(
        "copy (select {key}, {blocks} from {table} where {key} = any({units}::integer[]) group by {key}) "
        "to stdout (format binary)"
    ).format(
        key=sql.Identifier(key),
        blocks=sql.SQL(", ").join(blocks),
        table=sql.Identifier(table.schema or "public", table.name),
        units=sql.Literal(list(units)),
    )


def _fields(row: memoryview, at: int) -> list[memoryview | None]:
    """The fields of a row in binary COPY format that begins at a byte; none for what ends the rows."""
    (count,) = _FIELD_COUNT.unpack_from(row, at)
    at += _FIELD_COUNT.size
    fields: list[memoryview | None] = []
    for _ in range(count):
        (length,) = _INTEGER.unpack_from(row, at)
        at += _INTEGER.size
        fields.append(None if length < 0 else row[at : at + length])
        at += max(length, 0)
    return fields
