"""Facts in chunks: 256 consecutive tokens a row, written by binary COPY and read as numpy arrays.

This module knows tables and arrays, and nothing of what the numbers mean.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import Copy, sql
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.pq import Format
from sqlalchemy import ARRAY, REAL, BigInteger, Connection, SmallInteger, Table

from warehouse.arrays import FLOAT4, INT4, decode

#: Tokens a chunk holds; the chunk of a token is ``token_id // CHUNK_TOKENS``.
CHUNK_TOKENS = 256

#: Rows encoded together: enough to spread the cost of a call, few enough to stay in the processor's cache.
_ROWS_AT_ONCE = 64
_CHUNK_BYTES = 12  # a bigint with its length
_COPY_HEADER = b"PGCOPY\n\xff\r\n\x00" + struct.pack("!ii", 0, 0)
_COPY_TRAILER = struct.pack("!h", -1)
_NULL_FIELD = struct.pack("!i", -1)
_ARRAY_HEADER = struct.Struct("!iiiii")  # dimensions, has nulls, element type, length, lower bound
_FLOAT4_ARRAY, _INT4_ARRAY = 1021, 1007  # type ids of PostgreSQL, fixed for all versions


def driver(connection: Connection) -> psycopg.Connection[Any]:
    """The psycopg connection below a SQLAlchemy one."""
    raw = connection.connection.driver_connection
    assert isinstance(raw, psycopg.Connection)
    return raw


def copy_chunks(
    connection: Connection,
    table: Table,
    keys: Mapping[str, int],
    first_token_id: int,
    columns: Mapping[str, NDArray[Any] | None],
) -> int:
    """Write arrays over consecutive tokens as chunk rows, in the transaction of the connection.

    keys: the row's other key columns, the same for every chunk. first_token_id: a multiple of 256.
    columns: [T] arrays by column name, or [T, k] for k elements a token, row by row; NaN in a real array and -1 in an
    integer array become NULL elements, None becomes a NULL column. Returns the number of rows.
    """
    return copy_units(connection, table, [(keys, columns)], first_token_id)


def copy_units(
    connection: Connection,
    table: Table,
    units: Iterable[tuple[Mapping[str, int], Mapping[str, NDArray[Any] | None]]],
    first_token_id: int,
    *,
    chunk: str = "chunk_id",
) -> int:
    """Write the chunk rows of many units, each (keys, columns) as in :func:`copy_chunks`, in one COPY.

    All units have the same names of keys and of columns. chunk: column with the number of the chunk, a bigint.
    Returns the number of rows.
    """
    n_rows = 0
    with ExitStack() as stack:
        copy: Copy | None = None
        for keys, columns in units:
            n_tokens = _common_length(columns)
            if copy is None:
                cursor = stack.enter_context(driver(connection).cursor())
                copy = stack.enter_context(cursor.copy(_copy_statement(table, [*keys, chunk, *columns])))
                copy.write(_COPY_HEADER)
            for part in _encoded(table, keys, first_token_id // CHUNK_TOKENS, columns, n_tokens):
                copy.write(part)
            n_rows += -(-n_tokens // CHUNK_TOKENS)
        if copy is not None:
            copy.write(_COPY_TRAILER)
    return n_rows


def copy_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows of the same columns by binary COPY, several times as fast as one statement a row."""
    if not rows:
        return
    names = list(rows[0])
    with driver(connection).cursor() as cursor, cursor.copy(_copy_statement(table, names)) as copy:
        copy.set_types([table.c[name].type.compile(connection.dialect).lower() for name in names])
        for row in rows:
            copy.write_row([row[name] for name in names])


def read_tokens(
    connection: Connection, query: str, parameters: Mapping[str, Any], column_count: int
) -> list[NDArray[Any]]:
    """Arrays over consecutive tokens, put together from chunk rows.

    query: selects column_count array columns in the order of chunk_id. Returns [T] arrays: NULL elements are NaN in
    real arrays and -1 in integer arrays.
    """
    rows = list(_rows(connection, query, parameters))
    if not rows:
        return [np.empty(0, np.float32) for _ in range(column_count)]
    return [np.concatenate([row[index] for row in rows]) for index in range(column_count)]


