"""Facts in chunks: 256 consecutive tokens a row, written by binary COPY and read as numpy arrays.

This module knows tables and arrays, and nothing of what the numbers mean.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.pq import Format
from sqlalchemy import ARRAY, REAL, BigInteger, Connection, SmallInteger, Table

#: Tokens a chunk holds; the chunk of a token is ``token_id // CHUNK_TOKENS``.
CHUNK_TOKENS = 256

_COPY_HEADER = b"PGCOPY\n\xff\r\n\x00" + struct.pack("!ii", 0, 0)
_COPY_TRAILER = struct.pack("!h", -1)
_NULL_FIELD = struct.pack("!i", -1)
_ARRAY_HEADER = struct.Struct("!iiiii")  # dimensions, has nulls, element type, length, lower bound
# Type ids of PostgreSQL, fixed for all versions.
_FLOAT4, _INT4, _FLOAT4_ARRAY, _INT4_ARRAY = 700, 23, 1021, 1007


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
    columns: [T] arrays by column name; NaN in a real array and -1 in an integer array become NULL elements,
    None becomes a NULL column. Returns the number of rows.
    """
    names = [*keys, "chunk_id", *columns]
    statement = sql.SQL("copy {}.{} ({}) from stdin (format binary)").format(
        sql.Identifier(table.schema or "public"),
        sql.Identifier(table.name),
        sql.SQL(", ").join(map(sql.Identifier, names)),
    )
    prefix = struct.pack("!h", len(names)) + b"".join(_integer_field(table, name, keys[name]) for name in keys)
    fields = {name: _array_fields(table, name, values) for name, values in columns.items()}
    n_tokens = _common_length(columns)
    n_rows = -(-n_tokens // CHUNK_TOKENS)
    with driver(connection).cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(_COPY_HEADER)
        for row in range(n_rows):
            chunk = _integer_field(table, "chunk_id", first_token_id // CHUNK_TOKENS + row)
            copy.write(b"".join([prefix, chunk, *(next(field) for field in fields.values())]))
        copy.write(_COPY_TRAILER)
    return n_rows


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


def _array_fields(table: Table, name: str, values: NDArray[Any] | None) -> Iterator[bytes]:
    """The binary COPY field of a column, chunk by chunk, without end where the column is NULL."""
    if values is None:
        while True:
            yield _NULL_FIELD
    kind = table.c[name].type
    assert isinstance(kind, ARRAY)
    real = isinstance(kind.item_type, REAL)
    elements = np.empty((len(values), 2), ">i4")
    elements[:, 0] = 4
    elements[:, 1] = values.astype(">f4").view(">i4") if real else values
    null = np.isnan(values) if real else values == -1
    elements[null, 0] = -1
    for start in range(0, len(values), CHUNK_TOKENS):
        yield _array_field(
            elements[start : start + CHUNK_TOKENS], null[start : start + CHUNK_TOKENS], _FLOAT4 if real else _INT4
        )


def _array_field(elements: NDArray[Any], null: NDArray[np.bool_], element_type: int) -> bytes:
    some_null = bool(null.any())
    # A NULL element is its length of -1 alone, with no value behind it.
    body = elements[np.column_stack([np.ones_like(null), ~null])].tobytes() if some_null else elements.tobytes()
    header = _ARRAY_HEADER.pack(1, some_null, element_type, len(elements), 1)
    return struct.pack("!i", len(header) + len(body)) + header + body


class _ArrayLoader(Loader):
    """A one-dimensional PostgreSQL array of four-byte elements as a numpy array."""

    format = Format.BINARY
    dtype: str
    missing: float

    def load(self, data: Buffer) -> NDArray[Any]:
        if struct.unpack_from("!i", data)[0] == 0:
            return np.empty(0, self.dtype[1:])
        _, some_null, _, length, _ = _ARRAY_HEADER.unpack_from(data)
        words = np.frombuffer(data, ">i4", offset=_ARRAY_HEADER.size)
        if not some_null:
            return words[1::2].view(self.dtype).astype(self.dtype[1:])
        values = np.full(length, self.missing, self.dtype[1:])
        at = 0
        for index in range(length):
            if words[at] != -1:
                values[index] = words[at + 1 : at + 2].view(self.dtype)[0]
                at += 1
            at += 1
        return values


class _Float4Array(_ArrayLoader):
    dtype = ">f4"
    missing = np.nan


class _Int4Array(_ArrayLoader):
    dtype = ">i4"
    missing = -1