def read_groups(connection: Connection, query: str, parameters: Mapping[str, Any]) -> dict[int, NDArray[Any]]:
    """Arrays over consecutive tokens by unit; the query selects (unit, array) ordered by unit and chunk_id."""
    groups: dict[int, list[NDArray[Any]]] = {}
    for unit, values in _rows(connection, query, parameters):
        groups.setdefault(unit, []).append(values)
    return {unit: np.concatenate(parts) for unit, parts in groups.items()}


def _rows(connection: Connection, query: str, parameters: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    with driver(connection).cursor(binary=True) as cursor:
        cursor.adapters.register_loader(_FLOAT4_ARRAY, _Float4Array)
        cursor.adapters.register_loader(_INT4_ARRAY, _Int4Array)
        yield from cursor.execute(query, parameters)


def _copy_statement(table: Table, names: Sequence[str]) -> sql.Composed:
    return sql.SQL("copy {}.{} ({}) from stdin (format binary)").format(
        sql.Identifier(table.schema or "public"),
        sql.Identifier(table.name),
        sql.SQL(", ").join(map(sql.Identifier, names)),
    )


@dataclass(frozen=True)
class _Field:
    """An array column on its way into binary COPY format.

    values: [T * k] int32, the bits of the elements, or None for a NULL column. length: elements of a whole chunk.
    null: which elements are NULL, or None if none is.
    """

    element_type: int
    values: NDArray[np.int32] | None
    length: int
    null: NDArray[np.bool_] | None

    @classmethod
    def of(cls, table: Table, name: str, values: NDArray[Any] | None) -> _Field:
        if values is None:
            return cls(0, None, 0, None)
        kind = table.c[name].type
        assert isinstance(kind, ARRAY)
        real = isinstance(kind.item_type, REAL)
        flat = np.ascontiguousarray(values, np.float32 if real else np.int32).reshape(-1)
        null = np.isnan(flat) if real else flat == -1
        length = CHUNK_TOKENS * values[:1].size
        return cls(FLOAT4 if real else INT4, flat.view(np.int32), length, null if null.any() else None)

    def gaps(self, n_rows: int) -> NDArray[np.bool_]:
        """[n_rows] for each chunk, whether some element of it is NULL."""
        if self.null is None:
            return np.zeros(n_rows, bool)
        return np.logical_or.reduceat(self.null, np.arange(n_rows) * self.length)

    def head(self) -> bytes:
        """What precedes the elements of a whole chunk without NULL elements; all there is of a NULL column."""
        return _NULL_FIELD if self.values is None else self._head(self.length, 8 * self.length, False)

    def write(self, start: int, end: int, body: NDArray[np.uint8]) -> None:
        """Write the elements of whole chunks without NULL elements, each its length and its value."""
        if self.values is not None:
            words = body.view(">i4")
            words[:, 0::2] = 4
            words[:, 1::2] = self.values[start * self.length : end * self.length].reshape(end - start, -1)

    def row(self, number: int) -> bytes:
        """The field of one chunk, whatever it has."""
        if self.values is None:
            return _NULL_FIELD
        here = slice(number * self.length, (number + 1) * self.length)
        values = self.values[here]
        null = np.zeros(len(values), bool) if self.null is None else self.null[here]
        words = np.column_stack([np.where(null, -1, 4), values]).astype(">i4")
        # A NULL element is its length of -1 alone, with no value behind it.
        body: bytes = words[np.column_stack([np.ones_like(null), ~null])].tobytes()
        return self._head(len(values), len(body), bool(null.any())) + body

    def _head(self, length: int, n_bytes: int, some_null: bool) -> bytes:
        header = _ARRAY_HEADER.pack(1, some_null, self.element_type, length, 1)
        return struct.pack("!i", len(header) + n_bytes) + header


def _encoded(
    table: Table, keys: Mapping[str, int], first_chunk: int, columns: Mapping[str, NDArray[Any] | None], n_tokens: int
) -> Iterator[memoryview | bytes]:
    """The rows of a unit in binary COPY format: one after another where an element is NULL, else many at once."""
    prefix = struct.pack("!h", len(keys) + 1 + len(columns))
    prefix += b"".join(_integer_field(table, name, value) for name, value in keys.items())
    fields = [_Field.of(table, name, values) for name, values in columns.items()]
    n_rows, n_whole = -(-n_tokens // CHUNK_TOKENS), n_tokens // CHUNK_TOKENS
    alone = np.arange(n_rows) >= n_whole
    for field in fields:
        alone |= field.gaps(n_rows)
    for start, end in _runs(alone):
        if alone[start]:
            for row in range(start, end):
                chunk = _chunk_fields(first_chunk + row, 1).tobytes()
                yield b"".join([prefix, chunk, *(field.row(row) for field in fields)])
        else:
            for first in range(start, end, _ROWS_AT_ONCE):
                yield _whole_rows(prefix, first_chunk, fields, first, min(first + _ROWS_AT_ONCE, end))


def _whole_rows(prefix: bytes, first_chunk: int, fields: Sequence[_Field], start: int, end: int) -> memoryview:
    """Rows of whole chunks without NULL elements."""
    heads = [field.head() for field in fields]
    width = len(prefix) + _CHUNK_BYTES + sum(len(head) + 8 * f.length for head, f in zip(heads, fields, strict=True))
    rows = np.empty((end - start, width), np.uint8)
    at = len(prefix) + _CHUNK_BYTES
    rows[:, : len(prefix)] = np.frombuffer(prefix, np.uint8)
    rows[:, len(prefix) : at] = _chunk_fields(first_chunk + start, end - start)
    for head, field in zip(heads, fields, strict=True):
        rows[:, at : at + len(head)] = np.frombuffer(head, np.uint8)
        at += len(head)
        field.write(start, end, rows[:, at : at + 8 * field.length])
        at += 8 * field.length
    return rows.reshape(-1).data


def _runs(flags: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Start and end of each run of equal flags."""
    changes = (np.flatnonzero(np.diff(flags)) + 1).tolist()
    return pairwise([0, *changes, len(flags)] if len(flags) else [])


def _chunk_fields(first: int, count: int) -> NDArray[np.uint8]:
    """[count, 12] the fields of consecutive chunk ids, which are bigint in every table."""
    fields = np.empty(count, [("length", ">i4"), ("chunk", ">i8")])
    fields["length"] = 8
    fields["chunk"] = np.arange(first, first + count)
    return fields.view(np.uint8).reshape(count, _CHUNK_BYTES)


def _common_length(columns: Mapping[str, NDArray[Any] | None]) -> int:
    lengths = {len(values) for values in columns.values() if values is not None}
    if len(lengths) != 1:
        raise ValueError(f"arrays of one chunk row differ in length: {sorted(lengths)}")
    return lengths.pop()


def _integer_field(table: Table, name: str, value: int) -> bytes:
    kind = table.c[name].type
    if isinstance(kind, BigInteger):
        return struct.pack("!iq", 8, value)
    if isinstance(kind, SmallInteger):
        return struct.pack("!ih", 2, value)
    return struct.pack("!ii", 4, value)


class _Float4Array(Loader):
    """An array of reals as a numpy array."""

    format = Format.BINARY

    def load(self, data: Buffer) -> NDArray[Any]:
        return decode(data, FLOAT4)


class _Int4Array(Loader):
    """An array of integers as a numpy array."""

    format = Format.BINARY

    def load(self, data: Buffer) -> NDArray[Any]:
        return decode(data, INT4)
